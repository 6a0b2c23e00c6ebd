#!/usr/bin/env python3
"""`keep backup` and `keep restore`: a home in use, a flipped byte, rotation, a home on a server, a bucket.

What a backup is and what a kill leaves is the business of tests/contract and tests/torture; here are the
words, the output, the exit statuses, and that what was restored can be used.
"""
import json
import os
import pty
import re
import signal
import subprocess
import sys
import unittest

from keep_cli import COMMAND, SECONDS, SOURCE, CliTest, environment, psql, server_url

SECRET = "sk-that-nobody-may-see"
NAME = r"^\d{8}T\d{6}Z(-\d+)?$"


class BackupTest(CliTest):
    count = 0

    def new_server(self):
        BackupTest.count += 1
        database = f"keep_cli_backup_{os.getpid()}_{BackupTest.count}"
        psql(f"CREATE DATABASE {database}")
        self.addCleanup(psql, f"DROP DATABASE {database} WITH (FORCE)")
        return server_url(database)

    def fill(self, home="home"):
        self.ok("init", home)
        for i in range(20):
            self.ok("engine", "set", home, f"notes/n{i}", f"value {i}")
        self.ok("gateway", "set-state", home, "key", "v")
        self.ok("assistant", "set-prompt", home, "soul", "Be kind.")

    def backup(self, *words, home="home"):
        name = self.ok("backup", home, *words).decode().rstrip("\n")
        self.assertRegex(name, NAME)
        return name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def listed(self, place="home"):
        return [json.loads(line) for line in self.ok("backup", place, "--list", "--json").splitlines()]

    def must_be_the_home(self, home):
        self.assertEqual(self.ok("engine", "count", home, "notes"), b"20\n")
        self.assertEqual(self.ok("gateway", "get-state", home, "key"), b"v")
        self.assertEqual(self.ok("assistant", "get-prompt", home, "soul"), b"Be kind.\n")


