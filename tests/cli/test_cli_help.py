#!/usr/bin/env python3
"""Help, manual and man page: whole, and what is committed is what the command prints.

What there is comes from the sources: the verbs of src/operations, the list of statuses in base.h, the options that
src/cli reads (and, because a table may be read wrongly, that the command takes).
"""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from keep_cli import COMMAND, SECONDS, SOURCE, CliTest, environment

ROOT = pathlib.Path(SOURCE)
STORES = ("engine", "gateway", "mailbox", "assistant")
# Read by nobody but tests.
NOT_FOR_USERS = {"KEEP_KILL_AT"}


def operations():
    """(store, verb) and (store, alias), as the sources describe them."""
    verbs, aliases = [], []
    for path in sorted((ROOT / "src" / "operations").glob("operations_*.c")):
        store = path.stem.split("_")[1]
        store = "mailbox" if store == "agent" else store
        for name, verb in re.findall(r'\.(verb|alias) = "(\w+)"', path.read_text(encoding="utf-8")):
            (verbs if name == "verb" else aliases).append((store, verb))
    return verbs, aliases


def statuses():
    """name: (exit status, HTTP status), from the one list."""
    text = (ROOT / "include" / "keep" / "base.h").read_text(encoding="utf-8")
    return {name: (int(number), int(http)) for name, number, http in
            re.findall(r"\bX\(([A-Z_]+), \d+, \w+, (\d+), (\d+), ", text)}


def options_read():
    """The options that each file of src/cli looks for."""
    found = {}
    for path in sorted((ROOT / "src" / "cli").glob("cli_*.c")):
        text = path.read_text(encoding="utf-8")
        names = set(re.findall(r'\{\.name = "([a-z0-9-]+)", \.(?:text|flag|number) = ', text))
        names |= set(re.findall(r'strcmp\([^()]*, "--([a-z0-9-]+)"\) == 0', text))
        for command in re.findall(r"^int cli_(\w+)_main\(", text, re.M):
            found[command] = names
    return found


def hyphens(name):
    return name.replace("_", "-")


