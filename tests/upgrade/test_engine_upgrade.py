#!/usr/bin/env python3
"""A store that version 1 of the engine's tables wrote opens, and keeps its values and their order; one
that a newer Keep wrote is refused and not touched.

tests/fixtures/engine_store_v1.sql is the dump of such a file. Each version of the tables adds one.
"""
import hashlib
import os
import pathlib
import sqlite3
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEEP = os.environ["KEEP_COMMAND"]


def keep(*words):
    done = subprocess.run([KEEP, "engine", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class EngineUpgrade(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.file = pathlib.Path(self.folder.name) / "store.db"
        self.url = f"sqlite:{self.file}"
        with sqlite3.connect(self.file) as db:
            db.executescript((ROOT / "tests/fixtures/engine_store_v1.sql").read_text())
        db.close()

    def tearDown(self):
        self.folder.cleanup()

    def test_a_store_of_version_1_is_read_and_changed(self):
        self.assertEqual(keep("get", self.url, "session/creds"), (0, '{"key":"old"}', ""))
        self.assertEqual(keep("list", self.url, "chat/ada/message"), (0, "second\nfirst\n", ""))
        self.assertEqual(keep("set", self.url, "chat/ada/message/1", "again")[0], 0)
        self.assertEqual(keep("list", self.url, "chat/ada/message"), (0, "again\nsecond\n", ""))
        self.assertEqual(keep("count", self.url, "chat/ada/message"), (0, "2\n", ""))
        self.assertEqual(keep("unset", self.url, "chat")[0], 0)
        self.assertEqual(keep("get", self.url, "chat/ada")[0], 1)

    def test_a_store_of_a_newer_version_is_refused_and_not_touched(self):
        with sqlite3.connect(self.file) as db:
            db.execute("INSERT INTO migrations SELECT service, 99, '0099_later', checksum, "
                       "applied_at FROM migrations WHERE service = 'engine' LIMIT 1")
        db.close()
        self.assertEqual(keep("get", self.url, "session/creds")[0], 11)
        before = hashlib.sha256(self.file.read_bytes()).digest()
        code, out, err = keep("set", self.url, "session/creds", "new")
        self.assertEqual((code, out), (11, ""))
        self.assertIn("engine", err)
        self.assertEqual(hashlib.sha256(self.file.read_bytes()).digest(), before)


if __name__ == "__main__":
    unittest.main()
