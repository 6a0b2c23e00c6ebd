#!/usr/bin/env python3
"""`keep check` on a home that was harmed, as a user meets it: a flipped bit in each store's files, a missing
file, an orphaned lease, a broken audit chain, a stale index; and beside a host at work, where nothing is wrong.

    tests/support/with_servers.sh /usr/bin/python3 tests/cli/test_cli_check_damage.py

KEEP_TEST_FLIPS=200 flips so many bits in each file, and prints how many of them were found.
"""
import json
import os
import random
import shutil
import sqlite3
import sys
import threading
import time
import unittest

import keep_cli
from test_cli_serve import Host

FLIPS = int(os.environ.get("KEEP_TEST_FLIPS", "4"))
CHECKS = int(os.environ.get("KEEP_TEST_CHECKS", "30"))
SEALED = ("engine/default.db", "gateway/messages.db", "mailbox/registry.db", "inbound.db", "assistant/assistant.db")


class Harmed(keep_cli.CliTest):
    """A home with something in each store, of which each test has a copy."""

    def setUp(self):
        super().setUp()
        self.ok("init", "home")
        calls = [("gateway.put_message", {"chat_jid": "test:1", "id": f"m{i}", "sender": "ada",
                                          "content": f"the words of message {i} " * 9}) for i in range(60)]
        calls += [("gateway.put_outbound", {"chat_jid": "test:1", "content": f"answer {i}"}) for i in range(3)]
        calls += [("engine.set", {"path": f"notes/n{i}", "value": "a value " * 20}) for i in range(40)]
        calls += [("assistant.put_credential", {"service": f"mail{i}", "credential_type": "api_key", "data": "sk-no"})
                  for i in range(3)]
        calls += [("mailbox.put_agent_group", {"id": "ada", "name": "Ada", "folder": "ada"}),
                  ("mailbox.put_messaging_group", {"id": "mg", "channel_type": "test", "platform_id": "42"}),
                  ("assistant.find_or_create", {"channel": "webui", "contact": "ada"})]
        conversation = self.call(*calls)[-1]["conversation"]["conversation_id"]
        self.call(*(("assistant.append", {"conversation_id": conversation, "role": "user",
                                          "content": f"gooseberries and number {i}"}) for i in range(40)))
        self.session = self.call(("mailbox.resolve_session", {
            "agent_group_id": "ada", "messaging_group_id": "mg", "session_mode": "shared"}))[0]["session"]["id"]
        posts = [("mailbox.post", {"session": self.session, "content": json.dumps({"text": f"hello {i} " * 30}),
                                   "channel_type": "test", "platform_id": "42"}) for i in range(30)]
        self.call(*posts)
        place = self.ok("mailbox", "session-place", "home", self.session).decode().strip()
        claims = self.ok("mailbox", "claim", place, "--max", "10").splitlines()
        self.assertEqual(len(claims), 10)
        self.call(*(("mailbox.complete_with", {
            "id": claim.split(b"\t")[0].decode(), "replies": [{"content": json.dumps({"text": "an answer " * 30})}]})
                    for claim in claims), place=place)
        self.sides = f"mailbox/sessions/ada/{self.session}/"
        self.assertEqual(self.check()[:2], (0, []))

    def call(self, *calls, place="home"):
        """Of one process: the results."""
        text = "".join(json.dumps({"id": i, "call": name, "with": inputs}) + "\n"
                       for i, (name, inputs) in enumerate(calls))
        answers = [json.loads(line) for line in self.ok("call", place, stdin=text.encode()).splitlines()]
        for answer in answers:
            self.assertTrue(answer["ok"], answer)
        return [answer.get("result") for answer in sorted(answers, key=lambda answer: answer["id"])]

    def path(self, name):
        return os.path.join(self.folder, "home", self.below(name))

    def below(self, name):
        return self.sides + name if name in ("inbound.db", "outbound.db") else name

    def check(self, *words):
        status, out, err = self.keep("check", "home", "--json", *words)
        self.assertEqual(err, b"")
        lines = [json.loads(line) for line in out.splitlines()]
        return status, [f for f in lines[:-1] if f["severity"] != "note"], lines[-1]

    def shell(self, name, *statements):
        """As another program's shell: its pages have no right seals."""
        with sqlite3.connect(self.path(name)) as db:
            for statement in statements:
                self.assertNotEqual(db.execute(statement).rowcount, 0)
        db.close()

    def flip(self, name, rounds):
        """A bit somewhere in the file; what puts it back."""
        with open(self.path(name), "r+b") as file:
            at = rounds.randrange(os.path.getsize(self.path(name)))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << rounds.randrange(8))]))
        return name, at, byte

    def put_back(self, flipped):
        name, at, byte = flipped
        with open(self.path(name), "r+b") as file:
            file.seek(at)
            file.write(bytes([byte]))

    def test_a_flipped_bit_anywhere_in_a_sealed_file_is_found(self):
        """An agent's outbound.db has no seals, so that any program may write it: there a bit of a structure is found,
        and one of a text is not."""
        seed = int(os.environ.get("KEEP_TEST_SEED", time.time_ns() & 0xffffffff))
        rounds = random.Random(seed)
        found = {name: 0 for name in (*SEALED, "outbound.db")}
        for name in found:
            self.assertFalse(os.path.exists(self.path(name) + "-wal") and os.path.getsize(self.path(name) + "-wal"), name)
        for _ in range(FLIPS):
            # A registry that is damaged leads to no sessions: it has a check of its own.
            for names in ((*(n for n in SEALED if n != "mailbox/registry.db"), "outbound.db"), ("mailbox/registry.db",)):
                flipped = [self.flip(name, rounds) for name in names]
                status, told, _ = self.check()
                self.assertIn(status, (0, 1), (seed, flipped))
                for name, at, _ in flipped:
                    is_found = any(f["file"] == self.below(name) and f["severity"] == "damage" for f in told)
                    found[name] += is_found
                    if name in SEALED:
                        self.assertTrue(is_found, (seed, name, at, told))
                for one in flipped:
                    self.put_back(one)
        if FLIPS > 10:
            print(f"of {FLIPS} flips each were found: {found}", file=sys.stderr)
        self.assertEqual(self.check()[:2], (0, []))

    def test_a_missing_file_is_found(self):
        whole = os.path.join(self.folder, "whole")
        shutil.copytree(os.path.join(self.folder, "home"), whole)
        for name in (*SEALED, "outbound.db", "home.json", "vault.key"):
            os.remove(self.path(name))
            status, told, _ = self.check("--quick") if name != "vault.key" else self.check()
            self.assertEqual((status, [(f["kind"], f["severity"]) for f in told]), (1, [("missing_file", "damage")]), name)
            self.assertEqual(told[0]["file"], self.below(name))
            # Nothing brings it back.
            self.assertEqual(self.check("--repair")[0], 1)
            shutil.rmtree(os.path.join(self.folder, "home"))
            shutil.copytree(whole, os.path.join(self.folder, "home"))

    def test_an_orphaned_lease_is_found_and_given_back(self):
        process = self.start("call", "home")
        request = {"id": 1, "call": "gateway.claim_deliveries", "with": {"limit": 1, "lease_ms": 600000}}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        self.assertEqual(len(json.loads(process.stdout.readline())["result"]), 1)
        self.assertEqual(self.check()[:2], (0, []))
        self.end(process)
        for words, expected in ((("--quick",), 1), (("--repair",), 0)):
            status, told, _ = self.check(*words)
            self.assertEqual((status, [(f["kind"], f["table"], f["is_repaired"]) for f in told]),
                             (expected, [("orphaned_lease", "messages", expected == 0)]))
        self.assertEqual(self.check()[:2], (0, []))

    def test_a_broken_audit_chain_is_found_and_stays(self):
        self.shell("assistant/assistant.db", "UPDATE audit_log SET action = 'nothing' WHERE seq = 2")
        self.assertIn("broken_audit", [f["kind"] for f in self.check()[1]])
        # Who says that the pages are right has not said so of the chain.
        status, told, _ = self.check("--reseal", "--repair")
        left = [f for f in told if not f["is_repaired"]]
        self.assertEqual((status, [(f["kind"], f["key"]) for f in left]), (1, [("broken_audit", "2")]))
        self.assertRegex(self.keep("check", "home")[1].decode(),
                         r"(?m)^damage: assistant, assistant/assistant\.db, audit_log '2': .*\(broken_audit\)$")

    def test_a_stale_index_is_found_and_made_anew(self):
        def matches():
            return self.call(("assistant.search_messages", {"query": "gooseberries"}))[0]

        before = matches()
        self.shell("assistant/assistant.db", "INSERT INTO message_words (message_words) VALUES ('delete-all')")
        self.assertIn("stale_index", [f["kind"] for f in self.check()[1]])
        status, told, summary = self.check("--reseal", "--repair")
        self.assertEqual((status, summary["wrong"], [f["is_repaired"] for f in told if f["kind"] == "stale_index"]),
                         (0, 0, [True]))
        self.assertEqual(self.check()[:2], (0, []))
        self.assertEqual(matches(), before)


