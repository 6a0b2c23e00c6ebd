"""`keep transfer`: a home to a server and back, its output, its refusals, and going on after Ctrl-C."""
import json
import os
import signal
import unittest

from keep_cli import CliTest, psql, server_url


class TransferTest(CliTest):
    count = 0

    def setUp(self):
        super().setUp()
        TransferTest.count += 1
        self.database = f"keep_cli_transfer_{os.getpid()}_{TransferTest.count}"
        psql(f"CREATE DATABASE {self.database}")
        self.addCleanup(psql, f"DROP DATABASE {self.database} WITH (FORCE)")
        self.url = server_url(self.database)

    def fill(self, home):
        self.ok("init", home)
        for i in range(20):
            self.ok("engine", "set", home, f"notes/n{i}", f"value {i}")
        self.ok("gateway", "set-state", home, "key", "v")

    def test_a_home_goes_over_and_back_and_says_what_went(self):
        self.fill("home")
        lines = [json.loads(line) for line in self.ok("transfer", "home", self.url, "--json").splitlines()]
        rows = {(line["store"], line["table"]): line["rows"] for line in lines}
        self.assertEqual(rows["engine default", "documents"], 20)
        self.assertEqual(rows["gateway", "router_state"], 1)
        for line in lines:
            self.assertEqual(list(line), ["store", "table", "rows", "sha256"])
            self.assertRegex(line["sha256"], "^[0-9a-f]{64}$")
        self.assertEqual(self.ok("engine", "list", self.url, "notes", "--limit", "2"), b"value 19\nvalue 18\n")
        text = self.ok("transfer", self.url, "back").decode()
        self.assertRegex(text, r"^STORE +TABLE +ROWS +SHA-256\n")
        self.assertRegex(text, r"\nengine default +documents +20 +[0-9a-f]{16}\n")
        self.assertRegex(text, r"\n23 rows, the same on both sides\n$")
        self.assertEqual(self.ok("engine", "list", "back", "notes", "--limit", "2"), b"value 19\nvalue 18\n")

    def test_what_is_wrong_is_refused(self):
        self.fill("home")
        self.refused(2, "transfer: FROM: missing", "transfer")
        self.refused(2, "transfer: TO: missing", "transfer", "home")
        self.refused(2, "--fast: no such option", "transfer", "home", self.url, "--fast")
        self.refused(2, "transfer: 'more': one word too many", "transfer", "home", self.url, "more")
        self.refused(3, "transfer: one home is a folder and the other", "transfer", "home", "other")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "other")))
        self.ok("transfer", "home", self.url)
        self.refused(4, "gateway: the target's router_state has rows", "transfer", "home", self.url)

    def test_what_was_stopped_goes_on(self):
        self.fill("home")
        process = self.start("transfer", "home", self.url)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertIn(process.returncode, (0, 130, -signal.SIGINT))
        if b"the same on both sides" not in out:
            self.assertIn(b"the same on both sides", self.ok("transfer", "home", self.url))
        self.assertEqual(self.ok("engine", "count", self.url, "notes"), b"20\n")


if __name__ == "__main__":
    unittest.main()
