#!/usr/bin/env python3
"""test_cli_gateway.py sqlite|postgres - keep gateway … and keep call with gateway.…, on that driver.

What is stored is the business of tests/contract; here are the words, the output, the exit statuses, the
JSON and the places, and that every function of keep/gateway.h is an operation that works.
"""
import itertools
import json
import os
import re
import signal
import sqlite3
import sys
import unittest

from keep_cli import SOON, SOURCE, CliTest, psql, server_url

KIND = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in ("sqlite", "postgres") else "sqlite"
# What takes a program's own code, or is no call on an open gateway.
NO_OPERATION = {"open", "close", "cancel", "migrate"}
OTHER_NAME = {"run_task_now": "run_now"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
numbers = itertools.count(1)


class GatewayTest(CliTest):
    def setUp(self):
        super().setUp()
        self.url = self.new_url()

    def new_url(self):
        number = next(numbers)
        if KIND == "sqlite":
            return f"sqlite:m{number}.db"
        schema = f"cli_{os.getpid()}_{number}"
        self.addCleanup(psql, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        return f"{server_url()}&schema={schema}"

    def new_home(self):
        if KIND == "sqlite":
            self.ok("init", "home")
            return "home"
        database = f"cli_{os.getpid()}_{next(numbers)}"
        psql(f'CREATE DATABASE "{database}"')
        self.addCleanup(psql, f'DROP DATABASE IF EXISTS "{database}"')
        return server_url(database)

    def gateway(self, verb, *words, **more):
        return self.ok("gateway", verb, self.url, *words, **more).decode()

    def data(self, verb, *words, **more):
        return json.loads(self.gateway(verb, *words, "--json", **more))

    def no(self, exit_status, message, verb, *words, **more):
        self.refused(exit_status, message, "gateway", verb, self.url, *words, **more)

    def call(self, *requests, place=None):
        text = "".join(json.dumps(request) + "\n" for request in requests)
        return [json.loads(line) for line in self.ok("call", place or self.url, stdin=text.encode()).splitlines()]


class Messages(GatewayTest):
    def test_a_message_is_put_once(self):
        words = ("put_message", "telegram:1", "17", "Good morning", "--sender", "ada", "--timestamp", "1000")
        self.assertEqual(self.gateway(*words), "outcome: inserted\nseq: 1\n")
        self.assertEqual(self.gateway(*words), "outcome: duplicate\nseq: 1\n")
        self.assertEqual(self.gateway(*words, "--json"), '{"outcome":"duplicate","seq":1}\n')
        self.no(4, "message '17' of chat 'telegram:1'", "put_message", "telegram:1", "17", "Good evening")
        self.assertEqual(self.gateway("history", "telegram:1"), "1\t1970-01-01T00:00:01.000Z\tada\tGood morning\n")

    def test_inputs_by_place_or_by_name(self):
        for number, words in enumerate((
                ("put_message", "--chat_jid", "a:1", "--id", "0", "--content", "x"),
                ("put-message", "--chat-jid=a:1", "--id=1", "--content=x"),
                ("put_message", "--content", "x", "a:1", "2"))):
            self.assertEqual(self.gateway(*words), f"outcome: inserted\nseq: {number + 1}\n")
        self.refused(2, "chat_jid: given twice", "gateway", "put_message", self.url, "a:1", "--chat-jid", "a:1")
        self.refused(2, "CONTENT: missing", "gateway", "put_message", self.url, "a:1", "3")

    def test_a_content_from_standard_input_is_kept_byte_for_byte(self):
        text = "Grüße ✓\n\ttab\n"
        self.gateway("put_message", "a:1", "1", "-", stdin=text.encode())
        self.assertEqual(self.data("get_message", "a:1", "1")["content"], text)
        self.no(3, "content: not UTF-8 at byte 1", "put_message", "a:1", "2", "-", stdin=b"a\xff")
        self.no(7, "content: ", "put_message", "a:1", "2", "-", stdin=b"x" * (1024 * 1024 + 1))
        # A lone hyphen is a word like any other where no text of length belongs.
        self.gateway("put_message", "-", "-", "x")
        self.assertEqual(self.data("get_message", "-", "-")["content"], "x")

    def test_a_record_has_every_column_and_json_is_verbatim(self):
        self.gateway("put_message", "a:1", "1", "x", "--attachments", '[1, {"b":null,"a":1.50}]', "--timestamp",
                     "2026-04-11T19:18:21.5+02:00", "--name", "Ada", "--is-group")
        row = self.data("get_message", "a:1", "1")
        with open(os.path.join(SOURCE, "include/keep/gateway_records.h"), encoding="utf-8") as file:
            struct = re.search(r"typedef struct keep_message \{(.*?)\}", file.read(), re.S)[1]
        struct = re.sub(r"/\*.*?\*/", "", struct, flags=re.S)
        members = [name for name in re.findall(r"(\w+);", struct) if not name.startswith("has_")]
        self.assertEqual(list(row), members)
        self.assertEqual((row["timestamp"], row["reply_to_id"]), ("2026-04-11T17:18:21.500Z", None))
        self.assertIn('"attachments":[1, {"b":null,"a":1.50}]', self.gateway("history", "a:1", "--json"))
        chat = self.data("get_chat", "a:1")
        self.assertEqual((chat["name"], chat["is_group"], chat["channel"]), ("Ada", True, "a"))
        # For people: what is there, a line each.
        self.assertIn("timestamp: 2026-04-11T17:18:21.500Z\n", self.gateway("get_message", "a:1", "1"))
        self.assertNotIn("reply_to_id", self.gateway("get_message", "a:1", "1"))

    def test_pages_forward_and_back(self):
        rows = [{"chat_jid": "a:1", "id": str(i), "content": f"m{i}", "timestamp": i * 1000} for i in range(1, 6)]
        self.assertEqual(self.data("put_messages", json.dumps(rows)),
                         [{"outcome": "inserted", "seq": i} for i in range(1, 6)])
        self.assertEqual(self.gateway("put_messages", "-", stdin=json.dumps(rows[:1] + [
            {"chat_jid": "a:1", "id": "2", "content": "other"}]).encode()), "duplicate\t1\nconflict\t2\n")
        self.assertEqual([r["seq"] for r in self.data("history", "a:1", "--limit", "2")], [5, 4])
        self.assertEqual([r["seq"] for r in self.data("history", "a:1", "--before-seq=4", "--limit=2")], [3, 2])
        self.assertEqual([r["seq"] for r in self.data("messages_since", "a:1", "--after_seq", "3")], [4, 5])
        since = self.data("messages-since", "a:1", "--since-ms", "1970-01-01T00:00:04Z")
        self.assertEqual([r["seq"] for r in since], [5])
        self.assertEqual(self.gateway("history", "a:1", "--null", "--limit", "1"),
                         "5\t1970-01-01T00:00:05.000Z\t\tm5\0")
        self.assertEqual(self.gateway("history", "nobody:1"), "")

    def test_wrong_inputs_are_named(self):
        self.gateway("put_message", "a:1", "1", "x")
        for message, words in (
                ("limit: 'x' is not an integer", ("history", "a:1", "--limit", "x")),
                ("limit: 0 is below 1", ("history", "a:1", "--limit", "0")),
                ("limit: 1001 is over 1000", ("history", "a:1", "--limit", "1001")),
                ("timestamp: ", ("put_message", "a:1", "2", "x", "--timestamp", "yesterday")),
                ("attachments: not JSON", ("put_message", "a:1", "2", "x", "--attachments", "{")),
                ("is_group: 'maybe' is neither", ("put_message", "a:1", "2", "x", "--is-group=maybe")),
                ("delivery: 'sent' is not one of", ("complete_delivery", "a:1", "1", "1", "sent")),
                ("attempt: 'one' is not an integer", ("complete_delivery", "a:1", "1", "one", "retry")),
                ("messages: an object where an array belongs", ("put_messages", "{}")),
                ("messages[0]: an integer where an object belongs", ("put_messages", "[1]")),
                ("messages[1]: content: missing", ("put_messages", json.dumps(
                    [{"chat_jid": "a", "id": "8", "content": "x"}, {"chat_jid": "a", "id": "9"}]))),
                ("messages[0]: text: no such input", ("put_messages",
                                                      '[{"chat_jid":"a","id":"8","content":"x","text":1}]')),
                ("messages: 1001, the limit is 1000", ("put_messages", json.dumps([1] * 1001))),
                ("jids[0]: an integer where a text belongs", ("new_messages", "router", "--jids", "[1]")),
                ("container_config: not JSON", ("put_group", "a:1", "main", "--container-config", "{]")),
                ("chat_jid", ("put_message", "", "2", "x")),
                ("target", ("add_route", "*", "../x", "default")),
                ("cron", ("create_task", "main", "a:1", "x", "--cron", "61 * * * *"))):
            self.no(3, message, *words)
        self.assertEqual(len(self.data("history", "a:1")), 1)
        self.refused(2, "--nonsense: no such option", "gateway", "history", self.url, "a:1", "--nonsense")
        self.refused(2, "gateway nonsense: no such verb", "gateway", "nonsense", self.url)


class Journey(GatewayTest):
    def test_a_message_goes_its_way(self):
        self.assertRegex(self.gateway("add_route", "*", "nowhere"), r"^[1-9]\d*\n$")
        self.gateway("remove_route", str(self.data("get_routes", "*")[0]["id"]))
        number = self.data("add_route", "*", "nowhere")
        self.assertEqual(self.data("get_routes")[0]["id"], number)
        self.gateway("remove_route", str(number))
        self.no(1, "", "remove_route", str(number))
        self.assertEqual(self.gateway("set_routes", "telegram:", json.dumps([
            {"type": "prefix", "match": "@ops", "target": "ops"}, {"target": "main", "seq": 9}])), "")
        self.gateway("put_message", "telegram:1", "1", "@ops restart it", "--sender", "ada")
        routes = self.data("get_routes", "telegram:")
        self.assertEqual([r["target"] for r in routes], ["ops", "main"])
        self.assertEqual(self.gateway("resolve", "telegram:1", "@ops restart it").splitlines()[:2],
                         ["matched: true", "target: ops"])
        told = self.gateway("resolve", "telegram:1", "hello", "--explain").splitlines()
        self.assertEqual(told[:2], ["matched: true", "target: main"])
        self.assertRegex(told[-2], r"^  false\t.+\t\d+\ttelegram:\t0\tprefix\t@ops\tops$")
        self.assertRegex(told[-1], r"^  true\t.+\t\d+\ttelegram:\t9\tdefault\t\tmain$")
        steps = self.data("resolve", "telegram:1", "hello", "--explain")["steps"]
        self.assertEqual([(s["matched"], s["route"]["target"]) for s in steps], [(False, "ops"), (True, "main")])
        status, out, err = self.keep("gateway", "resolve", self.url, "web:1", "hello", "--json")
        self.assertEqual((status, json.loads(out), err), (1, {"matched": False, "target": None, "route": None}, b""))
        self.assertEqual(self.keep("gateway", "resolve", self.url, "web:1", "hello")[:2], (1, b"matched: false\n"))

        self.assertRegex(self.gateway("pending_chats", "router"), rf"^telegram:1\t0\t1\t{TIME}\tfalse\n$")
        self.assertRegex(self.gateway("new_messages", "router"), rf"^telegram:1\t1\t{TIME}\tada\t@ops restart it\n$")
        self.assertEqual(self.data("new_messages", "router", "--jids", "[]"), [])
        self.assertEqual(self.gateway("advance", "router", "telegram:1", "1"), "1\n")
        self.assertEqual(self.data("new_messages", "router"), [])
        self.no(3, "", "advance", "router", "telegram:1", "99")

        self.assertRegex(self.gateway("put_outbound", "telegram:1", "Done.", "--id", "out-1", "--group-folder", "ops"),
                         r"^outcome: inserted\nseq: 2\nid: out-1\n$")
        self.assertEqual(self.gateway("wait_deliveries", "telegram", "--timeout-ms", "0"), "due\n")
        self.assertEqual(self.gateway("claim_deliveries", "telegram"), "telegram:1\tout-1\t1\tDone.\n")
        self.assertEqual(self.gateway("claim_deliveries", "telegram"), "")
        self.no(4, "", "complete_delivery", "telegram:1", "out-1", "7", "delivered")
        for _ in range(2):
            self.gateway("complete_delivery", "telegram:1", "out-1", "1", "delivered", "--platform-id", "99")
        row = self.data("get_message", "telegram:1", "99")
        self.assertEqual((row["status"], row["is_from_me"], row["group_folder"]), ("delivered", True, "ops"))

    def test_a_task_becomes_messages(self):
        self.assertEqual(self.gateway("create_task", "main", "telegram:1", "Good morning", "--id", "t", "--cron",
                                      "0 9 * * *", "--timezone", "Europe/Berlin"), "outcome: inserted\nid: t\n")
        self.assertRegex(self.gateway("list_tasks"), rf"^t\tactive\t{TIME}\t0 9 \* \* \*\ttelegram:1\tGood morning\n$")
        due = self.data("get_task", "t")["next_run"]
        fired = self.data("fire_due_tasks", "--now-ms", due)
        self.assertEqual([r["status"] for r in fired["runs"]], ["success"])
        self.assertRegex(fired["next_run"], TIME)
        self.assertEqual(self.data("fire_due_tasks", "--now_ms", due)["runs"], [])
        self.assertEqual([r["sender"] for r in self.data("history", "telegram:1")], ["scheduler"])
        self.gateway("report_task_run", "t", due, "--duration-ms", "12", "--result", "-", stdin=b"fine")
        self.assertEqual([(r["duration_ms"], r["result"]) for r in self.data("task_runs", "t")], [(12, "fine")])
        # The contract's names and the header's are one.
        for verb, status in (("pause", "paused"), ("resume_task", "active"), ("pause-task", "paused"),
                             ("resume", "active"), ("cancel", "cancelled")):
            self.gateway(verb, "t")
            self.assertEqual(self.data("list", "main")[0]["status"], status)
        self.no(4, "", "run_now", "t")
        self.no(1, "", "pause", "nobody")
        self.no(1, "", "run-task-now", "nobody")

    def test_system_messages_are_text_for_people_and_records_in_json(self):
        self.assertEqual(self.gateway("flush_system_messages", "main"), "")
        self.assertEqual(self.gateway("enqueue_system_message", "main", "timed", "fired", "a < b", "--attributes",
                                      '{"task":"\\"t\\""}'), "outcome: inserted\nid: 1\n")
        self.gateway("enqueue_system_message", "main", "onbod", "joined", "-", "--is-xml", stdin=b"<b>ada</b>")
        text = ('<system_message origin="timed" event="fired" task="&quot;t&quot;">a &lt; b</system_message>\n'
                '<system_message origin="onbod" event="joined"><b>ada</b></system_message>\n')
        self.assertEqual(self.gateway("claim_system_messages", "main", "turn-1"), text)
        self.assertEqual(self.gateway("release_system_messages", "main", "turn-1"), "2\n")
        flushed = self.data("flush_system_messages", "main")
        self.assertEqual((flushed["text"], [m["id"] for m in flushed["messages"]]), (text, [1, 2]))
        self.assertEqual(self.data("flush_system_messages", "main"), {"text": "", "messages": []})

    def test_a_state_is_printed_as_it_is(self):
        self.no(1, "", "get_state", "lastTimestamp")
        for value in ("", "x", "line\n"):
            self.gateway("set_state", "lastTimestamp", "-", stdin=value.encode())
            self.assertEqual(self.gateway("get_state", "lastTimestamp"), value)
            self.assertEqual(self.data("get_state", "lastTimestamp"), value)

    def test_mail_finds_its_thread_and_onboarding_its_end(self):
        first = self.data("thread_for", "<a@x>", "--subject", "Hi", "--from", "ada@x")
        again = self.data("thread_for", "b@x", "--in-reply-to", '["<a@x>"]')
        self.assertEqual((first["is_new"], again["is_new"]), (True, False))
        self.assertEqual(again["thread"], first["thread"])
        self.assertIn("thread.subject: Hi\n", self.gateway("thread_for", "<a@x>"))
        self.assertEqual(self.gateway("start_onboarding", "web:9"), "outcome: inserted\n")
        self.assertEqual(self.gateway("start_onboarding", "web:9"), "outcome: duplicate\n")
        self.no(3, "", "submit_name", "web:9", "No Good")
        self.gateway("submit_name", "web:9", "ada")
        self.gateway("approve_onboarding", "web:9", "root")
        self.no(4, "", "reject_onboarding", "web:9", "root")
        self.assertEqual(self.gateway("get_registered_groups").split("\t")[:3], ["web:9", "ada", "active"])


    def test_what_a_command_claims_is_claimed_for_the_leases_time(self):
        for number in "12":
            self.gateway("put_outbound", f"a:{number}", "x", "--id", number)
        self.assertEqual(self.gateway("claim_deliveries", "--limit", "1", "--lease-ms", "1000"), "a:1\t1\t1\tx\n")
        self.assertEqual(self.gateway("claim_deliveries"), "a:2\t2\t1\tx\n")
        self.assertEqual(self.gateway("claim_deliveries"), "")
        until = self.data("get_message", "a:1", "1")["next_attempt_at"]
        self.assertEqual(self.gateway("claim_deliveries", "--now-ms", until), "a:1\t1\t2\tx\n")
        self.gateway("enqueue_system_message", "main", "o", "e", "b")
        self.assertIn(">b</system_message>", self.gateway("claim_system_messages", "main", "turn-1"))
        self.assertEqual(self.gateway("claim_system_messages", "main", "turn-2"), "")

    def test_the_end_of_a_session_gives_its_claims_back(self):
        self.gateway("put_outbound", "a:1", "x", "--id", "1")
        out = self.call({"id": 1, "call": "gateway.claim_deliveries"}, {"id": 2, "call": "gateway.claim_deliveries"})
        self.assertEqual([len(a["result"]) for a in out], [1, 0])
        self.assertEqual(self.gateway("claim_deliveries"), "a:1\t1\t2\tx\n")


class Secrets(GatewayTest):
    password = "correct horse battery"

    def test_passwords_and_tokens_are_read_from_standard_input_and_not_shown(self):
        self.no(3, "", "create_user", "local:ada", "--password", "-", stdin=self.password.encode())
        self.gateway("create_user", "local:ada", "--username", "ada", "--folders", '["main"]', "--password", "-",
                     stdin=self.password.encode() + b"\n")
        for out in (self.gateway("get_user", "local:ada"), self.gateway("get_user", "--username", "ada", "--json"),
                    self.gateway("list_users", "--json"),
                    self.gateway("verify_password", "ada", "-", stdin=self.password.encode() + b"\r\n")):
            self.assertIn("***", out)
            self.assertNotIn("argon2", out)
        denied = self.keep("gateway", "verify_password", self.url, "ada", "-", stdin=b"not the secret")
        unknown = self.keep("gateway", "verify_password", self.url, "bob", "-", stdin=b"not the secret")
        self.assertEqual(denied, unknown)
        self.assertEqual(denied[0], 5)
        self.assertNotIn(b"not the secret", denied[2])
        self.no(4, "", "create_user", "local:ada", "--is-operator", "--password", "another secret")

        token = self.gateway("start_session", "local:ada")
        self.assertRegex(token, r"^[A-Za-z0-9_-]{43}\n$")
        rotated = self.data("rotate_session", "-", stdin=token.encode())
        self.assertEqual(rotated["sub"], "local:ada")
        status, out, err = self.keep("gateway", "rotate_session", self.url, "-", stdin=token.encode())
        self.assertEqual((status, out), (5, b""))
        self.assertNotIn(token.strip().encode(), err)
        status, out, err = self.keep("gateway", "rotate_session", self.url, rotated["token"])
        self.assertEqual((status, out), (5, b""))
        self.gateway("end_session", "-", stdin=b"nobody's")

        access = self.gateway("issue_access_token", "local:ada")
        self.assertEqual(access.count("."), 2)
        told = self.data("verify_access_token", "-", stdin=access.encode())
        self.assertEqual((told["sub"], told["is_operator"], told["folders"]), ("local:ada", False, ["main"]))
        self.gateway("renew_signing_key", "--retire")
        status, out, err = self.keep("gateway", "verify_access_token", self.url, "-", stdin=access.encode())
        self.assertEqual((status, out), (5, b""))
        self.assertNotIn(access.strip().encode(), err)
        self.assertEqual(self.gateway("may_access", "local:ada", "main/x"), "yes\n")
        self.assertEqual(self.keep("gateway", "may_access", self.url, "local:ada", "other"), (1, b"", b""))

    def test_a_slink_token_is_compared_and_not_shown(self):
        token = "s3cret-slink-token"
        self.gateway("put_group", "web:1", "main", "--slink-token", "-", stdin=token.encode() + b"\n")
        out = self.gateway("get_group", "web:1", "--json") + self.gateway("get_registered_groups", "--json")
        self.assertNotIn(token, out)
        self.assertEqual(self.data("group_by_slink_token", "-", stdin=token.encode())["jid"], "web:1")
        status, _, err = self.keep("gateway", "group_by_slink_token", self.url, token + "x")
        self.assertEqual(status, 1)
        self.assertNotIn(token.encode(), err)


class Waits(GatewayTest):
    def test_a_wait_says_pending_or_exits_with_1(self):
        self.gateway("put_chat", "a:1")
        self.assertEqual(self.keep("gateway", "wait", self.url, "router", "--timeout-ms", "0"), (1, b"", b""))
        wait = self.start("gateway", "wait", self.url, "router", "--announce")
        self.assertEqual(wait.stdout.readline(), b"waiting\n")
        self.gateway("put_message", "a:1", "1", "x")
        self.assertEqual((wait.stdout.read(), wait.wait(SOON)), (b"pending\n", 0))
        self.assertEqual(self.data("wait", "router", "--timeout-ms", "0"), True)

    def test_ctrl_c_ends_a_wait_cleanly(self):
        self.gateway("put_chat", "a:1")
        for words in (("wait", "router", "--timeout-ms", "-1"), ("wait_deliveries", "--timeout-ms", "-1")):
            for number in (signal.SIGINT, signal.SIGTERM):
                wait = self.start("gateway", words[0], self.url, *words[1:], "--announce")
                self.assertEqual(wait.stdout.readline(), b"waiting\n")
                wait.send_signal(number)
                self.assertEqual((wait.wait(SOON), wait.stdout.read(), wait.stderr.read()), (128 + number, b"", b""))

    def test_calls_go_on_beside_a_wait_and_end_it(self):
        process = self.start("call", self.url)

        def ask(request_id, name, **inputs):
            process.stdin.write(json.dumps({"id": request_id, "call": name, "with": inputs}).encode() + b"\n")
            process.stdin.flush()

        ask(0, "gateway.put_chat", jid="a:1")
        self.assertEqual(json.loads(process.stdout.readline()), {"id": 0, "ok": True, "result": None})
        ask("w", "gateway.wait", consumer="router", timeout_ms=30000)
        ask("d", "gateway.wait_deliveries", timeout_ms=-1)
        ask(1, "gateway.history", jid="a:1")
        self.assertEqual(json.loads(process.stdout.readline()), {"id": 1, "ok": True, "result": []})
        ask(2, "gateway.put_message", chat_jid="a:1", id="1", content="x")
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        self.assertEqual(sorted((str(a["id"]), a["ok"]) for a in answers), [("2", True), ("w", True)])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(json.loads(process.stdout.readline()), {"id": "d", "ok": True, "result": False})
        self.assertEqual((process.wait(SOON), process.stderr.read()), (143, b""))


class Feeds(GatewayTest):
    def test_changes_are_read_on_from_a_number(self):
        self.gateway("put_chat", "a:1")
        self.assertEqual((self.gateway("last_change"), self.gateway("changes")), ("0\n", ""))
        self.gateway("put_message", "a:1", "1", "x")
        self.gateway("put_outbound", "a:1", "y", "--id", "2")
        self.assertEqual(self.gateway("changes"), "1\ta:1\t1\treceived\tx\n2\ta:1\t2\tpending\ty\n")
        self.gateway("claim_deliveries")
        self.assertEqual(self.gateway("changes", "1"), "3\ta:1\t2\tsending\ty\n")
        self.assertEqual([m["change"] for m in self.data("changes", "--limit", "1")], [1])
        self.assertEqual((self.gateway("last_change"), self.data("changes", "3")), ("3\n", []))
        self.assertEqual(self.gateway("wait_changes", "2"), "changed\n")
        self.assertEqual(self.keep("gateway", "wait_changes", self.url, "3", "--timeout-ms", "0"), (1, b"", b""))
        self.no(3, "after_change: ", "changes", "--after-change=-1")

    def test_a_change_by_another_process_ends_a_wait(self):
        self.gateway("put_chat", "a:1")
        wait = self.start("gateway", "wait_changes", self.url, "--announce")
        self.assertEqual(wait.stdout.readline(), b"waiting\n")
        self.gateway("put_message", "a:1", "1", "x")
        self.assertEqual((wait.stdout.read(), wait.wait(SOON)), (b"changed\n", 0))

    def test_an_outcome_is_told_until_it_is_settled(self):
        self.gateway("put_outbound", "a:1", "x", "--id", "1", "--return-to", "session key 1")
        self.gateway("put_outbound", "a:2", "x", "--id", "2")
        self.gateway("claim_deliveries")
        self.assertEqual(self.keep("gateway", "wait_outcomes", self.url, "--timeout-ms", "0"), (1, b"", b""))
        for number in "12":
            self.gateway("complete_delivery", f"a:{number}", number, "1", "delivered")
        self.assertEqual(self.gateway("wait_outcomes"), "over\n")
        for _ in range(2):
            self.assertEqual(self.gateway("outcomes"), "a:1\t1\t1\tdelivered\tsession key 1\n")
        self.no(4, "delivery '1' of chat 'a:1': it is not over with attempt 2", "settle_outcome", "a:1", "1", "2")
        for _ in range(2):
            self.assertEqual(self.gateway("settle_outcome", "a:1", "1", "1"), "")
        self.assertEqual(self.gateway("outcomes"), "")
        self.assertEqual(self.keep("gateway", "settle_outcome", self.url, "a:1", "nobody", "1")[0], 1)


class LongPolls(GatewayTest):
    def test_a_claim_waits_until_a_delivery_is_due(self):
        self.gateway("put_chat", "a:1")
        self.assertEqual(self.gateway("claim_deliveries", "--timeout-ms", "30"), "")
        wait = self.start("gateway", "claim_deliveries", self.url, "a", "--timeout-ms", "60000", "--announce")
        self.assertEqual(wait.stdout.readline(), b"waiting\n")
        self.gateway("put_outbound", "b:1", "x", "--id", "another channel's")
        self.gateway("put_outbound", "a:1", "x", "--id", "1")
        self.assertEqual((wait.stdout.read(), wait.wait(SOON)), (b"a:1\t1\t1\tx\n", 0))
        self.no(3, "timeout_ms: a wait goes by our clock, not by now_ms", "claim_deliveries", "--timeout-ms", "5", "--now-ms", "2026-01-01T00:00:00Z")

    def test_ctrl_c_ends_a_waiting_claim_cleanly(self):
        self.gateway("put_chat", "a:1")
        for number in (signal.SIGINT, signal.SIGTERM):
            wait = self.start("gateway", "claim_deliveries", self.url, "--timeout-ms", "-1", "--announce")
            self.assertEqual(wait.stdout.readline(), b"waiting\n")
            wait.send_signal(number)
            self.assertEqual((wait.wait(SOON), wait.stdout.read(), wait.stderr.read()), (128 + number, b"", b""))

    def test_calls_go_on_beside_a_waiting_claim_and_end_it(self):
        process = self.start("call", self.url)

        def ask(request_id, name, **inputs):
            process.stdin.write(json.dumps({"id": request_id, "call": name, "with": inputs}).encode() + b"\n")
            process.stdin.flush()

        def answer():
            return json.loads(process.stdout.readline())

        ask("now", "gateway.claim_deliveries", timeout_ms=0)
        self.assertEqual(answer(), {"id": "now", "ok": True, "result": []})
        ask("wrong", "gateway.claim_deliveries", timeout_ms="soon")
        self.assertEqual((answer()["status"]), "INVALID")
        ask("w", "gateway.claim_deliveries", channel="a", timeout_ms=60000)
        ask("left", "gateway.claim_deliveries", channel="b", timeout_ms=-1)
        ask(1, "gateway.history", jid="a:1")
        self.assertEqual(answer(), {"id": 1, "ok": True, "result": []})
        ask(2, "gateway.put_outbound", chat_jid="a:1", id="1", content="x")
        answers = {str(a["id"]): a for a in (answer(), answer())}
        self.assertEqual([m["id"] for m in answers["w"]["result"]], ["1"])
        self.assertEqual(answers["2"]["result"]["outcome"], "inserted")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(answer(), {"id": "left", "ok": True, "result": []})
        self.assertEqual((process.wait(SOON), process.stderr.read()), (143, b""))


class Places(GatewayTest):
    def test_a_read_makes_nothing(self):
        status, out, err = self.keep("gateway", "history", self.url, "a:1")
        self.assertEqual((status, out), (1, b""), err)
        self.assertEqual(os.listdir(self.folder), [])
        home = self.new_home()
        for verb, words, answer in (("history", ("a:1",), b""), ("list_tasks", (), b""),
                                    ("get_registered_groups", (), b""), ("pending_chats", ("router",), b"")):
            self.assertEqual(self.keep("gateway", verb, home, *words), (0, answer, b""))
        self.assertEqual(self.ok("gateway", "get_cursor", home, "router", "a:1"), b"0\n")
        self.assertEqual(self.keep("gateway", "may_access", home, "x:y", "main"), (1, b"", b""))
        for verb, words in (("get_message", ("a:1", "1")), ("resolve", ("a:1", "x")), ("get_state", ("k",))):
            self.refused(1, "gateway: nothing was stored in it yet", "gateway", verb, home, *words)
        self.refused(5, "the gateway was opened for reading only", "gateway", "put_chat", home, "a:1", "--read-only")
        if KIND == "sqlite":
            self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "home"))), ["home.json", "vault.key"])
        self.ok("gateway", "put_chat", home, "a:1")
        self.assertEqual(self.ok("gateway", "list_chats", home).split(b"\t")[0], b"a:1")
        self.refused(5, "the gateway was opened for reading only", "gateway", "put_chat", home, "a:2", "--read-only")
        self.assertEqual(self.ok("gateway", "list_chats", home, "--read-only").split(b"\t")[0], b"a:1")

    def test_a_home_keeps_it_in_a_private_folder_or_a_schema(self):
        home = self.new_home()
        self.ok("gateway", "put_chat", home, "a:1")
        self.ok("engine", "set", home, "a", "b")
        self.assertEqual(self.ok("engine", "get", home, "a"), b"b")
        if KIND == "postgres":
            self.assertEqual(self.ok("gateway", "list_chats", home + "&schema=gateway").split(b"\t")[0], b"a:1")
            return
        folder = os.path.join(self.folder, "home", "gateway")
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        self.assertEqual(self.ok("gateway", "list_chats", f"sqlite:{folder}/messages.db").split(b"\t")[0], b"a:1")
        self.assertEqual(self.ok("gateway", "list_chats", home="home").split(b"\t")[0], b"a:1")

    def test_init_of_a_server_makes_every_store(self):
        if KIND == "sqlite":
            self.ok("init", "home")
            return
        home = self.new_home()
        self.ok("init", home)
        self.assertEqual(self.ok("gateway", "list_chats", home + "&schema=gateway"), b"")

    def test_a_url_is_the_stores_whose_verb_is_called(self):
        other = self.new_url()
        self.ok("engine", "set", other, "a", "b")
        self.assertEqual(self.ok("engine", "get", other, "a"), b"b")
        self.gateway("put_chat", "a:1")
        self.assertEqual(len(self.data("list_chats")), 1)
        out = self.call({"id": 1, "call": "gateway.list_chats"}, {"id": 2, "call": "engine.count", "with": {"path": ""}})
        self.assertEqual([a.get("status") for a in out], [None, "INVALID"])
        self.assertIn("this session is on one gateway alone", out[1]["error"])
        out = self.call({"id": 1, "call": "engine.count", "with": {"path": ""}}, {"id": 2, "call": "gateway.list_chats"},
                        place=other)
        self.assertEqual([a.get("status") for a in out], [None, "INVALID"])
        self.refused(3, "gateway: needs a home; this session is on one engine alone", "gateway", "list_chats", "memory:")

    def test_settings(self):
        self.ok("gateway", "put_chat", self.url, "a:1", "--service", "gated", "--durability", "relaxed", "--timeout-ms",
                "1000")
        self.gateway("put_outbound", "a:1", "x", "--id", "1")
        self.ok("gateway", "claim_deliveries", self.url, "--service", "my-adapter")
        self.assertEqual(self.data("get_message", "a:1", "1")["lease_by"], "my-adapter")
        for service in ("", "Gated", "a b", "x" * 65):
            self.no(3, "service: ", "list_chats", "--service", service)
        self.no(3, "durability: 'none' is not one of", "list_chats", "--durability", "none")

    def test_another_programs_file_is_a_conflict_and_can_be_adopted(self):
        theirs = os.path.join(self.folder, "theirs.db")
        with sqlite3.connect(theirs) as base:
            base.executescript(ADOPTABLE)
        base.close()
        self.refused(4, "", "gateway", "put_chat", "sqlite:theirs.db", "a:1")
        self.no(1, "", "adopt", "nobody.db")
        told = self.data("adopt", theirs)
        self.assertEqual((told["messages"], told["chats"]), (1, 1))
        self.assertEqual([r["content"] for r in self.data("history", "telegram:1")], ["hello"])
        self.no(4, "", "adopt", theirs)


