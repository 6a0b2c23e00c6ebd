#!/usr/bin/env python3
"""keep engine …: what each command prints and how it exits, on every backend that needs no server."""
import json
import os
import signal
import unittest

from keep_cli import SOON, CliTest


class Engine(CliTest):
    urls = ("sqlite:x.db", "file:x")

    def each(self):
        for url in self.urls:
            with self.subTest(url=url):
                yield url

    def test_a_value_comes_back_byte_for_byte(self):
        every_byte = bytes(range(256)) * 300 + b"\r\n\n"
        for url in self.each():
            for value in (b"", b"\n", b"text", "Grüße ✓".encode(), every_byte):
                self.assertEqual(self.ok("engine", "set", url, "a/b", "-", stdin=value), b"")
                self.assertEqual(self.ok("engine", "get", url, "/a//b/"), value)

    def test_a_value_of_64_mib_comes_back_and_one_byte_more_is_full(self):
        value = os.urandom(1 << 20) * 64
        self.ok("engine", "set", "sqlite:x.db", "big", "-", stdin=value)
        self.assertTrue(self.ok("engine", "get", "sqlite:x.db", "big") == value)
        self.refused(7, "value: 67108865 bytes", "engine", "set", "sqlite:x.db", "big", "-",
                     stdin=value + b"x")
        self.assertTrue(self.ok("engine", "get", "sqlite:x.db", "big") == value)
        self.ok("engine", "set", "sqlite:x.db", "big", "-", "--value-bytes-max", "67108865",
                stdin=value + b"x")

    def test_what_is_missing_exits_with_1(self):
        for url in self.each():
            for verb in ("get", "list", "count", "scan", "describe", "watch"):
                status, out, err = self.keep("engine", verb, url, *(["a"] if verb == "get" else []))
                self.assertEqual((status, out), (1, b""), (verb, err))
                self.assertTrue(err.startswith(b"keep: "), err)
            self.assertEqual(os.listdir(self.folder) if url == "sqlite:x.db" else [], [])
            self.ok("engine", "set", url, "a", "v")
            self.assertEqual(self.keep("engine", "get", url, "b")[0], 1)

    def test_set_unset_and_clear_make_a_missing_store(self):
        for number, words in enumerate((("set", "a", "b"), ("unset", "a"), ("clear",))):
            url = f"sqlite:{number}.db"
            self.ok("engine", words[0], url, *words[1:])
            self.assertEqual(self.ok("engine", "count", url), b"0\n" if number else b"1\n")

    def test_list_is_newest_first(self):
        for url in self.each():
            for name in "abc":
                self.ok("engine", "set", url, f"p/{name}", f"value {name}")
            self.ok("engine", "set", url, "p/a", "again")
            self.assertEqual(self.ok("engine", "list", url, "p"), b"again\nvalue c\nvalue b\n")
            self.assertEqual(self.ok("engine", "list", url, "p", "--names", "--limit", "2"),
                             b"a\tagain\nc\tvalue c\n")
            self.assertEqual(self.ok("engine", "list", url, "p", "--offset=1", "--limit=1"), b"value c\n")
            self.assertEqual(self.ok("engine", "list", url, "p", "--null"), b"again\0value c\0value b\0")
            self.assertEqual(self.ok("engine", "list", url, "p", "--limit", "0"), b"")
            self.assertEqual(self.ok("engine", "list", url, "nothing/here"), b"")
            self.assertEqual(self.ok("engine", "list", url), b"")
            self.assertEqual(self.ok("engine", "count", url, "p"), b"3\n")
            self.assertEqual(json.loads(self.ok("engine", "list", url, "p", "--json")),
                             ["again", "value c", "value b"])

    def test_a_score_is_a_place_in_the_order(self):
        for url in self.each():
            self.ok("engine", "set", url, "p/new", "1")
            self.ok("engine", "set", url, "p/old", "2", "--score-ms", "1000")
            self.assertEqual(self.ok("engine", "list", url, "p"), b"1\n2\n")

    def test_unset_takes_everything_below_and_nothing_beside(self):
        for url in self.each():
            for path in ("a_c/1", "abc/1", "a_c", "a_c2"):
                self.ok("engine", "set", url, path, path)
            self.ok("engine", "unset", url, "a_c")
            self.ok("engine", "unset", url, "a_c")
            self.assertEqual(sorted(self.ok("engine", "scan", url).split(b"\n")),
                             [b"", b"a_c2\ta_c2", b"abc/1\tabc/1"])
            self.ok("engine", "clear", url)
            self.assertEqual(self.ok("engine", "scan", url), b"")

    def test_compare_and_set_says_no_with_1(self):
        for url in self.each():
            cas = ("engine", "compare-and-set", url, "creds")
            self.ok(*cas, "--value", "one")
            self.refused(1, "", *cas, "--value", "two")
            self.refused(1, "", *cas, "--expected", "other", "--value", "two")
            self.ok(*cas, "--expected", "one", "--value", "two")
            self.assertEqual(self.ok("engine", "get", url, "creds"), b"two")
            self.ok(*cas, "--expected", "two")
            self.assertEqual(self.keep("engine", "get", url, "creds")[0], 1)

    def test_batch_with_changes_is_all_or_nothing(self):
        for url in self.each():
            changes = [{"op": "set", "path": "a", "value": "1"}, {"op": "set", "path": "b", "value": "2"},
                       {"op": "set", "path": "c", "value": "/wA=", "encoding": "base64"}]
            self.ok("engine", "batch", url, "--changes", json.dumps(changes))
            self.assertEqual(self.ok("engine", "get", url, "c"), b"\xff\x00")
            refused = [{"op": "unset", "path": "a"},
                       {"op": "compare_and_set", "path": "b", "expected": "3", "value": "4"}]
            self.refused(1, "", "engine", "batch", url, "--changes", "-", stdin=json.dumps(refused).encode())
            self.assertEqual(self.ok("engine", "get", url, "a"), b"1")
            for wrong, why in (
                    ('{"op":"set"}', "changes: an object where an array belongs"),
                    ('[{"path":"a"}]', "changes[0]: op: missing"),
                    ('[{"op":"get","path":"a"}]', "changes[0]: op: 'get' is none of"),
                    ('[{"op":"set","path":"a"}]', "changes[0]: value: missing"),
                    ('[{"op":"clear"},{"op":"unset","path":".."}]', "changes[1]: path: '..'"),
                    ('[{"op":"unset","path":"a","score":1}]', "changes[0]: score: no such input"),
                    ('[{"op":"clear"}]}', "changes: not JSON"),
                    ('[7]', "changes[0]: an integer where an object belongs")):
                self.refused(3, why, "engine", "batch", url, "--changes", wrong)
            self.assertEqual(self.ok("engine", "get", url, "a"), b"1")

    def test_bytes_that_are_no_text_need_base64_in_json(self):
        for url in self.each():
            self.ok("engine", "set", url, "p/a", "-", stdin=b"\xff\x00")
            for words in (("get", url, "p/a"), ("list", url, "p"), ("scan", url)):
                self.refused(3, "value: not UTF-8", "engine", *words, "--json")
            self.assertEqual(self.ok("engine", "get", url, "p/a", "--json", "--encoding", "base64"),
                             b'"/wA="\n')
            self.assertEqual(self.ok("engine", "list", url, "p", "--json", "--encoding=base64", "--names"),
                             b'[{"name":"a","value":"/wA="}]\n')
            self.ok("engine", "set", url, "p/b", "AAE=", "--encoding", "base64")
            self.assertEqual(self.ok("engine", "get", url, "p/b"), b"\x00\x01")
            self.refused(3, "value: ", "engine", "set", url, "p/b", "AAE", "--encoding", "base64")

    def test_results_as_json(self):
        for url in self.each():
            self.assertEqual(self.ok("engine", "set", url, "a", "b", "--json"), b"null\n")
            self.assertEqual(self.ok("engine", "get", url, "a", "--json"), b'"b"\n')
            self.assertEqual(self.ok("engine", "count", url, "--json"), b"1\n")
            self.assertEqual(self.ok("engine", "scan", url, "--json"), b'[{"path":"a","value":"b"}]\n')
            self.assertEqual(self.ok("engine", "unset", url, "a", "--json"), b"true\n")
            self.assertEqual(self.ok("engine", "clear", url, "--json"), b"null\n")
            status, out, _ = self.keep("engine", "watch", url, "--timeout-ms", "0", "--json")
            self.assertEqual((status, out), (1, b"false\n"))

    def test_describe_tells_backend_and_durability(self):
        self.ok("engine", "set", "sqlite:x.db", "a", "b")
        self.assertEqual(self.ok("engine", "describe", "sqlite:x.db"),
                         b"backend: sqlite\ndurability: synced\ncan_extend: true\n")
        self.assertEqual(json.loads(self.ok("engine", "info", "sqlite:x.db", "--durability", "relaxed",
                                            "--json")),
                         {"backend": "sqlite", "durability": "relaxed", "can_extend": True})

    def test_a_read_only_store_refuses_changes(self):
        for url in self.each():
            self.assertEqual(self.keep("engine", "set", url, "a", "b", "--read-only")[0], 1)
            self.ok("engine", "set", url, "a", "b")
            self.refused(5, "the engine was opened read-only", "engine", "set", url, "a", "c", "--read-only")
            self.assertEqual(self.ok("engine", "get", url, "a", "--read-only"), b"b")

    def test_a_watch_says_changed_or_exits_with_1(self):
        for url in self.each():
            self.ok("engine", "set", url, "a", "b")
            self.assertEqual(self.keep("engine", "watch", url, "chat", "--timeout-ms", "30"), (1, b"", b""))
            watch = self.start("engine", "watch", url, "chat", "--announce")
            self.assertEqual(watch.stdout.readline(), b"waiting\n")
            self.ok("engine", "set", url, "chat/1", "v")
            self.assertEqual((watch.stdout.read(), watch.wait(SOON)), (b"changed\n", 0))

    def test_ctrl_c_ends_a_watch_cleanly(self):
        for url in self.each():
            self.ok("engine", "set", url, "a", "b")
            for number in (signal.SIGINT, signal.SIGTERM):
                watch = self.start("engine", "watch", url, "--announce")
                self.assertEqual(watch.stdout.readline(), b"waiting\n")
                watch.send_signal(number)
                self.assertEqual((watch.wait(SOON), watch.stdout.read(), watch.stderr.read()),
                                 (128 + number, b"", b""))

    def test_a_reader_that_goes_away_is_no_failure(self):
        self.keep("engine", "batch", "sqlite:x.db", stdin=b"".join(
            b'{"op":"set","path":"p/%d","value":"%s"}\n' % (i, b"x" * 1000) for i in range(1000)))
        for verb in ("scan", "list"):
            process = self.start("engine", verb, "sqlite:x.db", "p", "--limit", "1000")
            process.stdout.read(10)
            process.stdout.close()
            self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_output_that_cannot_be_written_is_a_failure(self):
        self.ok("engine", "set", "sqlite:x.db", "a", "b")
        with open("/dev/full", "wb") as full:
            for words in (("engine", "get", "sqlite:x.db", "a"), ("--help",)):
                import subprocess
                from keep_cli import COMMAND
                done = subprocess.run([COMMAND, *words], stdout=full, stderr=subprocess.PIPE,
                                      cwd=self.folder, check=False)
                self.assertEqual(done.returncode, 7)
                self.assertEqual(done.stderr, b"keep: standard output: No space left on device\n")

    def test_a_newer_store_and_a_foreign_file_are_refused(self):
        with open(os.path.join(self.folder, "x.db"), "wb") as file:
            file.write(b"this is no database" * 100)
        self.assertEqual(self.keep("engine", "get", "sqlite:x.db", "a")[0], 10)


