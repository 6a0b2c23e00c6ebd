#!/usr/bin/env python3
"""How words become a call: options anywhere, `--`, KEEP_HOME, and what is wrong use (exit status 2)."""
import os
import unittest

from keep_cli import CliTest

URL = "sqlite:x.db"


class Words(CliTest):
    def test_options_may_stand_anywhere(self):
        self.ok("engine", "set", "--durability", "relaxed", URL, "--score-ms", "5", "p/a", "v")
        for words in (("--names", URL, "p"), (URL, "--names", "p"), (URL, "p", "--names"),
                      ("--names=true", "--limit=1", URL, "p"), ("--limit", "1", URL, "--names", "p")):
            self.assertEqual(self.ok("engine", "list", *words), b"a\tv\n", words)
        self.assertEqual(self.ok("engine", "list", URL, "p", "--names=false"), b"v\n")

    def test_hyphens_and_underscores_are_one(self):
        self.ok("engine", "compare_and_set", URL, "a", "--value=1")
        self.ok("engine", "compare-and-set", URL, "a", "--expected=1", "--value=2")
        self.ok("engine", "set", URL, "a", "1", "--score_ms", "3")

    def test_after_two_hyphens_a_word_may_begin_with_one(self):
        self.ok("engine", "set", URL, "--", "-path", "--value")
        self.assertEqual(self.ok("engine", "get", URL, "--", "-path"), b"--value")
        self.refused(2, "-path: no such option", "engine", "get", URL, "-path")
        self.ok("engine", "set", "--path=-x", "--value=-y", URL)
        self.assertEqual(self.ok("engine", "get", URL, "--path", "-x"), b"-y")

    def test_a_lone_hyphen_is_standard_input_for_a_value_only(self):
        self.ok("engine", "set", URL, "-", "-", stdin=b"in")
        self.assertEqual(self.ok("engine", "get", URL, "-"), b"in")
        self.ok("engine", "compare-and-set", URL, "-", "--expected", "-", "--value", "out", stdin=b"in")
        self.assertEqual(self.ok("engine", "get", URL, "-"), b"out")

    def test_wrong_use(self):
        for message, words in (
                ("a command is missing", ()),
                ("nonsense: no such command", ("nonsense",)),
                ("--nonsense: no such command", ("--nonsense",)),
                ("engine: a verb is missing", ("engine",)),
                ("engine nonsense: no such verb", ("engine", "nonsense")),
                ("HOME: missing", ("engine", "get")),
                ("PATH: missing", ("engine", "get", URL)),
                ("VALUE: missing", ("engine", "set", URL, "a")),
                ("PATH: missing", ("engine", "unset", URL)),
                ("'c': one word too many", ("engine", "get", URL, "b", "c")),
                ("'a': one word too many", ("engine", "clear", URL, "a")),
                ("--nonsense: no such option", ("engine", "get", URL, "a", "--nonsense", "b")),
                ("--limit: no such option", ("engine", "get", URL, "a", "--limit=3")),
                ("--null: no such option", ("engine", "get", URL, "a", "--null")),
                ("--announce: no such option", ("engine", "get", URL, "a", "--announce")),
                ("--limit: its value is missing", ("engine", "list", URL, "--limit")),
                ("--limit: given twice", ("engine", "list", URL, "--limit", "1", "--limit", "2")),
                ("path: given twice", ("engine", "get", URL, "a", "--path", "b")),
                ("init: HOME: missing", ("init",)),
                ("init: 'b': one word too many", ("init", "a", "b")),
                ("--a: no such option", ("init", "--a")),
                ("call: HOME: missing", ("call",)),
                ("completion: for which shell", ("completion", "fish")),
                ("help: nonsense: no such", ("help", "nonsense")),
                ("engine nonsense: no such verb", ("help", "engine", "nonsense"))):
            self.refused(2, message, *words)
        self.assertEqual(os.listdir(self.folder), [])

    def test_wrong_values_are_invalid_and_named(self):
        self.ok("engine", "set", URL, "a", "b")
        for message, words in (
                ("limit: 'x' is not an integer", ("list", URL, "--limit", "x")),
                ("limit: '1.0' is not an integer", ("list", URL, "--limit", "1.0")),
                ("limit: -1 is below 0", ("list", URL, "--limit", "-1")),
                ("limit: 1000001 is over 1000000", ("list", URL, "--limit", "1000001")),
                ("offset: -1 is below 0", ("list", URL, "--offset=-1")),
                ("names: 'maybe' is neither", ("list", URL, "--names=maybe")),
                ("score_ms: -1 is below 0", ("set", URL, "a", "b", "--score-ms", "-1")),
                ("encoding: 'hex' is not one of", ("get", URL, "a", "--encoding", "hex")),
                ("durability: 'none' is not one of", ("get", URL, "a", "--durability", "none")),
                ("timeout_ms: 0 is below 1", ("get", URL, "a", "--timeout-ms", "0")),
                ("path: the root has no value", ("get", URL, "/")),
                ("path: '..' is not a segment", ("get", URL, "a/../b")),
                ("path: not UTF-8", ("get", URL, b"\xff")),
                ("path: a segment of 256 bytes", ("get", URL, "x" * 256))):
            self.refused(3, message, "engine", *words)
        # A word with a scheme that nobody knows is a folder's name.
        self.refused(1, "nonsense:x: no home there", "engine", "get", "nonsense:x", "a")

    def test_a_folder_may_look_like_anything(self):
        self.ok("init", "my:home")
        self.ok("engine", "set", "my:home", "a", "b")
        self.assertEqual(self.ok("engine", "get", "--home", "my:home", "a"), b"b")

    def test_keep_home_stands_in(self):
        self.ok("init", home="home")
        self.ok("engine", "set", "a", "1", home="home")
        self.assertEqual(self.ok("engine", "get", "a", home="home"), b"1")
        self.assertEqual(self.ok("engine", "count", home="home"), b"1\n")
        self.assertEqual(self.ok("engine", "list", "a", home="home"), b"")
        self.assertEqual(self.ok("engine", "get", "home", "a"), b"1")
        # One word more than the verb takes: the first is HOME after all.
        self.ok("init", "other")
        self.ok("engine", "set", "other", "a", "2", home="home")
        self.assertEqual(self.ok("engine", "get", "other", "a", home="home"), b"2")
        # A URL is never a path by mistake.
        self.ok("engine", "set", URL, "a", "3", home="home")
        self.assertEqual(self.ok("engine", "count", URL, home="home"), b"1\n")
        # --home is not guessed about.
        self.assertEqual(self.ok("engine", "get", "--home", "other", "a", home="home"), b"2")
        self.assertEqual(self.ok("engine", "get", "a", home="home"), b"1")
        self.refused(2, "HOME: missing", "engine", "get", home="")
        self.assertEqual(self.ok("call", home="home", stdin=b'{"id":1,"call":"engine.get","with":{"path":"a"}}'),
                         b'{"id":1,"ok":true,"result":"1"}\n')


if __name__ == "__main__":
    unittest.main()
