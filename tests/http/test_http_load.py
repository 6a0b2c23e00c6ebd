#!/usr/bin/env python3
"""The load client over a short run: what it checks at a rate that every machine reaches. `make load` is the long one."""
import json
import os
import subprocess

from event_client import DEADLINE, ServeTest, main

CLIENT = os.environ.get("KEEP_LOAD_CLIENT", "build/tests/http/load_client")


class Load(ServeTest):
    def load(self, *words):
        return subprocess.run([CLIENT, f"http://127.0.0.1:{self.port}", *words], capture_output=True, check=False,
                              timeout=4 * DEADLINE)

    def test_a_short_run_loses_nothing_and_keeps_the_order_on_every_stream(self):
        done = self.load("--rate", "200", "--seconds", "3", "--streams", "50", "--chats", "20", "--connections", "8")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        said = json.loads(done.stdout.splitlines()[0])
        self.assertEqual((said["ok"], said["accepted"], said["lost"]), (True, 600, 0))
        self.assertEqual((said["streams"]["open"], said["streams"]["missing"]), (50, 0))
        self.assertGreaterEqual(said["streams"]["events"], 50 * 600 // 20)
        self.assertGreater(said["memory_bytes"]["end"], 0)

    def test_it_tells_when_there_is_nobody(self):
        self.stop()
        done = self.load("--streams", "1")
        self.assertEqual((done.returncode, done.stdout), (2, b""))


if __name__ == "__main__":
    main()
