#!/usr/bin/env python3
"""`keep check` and `keep stats`: words, output, exit statuses."""
import json
import os
import re
import sqlite3
import unittest

from keep_cli import SOURCE, CliTest


class Check(CliTest):
    def setUp(self):
        super().setUp()
        self.ok("init", "home")
        calls = [{"id": i, "call": "gateway.put_message",
                  "with": {"chat_jid": "telegram:1", "id": f"m{i}", "content": "a content"}} for i in range(3)]
        calls.append({"id": 3, "call": "assistant.put_credential",
                      "with": {"service": "mail", "credential_type": "api_key", "data": "sk-not-told"}})
        text = "".join(json.dumps(call) + "\n" for call in calls).encode()
        self.assertNotIn(b'"ok":false', self.ok("call", "home", stdin=text))

    def path(self, *names):
        return os.path.join(self.folder, "home", *names)

    def findings(self, *words):
        status, out, err = self.keep("check", "home", "--json", *words)
        self.assertEqual(err, b"")
        lines = [json.loads(line) for line in out.splitlines()]
        return status, lines[:-1], lines[-1]

    def test_a_home_that_is_whole_says_so(self):
        self.assertRegex(self.ok("check", "home").decode(),
                         r"^All is well: \d+ files, \d+ tables and \d+ rows were looked at\.\n$")
        status, found, summary = self.findings()
        self.assertEqual((status, found, summary["is_whole"], summary["wrong"]), (0, [], True, 0))
        self.assertGreater(summary["rows"], 4)
        self.assertIn("All is well", self.ok("check", "--quick", home=self.path()).decode())

    def test_a_flipped_bit_is_one_line_that_names_the_file(self):
        name = self.path("gateway", "messages.db")
        with open(name, "r+b") as file:
            file.seek(-50, os.SEEK_END)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        status, out, err = self.keep("check", "home")
        self.assertEqual((status, err), (1, b""))
        self.assertRegex(out.decode(), r"(?m)^damage: gateway, gateway/messages\.db: .*\(damaged_file\)$")
        self.assertIn("things are wrong", out.decode())
        self.assertEqual(self.findings("--repair")[0], 1)

    def test_a_restored_home_is_whole_before_anybody_writes(self):
        self.ok("backup", "home")
        self.ok("restore", "home", "another")
        os.rename(self.path(), self.path() + "-before")
        os.rename(os.path.join(self.folder, "another"), self.path())
        status, _, err = self.keep("check", "home")
        self.assertEqual((status, err), (1, b""))  # the key is not part of a backup
        os.link(self.path() + "-before/vault.key", self.path("vault.key"))
        self.assertEqual(self.findings()[:2], (0, []))
        self.assertIn("a content", self.ok("gateway", "history", "home", "telegram:1", "--read-only").decode())

    def test_a_missing_store_is_found_whatever_else_is_gone(self):
        for name in os.listdir(self.path("gateway")):
            os.remove(self.path("gateway", name))
        status, found, _ = self.findings()
        self.assertEqual(status, 1)
        self.assertEqual([(f["kind"], f["file"], f["can_repair"]) for f in found],
                         [("missing_file", "gateway/messages.db", False)])

    def test_a_missing_key_is_found_and_the_one_that_is_given_is_used(self):
        os.rename(self.path("vault.key"), os.path.join(self.folder, "other.key"))
        status, found, _ = self.findings()
        self.assertEqual((status, [(f["kind"], f["file"]) for f in found]), (1, [("missing_file", "vault.key")]))
        self.assertEqual(self.findings("--key-file", "other.key")[0], 0)

    def test_what_is_derived_is_mended_once(self):
        self.ok("gateway", "put-outbound", "home", "--chat-jid", "telegram:1", "--content", "an answer")
        with sqlite3.connect(self.path("gateway", "messages.db")) as db:
            db.execute("UPDATE chats SET last_seq = 1 WHERE jid = 'telegram:1'")
        db.close()
        status, found, _ = self.findings()
        self.assertEqual(status, 1)
        stale = [f for f in found if f["kind"] == "stale_counter"]
        self.assertEqual([(f["key"], f["can_repair"], f["is_repaired"]) for f in stale], [("telegram:1", True, False)])
        self.assertNotIn("a content", json.dumps(found))
        # The shell's own pages have no right seal; who knows that it was them says so.
        status, found, summary = self.findings("--repair", "--reseal")
        self.assertEqual((status, [f for f in found if not f["is_repaired"]], summary["wrong"]), (0, [], 0))
        self.assertEqual(self.findings()[:2], (0, []))

    def test_wrong_use_and_no_home(self):
        self.refused(2, "--frob: no such option", "check", "home", "--frob")
        self.refused(2, "check: HOME: missing", "check")
        self.refused(1, "none: no home there", "check", "none")
        self.refused(1, "none: no home there", "stats", "none")

    def test_stats_are_numbers_under_their_stores(self):
        text = self.ok("stats", "home").decode()
        self.assertRegex(text, r"(?m)^gateway\n")
        self.assertRegex(text, r"(?m)^  rows messages +3$")
        numbers = [json.loads(line) for line in self.ok("stats", "home", "--json").splitlines()]
        self.assertIn({"store": "gateway", "name": "rows", "part": "chats", "value": 1}, numbers)
        self.assertIn({"store": "gateway", "name": "schema_version", "part": "gateway", "value": 1}, numbers)
        self.assertTrue(any(n["store"] == "assistant" and n["part"] == "audit_log" and n["value"] > 0 for n in numbers))

    def test_every_kind_of_finding_is_in_the_documents(self):
        with open(os.path.join(SOURCE, "docs", "check.md"), encoding="utf-8") as file:
            told = set(re.findall(r"(?m)^\| `(\w+)` \|", file.read()))
        made = set()
        folder = os.path.join(SOURCE, "src", "home")
        for name in os.listdir(folder):
            if name.startswith("check_") and name.endswith((".c", ".h")):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                made |= set(re.findall(r'kind = "(\w+)"', text))
                made |= set(re.findall(r'(?m)^#define \w+ "([a-z]+_[a-z_]+)"$', text))
        self.assertEqual(made - {"keep_check"}, told)  # a cursor's name


if __name__ == "__main__":
    unittest.main()
