#!/usr/bin/env python3
"""test_cli_mailbox.py sqlite|postgres - keep mailbox … and keep call with mailbox.…, on that driver.

What is stored is the business of tests/contract; here are the words, the output, the exit statuses, the
JSON and the places, and that every function of the three headers is an operation that works.
"""
import base64
import itertools
import json
import os
import re
import signal
import sys
import unittest

from keep_cli import SOON, SOURCE, CliTest, psql, server_url

KIND = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in ("sqlite", "postgres") else "sqlite"
# What takes a program's own code, or is no call on something open.
NO_OPERATION = {"open", "close", "cancel_waits"}
NO_AGENT_OPERATION = {"open", "close", "cancel"}
AGENT_NAME = {"wait": "agent_wait", "session_id": "agent_session"}
HELLO = '{"text":"hello"}'
numbers = itertools.count(1)


class MailboxTest(CliTest):
    def setUp(self):
        super().setUp()
        self.url = self.new_url()

    def new_url(self):
        number = next(numbers)
        if KIND == "sqlite":
            return f"sqlite:mailbox{number}"
        schema = f"cli_mailbox_{os.getpid()}_{number}"
        self.addCleanup(psql, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        return f"{server_url()}&schema={schema}"

    def new_home(self):
        if KIND == "sqlite":
            self.ok("init", "home")
            return "home"
        database = f"cli_mailbox_{os.getpid()}_{next(numbers)}"
        psql(f'CREATE DATABASE "{database}"')
        self.addCleanup(psql, f'DROP DATABASE IF EXISTS "{database}"')
        return server_url(database)

    def mailbox(self, verb, *words, place=None, **more):
        return self.ok("mailbox", verb, place or self.url, *words, **more).decode()

    def data(self, verb, *words, **more):
        return json.loads(self.mailbox(verb, *words, "--json", **more))

    def no(self, exit_status, message, verb, *words, place=None, **more):
        self.refused(exit_status, message, "mailbox", verb, place or self.url, *words, **more)

    def call(self, *requests, place=None):
        text = "".join(json.dumps(request) + "\n" for request in requests)
        return [json.loads(line) for line in self.ok("call", place or self.url, stdin=text.encode()).splitlines()]

    def new_agent(self, place=None):
        """An agent and a chat that it serves; the session and its place."""
        place = place or self.url
        self.assertEqual(self.mailbox("put_agent_group", "Ada", "ada", "--id", "ada", place=place), "ada\n")
        chat = self.mailbox("put_messaging_group", "telegram", "42", "--name", "Family", "--is-group", place=place).strip()
        self.mailbox("wire", chat, "ada", "--session-mode", "shared", place=place)
        told = self.data("resolve_session", "ada", "--session-mode", "shared", "--messaging-group-id", chat, place=place)
        session = told["session"]["id"]
        self.mailbox("wake", session, place=place)
        return session, self.mailbox("session_place", session, place=place).strip()


class Journey(MailboxTest):
    def test_a_message_goes_its_way(self):
        session, place = self.new_agent()
        told = self.data("route", "telegram", "42", HELLO, "--message-id", "m1")
        self.assertEqual((told["taken"], told["is_unrouted"], told["agents"][0]["session"]), (1, False, session))
        self.assertEqual([told["agents"][0][name] for name in ("is_taken", "is_new_session", "outcome", "seq")],
                         [True, False, "inserted", 2])
        self.assertEqual(self.data("route", "telegram", "42", HELLO, "--message-id", "m1")["agents"][0]["outcome"],
                         "duplicate")
        message = told["agents"][0]["id"]
        self.mailbox("wake", session)
        self.assertEqual(self.mailbox("claim", place=place), f"{message}\t1\t2\tchat\t{HELLO}\n")
        # The claim outlives the command that made it, and is exclusive.
        self.assertEqual(self.mailbox("claim", place=place), "")
        self.mailbox("extend", message, "1", "--lease-ms", "120000", place=place)
        self.no(4, "", "complete", message, "2", place=place)
        sent = self.data("complete_with", '[{"content":"{\\"text\\":\\"hi\\"}"}]', message, "1", place=place)
        self.assertEqual((len(sent), sent[0]["seq"] % 2, sent[0]["is_duplicate"]), (1, 1, False))

        told = self.data("collect", session)
        self.assertEqual((told["completed"], told["failed"], len(told["messages"])), (1, 0, 1))
        item = told["messages"][0]
        self.assertEqual((item["key"], item["attempts"], item["files"], item["operation"]), (sent[0]["id"], 0, [], None))
        self.assertEqual((item["message"]["channel_type"], item["message"]["platform_id"], item["message"]["content"],
                          item["message"]["in_reply_to"]), ("telegram", "42", '{"text":"hi"}', message))
        self.assertEqual(self.mailbox("begin_delivery", session, item["key"]), "1\n")
        self.no(4, "", "begin_delivery", session, item["key"])
        report = (session, item["key"], "1", "delivered", "--platform-message-id", "p9")
        self.assertEqual(self.mailbox("complete_delivery", *report), "")
        self.assertEqual(self.mailbox("complete_delivery", *report), "")
        self.assertEqual(self.mailbox("deliveries", session).split("\t")[1:5], [item["key"], "delivered", "1", "p9"])
        self.assertEqual(self.data("collect", session)["messages"], [])
        self.assertEqual(self.mailbox("messages", session, "--status", "completed").split("\t")[:4],
                         ["2", message, "chat", "completed"])
        trace = self.data("trace", message)
        self.assertEqual((trace["session"], trace["state"], trace["related"]), (session, "completed", [item["key"]]))
        self.assertEqual(trace["steps"][0]["what"], "posted")
        self.assertEqual(self.data("trace", "m1")["id"], message)
        self.no(1, "", "trace", "nobody")

    def test_what_fails_comes_back_and_what_is_given_back_is_free(self):
        session, place = self.new_agent()
        message = self.data("post", session, HELLO)["id"]
        self.data("post", session, '{"n":2}')
        rows = self.data("claim", "--max", "5", place=place)
        self.assertEqual([(row["attempt"], row["message"]["seq"]) for row in rows], [(1, 2), (1, 4)])
        refs = [{"id": row["message"]["id"], "attempt": row["attempt"]} for row in rows]
        self.mailbox("release", "--claims", json.dumps(refs), place=place)
        self.assertEqual(self.mailbox("claim", place=place).split("\t")[0], message)
        attempt = 2
        self.mailbox("fail", message, str(attempt), "--error", "no idea", place=place)
        self.assertEqual(self.data("collect", session)["retried"], 1)
        row = self.data("messages", session)[0]
        self.assertEqual((row["status"], row["tries"], row["last_error"]), ("pending", 1, "no idea"))
        for words, why in ((("complete",), "id: missing, and so is claims"),
                           (("complete", message, "--claims", "[]"), "claims: given beside id"),
                           (("complete", "--claims", "[1]"), "claims[0]: an integer where an object or a text belongs"),
                           (("complete", "--claims", '[{"attempt":1}]'), "claims[0]: id: missing")):
            self.no(3, why, *words, place=place)

    def test_files_go_both_ways(self):
        session, place = self.new_agent()
        if KIND == "postgres":
            self.no(3, "files: ", "post", session, HELLO, "--files", '[{"name":"a","bytes":""}]')
            return
        raw = bytes(range(256))
        files = json.dumps([{"name": "a.bin", "bytes": base64.b64encode(raw).decode()}])
        message = self.data("post", session, HELLO, "--files", "-", stdin=files.encode())["id"]
        self.assertEqual(self.ok("mailbox", "inbox_file", place, message, "a.bin"), raw)
        self.no(1, "", "inbox_file", message, "b.bin", place=place)
        self.no(3, "", "inbox_file", message, "../a.bin", place=place)
        self.mailbox("claim", place=place)
        reply = [{"content": HELLO, "files": [{"name": "b.txt", "bytes": base64.b64encode(b"plain").decode()}]}]
        sent = self.data("complete_with", json.dumps(reply), message, place=place)[0]["id"]
        self.assertEqual(self.data("collect", session)["messages"][0]["files"], ["b.txt"])
        self.assertEqual(self.mailbox("outbox_file", session, sent, "b.txt"), "plain")
        out = self.call({"id": 1, "call": "mailbox.outbox_file", "with": {
            "session": session, "message_out_id": sent, "name": "b.txt", "encoding": "base64"}})
        self.assertEqual(out[0]["result"], base64.b64encode(b"plain").decode())
        for text, why in (("[1]", "files[0]: an integer where an object belongs"),
                          ('[{"name":"x"}]', "files[0]: bytes: missing"),
                          ('[{"name":"x","bytes":"!"}]', "files[0]: bytes: "),
                          ('[{"name":"../x","bytes":""}]', "")):
            self.no(3, why, "post", session, HELLO, "--files", text)

    def test_a_question_is_asked_and_answered(self):
        session, place = self.new_agent()
        question = self.data("ask", "Tea?", '["yes","no"]', place=place)["id"]
        status, out, err = self.keep("mailbox", "await_answer", place, question, "--timeout-ms", "0", "--json")
        self.assertEqual((status, json.loads(out), err), (1, {"answered": False}, b""))
        self.data("collect", session)
        self.assertEqual(self.mailbox("questions").split("\t")[:2], [question, session])
        self.no(3, "", "answer", question, "perhaps")
        self.assertEqual(self.mailbox("answer", question, "yes", "--user-id", "u1"), "")
        self.no(4, "", "answer", question, "no")
        told = self.data("await_answer", question, "--timeout-ms", "0", place=place)
        self.assertEqual(told, {"answered": True, "question_id": question, "option": "yes", "user_id": "u1",
                                "is_expired": False})

    def test_tasks_by_series(self):
        session, _ = self.new_agent()
        self.mailbox("post", session, HELLO, "--kind", "task", "--recurrence", "0 9 * * *", "--series-id", "daily")
        self.assertEqual(self.mailbox("list_series", session).split("\t")[:2], ["daily", "pending"])
        self.mailbox("pause", session, "daily")
        self.no(4, "", "pause", session, "daily")
        self.mailbox("resume", session, "daily")
        self.mailbox("update", session, "daily", "--recurrence", "30 8 * * *", "--time-zone", "Europe/Berlin")
        self.assertEqual(self.data("list_series", session)[0]["recurrence"], "30 8 * * *")
        self.mailbox("cancel", session, "daily")
        self.no(1, "", "cancel", session, "daily")
        self.no(3, "", "post", session, HELLO, "--kind", "task", "--recurrence", "99 9 * * *")

    def test_the_agent_remembers(self):
        _, place = self.new_agent()
        self.mailbox("state_set", "k", "-", place=place, stdin="Grüße\n".encode())
        self.assertEqual(self.mailbox("state_get", "k", place=place), "Grüße\n")
        self.assertEqual([row["key"] for row in self.data("state_list", place=place)], ["k"])
        self.mailbox("state_clear", "k", place=place)
        self.no(1, "", "state_get", "k", place=place)
        self.mailbox("heartbeat", place=place)


class Places(MailboxTest):
    def test_a_read_makes_nothing(self):
        status, out, _ = self.keep("mailbox", "list_sessions", self.url)
        self.assertEqual((status, out), (1, b""))
        self.assertEqual(os.listdir(self.folder), [])
        home = self.new_home()
        self.assertEqual(self.mailbox("list_sessions", place=home), "")
        self.no(1, "mailbox: nothing was stored in it yet", "get_session", "s", place=home)
        self.no(1, "mailbox: nothing was stored in it yet", "claim", "--session", "s", place=home)
        self.no(5, "the mailbox was opened for reading only", "put_agent_group", "Ada", "ada", "--read-only", place=home)
        if KIND == "sqlite":
            self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "home"))), ["home.json", "vault.key"])

    def test_a_home_has_a_mailbox_and_its_agents(self):
        home = self.new_home()
        session, place = self.new_agent(home)
        self.mailbox("post", session, HELLO, place=home)
        if KIND == "sqlite":
            self.assertEqual(os.stat(os.path.join(self.folder, "home", "mailbox")).st_mode & 0o777, 0o700)
            self.assertEqual(os.path.realpath(os.path.join(self.folder, place)),
                             os.path.realpath(os.path.join(self.folder, "home/mailbox/sessions/ada", session)))
        self.assertEqual(self.mailbox("agent_session", "--session", session, place=home), session + "\n")
        row = self.data("claim", "--session", session, place=home)[0]
        self.mailbox("complete", row["message"]["id"], str(row["attempt"]), "--session", session, place=home)
        self.assertEqual(self.mailbox("claim", place=place), "")
        self.no(3, "session: missing", "claim", place=home)
        self.no(1, "", "claim", "--session", "nobody", place=home)
        self.no(3, "session: over 128 bytes", "claim", "--session", "x" * 129, place=home)

    def test_a_sessions_place_is_the_agents_alone(self):
        session, place = self.new_agent()
        self.assertEqual(self.mailbox("agent_session", place=place), session + "\n")
        self.assertEqual(self.mailbox("agent_session", "--session", session, place=place), session + "\n")
        self.no(3, f"session: this place is that of '{session}' and not of 'other'", "claim", "--session", "other",
                place=place)
        self.no(3, "mailbox: this place is one session's; list_sessions is the host's", "list_sessions", place=place)
        self.no(3, "session: missing", "claim")
        self.assertEqual(self.mailbox("claim", home=place, place="--max=1"), "")
        if KIND == "postgres":
            return
        self.assertEqual(self.mailbox("agent_session", place="sqlite:" + place), session + "\n")
        os.mkdir(os.path.join(self.folder, "empty"))
        self.no(1, "", "claim", place="empty")
        self.no(1, "", "claim", place="nowhere")
        self.refused(3, "engine: needs a home", "engine", "get", place, "a")

    def test_a_session_of_one_call_keeps_its_claim_and_a_lasting_one_gives_it_back(self):
        session, place = self.new_agent()
        self.mailbox("post", session, HELLO)
        out = self.call({"id": 1, "call": "mailbox.claim"}, {"id": 2, "call": "mailbox.claim"}, place=place)
        self.assertEqual([len(a["result"]) for a in out], [1, 0])
        self.assertEqual(len(self.data("claim", place=place)), 1)
        self.assertEqual(self.data("claim", place=place), [])


