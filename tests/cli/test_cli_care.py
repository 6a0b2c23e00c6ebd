#!/usr/bin/env python3
"""`keep rekey`, `retain`, `migrate`, `import` and `optimize`: words, output, exit statuses, and what is left.

What they do to the rows is the business of tests/contract; here a home is looked after from outside.
"""
import json
import os
import signal
import sqlite3
import time
import unittest

from keep_cli import SECONDS, SOURCE, CliTest, psql, server_url

SECRET = "sk-that-nobody-may-see"
KEY_A = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
KEY_B = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HELLO_UNDER_A = ("gAAAAAAdwJ6wi79tyeC2doFxhb2ROWHoqAeKOTvAbOrQjnLZuYGOdRVPeXReqEbKeWEnDAUjjEaK-WV3Nc4dKlEAeLSfkctwig"
                 "==")


class CareTest(CliTest):
    count = 0

    def setUp(self):
        super().setUp()
        self.ok("init", "home")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def new_server(self):
        CareTest.count += 1
        database = f"keep_cli_care_{os.getpid()}_{CareTest.count}"
        psql(f"CREATE DATABASE {database}")
        self.addCleanup(psql, f"DROP DATABASE {database} WITH (FORCE)")
        return server_url(database)

    def keys(self):
        with open(self.path("home/vault.key"), encoding="ascii") as file:
            return file.read().split()

    def put_secrets(self, count, home="home"):
        calls = [{"id": i, "call": "assistant.put_credential",
                  "with": {"service": f"s{i}", "credential_type": "api_key", "data": SECRET}} for i in range(count)]
        text = "".join(json.dumps(call) + "\n" for call in calls).encode()
        self.assertNotIn(b'"ok":false', self.ok("call", home, stdin=text))

    def key_ids(self, home="home"):
        return {row["key_id"] for row in json.loads(self.ok("assistant", "list-credentials", home, "--json"))}


class Rekey(CareTest):
    def test_everything_is_under_a_new_key_and_the_old_one_is_told(self):
        self.put_secrets(3)
        old, = self.key_ids()
        self.assertEqual(self.ok("rekey", "home").decode(),
                         f"renewed: 3\ncurrent: 0\nremaining: 0\nno longer needed: {old}\n")
        new, = self.key_ids()
        self.assertNotEqual(old, new)
        keys = self.keys()
        self.assertEqual(len(keys), 2)
        self.assertEqual(os.stat(self.path("home/vault.key")).st_mode & 0o777, 0o600)
        self.assertEqual(json.loads(self.ok("rekey", "home", "--resume", "--json")),
                         {"renewed": 0, "current": 3, "remaining": 0, "unneeded_keys": [old]})
        self.assertEqual(len(self.keys()), 2)
        with open(self.path("home/vault.key"), "w", encoding="ascii") as file:
            file.write(keys[0] + "\n")
        self.assertEqual(self.ok("assistant", "get-credential", "home", "s1"), SECRET.encode() + b"\n")
        with open(self.path("home/vault.key"), "w", encoding="ascii") as file:
            file.write(keys[1] + "\n")
        status, _, err = self.keep("assistant", "get-credential", "home", "s1")
        self.assertEqual(status, 5, err)
        status, _, err = self.keep("rekey", "home", "--resume")
        self.assertEqual((status, err.count(b"\n")), (5, 1))

    def test_no_key_is_ever_printed(self):
        self.put_secrets(1)
        for words in ((), ("--json",), ("--resume",)):
            text = self.ok("rekey", "home", *words).decode()
            for key in self.keys():
                self.assertNotIn(key, text)

    def test_interrupted_at_any_moment_and_repeated_it_ends(self):
        self.put_secrets(200)
        for delay in (0, 0.01, 0.03, 0.06):
            process = self.start("rekey", "home")
            time.sleep(delay)  # where it is met does not matter: what is left must be whole
            process.send_signal(signal.SIGINT)
            self.assertIn(process.wait(SECONDS), (0, -signal.SIGINT, 130))
        told = json.loads(self.ok("rekey", "home", "--resume", "--json"))
        self.assertEqual((told["renewed"] + told["current"], told["remaining"]), (200, 0))
        self.assertEqual(len(self.key_ids()), 1)
        self.assertEqual(len(told["unneeded_keys"]), len(self.keys()) - 1)
        self.assertEqual([name for name in os.listdir(self.path("home")) if name.startswith("vault")], ["vault.key"])
        self.assertEqual(self.ok("assistant", "get-credential", "home", "s199"), SECRET.encode() + b"\n")

    def test_keys_of_the_environment_are_the_users_own(self):
        url = self.new_server()
        self.refused(2, "rekey: a home on a server has no key file", "rekey", url)
        self.addCleanup(os.environ.pop, "KEEP_ENCRYPTION_KEY", None)
        os.environ["KEEP_ENCRYPTION_KEY"] = KEY_A
        self.put_secrets(2, url)
        old, = self.key_ids(url)
        os.environ["KEEP_ENCRYPTION_KEY"] = f"{KEY_B},{KEY_A}"
        self.assertEqual(json.loads(self.ok("rekey", url, "--json")),
                         {"renewed": 2, "current": 0, "remaining": 0, "unneeded_keys": [old]})
        os.environ["KEEP_ENCRYPTION_KEY"] = KEY_B
        self.assertEqual(self.ok("assistant", "get-credential", url, "s1"), SECRET.encode() + b"\n")

    def test_a_home_that_is_none_gets_no_key(self):
        self.refused(1, "nowhere: no home there", "rekey", "nowhere")
        os.mkdir(self.path("plain"))
        self.refused(1, "plain: no home there", "rekey", "plain")
        self.assertEqual(os.listdir(self.path("plain")), [])
        self.refused(2, "rekey: HOME: missing", "rekey")
        self.refused(2, "--fast: no such option", "rekey", "home", "--fast")
        self.assertEqual(len(self.keys()), 1)


