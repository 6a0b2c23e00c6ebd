#!/usr/bin/env python3
"""Help, manual, man page and completion: whole, and what is committed is what the command prints."""
import os
import re
import shutil
import subprocess
import unittest

from keep_cli import COMMAND, SECONDS, SOURCE, CliTest, environment

VERBS = ("get", "set", "unset", "list", "count", "clear", "scan", "compare_and_set", "batch", "watch", "describe")
STATUSES = ("INVALID", "CONFLICT", "DENIED", "BUSY", "FULL", "UNAVAILABLE", "UNCERTAIN", "CORRUPT", "TOO_NEW",
            "NO_MEMORY", "MISUSE")


class Help(CliTest):
    def committed(self, path, *words):
        with open(os.path.join(SOURCE, path), "rb") as file:
            self.assertEqual(file.read(), self.ok(*words), f"{path} is stale: write it with keep {' '.join(words)}")

    def test_the_committed_manual_and_man_page_are_fresh(self):
        self.committed("docs/reference/operations.md", "manual")
        self.committed("man/keep.1.scd", "manual", "--man")

    @unittest.skipUnless(shutil.which("scdoc"), "no scdoc")
    def test_the_man_page_is_scdoc(self):
        done = subprocess.run(["scdoc"], input=self.ok("manual", "--man"), capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"compare-and-set", done.stdout.replace(b"\\-", b"-"))

    def test_help_names_every_command_and_status(self):
        text = self.ok("--help").decode()
        self.assertEqual(self.ok("help").decode(), text)
        self.assertEqual(self.ok("-h").decode(), text)
        for word in ("engine", "gateway", "mailbox", "init", "call", "agent", "transfer", "completion", "help") + STATUSES:
            self.assertIn(word, text)
        self.assertRegex(self.ok("--version").decode(), r"^keep \d+\.\d+\.\d+\n$")

    def test_help_names_every_operation_and_input(self):
        manual = self.ok("manual").decode()
        store = self.ok("engine", "--help").decode()
        self.assertEqual(self.ok("help", "engine").decode(), store)
        for verb in VERBS:
            word = verb.replace("_", "-")
            self.assertIn(f"\n### engine.{verb}\n", manual)
            self.assertIn(f"\n  {word} ", store)
            text = self.ok("engine", word, "--help").decode()
            self.assertEqual(self.ok("help", "engine", word).decode(), text)
            self.assertEqual(self.ok("engine", word, "sqlite:x.db", "--help").decode(), text)
            section = manual.split(f"\n### engine.{verb}\n")[1].split("\n### ")[0]
            inputs = re.search(r"\n\| input .*?\n\n", section, re.S)
            for name in re.findall(r"\n\| `(\w+)`", inputs[0]):
                self.assertTrue("--" + name.replace("_", "-") in text or name in ("path", "value"), (verb, name))
        for status in STATUSES:
            self.assertIn(f"| {status} |", manual)
        self.assertEqual(os.listdir(self.folder), [])

    def test_help_fits_a_terminal_and_has_no_trailing_blanks(self):
        pages = [("--help",), ("engine", "--help"), ("call", "--help"), ("agent", "--help"), ("transfer", "--help"), ("init", "--help")]
        pages += [("help", "engine", verb) for verb in VERBS]
        for words in pages:
            for line in self.ok(*words).decode().splitlines():
                self.assertEqual(line, line.rstrip(), words)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (words, line))

    def completed(self, *words):
        script = 'source <("$0" completion bash); COMP_WORDS=(keep "$@"); COMP_CWORD=$#; _keep; ' \
                 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", script, COMMAND, *words], capture_output=True, cwd=self.folder,
                              env=environment(), check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode().split()

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_completion_in_bash(self):
        self.assertIn("engine", self.completed(""))
        self.assertEqual(self.completed("en"), ["engine"])
        self.assertEqual(self.completed("engine", "com"), ["compare-and-set"])
        self.assertEqual(self.completed("engine", "list", "h", "--na"), ["--names"])
        self.assertEqual(self.completed("engine", "get", "--durability", "r"), ["relaxed"])
        # One option, other words with another verb.
        self.assertEqual(self.completed("gateway", "list-onboarding", "--status", "a"), ["awaiting_name", "approved"])
        self.assertEqual(self.completed("gateway", "list-tasks", "--status", "ac"), ["active"])
        self.assertEqual(self.completed("gateway", "put-mes"), ["put-message", "put-messages"])
        self.assertEqual(self.completed("completion", ""), ["bash"])
        self.assertEqual(self.completed("engine", "get", "fi"), [])

    def test_the_tour_shows_what_it_says(self):
        done = subprocess.run([os.path.join(SOURCE, "examples", "tour.sh"), COMMAND], capture_output=True,
                              cwd=self.folder, env=environment("elsewhere"), timeout=SECONDS, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        for piece in (b"    3\tIt is raining here\n    2\tIs the train on time?\n", b"    the watch says: changed\n",
                      b"    The train is late\n", b"    0\n", b"    outcome: duplicate\n    seq: 1\n",
                      b"    target: travel\n", b"    telegram:ada\tanswer-1\t1\tIt is ten minutes late\n",
                      b"\tGood morning\n", b"<system_message origin=", b"    (exit status 1)\n", b"docs/reference",
                      b"    2\tchat\tpending\n", b'    chat\tada\ttelegram\t\t{"text":"You ask: Is the train on time?"}\n',
                      b"    state: completed\n"):
            self.assertIn(piece, done.stdout)


if __name__ == "__main__":
    unittest.main()