class Making(BackupTest):
    def test_a_backup_is_made_listed_verified_and_restored(self):
        self.fill()
        name = self.backup("--label", "first")
        told = json.loads(self.ok("backup", "home", "--json"))
        self.assertEqual((told["databases"], told["damaged"], told["is_uploaded"], told["removed"]), (3, 0, False, 0))
        self.assertEqual([(b["name"], b["label"], b["is_good"], b["why"]) for b in self.listed()],
                         [(name, "first", True, ""), (told["name"], "", True, "")])
        self.assertRegex(self.ok("backup", "home", "--list").decode().splitlines()[0], rf"^{name} +\d+ bytes  first +good$")
        self.assertEqual(self.ok("backup", "home", "--verify"), b"The backup is whole.\n")
        self.assertEqual(self.ok("backup", "home", "--verify", "--name", name), b"The backup is whole.\n")
        self.assertIn(f"new is the home of {name} now.\n", self.ok("restore", "home", "new", "--name", name).decode())
        self.must_be_the_home("new")
        self.ok("restore", os.path.join("home/backups", name), "other")
        self.must_be_the_home("other")

    def test_the_key_is_in_no_backup_and_no_secret_is_readable_in_one(self):
        self.fill()
        self.ok("assistant", "put-credential", "home", "openai", "api_key", "-", stdin=SECRET.encode())
        with open(self.path("home/vault.key"), "rb") as file:
            key = file.read().strip()
        name = self.backup()
        for folder, _, files in os.walk(self.path("home/backups")):
            for file_name in files:
                self.assertNotIn("vault.key", file_name)
                with open(os.path.join(folder, file_name), "rb") as file:
                    text = file.read()
                self.assertNotIn(key, text, file_name)
                self.assertNotIn(SECRET.encode(), text, file_name)
        with open(self.path("home/backups", name, "manifest.json"), "rb") as file:
            self.assertIn(self.ok("assistant", "list-credentials", "home", "--json").split(b'"key_id":"')[1][:16], file.read())
        text = self.ok("restore", "home", "new").decode()
        self.assertIn("It has no vault.key", text)
        self.refused(5, "credential 'openai': no encryption key", "assistant", "get-credential", "new", "openai")
        os.link(self.path("home/vault.key"), self.path("new/vault.key"))
        self.assertEqual(self.ok("assistant", "get-credential", "new", "openai"), SECRET.encode() + b"\n")

    def test_writers_go_on_and_the_backup_is_of_one_moment(self):
        self.fill()
        writer = self.start("call", "home")
        # Each pair of calls writes one number into two stores, the engine first.
        lines = b"".join(b'{"id":1,"call":"engine.set","with":{"path":"pair","value":"%d"}}\n'
                         b'{"id":2,"call":"gateway.set_state","with":{"key":"pair","value":"%d"}}\n' % (i, i) for i in range(1, 1500))
        feeder = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
                                  stdin=subprocess.PIPE, stdout=writer.stdin)
        feeder.stdin.write(lines)
        feeder.stdin.close()
        writer.stdin.close()
        for _ in range(4):
            writer.stdout.readline()
        name = self.backup()
        rest = writer.stdout.read()
        self.assertEqual((writer.wait(SECONDS), feeder.wait(SECONDS)), (0, 0))
        self.assertNotIn(b'"ok":false', rest)
        self.ok("restore", "home", "new", "--name", name)
        engine = int(self.ok("engine", "get", "new", "pair"))
        gateway = int(self.ok("gateway", "get-state", "new", "pair"))
        self.assertIn(engine - gateway, (0, 1))

    def test_a_flipped_byte_is_found_and_is_not_restored(self):
        self.fill()
        first, second = self.backup(), self.backup()
        path = self.path("home/backups", second, "data/gateway/messages.db")
        with open(path, "r+b") as file:
            file.seek(5000)
            byte = file.read(1)
            file.seek(5000)
            file.write(bytes([byte[0] ^ 16]))
        status, out, err = self.keep("backup", "home", "--verify")
        self.assertEqual((status, out, err.count(b"\n")), (10, b"", 1))
        self.assertIn(b"gateway/messages.db", err)
        status, _, err = self.keep("restore", "home", "new")
        self.assertEqual((status, err.count(b"\n")), (10, 1))
        self.assertEqual(os.listdir(self.folder), ["home"])
        os.truncate(path, 100)
        self.assertEqual([b["is_good"] for b in self.listed()], [True, False])
        self.assertIn("not good: ", self.ok("backup", "home", "--list").decode())
        self.assertIn(first, self.ok("restore", "home", "new").decode())

    def test_rotation_keeps_the_newest_and_what_has_a_label(self):
        self.fill()
        names = [self.backup("--label", "keep-me"), self.backup(), self.backup(), self.backup()]
        self.assertEqual(self.ok("backup", "home", "--prune", "--daily", "1", "--dry-run"), b"2\n")
        self.assertEqual(len(self.listed()), 4)
        self.assertEqual(self.ok("backup", "home", "--prune", "--daily", "1"), b"2\n")
        self.assertEqual([b["name"] for b in self.listed()], [names[0], names[3]])
        told = json.loads(self.ok("backup", "home", "--rotate", "--json", "--zone", "Europe/Berlin"))
        self.assertEqual([b["name"] for b in self.listed()], [names[0], told["name"]])
        self.assertEqual(told["removed"], 1)

    def test_a_restore_over_a_home_sets_it_aside_and_takes_its_key_over(self):
        self.fill()
        self.ok("assistant", "put-credential", "home", "openai", "api_key", SECRET)
        self.backup()
        self.ok("engine", "set", "home", "notes/n99", "later")
        self.refused(4, "home is not empty", "restore", "home", "home")
        told = json.loads(self.ok("restore", "home", "home", "--over", "--json"))
        self.assertTrue(told["has_key"])
        self.must_be_the_home("home")
        self.assertEqual(self.ok("assistant", "get-credential", "home", "openai"), SECRET.encode() + b"\n")
        self.assertEqual(self.ok("engine", "get", told["set_aside"], "notes/n99"), b"later")

    def test_a_home_that_is_open_is_not_restored_over(self):
        self.fill()
        self.backup()
        process = self.start("call", "home")
        process.stdin.write(b'{"id":1,"call":"gateway.get_state","with":{"key":"key"}}\n')
        process.stdin.flush()
        process.stdout.readline()
        status, _, err = self.keep("restore", "home", "home", "--over")
        self.assertEqual((status, err.count(b"\n")), (6, 1), err)
        self.must_be_the_home("home")

    def test_what_is_wrong_is_told_before_anything_is_made(self):
        self.fill()
        os.mkdir(self.path("plain"))
        for exit_status, message, words in (
                (2, "backup: HOME: missing", ("backup",)),
                (2, "backup: only one of", ("backup", "home", "--list", "--verify")),
                (2, "--fast: no such option", ("backup", "home", "--fast")),
                (2, "--daily: '-1': a number is needed", ("backup", "home", "--daily", "-1")),
                (2, "--label: is there twice", ("backup", "home", "--label", "a", "--label=b")),
                (2, "--json: takes no value", ("backup", "home", "--json=yes")),
                (2, "backup: 'more': one word too many", ("backup", "home", "more")),
                (1, "plain: no home there", ("backup", "plain")),
                (1, "nowhere: no home there", ("backup", "nowhere")),
                (1, "", ("backup", "nowhere", "--list")),
                (3, "there is no time zone", ("backup", "home", "--zone", "Nowhere")),
                (3, "", ("backup", "home", "--s3", "nope")),
                (3, "", ("backup", "home", "--label", "a b")),
                (3, "name: ", ("backup", "home", "--verify", "--name", "../x")),
                (1, "home: there is no good backup", ("backup", "home", "--verify")),
                (3, "to: a home on a server needs a folder", ("backup", "postgres:///x?host=/nowhere")),
                (8, "", ("backup", "postgres:///x?host=/nowhere", "--to", "there")),
                (2, "restore: FROM: missing", ("restore",)),
                (2, "restore: TARGET: missing", ("restore", "home")),
                (1, "home: there is no good backup", ("restore", "home", "new")),
                (1, "", ("restore", "nowhere", "new"))):
            self.refused(exit_status, message, *words)
        self.assertEqual(sorted(os.listdir(self.folder)), ["home", "plain"])
        self.assertNotIn("backups", os.listdir(self.path("home")))
        self.assertEqual(self.ok("backup", home="home").decode().count("\n"), 1)

    def test_ctrl_c_ends_it_and_leaves_nothing(self):
        self.fill()
        with open(self.path("home/large"), "wb") as file:
            file.truncate(4 << 30)
        process = self.start("backup", "home")
        while not (os.path.isdir(self.path("home/backups")) and os.listdir(self.path("home/backups"))):
            if process.poll() is not None:
                break
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 130)
        self.assertEqual(process.stderr.read().count(b"\n"), 1)
        self.assertEqual([name for name in os.listdir(self.path("home/backups")) if "Z" in name], [])
        os.remove(self.path("home/large"))
        self.backup()

    def test_progress_is_for_a_terminal(self):
        self.fill()
        with open(self.path("home/large"), "wb") as file:
            file.truncate(300 << 20)
        master, slave = pty.openpty()
        with subprocess.Popen([COMMAND, "backup", "home"], stdout=subprocess.PIPE, stderr=slave, cwd=self.folder,
                              env=environment()) as process:
            os.close(slave)
            shown = b""
            while True:
                try:
                    piece = os.read(master, 4096)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
            name = process.stdout.read().decode().rstrip("\n")
            self.assertEqual(process.wait(SECONDS), 0)
        os.close(master)
        self.assertRegex(name, NAME)
        self.assertRegex(shown.decode(), r"\r\d+ of \d+ MB")
        self.assertTrue(re.search(r"\r +\r$", shown.decode()), shown)