class Retain(CareTest):
    def test_what_is_old_goes_and_a_dry_run_only_counts(self):
        entries = [{"event_type": "web_request", "timestamp": 1000 + i} for i in range(7)]
        self.ok("assistant", "audit-many", "home", json.dumps(entries))
        dry = json.loads(self.ok("retain", "home", "--dry-run", "--json"))
        self.assertEqual((dry["audit_entries"], len(json.loads(self.ok(
            "assistant", "query-audit", "home", "--event-type", "web_request", "--json"))["entries"])), (7, 7))
        self.assertIn("audit_entries: 7\n", self.ok("retain", "home").decode())
        self.assertEqual(json.loads(self.ok("retain", home=self.path("home"), *("--json",)))["audit_entries"], 0)
        self.assertTrue(json.loads(self.ok("assistant", "verify-audit", "home", "--json"))["is_intact"])
        self.refused(2, "retain: 'more': one word too many", "retain", "home", "more")
        self.refused(1, "nowhere: no home there", "retain", "nowhere")

    def test_optimize_says_nothing(self):
        self.ok("assistant", "set-prompt", "home", "soul", "Be kind.")
        self.assertEqual(self.ok("optimize", "home"), b"")
        self.assertEqual(self.ok("optimize", home=self.path("home")), b"")
        self.assertEqual(self.ok("assistant", "get-prompt", "home", "soul"), b"Be kind.\n")
        self.refused(1, "nowhere: no home there", "optimize", "nowhere")


