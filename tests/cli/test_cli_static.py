#!/usr/bin/env python3
"""test_cli_static.py - keep-agent is one file: it runs where there is nothing else."""
import json
import os
import shutil
import struct
import subprocess
import unittest

from test_cli_mailbox import HELLO, MailboxTest
from keep_cli import SECONDS

AGENT = os.environ.get("KEEP_AGENT_COMMAND", "build/keep-agent")
PROGRAM_INTERPRETER, DYNAMIC = 3, 2


def program_headers(path):
    """The types of an ELF file's program headers."""
    with open(path, "rb") as file:
        head = file.read(64)
        assert head[:5] == b"\x7fELF\x02", "no 64-bit ELF file"
        start, = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(start)
        return [struct.unpack_from("<I", file.read(size))[0] for _ in range(count)]


class Static(MailboxTest):
    def run_agent(self, *words, **more):
        done = subprocess.run([AGENT, *words], capture_output=True, cwd=self.folder, timeout=SECONDS, check=False, **more)
        return done.returncode, done.stdout, done.stderr

    def test_it_asks_for_no_shared_library(self):
        found = program_headers(AGENT)
        self.assertNotIn(PROGRAM_INTERPRETER, found)
        self.assertNotIn(DYNAMIC, found)

    def test_it_works_without_an_environment_wherever_it_is(self):
        session, place = self.new_agent()
        message = self.data("post", session, HELLO)["id"]
        lone = os.path.join(self.folder, "lone")
        shutil.copy(AGENT, lone)
        done = subprocess.run([lone, place, "--once", "--text", "--", "/bin/cat"], env={}, capture_output=True,
                              cwd=self.folder, timeout=SECONDS, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        told = self.data("collect", session)
        self.assertEqual(told["messages"][0]["message"]["in_reply_to"], message)
        self.assertEqual(told["completed"], 1)
        self.assertEqual([json.loads(item["message"]["content"]) for item in told["messages"]], [{"text": "hello"}])

    def test_a_server_is_refused_and_words_are_checked(self):
        status, out, err = self.run_agent("postgres://h/d?schema=s&session=x", "--", "true")
        self.assertEqual((status, out), (3, b""))
        self.assertIn(b"keep-agent opens folders alone", err)
        self.assertEqual(self.run_agent()[0], 2)
        self.assertEqual(self.run_agent("nowhere", "--once", "--", "true")[0], 1)
        self.assertIn(b"--time-limit", self.run_agent("--help")[1])


if __name__ == "__main__":
    unittest.main()