class Server(BackupTest):
    def test_a_home_on_a_server_is_backed_up_and_restored(self):
        self.fill()
        url, target = self.new_server(), self.new_server()
        self.ok("transfer", "home", url)
        name = self.backup("--to", "copies", home=url)
        self.assertEqual(os.listdir(self.path("copies")), ["backups"])
        self.assertEqual([b["name"] for b in self.listed("copies")], [name])
        self.assertEqual(self.ok("backup", "copies", "--verify"), b"The backup is whole.\n")
        self.ok("restore", "copies", "new")
        self.must_be_the_home("new")
        os.environ["TMPDIR"] = self.path("copies")
        self.addCleanup(os.environ.pop, "TMPDIR")
        text = self.ok("restore", "copies", target).decode()
        self.assertIn(f"is the home of {name} now.\n", text)
        self.must_be_the_home(target)
        self.assertEqual(os.listdir(self.path("copies")), ["backups"])
        # It has something now.
        status, _, err = self.keep("restore", "copies", target)
        self.assertEqual((status, err.count(b"\n")), (4, 1))
        self.assertEqual(os.listdir(self.path("copies")), ["backups"])

    def test_rotation_is_of_the_folder_that_it_goes_to(self):
        self.fill()
        first, second = self.backup("--to", "copies"), self.backup("--to", "copies", "--rotate")
        self.assertNotEqual(first, second)
        self.assertEqual([b["name"] for b in self.listed("copies")], [second])