class Migrate(CareTest):
    def setUp(self):
        super().setUp()
        self.ok("assistant", "set-prompt", "home", "soul", "Be kind.")
        os.mkdir(self.path("changes"))
        self.write("2026_notes.sql", "CREATE TABLE my_notes (id INTEGER PRIMARY KEY, text TEXT);")

    def write(self, name, text):
        with open(self.path("changes", name), "w", encoding="utf-8") as file:
            file.write(text)

    def test_status_plan_and_up(self):
        self.assertEqual([line.split("\t")[0] for line in self.ok("migrate", "home").decode().splitlines()], ["0001_assistant"])
        self.assertEqual(self.ok("migrate", "home", "plan", "--folder", "changes"), b"2026_notes\tfalse\t\n")
        self.assertEqual(self.ok("migrate", "home", "up", "--folder", "changes"), b"1\n")
        self.assertEqual(self.ok("migrate", "home", "up", "--folder", "changes"), b"0\n")
        rows = json.loads(self.ok("migrate", "home", "status", "--folder", "changes", "--json"))
        self.assertEqual([(row["version"], row["is_applied"], row["is_ours"]) for row in rows],
                         [("0001_assistant", True, True), ("2026_notes", True, False)])
        self.assertEqual(self.ok("migrate", "plan", f"--folder={self.path('changes')}", home=self.path("home")), b"")

    def test_one_that_fails_changes_nothing(self):
        self.write("2027_wrong.sql", "CREATE TABLE my_more (id INTEGER); INSERT INTO nowhere VALUES (1);")
        status, _, err = self.keep("migrate", "home", "up", "--folder", "changes")
        self.assertGreater(status, 2)
        self.assertEqual(err.count(b"\n"), 1)
        self.assertIn(b"2027_wrong", err)
        with sqlite3.connect(self.path("home/assistant/assistant.db")) as connection:
            tables = {name for name, in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'my_%'")}
        connection.close()
        self.assertEqual(tables, {"my_notes"})
        self.assertEqual(self.ok("migrate", "home", "plan", "--folder", "changes"), b"2027_wrong\tfalse\t\n")

    def test_wrong_words(self):
        self.refused(2, "migrate: 'sideways': status, plan or up is needed", "migrate", "home", "sideways")
        self.refused(2, "migrate: --folder: missing", "migrate", "home", "up")
        self.refused(1, "", "migrate", "home", "up", "--folder", "nowhere")
        self.refused(2, "migrate: HOME: missing", "migrate")


class Import(CareTest):
    def make(self, name, fixture):
        with open(os.path.join(SOURCE, "tests/fixtures", fixture), encoding="utf-8") as file:
            script = file.read()
        with sqlite3.connect(self.path(name)) as connection:
            connection.executescript(script)
        connection.close()
        with open(self.path(name), "rb") as file:
            return file.read()

    def test_each_file_finds_its_store(self):
        before = self.make("messages.db", "source_messages.sql")
        told = json.loads(self.ok("import", "home", "messages.db", "--json"))
        self.assertGreater(told["messages"], 0)
        with open(self.path("messages.db"), "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertGreater(len(self.ok("gateway", "list-chats", "home").splitlines()), 0)
        self.refused(4, "", "import", "home", "messages.db")
        self.refused(2, "--model: this file has no vectors", "import", "home", "messages.db", "--model", "m")

    def test_a_file_of_another_program_is_refused_and_nothing_is_made(self):
        with open(self.path("text"), "w", encoding="ascii") as file:
            file.write("hello")
        with sqlite3.connect(self.path("other.db")) as connection:
            connection.execute("CREATE TABLE x (a)")
        connection.close()
        self.refused(3, "not a SQLite database", "import", "home", "text")
        self.refused(4, "other.db: no layout that Keep knows", "import", "home", "other.db")
        self.refused(1, "", "import", "home", "nowhere.db")
        self.refused(2, "import: FILE: missing", "import", "home")
        self.refused(2, "import: HOME: missing", "import")
        self.assertEqual(sorted(os.listdir(self.path("home"))), ["home.json", "vault.key"])

    def make_assistant(self, name):
        self.make(name, "source_assistant.sql")
        with sqlite3.connect(self.path(name)) as connection:
            connection.execute("INSERT INTO service_credentials (service_name, credential_type, credential_data) "
                               "VALUES ('mail', 'api_key', ?)", (HELLO_UNDER_A,))
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        with open(self.path(name), "rb") as file:
            return file.read()

    def test_the_assistants_file_is_taken_over_as_it_is_told(self):
        before = self.make_assistant("assistant.db")
        with open(self.path("home/vault.key"), "a", encoding="ascii") as file:
            file.write(KEY_A + "\n")
        told = json.loads(self.ok("import", "home", "assistant.db", "--json", "--model", "m"))
        tables = {table["table"]: table for table in told["tables"]}
        with sqlite3.connect(self.path("assistant.db")) as source:
            for name, table in tables.items():
                rows, = source.execute(f"SELECT count(*) FROM {name}").fetchone()
                self.assertEqual(table["rows"], rows, name)
                self.assertEqual(table["adopted"] + table["kept"], rows, name)
        source.close()
        with sqlite3.connect(self.path("home/assistant/assistant.db")) as store:
            for name in ("conversations", "messages", "agent_tasks", "cron_jobs", "future_tasks", "job_executions",
                         "service_credentials", "search_index"):
                rows, = store.execute(f"SELECT count(*) FROM {name}").fetchone()
                self.assertEqual(tables[name]["adopted"], rows, name)
        store.close()
        self.assertTrue(any(remark.startswith("agent_tasks: ") for remark in told["remarks"]))
        self.assertEqual(self.ok("assistant", "get-credential", "home", "mail"), b"hello\n")
        self.assertIn(b"p1", self.ok("assistant", "find", "home", "tea"))
        with open(self.path("assistant.db"), "rb") as file:
            self.assertEqual(file.read(), before)
        self.refused(4, "the assistant has content already", "import", "home", "assistant.db")

    def test_the_assistants_file_needs_its_key_and_nothing_is_made_beside_it(self):
        before = self.make_assistant("assistant.db")
        self.refused(5, "", "import", "home", "assistant.db")
        with open(self.path("assistant.db"), "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(sorted(os.listdir(self.folder)), ["assistant.db", "home"])
        self.assertEqual(json.loads(self.ok("assistant", "list-conversations", "home", "--json"))["conversations"], [])


if __name__ == "__main__":
    unittest.main()