ADOPTABLE = """
CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, channel TEXT, is_group INTEGER DEFAULT 0, last_message_time TEXT);
CREATE TABLE messages (id TEXT, chat_jid TEXT, sender TEXT, sender_name TEXT, content TEXT, timestamp TEXT,
  is_from_me INTEGER, PRIMARY KEY (id, chat_jid));
CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE registered_groups (jid TEXT PRIMARY KEY, name TEXT, folder TEXT, trigger_word TEXT, added_at TEXT,
  requires_trigger INTEGER);
INSERT INTO chats (jid, name, channel) VALUES ('telegram:1', 'Ada', 'telegram');
INSERT INTO messages VALUES ('1', 'telegram:1', 'ada', 'Ada', 'hello', '2026-01-01T00:00:00.000Z', 0);
"""


class Whole(GatewayTest):
    """Every operation is called once through keep call, and answers in the shape that the manual says."""

    scenario = (
        ("put_message", {"chat_jid": "web:1", "id": "1", "content": "hi", "sender": None, "timestamp": 1000}),
        ("put_messages", {"messages": [{"chat_jid": "web:1", "id": "2", "content": "x", "attachments": None}]}),
        ("put_outbound", {"chat_jid": "web:1", "content": "yes", "id": "o1", "return_to": "me"}),
        ("put_outbound", {"chat_jid": "web:1", "content": "no", "id": "o2", "timestamp": "2026-01-01T00:00:00Z"}),
        ("get_message", {"jid": "web:1", "id": "1"}),
        ("messages_since", {"jid": "web:1", "after_seq": 0, "since_ms": None, "limit": None}),
        ("history", {"jid": "web:1"}),
        ("pending_chats", {"consumer": "router"}), ("new_messages", {"consumer": "router", "jids": ["web:1"]}),
        ("advance", {"consumer": "router", "jid": "web:1", "seq": 1}),
        ("rewind", {"consumer": "router", "jid": "web:1", "seq": 0}),
        ("get_cursor", {"consumer": "router", "jid": "web:1"}), ("wait", {"consumer": "router", "timeout_ms": 0}),
        ("remove_consumer", {"consumer": "router"}), ("wait_deliveries", {"channel": "web", "timeout_ms": 0}),
        ("claim_deliveries", {"channel": "web"}), ("extend_delivery", {"jid": "web:1", "id": "o1", "attempt": 1}),
        ("complete_delivery", {"jid": "web:1", "id": "o1", "attempt": 1, "delivery": "failed", "error": "gone"}),
        ("changes", {"after_change": 0}), ("last_change", {}), ("wait_changes", {"timeout_ms": 0}),
        ("outcomes", {"limit": None}), ("wait_outcomes", {"timeout_ms": 0}),
        ("settle_outcome", {"jid": "web:1", "id": "o1", "attempts": 1}),
        ("note_input", {"jid": "web:1", "id": "m1", "why": "nobody is there"}),
        ("failed_deliveries", {}), ("retry_delivery", {"jid": "web:1", "id": "o1"}),
        ("put_chat", {"jid": "web:2", "name": "Two"}), ("get_chat", {"jid": "web:2"}), ("list_chats", {}),
        ("active_web_jids", {"since_ms": 0}), ("mark_errored", {"jid": "web:1"}), ("errored_chats", {}),
        ("clear_errored", {"jid": "web:1"}), ("set_sticky_group", {"jid": "web:1", "folder": "main"}),
        ("set_sticky_topic", {"jid": "web:1", "topic": None}),
        ("add_route", {"jid": "*", "target": "main", "type": None}),
        ("set_routes", {"jid": "web:1", "routes": [{"type": "verb", "match": "join", "target": "lobby"}]}),
        ("get_routes", {}), ("resolve", {"chat_jid": "web:1", "content": "hi", "explain": True}),
        ("remove_route", {"id": 1}),
        ("put_group", {"jid": "web:1", "folder": "main", "slink_token": "tok", "container_config": {"mounts": []}}),
        ("get_registered_groups", {}), ("get_group", {"jid": "web:1"}), ("groups_by_folder", {"folder": "main"}),
        ("group_by_slink_token", {"token": "tok"}), ("set_group_state", {"jid": "web:1", "state": "closed"}),
        ("remove_group", {"jid": "web:1"}),
        ("set_session", {"folder": "main", "session_id": "s1"}), ("get_session", {"folder": "main"}),
        ("list_sessions", {"folder": "main"}), ("session_started", {"folder": "main", "session_id": "s1"}),
        ("session_ended", {"id": 1, "result": "ok", "message_count": 2}), ("recent_sessions", {"folder": "main"}),
        ("delete_session", {"folder": "main"}), ("set_state", {"key": "k", "value": "v"}), ("get_state", {"key": "k"}),
        ("enqueue_system_message", {"group_id": "main", "origin": "o", "event": "e", "body": "b"}),
        ("claim_system_messages", {"group": "main", "turn_id": "t"}),
        ("release_system_messages", {"group": "main", "turn_id": "t"}),
        ("complete_system_messages", {"group": "main", "turn_id": "t"}), ("flush_system_messages", {"group": "main"}),
        ("create_task", {"owner": "main", "chat_jid": "web:1", "prompt": "p", "id": "t", "cron": "60000",
                         "anchor_at": "2026-01-01T00:00:00Z"}),
        ("get_task", {"id": "t"}), ("list_tasks", {}), ("pause_task", {"id": "t"}), ("resume_task", {"id": "t"}),
        ("run_now", {"id": "t", "now_ms": "2026-06-01T00:00:30Z"}),
        ("report_task_run", {"task_id": "t", "scheduled_for": "2026-06-01T00:00:30Z", "duration_ms": 5}),
        ("fire_due_tasks", {}), ("task_runs", {"task_id": "t"}), ("cancel_task", {"id": "t"}),
        ("create_user", {"sub": "local:a", "password": "long enough", "folders": ["main"]}),
        ("get_user", {"sub": "local:a"}), ("list_users", {}),
        ("set_user_folders", {"sub": "local:a", "folders": ["other"]}), ("may_access", {"sub": "local:a", "folder": "x"}),
        ("verify_password", {"username": "local:a", "password": "long enough"}), ("start_session", {"sub": "local:a"}),
        ("rotate_session", {"token": "@start_session.token"}), ("end_session", {"token": "@rotate_session.token"}),
        ("sweep_sessions", {}), ("issue_access_token", {"sub": "local:a"}),
        ("verify_access_token", {"token": "@issue_access_token.token"}), ("renew_signing_key", {}),
        ("set_password", {"sub": "local:a", "password": "another one"}),
        ("set_user_disabled", {"sub": "local:a", "disabled": True}),
        ("thread_for", {"message_id": "<a@x>", "references": ["<b@x>"]}), ("get_thread", {"thread_id": "@thread_for.thread"}),
        ("start_onboarding", {"jid": "web:3"}), ("mark_prompted", {"jid": "web:3"}),
        ("submit_name", {"jid": "web:3", "name": "ada"}), ("get_onboarding", {"jid": "web:3"}),
        ("approve_onboarding", {"jid": "web:3", "decided_by": "root"}), ("start_onboarding", {"jid": "web:4"}),
        ("reject_onboarding", {"jid": "web:4", "decided_by": "root"}), ("list_onboarding", {}),
    )

    def described(self):
        """The manual's gateway: verb -> (kind of result, its members)."""
        manual = self.ok("manual").decode().split("\n## The store gateway\n")[1].split("\n## ")[0]
        records = {name: re.findall(r"^\| `(\w+)`", text, re.M)
                   for name, text in re.findall(r"\n### Records of (\w+) in gateway\n(.*?)(?=\n### |\Z)", manual, re.S)}
        found = {}
        for verb, text in re.findall(r"\n#### gateway\.(\w+)\n(.*?)(?=\n###|\Z)", manual, re.S):
            result = re.search(r"\nResult, ([^:]+): (.*)", text)
            table = re.search(r"\n\| member \|.*?(?=\n\n|\Z)", text[result.start():], re.S)
            record = re.search(r"records-of-(\w+)-in-gateway\)", result[2])
            members = re.findall(r"^\| `(\w+)`", table[0], re.M) if table else records[record[1]] if record else None
            found[verb] = (result[1], members)
        return found

    def filled(self, inputs, answers):
        found = dict(inputs)
        for name, value in inputs.items():
            if isinstance(value, str) and value.startswith("@"):
                verb, member = value[1:].split(".")
                found[name] = answers[verb][member]
                if isinstance(found[name], dict):
                    found[name] = found[name][name]
        return found

    def check_shape(self, verb, kind, members, result):
        kinds = {"null": type(None), "a boolean": bool, "an integer": int, "bytes": str, "an array": list,
                 "an object": dict}
        self.assertIs(type(result), kinds[kind], verb)
        rows = result if kind == "an array" else [result] if kind == "an object" else []
        for row in rows:
            self.assertEqual([m for m in members if m in row], list(row), verb)
            if verb != "resolve":
                self.assertEqual(len(row), len(members), verb)

    def test_every_function_of_the_header_is_an_operation(self):
        text = ""
        for name in ("gateway.h", "gateway_accounts.h"):
            with open(os.path.join(SOURCE, "include/keep", name), encoding="utf-8") as file:
                text += re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        functions = {OTHER_NAME.get(name, name) for name in re.findall(r"\bkeep_gateway_(\w+)\s*\(", text)}
        self.assertGreater(len(functions), 80)
        self.assertEqual(functions - NO_OPERATION, set(self.described()))

    def test_every_operation_answers_in_its_shape(self):
        described, answers = self.described(), {}
        self.assertEqual(set(described) - {"adopt"}, {verb for verb, _ in self.scenario})
        process = self.start("call", self.url)
        for number, (verb, inputs) in enumerate(self.scenario):
            request = {"id": number, "call": f"gateway.{verb}", "with": self.filled(inputs, answers)}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            self.assertTrue(answer["ok"], (request, answer))
            self.check_shape(verb, *described[verb], answer["result"])
            answers[verb] = answer["result"]
        process.stdin.close()
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))

    def test_every_verb_has_help_that_fits_and_completes(self):
        for verb in self.described():
            word = verb.replace("_", "-")
            text = self.ok("help", "gateway", word).decode()
            self.assertEqual(self.ok("gateway", word, "--help").decode(), text)
            for line in text.splitlines():
                self.assertEqual(line, line.rstrip(), verb)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (verb, line))
            self.assertIn(f" {word} ", self.ok("completion", "bash").decode().replace('"', " "))
            self.assertIn(f"\n  {word}", self.ok("gateway", "--help").decode())

    def test_failures_carry_their_status(self):
        out = self.call({"id": 1, "call": "gateway.put_message", "with": {"chat_jid": "a:1", "id": "1", "content": "x"}},
                        {"id": 2, "call": "gateway.put_message", "with": {"chat_jid": "a:1", "id": "1", "content": "y"}},
                        {"id": 3, "call": "gateway.get_message", "with": {"jid": "a:1", "id": "2"}},
                        {"id": 4, "call": "gateway.get_message", "with": {"jid": "a:1"}},
                        {"id": 5, "call": "gateway.get_message", "with": {"jid": "a:1", "id": 1}},
                        {"id": 6, "call": "gateway.history", "with": {"chat_jid": "a:1", "jid": "a:1"}},
                        {"id": 7, "call": "gateway.verify_access_token", "with": {"token": "nonsense"}},
                        {"id": 8, "call": "gateway.nonsense"},
                        {"id": 9, "call": "gateway.pause", "with": {"id": "t"}})
        self.assertEqual([a.get("status") for a in out], [None, "CONFLICT", "NOT_FOUND", "INVALID", "INVALID", "INVALID",
                                                          "DENIED", "INVALID", "NOT_FOUND"])
        self.assertEqual(out[3]["error"], "id: missing")
        self.assertEqual(out[5]["error"], "chat_jid: no such input")


if __name__ == "__main__":
    unittest.main()