class Waits(MailboxTest):
    def test_waits_end_with_what_the_other_side_does(self):
        session, place = self.new_agent()
        self.assertEqual(self.keep("mailbox", "agent_wait", place, "--timeout-ms", "0"), (1, b"", b""))
        wait = self.start("mailbox", "agent_wait", place, "--announce")
        self.assertEqual(wait.stdout.readline(), b"waiting\n")
        message = self.data("post", session, HELLO)["id"]
        self.assertEqual((wait.stdout.read(), wait.wait(SOON)), (b"ready\n", 0))
        process = self.start("call", self.url)

        def ask(request_id, name, **inputs):
            process.stdin.write(json.dumps({"id": request_id, "call": name, "with": inputs}).encode() + b"\n")
            process.stdin.flush()

        ask(1, "mailbox.wait", timeout_ms=0)
        self.assertTrue(json.loads(process.stdout.readline())["ok"])
        self.data("collect", session)
        ask(2, "mailbox.wait", timeout_ms=0)
        process.stdout.readline()
        ask(3, "mailbox.wait", timeout_ms=30000)
        self.mailbox("claim", place=place)
        self.mailbox("complete", message, place=place)
        answer = json.loads(process.stdout.readline())
        self.assertEqual(answer, {"id": 3, "ok": True, "result": [{"session": session}]})
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_ctrl_c_ends_a_wait_cleanly(self):
        _, place = self.new_agent()
        self.mailbox("wait", "--timeout-ms", "0")
        for verb, where in (("agent_wait", place), ("await_answer", place)):
            words = ("none",) if verb == "await_answer" else ()
            if verb == "await_answer":
                words = (self.data("ask", "Tea?", place=place)["id"],)
            for number in (signal.SIGINT, signal.SIGTERM):
                wait = self.start("mailbox", verb, where, *words, "--timeout-ms", "-1", "--announce")
                self.assertEqual(wait.stdout.readline(), b"waiting\n")
                wait.send_signal(number)
                self.assertEqual((wait.wait(SOON), wait.stderr.read()), (128 + number, b""))


