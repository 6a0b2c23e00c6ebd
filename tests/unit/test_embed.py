#!/usr/bin/env python3
"""test_embed.py EMBED - what tools/embed.c writes is right, and what it refuses it names."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

EMBED = pathlib.Path(sys.argv.pop(1)).resolve()


class Embedding(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.holder.name)

    def tearDown(self):
        self.holder.cleanup()

    def embed(self, mode, name, *files):
        return subprocess.run([EMBED, mode, name, "out.c", "out.h", *files], cwd=self.folder,
                              capture_output=True, text=True)

    def write(self, name, content):
        data = content if isinstance(content, bytes) else content.encode()
        (self.folder / name).write_bytes(data)
        return name

    def refused(self, words, mode, name, *files):
        run = self.embed(mode, name, *files)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn(words, run.stderr)
        self.assertFalse((self.folder / "out.c").exists(), "half an output")
        self.assertFalse((self.folder / "out.h").exists(), "half an output")

    def embedded(self, *arguments):
        run = self.embed(*arguments)
        self.assertEqual(run.returncode, 0, run.stderr)
        return (self.folder / "out.c").read_text(), (self.folder / "out.h").read_text()

    def test_every_byte_comes_back_out_of_a_compiled_program(self):
        content = bytes(range(256)) + b"??=\"\\\n%d*/\r\n" + "é…".encode()
        self.write("all.bin", content)
        self.write("empty", b"")
        self.embedded("files", "some", "all.bin", "named/otherwise=empty")
        self.write("main.c", '#include "out.h"\n#include <stdio.h>\nint main(void)\n{\n'
                   "for (int i = 0; i < KP_SOME_FILE_COUNT; i++)\n"
                   'fprintf(stderr, "%s %zu\\n", kp_some_files[i].name, kp_some_files[i].size);\n'
                   "return fwrite(kp_some_files[0].bytes, 1, kp_some_files[0].size, stdout) == 0;\n}\n")
        subprocess.run(["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-Wno-overlength-strings",
                        "main.c", "out.c", "-o", "main"], cwd=self.folder, check=True)
        run = subprocess.run([self.folder / "main"], capture_output=True, check=True)
        self.assertEqual(run.stdout, content)
        self.assertEqual(run.stderr.decode().split("\n")[:2],
                         [f"all.bin {len(content)}", "named/otherwise 0"])

    def test_statements_become_a_set_and_an_enum_with_their_descriptions(self):
        self.write("a.sql", "-- About the file.\n\n-- name: get\n-- One */ value.\n-- By id.\n"
                   "SELECT 'a;b';\n\n-- name: put_all\n/* inside */ INSERT INTO x VALUES (1)\n")
        code, head = self.embedded("statements", "a_b", "a.sql")
        self.assertIn("KP_A_B_GET, /* One * / value. By id. */", head)
        self.assertIn("KP_A_B_PUT_ALL,\n\tKP_A_B_COUNT", head)
        self.assertIn("const kp_statement_set kp_a_b_statements", code)
        self.assertNotIn("About the file", code)
        self.assertNotIn("By id", code)

    def test_dialects_share_one_enum_whatever_their_order(self):
        self.write("x_sqlite.sql", "-- name: one\nSELECT 1\n-- name: two\nSELECT 2\n")
        self.write("x_postgres.sql", "-- name: two\nSELECT 22\n-- name: one\nSELECT 11\n")
        code, head = self.embedded("statements", "x", "x_sqlite.sql", "x_postgres.sql")
        self.assertEqual(head.count("KP_X_ONE"), 1)
        self.assertIn("kp_x_sqlite_statements", head)
        self.assertIn("kp_x_postgres_statements", head)
        self.assertLess(code.index("SELECT 11"), code.index("SELECT 22"))

    def test_a_statement_that_one_dialect_lacks_is_refused(self):
        self.write("x_sqlite.sql", "-- name: one\nSELECT 1\n-- name: two\nSELECT 2\n")
        self.write("x_postgres.sql", "-- name: one\nSELECT 11\n")
        self.refused("x_sqlite.sql:3: statement 'two' is missing in x_postgres.sql", "statements", "x",
                     "x_sqlite.sql", "x_postgres.sql")

    def test_bad_statements_are_refused_with_file_and_line(self):
        for content, words in (
                ("SELECT 1;\n-- name: a\nSELECT 1", "a.sql:1: text before"),
                ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n", "a.sql:3: statement 'a' was named"),
                ("\n-- name: a\n-- words\n\n-- name: b\nSELECT 1", "a.sql:2: statement 'a' is empty"),
                ("-- name: a\n;\n", "a.sql:1: statement 'a' is empty"),
                ("-- name: a\nSELECT 1; SELECT 2;\n", "a.sql:1: statement 'a' is more than one"),
                ("-- name: Bad-Name\nSELECT 1\n", "a.sql:1: 'Bad-Name' is no statement name"),
                ("-- name:\nSELECT 1\n", "a.sql:1: '' is no statement name"),
                ("-- nothing\n", "no statement in it"),
                ("-- name: a\nSELECT '\0'\n", "a.sql:2: a zero byte")):
            with self.subTest(words=words):
                self.write("a.sql", content)
                self.refused(words, "statements", "a", "a.sql")

    def test_topics_are_written_once_and_read_by_both_dialects(self):
        self.write("a.sql", "-- About.\n-- name: one\n-- Says one.\nSELECT $1, '$x', $12;\n")
        self.write("b.sql", "-- name: two only postgres\nSELECT 2 FOR UPDATE;\n\n"
                   "-- name: two only sqlite\nSELECT 22;\n")
        code, head = self.embedded("topics", "x", "a.sql", "b.sql")
        self.assertIn("KP_X_ONE, /* Says one. */\n\tKP_X_TWO,\n\tKP_X_COUNT", head)
        self.assertIn("kp_x_statements[KP_DIALECT_COUNT]", head)
        sqlite, postgres = code.split("postgres_list[]")
        self.assertIn("SELECT \\0771, '$x', \\07712;", sqlite)
        self.assertIn("SELECT 22;", sqlite)
        self.assertNotIn("FOR UPDATE", sqlite)
        self.assertIn("SELECT $1, '$x', $12;", postgres)
        self.assertIn("SELECT 2 FOR UPDATE;", postgres)
        self.assertNotIn("SELECT 22", postgres)

    def test_what_is_marked_as_shared_is_left_out_for_sqlite(self):
        self.write("a.sql", "-- name: one\n-- Says @{ and @{this}.\n"
                   "INSERT INTO t (@{session_id,} id) VALUES (@{$1,} $2);\n"
                   "-- name: two\nSELECT '{}' FROM t\n@{WHERE session_id = $1}@{ AND true};\n")
        code, head = self.embedded("topics", "x", "a.sql")
        self.assertIn("/* Says @{ and @{this}. */", head)
        sqlite, postgres = code.split("postgres_list[]")
        self.assertIn('"INSERT INTO t ( id) VALUES ( \\0772);"', sqlite)
        self.assertIn("SELECT '{}' FROM t\\n\"\n\t\t\";\"", sqlite)
        self.assertIn('"INSERT INTO t (session_id, id) VALUES ($1, $2);"', postgres)
        self.assertIn('"WHERE session_id = $1 AND true;"', postgres)

    def test_bad_topics_are_refused_with_file_and_line(self):
        for content, words in (
                ("-- name: a\nSELECT 1;\n-- name: b only sqlite\nSELECT 2;\n",
                 "b.sql:3: statement 'b' is missing in"),
                ("-- name: a only oracle\nSELECT 1;\n", "b.sql:1: only what?"),
                ("-- name: first\nSELECT 1;\n", "b.sql:1: statement 'first' was named before"),
                ("-- name: c only sqlite\nSELECT 1;\n\n-- name: c only postgres\n", "'c' is empty"),
                ("-- name: c\nSELECT 1\n@{WHERE true\n};\n", "b.sql:3: '@{' is not closed on its line"),
                ("-- name: c\nSELECT 1 @{", "b.sql:2: '@{' is not closed on its line"),
                ("-- name: c\nSELECT @{1, @{2}};\n", "b.sql:2: '@{' inside '@{'"),
                ("-- name: c\n@{SELECT 1;}\n", "b.sql:1: statement 'c' is empty")):
            with self.subTest(words=words):
                self.write("a.sql", "-- name: first\nSELECT 0;\n")
                self.write("b.sql", content)
                self.refused(words, "topics", "x", "a.sql", "b.sql")

    def test_migrations_are_numbered_by_their_names(self):
        self.write("0001_first.sql", "CREATE TABLE a (b int);")
        self.write("0002_more_of_it.sql", "-- why\nDROP TABLE a;")
        code, head = self.embedded("migrations", "m", "0001_first.sql", "0002_more_of_it.sql")
        self.assertIn('{1, "0001_first",', code)
        self.assertIn('{2, "0002_more_of_it",', code)
        self.assertIn("KP_M_MIGRATION_COUNT = 2", head)

    def test_bad_migrations_are_refused(self):
        self.write("0001_first.sql", "SELECT 1")
        self.write("0003_third.sql", "SELECT 1")
        self.write("2_short.sql", "SELECT 1")
        self.write("0002_empty.sql", "-- only words\n")
        self.refused("0003_third.sql:1: migration 0002 is expected", "migrations", "m",
                     "0001_first.sql", "0003_third.sql")
        self.refused("is named NNNN_description.sql", "migrations", "m", "0001_first.sql", "2_short.sql")
        self.refused("0002_empty.sql:1: the migration is empty", "migrations", "m", "0001_first.sql",
                     "0002_empty.sql")

    def test_a_missing_file_is_named(self):
        self.refused("nowhere.sql:1:", "files", "x", "nowhere.sql")

    def test_wrong_use_says_how(self):
        for arguments in ((), ("files",), ("files", "x", "a", "b"), ("what", "x", "a", "b", "c"),
                          ("files", "Bad", "a", "b", "c")):
            run = subprocess.run([EMBED, *arguments], capture_output=True, text=True)
            self.assertEqual(run.returncode, 2)
            self.assertIn("usage:", run.stderr)


if __name__ == "__main__":
    unittest.main()