class Bucket(BackupTest):
    """Beside tests/support/s3_server.py, which the test starts itself."""

    PLACE = "s3://keep-test/homes/one"

    def setUp(self):
        super().setUp()
        server = subprocess.Popen([sys.executable, os.path.join(SOURCE, "tests/support/s3_server.py"), "sh", "-c",
                                   "echo $KEEP_TEST_S3; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(server.wait)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.stdin.close)
        address = server.stdout.readline().decode().strip()
        sys.path.insert(0, os.path.join(SOURCE, "tests/support"))
        import s3_server  # pylint: disable=import-outside-toplevel
        for name, value in (("AWS_ENDPOINT_URL", address), ("AWS_ACCESS_KEY_ID", s3_server.ACCESS_KEY),
                            ("AWS_SECRET_ACCESS_KEY", s3_server.SECRET_KEY), ("AWS_REGION", s3_server.REGION)):
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name)

    def test_a_bucket_has_the_backup_too_and_gives_it_back(self):
        self.fill()
        told = json.loads(self.ok("backup", "home", "--s3", self.PLACE, "--json"))
        self.assertTrue(told["is_uploaded"])
        self.assertEqual([(b["name"], b["is_good"]) for b in self.listed(self.PLACE)], [(told["name"], True)])
        self.ok("restore", self.PLACE, "new")
        self.must_be_the_home("new")
        self.assertEqual(sorted(os.listdir(self.folder)), ["home", "new"])
        self.refused(3, "a backup in a bucket", "backup", self.PLACE, "--verify")

    def test_rotation_is_of_the_bucket_too(self):
        self.fill()
        self.backup("--s3", self.PLACE)
        second = self.backup("--s3", self.PLACE, "--rotate")
        self.assertEqual([b["name"] for b in self.listed()], [second])
        self.assertEqual([b["name"] for b in self.listed(self.PLACE)], [second])
        self.assertEqual(self.ok("backup", self.PLACE, "--prune", "--dry-run"), b"0\n")

    def test_an_upload_that_is_refused_is_told_and_the_backup_is_there(self):
        self.fill()
        os.environ["AWS_SECRET_ACCESS_KEY"] = "another"
        status, out, err = self.keep("backup", "home", "--s3", self.PLACE)
        self.assertEqual((status, out, err.count(b"\n")), (5, b"", 1), err)
        self.assertIn(b"is made, but was not uploaded", err)
        self.assertNotIn(b"another", err)
        self.assertEqual([b["is_good"] for b in self.listed()], [True])


if __name__ == "__main__":
    unittest.main()
