#!/usr/bin/env python3
"""test_check_docs.py CHECK_DOCS - what a page says wrongly is found, what is right is not."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = sys.argv.pop(1)
# A command with one store, of one verb, and one other command.
KEEP = """#!/bin/sh
case "$*" in
"help engine") printf 'Verbs:\\n\\nVerbs:\\n  get\\n' ;;
"help engine get") printf 'Inputs:\\n  PATH  Where.\\n  --json\\n' ;;
"help serve") printf 'Usage:\\n  keep serve HOME [--listen A]\\n' ;;
"help "*) exit 2 ;;
*) echo said "$@" ;;
esac
"""


class Documents(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.holder.name)
        for name, text in (("include/keep/keep.h", "#define M(X) X(OK, 0, a)\nint keep_do(int number);\n"),
                           ("src/core/thing.c", ""), ("bin/keep", KEEP), ("Makefile", "run: build\nbuild:\n")):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (self.root / "bin/keep").chmod(0o755)

    def tearDown(self):
        self.holder.cleanup()

    def check(self, page):
        (self.root / "README.md").write_text(page, encoding="utf-8")
        run = subprocess.run([sys.executable, CHECK, "--root", self.root, "--keep", self.root / "bin/keep"],
                             capture_output=True, text=True)
        self.assertNotIn("Traceback", run.stderr)
        self.assertEqual(run.returncode, 1 if run.stdout else 0)
        return run.stdout

    def test_what_is_true_passes(self):
        self.assertEqual("", self.check(
            "`src/core/thing.c`, `thing.c`, [a](src/core/), `src/{core,core/thing.c}`, KEEP_OK, `keep_do`\n"
            "[web](https://x.y/z), `a/b`, `chat.jid`\n"
            "```c\nint n = keep_do(1);\n```\n```sh\nkeep one\necho two\n```\n```text\nsaid one\ntwo\n```\n"))

    def test_a_missing_file_is_found(self):
        self.assertIn("README.md:1: no such file: src/core/gone.c", self.check("`src/core/gone.c`\n"))
        self.assertIn("README.md:1: no such file: docs/x.md", self.check("[x](docs/x.md#part)\n"))
        self.assertIn("no such file: gone.c", self.check("`gone.c`\n"))

    def test_an_unknown_name_is_found(self):
        self.assertIn("KEEP_GONE is not in include/", self.check("KEEP_GONE\n"))
        self.assertIn("keep_gone is not in include/", self.check("`keep_gone()`\n"))

    def test_c_that_does_not_compile_is_found(self):
        self.assertIn("README.md:2: this C does not compile", self.check("\n```c\nkeep_do();\n```\n"))

    def test_a_command_that_fails_is_found(self):
        self.assertIn("README.md:1: exit status 3", self.check("```sh\nexit 3\n```\n"))

    def test_another_output_is_found(self):
        self.assertIn("the output is another one",
                      self.check("```sh\nkeep one\n```\n```text\nsaid two\n```\n"))

    def test_dots_stand_for_anything(self):
        self.assertEqual("", self.check("```sh\nprintf 'a\\nb\\nc 12\\n'\n```\n```text\na\n…\nc …\n```\n"))

    def test_blocks_of_a_page_share_a_folder(self):
        self.assertEqual("", self.check("```sh\necho x > f\n```\n```sh\ncat f\n```\n```text\nx\n```\n"))

    def test_a_command_that_is_only_named_is_one_that_there_is(self):
        self.assertEqual("", self.check("`keep engine get HOME --json`, `keep serve HOME --listen=x -- --any`, `keep …`,\n"
                                        "`make run`, `keep STORE VERB`, `keep engine get --path x`\n\n    keep serve a   # why\n"))
        self.assertIn("README.md:1: there is no keep sevre", self.check("`keep sevre HOME`\n"))
        self.assertIn("README.md:2: there is no keep engine put", self.check("\n    keep engine put HOME\n"))
        self.assertIn("keep serve has no option --port", self.check("| a | `keep serve HOME [--port N]` |\n"))
        self.assertIn("keep serve has no option --port", self.check("```sh no-check: why\nkeep serve h --port 1\n```\n"))
        self.assertIn("the Makefile has no target jump", self.check("`make jump`\n"))

    def test_what_does_not_run_has_a_reason_and_is_listed(self):
        page = "```sh no-check: it asks somebody else\nexit 3\n```\n"
        self.assertEqual("", self.check(page))
        run = subprocess.run([sys.executable, CHECK, "--root", self.root, "--list-unchecked"], capture_output=True,
                             text=True, check=True)
        self.assertEqual("README.md:1: sh no-check: it asks somebody else\n", run.stdout)
        self.assertIn("why is it not checked?", self.check("```sh no-check\nexit 3\n```\n"))
        self.assertIn("stand in a block tagged sh", self.check("```\nkeep engine get h a\n```\n"))

    def test_a_process_that_is_left_behind_is_found(self):
        self.assertIn("is still there after the last one", self.check("```sh\nsleep 100 >log 2>&1 &\n```\n"))
        self.assertEqual("", self.check("```sh\nsleep 100 >log 2>&1 &\necho $! >pid\n```\n```sh\nkill $(cat pid)\n"
                                        "while kill -0 $(cat pid) 2>log; do sleep 0.1; done\n```\n"))

    def test_the_index_names_every_page(self):
        (self.root / "docs").mkdir()
        (self.root / "docs" / "one.md").write_text("one\n", encoding="utf-8")
        (self.root / "docs" / "README.md").write_text("[other](../README.md)\n", encoding="utf-8")
        self.assertIn("docs/README.md: does not name one.md", self.check("\n"))
        (self.root / "docs" / "README.md").write_text("[one](one.md)\n", encoding="utf-8")
        self.assertEqual("", self.check("\n"))

    def test_a_long_readme_is_found(self):
        self.assertIn("README.md:201: longer than 200 lines", self.check("\n" * 201))

    def test_an_open_block_is_found(self):
        self.assertIn("README.md:1: a code block is not closed", self.check("```sh\ntrue\n"))


if __name__ == "__main__":
    unittest.main()
