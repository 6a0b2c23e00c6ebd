#!/usr/bin/env python3
"""test_cli_assistant.py sqlite|postgres - keep assistant … and keep call with assistant.…, on that driver.

What is stored is the business of tests/contract; here are the words, the output, the exit statuses, the
JSON and the places, that every function of the five headers is an operation that works, and that a secret
goes in by standard input and comes out only when it is asked for by name.
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
HEADERS = ("assistant.h", "assistant_work.h", "assistant_admin.h", "assistant_search.h", "assistant_care.h")
NO_OPERATION = {"open", "close", "cancel", "wipe"}  # no call on something open
KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
SECRET = "sk-that-nobody-may-see"
numbers = itertools.count(1)


class AssistantTest(CliTest):
    def setUp(self):
        super().setUp()
        self.url = self.new_url()
        os.environ["KEEP_ENCRYPTION_KEY"] = KEY
        self.addCleanup(os.environ.pop, "KEEP_ENCRYPTION_KEY", None)

    def new_url(self):
        number = next(numbers)
        if KIND == "sqlite":
            return f"sqlite:assistant{number}.db"
        schema = f"cli_assistant_{os.getpid()}_{number}"
        self.addCleanup(psql, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        return f"{server_url()}&schema={schema}"

    def new_home(self):
        if KIND == "sqlite":
            self.ok("init", "home")
            return "home"
        database = f"cli_assistant_{os.getpid()}_{next(numbers)}"
        psql(f'CREATE DATABASE "{database}"')
        self.addCleanup(psql, f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        return server_url(database)

    def assistant(self, verb, *words, place=None, **more):
        return self.ok("assistant", verb, place or self.url, *words, **more).decode()

    def data(self, verb, *words, **more):
        return json.loads(self.assistant(verb, *words, "--json", **more))

    def no(self, exit_status, message, verb, *words, place=None, **more):
        self.refused(exit_status, message, "assistant", verb, place or self.url, *words, **more)

    def call(self, *requests, place=None):
        text = "".join(json.dumps(request) + "\n" for request in requests)
        return [json.loads(line) for line in self.ok("call", place or self.url, stdin=text.encode()).splitlines()]

    def new_conversation(self, **more):
        return self.data("find-or-create", "web", "ada", **more)["conversation"]["conversation_id"]


class Journey(AssistantTest):
    def test_a_conversation_is_found_again_and_its_context_follows_its_summary(self):
        told = self.data("find-or-create", "web", "ada")
        self.assertEqual((told["is_new"], told["conversation"]["channel"]), (True, "web"))
        conversation = told["conversation"]["conversation_id"]
        self.assertFalse(self.data("find-or-create", "web", "ada")["is_new"])
        for number, text in enumerate(("Good morning", "Is the train on time?", "It is late"), 1):
            self.assertEqual(self.data("append", conversation, "user", text)["seq"], number)
        self.assertEqual(self.data("append", conversation, "tool", "-", stdin="Grüße\n".encode())["seq"], 4)
        page = self.data("page", conversation, "--limit", "2")
        self.assertEqual(([m["content"] for m in page["messages"]], page["has_more"]), (["Grüße\n", "It is late"], True))
        self.assertEqual(self.data("add-summary", conversation, "1", "3", "About a train.")["context_version"], 2)
        self.assertTrue(self.data("add-summary", conversation, "1", "3", "About a train.")["is_duplicate"])
        context = self.data("context", conversation)
        self.assertEqual((context["summary_text"], [m["seq"] for m in context["messages"]], context["is_complete"]),
                         ("About a train.", [4], True))
        found = self.data("search-messages", "train")
        self.assertEqual([m["message"]["seq"] for m in found["matches"]], [2])
        self.assertIn("[train]", found["matches"][0]["snippet"])
        listed = self.data("list-conversations")["conversations"]
        self.assertEqual([(c["conversation"]["message_count"], c["last"]["seq"]) for c in listed], [(4, 4)])
        self.assistant("delete-conversation", conversation)
        self.no(1, "", "page", conversation)

    def test_a_task_is_leased_done_and_told(self):
        told = self.data("add-task", "research", "find", "--parameters", '{"what":"trains"}')
        task = told["task_id"]
        row = self.data("claim-tasks", "research")[0]
        self.assertEqual((row["task_id"], row["status"], row["attempt"]), (task, "running", 1))
        # The claim outlives the command that made it, and is exclusive.
        self.assertEqual(self.data("claim-tasks"), [])
        self.no(4, "", "finish-task", task, "2", "completed")
        self.assistant("finish-task", task, "1", "completed", "--result", '{"n":1}')
        self.assistant("finish-task", task, "1", "completed", "--result", '{"n":1}')
        self.no(4, "", "finish-task", task, "1", "failed")
        self.assertEqual(self.data("get-task", task)["result"], {"n": 1})
        self.no(4, "", "retry-task", task)

    def test_a_job_comes_due_once_whoever_ticks(self):
        job = self.data("put-cron-job", "tea", "0 9 * * *", "prompt", "--prompt", "Tea?", "--job-id", "tea",
                        "--now-ms", "2026-03-01T08:00:00Z")
        self.assertEqual(job if isinstance(job, str) else job.get("job_id", job), "tea")
        told = self.data("claim-due", "--limit", "5", "--now-ms", "2026-03-01T09:00:01Z")
        self.assertEqual([(run["job_id"], run["attempt"], run["prompt"]) for run in told["runs"]], [("tea", 1, "Tea?")])
        due = told["runs"][0]["scheduled_for"]
        self.assertEqual(self.data("claim-due", "--limit", "5", "--now-ms", "2026-03-01T09:00:02Z")["runs"], [])
        self.assistant("finish-run", "tea", due, "1", "success", "--now-ms", "2026-03-01T09:00:03Z")
        self.assertEqual([row["execution"]["status"] for row in self.data("history", "tea")], ["success"])
        self.no(3, "", "put-cron-job", "x", "99 9 * * *", "prompt", "--prompt", "x")

    def test_people_see_tables(self):
        self.new_conversation()
        lines = self.assistant("list-agents").splitlines()
        self.assertEqual(len(lines), 9)
        self.assertTrue(lines[0].startswith("10\tcoordinator\t"), lines[0])
        self.assertEqual(len(self.assistant("list-prompts").splitlines()), 4)
        self.assertEqual({line.split("\t")[2] for line in self.assistant("sizes").splitlines()} & {"messages"}, {"messages"})
        self.assistant("set-prompt", "soul", "-", stdin=b"Be kind.\nBe brief.\n")
        self.assertEqual(self.assistant("get-prompt", "soul"), "Be kind.\nBe brief.\n")
        self.assistant("index", "notes", "1", "--title", "Train", "--content", "The train is late")
        self.assertEqual(self.data("find", "train")["matches"][0]["document"]["source_id"], "1")


class Secrets(AssistantTest):
    def test_a_secret_comes_from_standard_input_and_is_shown_only_when_asked_for(self):
        self.assistant("put-credential", "openai", "api_key", "-", stdin=SECRET.encode() + b"\n")
        self.assertEqual(self.assistant("get-credential", "openai"), SECRET + "\n")
        self.assertEqual(self.data("get-credential", "openai")["data"], SECRET)
        for verb in ("list-credentials", "expiring-credentials", "query-audit", "export-audit"):
            for words in ((), ("--json",)):
                text = self.assistant(verb, *words)
                self.assertNotIn(SECRET, text, verb)
                self.assertNotIn(KEY, text, verb)
        self.assertNotIn("data", self.data("list-credentials")[0])
        self.assertEqual(len(self.data("list-credentials")[0]["key_id"]), 16)

    def test_a_sensitive_setting_is_masked(self):
        self.assistant("define-setting", "mail.password", "string", "--is-sensitive")
        self.assistant("set-setting", "mail.password", "-", stdin=SECRET.encode() + b"\n")
        self.assertEqual(self.assistant("get-setting", "mail.password"), SECRET + "\n")
        for verb in ("list-settings", "query-audit"):
            text = self.assistant(verb, "--json")
            self.assertNotIn(SECRET, text)
        self.assertIn("***", self.assistant("list-settings", "--prefix", "mail.", "--json"))
        self.no(3, "", "set-setting", "mail.password", "***")
        self.no(1, "", "set-setting", "no.such", "x")

    def test_what_is_stored_is_no_plain_text(self):
        self.assistant("put-credential", "openai", "api_key", SECRET)
        if KIND == "postgres":
            return
        for name in os.listdir(self.folder):
            with open(os.path.join(self.folder, name), "rb") as file:
                self.assertNotIn(SECRET.encode(), file.read(), name)

    def test_without_a_key_or_with_another_nothing_is_lost(self):
        self.assistant("put-credential", "openai", "api_key", SECRET)
        del os.environ["KEEP_ENCRYPTION_KEY"]
        self.no(5, "credential 'openai': no encryption key", "get-credential", "openai")
        self.assertEqual(len(self.data("list-credentials")), 1)
        os.environ["KEEP_ENCRYPTION_KEY"] = "A" * 43 + "="
        self.no(5, "", "get-credential", "openai")
        self.no(5, "", "put-credential", "openai", "api_key", "another")
        os.environ["KEEP_ENCRYPTION_KEY"] = "no key at all"
        status, out, err = self.keep("assistant", "list-credentials", self.url)
        self.assertEqual((status, out), (3, b""))
        self.assertNotIn(b"no key at all", err)
        os.environ["KEEP_ENCRYPTION_KEY"] = KEY
        self.assertEqual(self.assistant("get-credential", "openai"), SECRET + "\n")

    def test_who_asked_is_in_the_audit_log(self):
        self.assistant("set-prompt", "soul", "Be kind.", "--user-id", "ada", "--ip-address", "10.0.0.1")
        entry = self.data("query-audit", "--limit", "1")["entries"][0]
        self.assertEqual((entry["user_id"], entry["ip_address"], entry["success"]), ("ada", "10.0.0.1", True))
        self.assertTrue(self.data("verify-audit")["is_intact"])
        self.assertEqual([json.loads(line)["seq"] for line in self.assistant("export-audit").splitlines()],
                         [row["seq"] for row in reversed(self.data("query-audit")["entries"])])

    def test_a_broken_chain_is_a_no(self):
        self.assistant("set-prompt", "soul", "Be kind.")
        self.assistant("set-prompt", "soul", "Be brief.")
        statement = "UPDATE {}audit_log SET action = 'nothing' WHERE seq = 1"
        if KIND == "postgres":
            psql(statement.format(f'"{self.url.rsplit("=", 1)[1]}".'))
        else:
            with sqlite3.connect(os.path.join(self.folder, self.url.removeprefix("sqlite:"))) as connection:
                connection.execute(statement.format(""))
            connection.close()
        status, out, err = self.keep("assistant", "verify-audit", self.url, "--json")
        report = json.loads(out)
        self.assertEqual((status, err, report["is_intact"], report["broken_seq"]), (1, b"", False, 1))
        self.assertTrue(report["reason"])


class Places(AssistantTest):
    def test_a_read_makes_nothing(self):
        status, out, _ = self.keep("assistant", "list-conversations", self.url)
        self.assertEqual((status, out), (1, b""))
        self.assertEqual(os.listdir(self.folder), [])
        home = self.new_home()
        self.assertEqual(self.assistant("list-agents", place=home), "")
        self.no(1, "assistant: nothing was stored in it yet", "get-prompt", "soul", place=home)
        if KIND == "sqlite":
            self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "home"))), ["home.json", "vault.key"])

    def test_a_home_has_an_assistant_and_its_key(self):
        del os.environ["KEEP_ENCRYPTION_KEY"]
        home = self.new_home()
        if KIND == "postgres":
            self.no(5, "", "put-credential", "openai", "api_key", SECRET, place=home)
            return
        self.assistant("put-credential", "openai", "api_key", SECRET, place=home)
        self.assertEqual(os.stat(os.path.join(self.folder, "home/vault.key")).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(os.path.join(self.folder, "home/assistant")).st_mode & 0o777, 0o700)
        self.assertEqual(self.assistant("get-credential", "openai", place=home), SECRET + "\n")
        self.assertEqual(self.assistant("get-credential", "openai", place="--key-file=home/vault.key",
                                        home="sqlite:home/assistant/assistant.db"), SECRET + "\n")
        os.chmod(os.path.join(self.folder, "home/vault.key"), 0o644)
        self.no(5, "the key file ", "get-credential", "openai", place=home)

    def test_a_reader_changes_nothing(self):
        self.new_conversation()
        self.assertEqual(len(self.data("list-conversations", "--read-only")["conversations"]), 1)
        self.no(5, "", "set-prompt", "soul", "x", "--read-only")

    def test_init_makes_it_where_a_home_is_a_server(self):
        if KIND == "sqlite":
            return
        home = self.new_home()
        self.ok("init", home)
        self.assertEqual(len(self.assistant("list-agents", place=home).splitlines()), 9)


class Waits(AssistantTest):
    def test_waits_end_with_what_others_do(self):
        self.new_conversation()
        self.assertEqual(self.keep("assistant", "wait-tasks", self.url, "--timeout-ms", "0"), (1, b"", b""))
        wait = self.start("assistant", "wait-tasks", self.url, "--announce")
        self.assertEqual(wait.stdout.readline(), b"waiting\n")
        self.assistant("add-task", "research", "find")
        self.assertEqual((wait.stdout.read() != b"", wait.wait(SOON)), (True, 0))

    def test_ctrl_c_ends_a_wait_cleanly(self):
        self.new_conversation()
        for verb, number in (("wait-tasks", signal.SIGINT), ("wait-due", signal.SIGTERM)):
            wait = self.start("assistant", verb, self.url, "--announce")
            self.assertEqual(wait.stdout.readline(), b"waiting\n")
            wait.send_signal(number)
            self.assertEqual((wait.wait(SOON), wait.stderr.read()), (128 + number, b""))


class Whole(AssistantTest):
    """Every operation is called once through keep call, and answers in the shape that the manual says."""

    DUE, NOW = "2026-03-01T09:00:00Z", "2026-03-01T09:00:01Z"
    scenario = (
        ("find_or_create", {"channel": "web", "contact": "ada"}),
        ("add_conversation", {"channel": "web", "contact_identifier": "bob", "conversation_id": "c1", "metadata": {"a": 1}}),
        ("get_conversation", {"conversation_id": "c1"}),
        ("update_metadata", {"conversation_id": "c1", "changes": {"a": None, "b": 2}}),
        ("append", {"conversation_id": "c1", "role": "user", "content": "Is the train late?", "message_id": "m1"}),
        ("append_many", {"messages": [{"conversation_id": "c1", "role": "assistant", "content": "It is.", "message_id": "m2"}]}),
        ("get_message", {"message_id": "m1"}), ("page", {"conversation_id": "c1"}),
        ("list_conversations", {"channel": None}), ("search_messages", {"query": "train"}),
        ("context", {"conversation_id": "c1", "token_budget": 1000}),
        ("add_summary", {"conversation_id": "c1", "from_seq": 1, "to_seq": 1, "text": "A train."}),
        ("remember", {"conversation_id": "c1", "memory_type": "facts", "content": {"fact": "Trains are late"}}),
        ("recall", {"conversation_id": "c1", "memory_type": "facts"}),
        ("forget", {"conversation_id": "c1", "memory_type": "facts"}),
        ("put_agent", {"name": "gardener", "display_name": "Gardener", "role": "grows", "goal": "Roses.",
                       "tools": ["spade"], "intent_keywords": ["rose"]}),
        ("get_agent", {"name": "gardener"}), ("list_agents", {"only_enabled": True}),
        ("select_agents", {"text": "a rose"}), ("enable_agent", {"name": "gardener", "enabled": False}),
        ("remove_agent", {"name": "gardener"}), ("reset_agent", {"name": "writer"}),
        ("add_task", {"agent_name": "writer", "action": "write", "parameters": {"n": 1}, "task_id": "t1",
                      "conversation_id": "c1"}),
        ("add_task", {"agent_name": "writer", "action": "write", "task_id": "t2"}),
        ("get_task", {"task_id": "t1"}), ("list_tasks", {"status": "pending"}), ("wait_tasks", {"timeout_ms": 0}),
        ("claim_tasks", {"limit": 1}), ("extend_task", {"task_id": "t1", "attempt": 1}),
        ("finish_task", {"task_id": "t1", "attempt": 1, "status": "failed", "error_message": "no ink"}),
        ("retry_task", {"task_id": "t1"}), ("cancel_task", {"task_id": "t2", "reason": "enough"}),
        ("put_cron_job", {"name": "tea", "cron_expression": "0 9 * * *", "job_type": "prompt", "prompt": "Tea?",
                          "job_id": "j1", "max_attempts": 1, "now_ms": "2026-03-01T08:00:00Z"}),
        ("get_cron_job", {"job_id": "j1"}), ("list_cron_jobs", {}),
        ("claim_due", {"now_ms": NOW}),
        ("extend_run", {"job_id": "j1", "scheduled_for": DUE, "attempt": 1, "now_ms": NOW}),
        ("finish_run", {"job_id": "j1", "scheduled_for": DUE, "attempt": 1, "status": "failed",
                        "error_message": "no tea", "now_ms": NOW}),
        ("wait_due", {"timeout_ms": 0}), ("history", {"job_id": "j1"}), ("list_dead_letters", {}),
        ("retry_dead_letter", {"job_id": "j1", "scheduled_for": DUE, "now_ms": NOW}), ("clear_dead_letters", {}),
        ("cancel_job", {"job_id": "j1"}), ("enable_cron_job", {"job_id": "j1", "enabled": False}),
        ("run_now", {"job_id": "j1"}), ("remove_cron_job", {"job_id": "j1"}),
        ("add_future_task", {"name": "call", "scheduled_time": "2999-01-01T00:00:00Z", "job_type": "tool",
                             "tool_name": "phone", "tool_parameters": {"n": 1}, "task_id": "f1"}),
        ("get_future_task", {"task_id": "f1"}), ("list_future_tasks", {"status": "pending"}),
        ("put_credential", {"service": "openai", "credential_type": "api_key", "data": SECRET}),
        ("get_credential", {"service": "openai"}), ("list_credentials", {}),
        ("expiring_credentials", {"within_ms": 1000}), ("rekey", {}), ("remove_credential", {"service": "openai"}),
        ("report_connection", {"service": "mail", "status": "error", "error": "no route", "metadata": {"a": 1}}),
        ("list_connections", {}), ("remove_connection", {"service": "mail"}),
        ("define_setting", {"key": "a.b", "value_type": "int", "min_value": 1, "max_value": 10, "default_value": "3"}),
        ("set_setting", {"key": "a.b", "value": "5"}), ("validate_setting", {"key": "a.b", "value": "6"}),
        ("set_settings", {"values": [{"key": "a.b", "value": "7"}]}), ("get_setting", {"key": "a.b"}),
        ("list_settings", {"prefix": "a."}), ("reset_setting", {"key": "a.b"}), ("undefine_setting", {"key": "a.b"}),
        ("set_prompt", {"key": "soul", "value": "Be kind."}), ("get_prompt", {"key": "soul"}), ("list_prompts", {}),
        ("prompt_history", {"key": "soul"}), ("revert_prompt", {"key": "soul", "revision": 1}),
        ("set_prompt", {"key": "mine", "value": "x"}), ("remove_prompt", {"key": "mine"}),
        ("audit", {"event_type": "tool_execution", "action": "run", "details": {"password": SECRET}, "success": True}),
        ("audit_many", {"entries": [{"event_type": "web_request", "action": "get"}]}),
        ("query_audit", {"event_type": "web_request"}), ("verify_audit", {}), ("export_audit", {"success": True}),
        ("index", {"source": "notes", "source_id": "1", "title": "Train", "content": "late", "embedding": [1, 0.5],
                   "model": "m"}),
        ("index_many", {"documents": [{"source": "notes", "source_id": "2", "content": "early"}]}),
        ("get_document", {"source": "notes", "source_id": "1"}),
        ("find", {"text": "late", "vector": [1, 0.5], "model": "m", "min_similarity": 0.5}),
        ("remove_missing", {"source": "notes", "ids": ["1"]}), ("remove_document", {"source": "notes", "source_id": "1"}),
        ("rebuild_search", {}), ("retain", {"dry_run": True}), ("sizes", {}), ("optimize", {}), ("migrations", {}),
        ("delete_conversation", {"conversation_id": "c1"}),
    )
    APART = {"migrate", "adopt"}  # which need a folder, a file: test_cli_care.py

    def described(self):
        """The manual's assistant: verb -> (kind of result, its members)."""
        manual = self.ok("manual").decode().split("\n## The store assistant\n")[1].split("\n## ")[0]
        records = {name: re.findall(r"^\| `(\w+)`", text, re.M)
                   for name, text in re.findall(r"\n### Records of (\w+) in assistant\n(.*?)(?=\n### |\Z)", manual, re.S)}
        found = {}
        for verb, text in re.findall(r"\n#### assistant\.(\w+)\n(.*?)(?=\n###|\Z)", manual, re.S):
            result = re.search(r"\nResult, ([^:]+): (.*)", text)
            table = re.search(r"\n\| member \|.*?(?=\n\n|\Z)", text[result.start():], re.S)
            record = re.search(r"records-of-(\w+)-in-assistant\)", result[2])
            members = re.findall(r"^\| `(\w+)`", table[0], re.M) if table else records[record[1]] if record else None
            found[verb] = (result[1], members)
        return found

    def check_shape(self, verb, kind, members, result):
        kinds = {"null": type(None), "a boolean": bool, "an integer": int, "bytes": str, "text": str, "a text": str,
                 "an array": list, "an object": dict}
        self.assertIs(type(result), kinds[kind], verb)
        for row in result if kind == "an array" else [result] if kind == "an object" else []:
            if isinstance(row, dict) and members is not None:
                self.assertEqual(members, list(row), verb)

    def test_every_function_of_the_headers_is_an_operation(self):
        functions = set()
        for name in HEADERS:
            with open(os.path.join(SOURCE, "include/keep", name), encoding="utf-8") as file:
                text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
            functions.update(re.findall(r"\bkeep_assistant_(\w+)\s*\(", text))
        self.assertGreater(len(functions), 85)
        self.assertEqual(functions - NO_OPERATION, set(self.described()))

    def test_every_operation_answers_in_its_shape(self):
        described = self.described()
        self.assertEqual(set(described), {verb for verb, _ in self.scenario} | self.APART)
        process = self.start("call", self.url)
        for number, (verb, inputs) in enumerate(self.scenario):
            request = {"id": number, "call": f"assistant.{verb}", "with": inputs}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line)
            self.assertTrue(answer["ok"], (request, answer))
            self.check_shape(verb, *described[verb], answer["result"])
            if verb != "get_credential":
                self.assertNotIn(SECRET, line.decode(), verb)
        process.stdin.close()
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))

    def test_every_verb_has_help_that_fits_and_completes(self):
        completion = self.ok("completion", "bash").decode().replace('"', " ")
        about = self.ok("assistant", "--help").decode()
        for verb in self.described():
            word = verb.replace("_", "-")
            text = self.ok("help", "assistant", word).decode()
            for line in text.splitlines():
                self.assertEqual(line, line.rstrip(), verb)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (verb, line))
            self.assertIn(f" {word} ", completion)
            self.assertIn(f"\n  {word}", about)

    def test_wrong_inputs_are_named(self):
        conversation = self.new_conversation()
        for message, words in (
                ("limit: 0 is below 1", ("page", conversation, "--limit", "0")),
                ("limit: 1001 is over 1000", ("page", conversation, "--limit", "1001")),
                ("role: 'robot' is not one of", ("append", conversation, "robot", "x")),
                ("messages: an object where an array belongs", ("append-many", "{}")),
                ("messages: element 0: an integer where an object belongs", ("append-many", "[1]")),
                ("messages: element 0: role: missing", ("append-many", '[{"conversation_id":"c"}]')),
                ("credential_type: 'password' is not one of", ("put-credential", "x", "password", "y")),
                ("status: 'done' is not one of", ("finish-task", "t", "1", "done")),
                ("values: element 0: value: missing", ("set-settings", '[{"key":"a"}]')),
                ("vector: element 1 is no number", ("find", "--vector", '[1,"x"]', "--model", "m")),
                ("min_similarity: a number is needed", ("find", "x", "--min-similarity", '"x"')),
                ("ids[0]: an integer where a text belongs", ("remove-missing", "notes", "[1]")),
                ("metadata: an array where an object belongs", ("append", conversation, "user", "x", "--metadata", "[]"))):
            self.no(3, message, *words)
        self.assertEqual(self.data("page", conversation)["messages"], [])
        self.no(2, "CONTENT: missing", "append", conversation, "user")
        self.refused(2, "assistant nonsense: no such verb", "assistant", "nonsense", self.url)


if __name__ == "__main__":
    unittest.main()