class BesideHost(keep_cli.CliTest):
    def talk(self, host, stop, done):
        """Chats that talk, and their answers taken, until told to stop."""
        count = 0
        while not stop.is_set():
            for chat in range(8):
                host.put(f"test:{chat}", f"m{count}", "hello")
            for message in host.call("gateway.claim_deliveries", channel="test", timeout_ms=100, limit=50):
                host.call("gateway.complete_delivery", jid=message["chat_jid"], id=message["id"],
                          attempt=message["attempts"], delivery="delivered", platform_id="p" + message["id"])
                done.append(message["id"])
            count += 1

    def checks_find_nothing(self, home):
        stop, done, failed = threading.Event(), [], []

        def run():
            try:
                self.talk(host, stop, done)
            except Exception as error:  # of the thread: told by the test
                failed.append(error)

        self.ok("init", home)
        host = Host(self, home, "--agent", "sed 's/^/Re: /'", "--agent-text")
        thread = threading.Thread(target=run)
        thread.start()
        try:
            until = time.monotonic() + keep_cli.SECONDS
            while not done and not failed:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.02)
            for i in range(CHECKS):
                status, out, err = self.keep("check", home, *(("--quick",) if i % 3 == 2 else ()))
                self.assertEqual((status, err), (0, b""), out.decode())
                self.assertIn(b"All is well", out)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(failed, [])
        self.assertEqual(host.stop(), 0)
        self.assertEqual(self.keep("check", home)[0], 0)

    def test_a_host_at_work_in_a_folder_is_no_false_alarm(self):
        self.checks_find_nothing("home")

    def test_a_host_at_work_on_a_server_is_no_false_alarm(self):
        database = f"keep_beside_{os.getpid()}_{time.monotonic_ns()}"
        keep_cli.psql(f"CREATE DATABASE {database}")
        self.addCleanup(keep_cli.psql, f"DROP DATABASE {database} WITH (FORCE)")
        self.checks_find_nothing(keep_cli.server_url(database))


if __name__ == "__main__":
    unittest.main()