class Help(CliTest):
    def committed(self, path, *words):
        with open(os.path.join(SOURCE, path), "rb") as file:
            self.assertEqual(file.read(), self.ok(*words), f"{path} is stale: write it with keep {' '.join(words)}")

    def text(self, *words):
        return self.ok(*words).decode()

    def man(self):
        """The man page without its escapes."""
        return re.sub(r"\\(.)", r"\1", self.text("manual", "--man"))

    def commands(self):
        """The names of all commands, as the help tells them."""
        part = self.text("--help").split("\nCommands:\n")[1].split("\n\n")[0]
        return re.findall(r"^  (\w+) ", part, re.M)

    def test_the_committed_manual_and_man_page_are_fresh(self):
        self.committed("docs/reference/operations.md", "manual")
        self.committed("man/keep.1.scd", "manual", "--man")

    def test_the_man_page_is_scdoc(self):
        self.assertTrue(shutil.which("scdoc"), "scdoc is missing: setup.sh installs it")
        done = subprocess.run(["scdoc"], input=self.ok("manual", "--man"), capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"compare-and-set", done.stdout.replace(b"\\-", b"-"))

    def test_the_help_names_every_store_command_and_status(self):
        text = self.text("--help")
        self.assertEqual(self.text("help"), text)
        self.assertEqual(self.text("-h"), text)
        source = (ROOT / "src" / "cli" / "main.c").read_text(encoding="utf-8")
        commands = re.findall(r'\{\.name = "(\w+)",\s*\.usage = [^}]*?\.sentence = ', source)
        self.assertGreater(len(commands), 15)
        self.assertEqual(self.commands(), commands)
        for store in STORES:
            self.assertIn(f"\n  {store} ", text)
        for name, (number, _) in statuses().items():
            self.assertTrue(f"\n  {number} {name} " in text or number <= 1, name)
        self.assertRegex(self.text("--version"), r"^keep \d+\.\d+\.\d+\n$")

    def test_every_status_has_its_number_in_manual_man_page_and_http(self):
        manual, man = self.text("manual"), self.man()
        http = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (\d+) \| ([A-Z_]+)\b", manual.split("\n## Exit statuses\n")[1].split("\n## ")[0], re.M)
        self.assertEqual({name: int(number) for number, name in rows},
                         {name: number for name, (number, _) in statuses().items()})
        for name, (number, code) in statuses().items():
            if number > 1:
                self.assertIn(f"\n*{number}* {name}\n", man)
            if name != "OK":
                self.assertRegex(http, rf"`{name}` \| {code}\b")
        for number in (0, 1, 2):
            self.assertIn(f"\n*{number}*\n", man)

    def test_every_operation_and_input_is_named_everywhere(self):
        manual, man = self.text("manual"), self.man()
        verbs, aliases = operations()
        self.assertGreater(len(verbs), 200)
        helps = {store: self.text(store, "--help") for store in STORES}
        for store in STORES:
            self.assertEqual(self.text("help", store), helps[store])
        for store, verb in verbs:
            word, where = hyphens(verb), f"{store}.{verb}"
            self.assertIn(f"\n  {word}", helps[store], where)
            text = self.text("help", store, word)
            in_manual = re.split(rf"\n###+ {store}\.{verb}\n", manual)
            in_man = man.split(f"\n## keep {store} {word}\n")
            self.assertEqual((len(in_manual), len(in_man)), (2, 2), where)
            section, page = re.split(r"\n##", in_manual[1])[0], re.split(r"\n##? ", in_man[1])[0]
            inputs = re.search(r"\n\| input .*?\n(?=\n|$)", section, re.S)
            for name in re.findall(r"\n\| `(\w+)`", inputs[0] if inputs else ""):
                option = "--" + hyphens(name)
                for place in (text, page):
                    self.assertRegex(place, rf"(?<![\w-]){option}(?![\w-])|(?<!\w){name.upper()}(?!\w)", where)
            for status in re.findall(r"\n\| ([A-Z_]+) \| \d", section):
                self.assertRegex(text, rf"\n  \d+ {status}\b", where)
            for line in text.splitlines():
                self.assertEqual(line, line.rstrip(), where)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (where, line))
        for store, alias in aliases:
            self.assertIn(f"\nAlso `{alias}`.\n", manual)
        self.assertEqual(self.text("engine", "set", "--help"), self.text("help", "engine", "set"))
        self.assertEqual(self.text("engine", "set", "sqlite:x.db", "--help"), self.text("help", "engine", "set"))
        self.assertEqual(os.listdir(self.folder), [])

    def test_every_setting_of_a_store_is_named_everywhere(self):
        manual, man = self.text("manual"), self.man()
        for store in STORES:
            table = manual.split(f"\n## The store {store}\n")[1].split("\n| setting ")[1].split("\n\n")[0]
            names = re.findall(r"\n\| `(\w+)`", table)
            self.assertTrue(names)
            text, page = self.text(store, "--help"), man.split(f"\n## Options of every keep {store} command\n")[1]
            for name in names:
                self.assertIn(f"\n  --{hyphens(name)}", text)
                self.assertIn(f"\n*--{hyphens(name)}*", page.split("\n#")[0])

    def test_a_command_reads_the_options_of_its_usage_and_no_others(self):
        read, checked = options_read(), 0
        for command in self.commands():
            usage = next(line for line in self.text(command, "--help").splitlines() if line.startswith("  keep "))
            told = set(re.findall(r"--([a-z0-9][a-z0-9-]*)", usage))
            for name in sorted(told | read.get(command, set()) | {"json", "dry-run"}):
                status, out, err = self.keep(command, f"--{name}", "1", "--no-such-option", "1")
                self.assertEqual((status, out), (2, b""), (command, name, err))
                is_unknown = f"--{name}: no such option" in err.decode()
                if name in told:
                    self.assertIn(b"--no-such-option", err, (command, name))
                    checked += 1
                elif not is_unknown:
                    self.assertNotIn(b"--no-such-option", err, f"{command} reads --{name}, which its usage has not")
        self.assertGreater(checked, 50)
        self.assertEqual(os.listdir(self.folder), [])

    def test_every_option_of_a_command_is_explained_in_help_manual_and_man_page(self):
        manual, man = self.text("manual"), self.man()
        for command in self.commands():
            text = self.text("help", command)
            self.assertEqual(self.text(command, "--help"), text)
            usage = next(line for line in text.splitlines() if line.startswith("  keep "))
            section = manual.split(f"\n### keep {command}\n")[1].split("\n##")[0]
            page = re.split(r"\n\*keep |\n# ", man.split(f"\n*keep {command}*")[1])[0]
            self.assertIn("\n    " + usage.strip() + "\n", section)
            self.assertIn(usage.strip()[len("keep " + command):], page)
            for name in re.findall(r"--[a-z0-9][a-z0-9-]*", usage):
                option = rf"(?<![\w-]){name}(?![\w-])"
                self.assertTrue(re.search(option, text.replace(usage, "")), (command, name))
                self.assertGreater(len(re.findall(option, section)), 1, (command, name))
                self.assertGreater(len(re.findall(option, page)), 1, (command, name))
            for line in text.splitlines():
                self.assertEqual(line, line.rstrip(), command)
                self.assertTrue(len(line) <= 80 or line.startswith("  keep "), (command, line))

    def test_the_man_page_names_every_variable_and_signal(self):
        man, names = self.man(), set()
        for path in sorted((ROOT / "src").rglob("*.c")):
            text = path.read_text(encoding="utf-8")
            names |= set(re.findall(r'getenv\("([A-Z_]+)"\)', text))
            names |= set(re.findall(r'"((?:KEEP|AWS)_[A-Z0-9_]+|ENCRYPTION_KEY)"', text))
        self.assertGreater(len(names), 15)
        for name in names - NOT_FOR_USERS:
            self.assertTrue(re.search(rf"(?<!\w){name}(?!\w)", man), name)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGPIPE"):
            self.assertIn(name, man)

    def test_the_man_page_names_every_file_of_a_home(self):
        man = self.man().split("\n# FILES\n")[1].split("\n# ")[0]
        self.ok("init", "home")
        self.ok("engine", "set", "home", "a", "b")
        self.ok("gateway", "put_message", "home", "t:a", "1", "hi")
        self.ok("assistant", "add_conversation", "home", "webui", "ada")
        self.ok("chat", "home", "--agent", "cat", "--once", "hi", "--chat", "terminal:a")
        for place in os.listdir(os.path.join(self.folder, "home")):
            self.assertIn(f"HOME/{place}", man)
        for file in ("engine/NAME.db", "gateway/messages.db", "mailbox/registry.db", "assistant/assistant.db"):
            self.assertIn(f"HOME/{file}", man)
            self.assertTrue(os.path.exists(os.path.join(self.folder, "home", file.replace("NAME", "default"))), file)

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