class Homes(CliTest):
    def test_init_makes_a_private_home_once(self):
        self.ok("init", "home")
        self.assertEqual(os.stat(os.path.join(self.folder, "home")).st_mode & 0o777, 0o700)
        with open(os.path.join(self.folder, "home", "home.json"), encoding="utf-8") as file:
            before = file.read()
        self.assertEqual(json.loads(before)["format"], 1)
        self.ok("init", "home")
        with open(os.path.join(self.folder, "home", "home.json"), encoding="utf-8") as file:
            self.assertEqual(file.read(), before)

    def test_init_takes_an_empty_folder_and_no_other(self):
        os.mkdir(os.path.join(self.folder, "empty"), 0o755)
        self.ok("init", "empty")
        self.assertEqual(os.stat(os.path.join(self.folder, "empty")).st_mode & 0o777, 0o700)
        os.mkdir(os.path.join(self.folder, "full"))
        open(os.path.join(self.folder, "full", "theirs"), "wb").close()
        self.refused(4, "full: not a home, and not empty (it has 'theirs')", "init", "full")
        self.assertEqual(os.listdir(os.path.join(self.folder, "full")), ["theirs"])
        self.assertNotEqual(self.keep("init", "full/theirs")[0], 0)
        self.refused(3, "home: this URL is one store's own", "init", "sqlite:x.db")

    def test_a_newer_or_damaged_home_is_refused(self):
        self.ok("init", "home")
        for text, status in (('{"format":2}', 11), ('{"format":"1"}', 10), ("", 10), ("[]", 10)):
            with open(os.path.join(self.folder, "home", "home.json"), "w", encoding="utf-8") as file:
                file.write(text)
            for words in (("init", "home"), ("engine", "set", "home", "a", "b"), ("call", "home")):
                self.assertEqual(self.keep(*words)[0], status, (text, words))
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "home"))), ["home.json", "vault.key"])

    def test_no_home_there(self):
        self.refused(1, "nowhere: no home there", "engine", "get", "nowhere", "a")
        self.refused(1, "nowhere: no home there", "call", "nowhere")
        self.refused(1, ".: no home there", "engine", "set", ".", "a", "b")

    def test_engines_of_a_home_are_named(self):
        self.ok("init", "home")
        self.assertEqual(self.keep("engine", "get", "home", "a")[0], 1)
        self.assertEqual(self.ok("engine", "list", "home"), b"")
        self.assertEqual(self.ok("engine", "count", "home", "a"), b"0\n")
        self.assertEqual(self.ok("engine", "scan", "home"), b"")
        self.refused(3, "path: '..'", "engine", "count", "home", "..")
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "home"))), ["home.json", "vault.key"])
        self.ok("engine", "set", "home", "a", "1")
        self.ok("engine", "set", "home", "a", "2", "--engine", "other one")
        self.assertEqual(self.ok("engine", "get", "home", "a"), b"1")
        self.assertEqual(self.ok("engine", "get", "home", "a", "--engine", "other one"), b"2")
        self.assertEqual(self.ok("engine", "get", "home", "a", "--engine", "default"), b"1")
        self.ok("engine", "clear", "home", "--engine", "other one")
        self.assertEqual(self.ok("engine", "get", "home", "a"), b"1")
        for name in ("a/b", "..", "", "/a", "x" * 201):
            status, _, err = self.keep("engine", "set", "home", "a", "1", "--engine", name)
            self.assertEqual(status, 3, name)
            self.assertTrue(err.startswith(b"keep: engine: "), err)
        self.refused(3, "engine: the session is on one engine", "engine", "get", "sqlite:x.db", "a",
                     "--engine", "x")

    def test_batch_serves_an_engine_of_a_home(self):
        self.ok("init", "home")
        out = self.ok("engine", "batch", "home", "--engine", "e",
                      stdin=b'{"id":1,"op":"set","path":"a","value":"v"}\n')
        self.assertEqual(out, b'{"id":1,"ok":true,"result":null}\n')
        self.assertEqual(self.ok("engine", "get", "home", "a", "--engine", "e"), b"v")


if __name__ == "__main__":
    unittest.main()