class Whole(MailboxTest):
    """Every operation is called once through keep call, and answers in the shape that the manual says."""

    cron = {"kind": "task", "recurrence": "0 9 * * *"}
    scenario = (
        ("put_agent_group", {"name": "Ada", "folder": "ada", "id": "ada", "container_config": {"cpus": 2}}),
        ("put_agent_group", {"name": "Bob", "folder": "bob", "id": "bob"}),
        ("get_agent_group", {"id": "ada"}), ("list_agent_groups", {"after": None}),
        ("put_messaging_group", {"channel_type": "telegram", "platform_id": "42", "id": "c1", "name": "Family"}),
        ("put_messaging_group", {"channel_type": "telegram", "platform_id": "43", "id": "c2"}),
        ("get_messaging_group", {"id": "c1"}), ("list_messaging_groups", {}),
        ("find_messaging_group", {"channel_type": "telegram", "platform_id": "42"}),
        ("wire", {"messaging_group_id": "c1", "agent_group_id": "ada", "id": "w1", "trigger_rules": {"mentionOnly": False}}),
        ("wire", {"messaging_group_id": "c2", "agent_group_id": "ada", "id": "w2"}),
        ("list_wirings", {"agent_group_id": "ada"}), ("unwire", {"id": "w2"}),
        ("allow", {"agent_group_id": "ada", "type": "channel", "name": "other", "channel_type": "telegram",
                   "platform_id": "43"}),
        ("allow", {"agent_group_id": "ada", "type": "agent", "name": "bob", "target_agent_group_id": "bob"}),
        ("list_destinations", {"agent_group_id": "ada"}), ("disallow", {"agent_group_id": "ada", "name": "bob"}),
        ("route", {"channel_type": "telegram", "platform_id": "42", "content": HELLO, "message_id": "m1"}),
        ("route", {"channel_type": "slack", "platform_id": "1", "content": HELLO}),
        ("list_unrouted", {}), ("forget_unrouted", {"before_ms": "2999-01-01T00:00:00Z"}),
        ("resolve_session", {"agent_group_id": "ada", "session_mode": "shared", "messaging_group_id": "c1"}),
        ("get_session", {"session": "@"}), ("list_sessions", {"status": "active"}), ("session_place", {"session": "@"}),
        ("wake", {"session": "@"}), ("refresh", {"session": "@"}),
        ("set_container", {"session": "@", "container_status": "running"}),
        ("post", {"session": "@", "content": HELLO, "id": "p1", "dedup_key": "d1", "timestamp": 1000}),
        ("post_many", {"session": "@", "messages": [{"content": HELLO, "id": "p2"}, {"content": HELLO, "id": "p3"},
                                                    {"content": HELLO, "id": "p4"}]}),
        ("messages", {"session": "@", "status": None}),
        ("post", {"session": "@", "content": HELLO, "series_id": "daily", **cron}),
        ("list_series", {"session": "@"}), ("pause", {"session": "@", "series_id": "daily"}),
        ("resume", {"session": "@", "series_id": "daily"}),
        ("update", {"session": "@", "series_id": "daily", "content": '{"n":2}'}),
        ("cancel", {"session": "@", "series_id": "daily"}),
        ("agent_session", {"session": "@"}), ("agent_wait", {"session": "@", "timeout_ms": 0}),
        ("claim", {"session": "@", "max": 10, "kinds": ["chat"]}),
        ("extend", {"session": "@", "claims": ["p1", {"id": "p2", "attempt": 1}], "lease_ms": 1000000}),
        ("complete", {"session": "@", "id": "p1", "attempt": 1}),
        ("fail", {"session": "@", "id": "p2", "attempt": 1, "error": "no"}),
        ("release", {"session": "@", "claims": ["p3"]}),
        ("complete_with", {"session": "@", "id": "p4", "attempt": 1, "replies": [{"content": HELLO, "id": "o1", "files": [
            {"name": "a", "bytes": "YQ=="}]}]}),
        ("send", {"session": "@", "content": HELLO, "to": "other", "id": "o2"}),
        ("edit", {"session": "@", "number": "@send.seq", "text": "bye"}), ("react", {"session": "@", "number": 2, "emoji": "+1"}),
        ("ask", {"session": "@", "question": "Tea?", "options": ["yes", "no"]}),
        ("state_set", {"session": "@", "key": "k", "value": "v"}), ("state_get", {"session": "@", "key": "k"}),
        ("state_list", {"session": "@"}), ("state_clear", {"session": "@"}), ("destinations", {"session": "@"}),
        ("heartbeat", {"session": "@"}),
        ("wait", {"timeout_ms": 0}), ("collect", {"session": "@"}),
        ("outbox_file", {"session": "@", "message_out_id": "o1", "name": "a"}),
        ("questions", {"session": "@"}), ("answer", {"question_id": "@ask.id", "option": "yes", "user_id": "u"}),
        ("await_answer", {"session": "@", "question_id": "@ask.id", "timeout_ms": 0}),
        ("begin_delivery", {"session": "@", "key": "o1"}),
        ("complete_delivery", {"session": "@", "key": "o1", "attempt": 1, "outcome": "permanent", "error": "gone"}),
        ("refuse_delivery", {"session": "@", "key": "o2", "reason": "no adapter"}),
        ("retry_delivery", {"session": "@", "key": "o1"}), ("deliveries", {"session": "@"}),
        ("post", {"session": "@", "content": HELLO, "id": "p5", "files": [{"name": "b", "bytes": "Yg=="}]}),
        ("inbox_file", {"session": "@", "message_id": "p5", "name": "b"}),
        ("sweep", {}), ("trace", {"id": "p4"}), ("export_session", {"session": "@", "folder": "exported"}),
        ("prune_session", {"session": "@", "before_ms": 1}), ("close_session", {"session": "@"}),
        ("resolve_session", {"agent_group_id": "bob"}),
        ("close_session", {"session": "@resolve_session.session.id"}),
        ("remove_session", {"session": "@resolve_session.session.id"}),
        ("remove_agent_group", {"id": "bob"}), ("remove_messaging_group", {"id": "c2"}),
    )

    def described(self):
        """The manual's mailbox: verb -> (kind of result, its members)."""
        manual = self.ok("manual").decode().split("\n## The store mailbox\n")[1].split("\n## ")[0]
        records = {name: re.findall(r"^\| `(\w+)`", text, re.M)
                   for name, text in re.findall(r"\n### Records of (\w+) in mailbox\n(.*?)(?=\n### |\Z)", manual, re.S)}
        found = {}
        for verb, text in re.findall(r"\n#### mailbox\.(\w+)\n(.*?)(?=\n###|\Z)", manual, re.S):
            result = re.search(r"\nResult, ([^:]+): (.*)", text)
            table = re.search(r"\n\| member \|.*?(?=\n\n|\Z)", text[result.start():], re.S)
            record = re.search(r"records-of-(\w+)-in-mailbox\)", result[2])
            members = re.findall(r"^\| `(\w+)`", table[0], re.M) if table else records[record[1]] if record else None
            found[verb] = (result[1], members)
        return found

    @staticmethod
    def filled(inputs, answers, session):
        found = dict(inputs)
        for name, value in inputs.items():
            if value == "@":
                found[name] = session
            elif isinstance(value, str) and value.startswith("@"):
                verb, *members = value[1:].split(".")
                found[name] = answers[verb]
                for member in members:
                    found[name] = found[name][member]
        return found

    def without_files(self, value):
        """A mailbox on a server has no folders."""
        if isinstance(value, dict):
            return {name: self.without_files(inner) for name, inner in value.items() if name != "files"}
        return [self.without_files(inner) for inner in value] if isinstance(value, list) else value

    def check_shape(self, verb, kind, members, result):
        kinds = {"null": type(None), "a boolean": bool, "an integer": int, "bytes": str, "an array": list,
                 "an object": dict}
        self.assertIs(type(result), kinds[kind], verb)
        for row in result if kind == "an array" else [result] if kind == "an object" else []:
            self.assertEqual(members, list(row), verb)

    def test_every_function_of_the_headers_is_an_operation(self):
        functions = {"mailbox": set(), "agent": set()}
        for name in ("mailbox.h", "mailbox_registry.h", "agent.h"):
            with open(os.path.join(SOURCE, "include/keep", name), encoding="utf-8") as file:
                text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
            for side, found in functions.items():
                found.update(re.findall(rf"\bkeep_{side}_(\w+)\s*\(", text))
        host = functions["mailbox"] - NO_OPERATION
        agent = {AGENT_NAME.get(name, name) for name in functions["agent"] - NO_AGENT_OPERATION}
        self.assertGreater(len(host), 45)
        self.assertGreater(len(agent), 18)
        self.assertEqual(host & agent, set())
        self.assertEqual(host | agent, set(self.described()))

    def test_every_operation_answers_in_its_shape(self):
        described, answers = self.described(), {}
        self.assertEqual(set(described), {verb for verb, _ in self.scenario})
        process, session = self.start("call", self.url), None
        for number, (verb, inputs) in enumerate(self.scenario):
            if KIND == "postgres":
                inputs = self.without_files(inputs)
            request = {"id": number, "call": f"mailbox.{verb}", "with": self.filled(inputs, answers, session)}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if KIND == "postgres" and verb in ("inbox_file", "outbox_file"):
                self.assertFalse(answer["ok"])
                continue
            self.assertTrue(answer["ok"], (request, answer))
            self.check_shape(verb, *described[verb], answer["result"])
            answers[verb] = answer["result"]
            if verb == "resolve_session" and not session:
                session = answer["result"]["session"]["id"]
        process.stdin.close()
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))

    def test_every_operation_on_a_session_that_is_not_there_finds_nothing(self):
        self.new_agent()
        answers = {"send": {"seq": 1}, "ask": {"id": "q"}}
        asked = {verb: inputs for verb, inputs in self.scenario if inputs.get("session") == "@"}
        self.assertGreater(len(asked), 40)
        if KIND == "postgres":
            asked = {verb: self.without_files(inputs) for verb, inputs in asked.items()}
        requests = [{"id": verb, "call": f"mailbox.{verb}", "with": self.filled(inputs, answers, "nobody")}
                    for verb, inputs in asked.items()]
        for answer in self.call(*requests):
            self.assertEqual((answer["ok"], answer.get("status")), (False, "NOT_FOUND"), answer)

    def test_every_verb_has_help_that_fits_and_completes(self):
        completion = self.ok("completion", "bash").decode().replace('"', " ")
        for verb in self.described():
            word = verb.replace("_", "-")
            text = self.ok("help", "mailbox", word).decode()
            self.assertEqual(self.ok("mailbox", word, "--help").decode(), text)
            for line in text.splitlines():
                self.assertEqual(line, line.rstrip(), verb)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (verb, line))
            self.assertIn(f" {word} ", completion)
            self.assertIn(f"\n  {word}", self.ok("mailbox", "--help").decode())
        self.assertIn("A session's folder", self.ok("mailbox", "claim", "--help").decode())
        self.assertNotIn("A session's folder", self.ok("mailbox", "post", "--help").decode())

    def test_wrong_inputs_are_named(self):
        session, _ = self.new_agent()
        for message, words in (
                ("limit: 0 is below 1", ("messages", session, "--limit", "0")),
                ("limit: 1001 is over 1000", ("messages", session, "--limit", "1001")),
                ("status: 'done' is not one of", ("messages", session, "--status", "done")),
                ("kind: 'speech' is not one of", ("post", session, HELLO, "--kind", "speech")),
                ("outcome: 'sent' is not one of", ("complete_delivery", session, "k", "1", "sent")),
                ("messages: an object where an array belongs", ("post_many", session, "{}")),
                ("messages[0]: an integer where an object belongs", ("post_many", session, "[1]")),
                ("messages[1]: content: missing", ("post_many", session, json.dumps([{"content": HELLO}, {}]))),
                ("messages[0]: session: no such input", ("post_many", session, '[{"content":"{}","session":"x"}]')),
                ("messages: 1001, the limit is 1000", ("post_many", session, json.dumps([1] * 1001))),
                ("container_status: 'asleep' is not one of", ("set_container", session, "asleep")),
                ("trigger_rules: not JSON", ("wire", "c", "ada", "--trigger-rules", "{")),
                ("folder: empty", ("export_session", session, "")),
                ("replies[0]: content: missing", ("complete_with", "[{}]", "x", "--session", session)),
                ("replies: 101, the limit is 100", ("complete_with", json.dumps([1] * 101), "x", "--session", session)),
                ("kinds[0]: an integer where a text belongs", ("claim", "--kinds", "[1]", "--session", session)),
                ("max: 101 is over 100", ("claim", "--max", "101", "--session", session)),
                ("content", ("post", session, "no JSON"))):
            self.no(3, message, *words)
        self.assertEqual(self.data("messages", session), [])
        self.no(2, "CONTENT: missing", "post", session)
        self.refused(2, "mailbox nonsense: no such verb", "mailbox", "nonsense", self.url)


if __name__ == "__main__":
    unittest.main()
