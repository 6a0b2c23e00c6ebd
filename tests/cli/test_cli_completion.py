#!/usr/bin/env python3
"""`keep completion bash`, sourced in bash and asked: it offers every store, verb, option and choice, and nothing else."""
import re
import shutil
import subprocess
import unittest

from keep_cli import COMMAND, CliTest, environment

# Reads lines of words, and writes for each the completions of the last one, between two blanks.
ASK = """
source <("$0" completion bash)
while read -r line; do
    eval "COMP_WORDS=(keep $line)"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _keep
    printf ' %s \n' "${COMPREPLY[*]}"
done
"""


class Completion(CliTest):
    def setUp(self):
        super().setUp()
        self.assertTrue(shutil.which("bash"), "bash is missing")

    def all_completed(self, lines):
        """One shell for many questions: what it offers for each, as a list."""
        text = "".join(" ".join(f"'{word}'" for word in words) + "\n" for words in lines)
        done = subprocess.run(["bash", "-c", ASK, COMMAND], input=text.encode(), capture_output=True, cwd=self.folder,
                              env=environment(), check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        answers = [line.split() for line in done.stdout.decode().splitlines()]
        self.assertEqual(len(answers), len(lines))
        return answers

    def completed(self, *words):
        return self.all_completed([words])[0]

    def text(self, *words):
        return self.ok(*words).decode()

    def test_the_first_word_is_a_store_or_a_command(self):
        names = re.findall(r"^  (\w+) ", self.text("--help").split("\nStores:\n")[1].split("\nHOME:")[0], re.M)
        self.assertEqual(set(self.completed("")), set(names) | {"--help", "--version"})
        self.assertEqual(self.completed("en"), ["engine"])
        self.assertEqual(self.completed("comp"), ["completion"])

    def test_the_second_word_is_a_verb_of_the_store(self):
        for store in ("engine", "gateway", "mailbox", "assistant"):
            verbs = re.findall(r"^### keep|^####? " + store + r"\.(\w+)$", self.text("manual"), re.M)
            verbs = {verb.replace("_", "-") for verb in verbs if verb}
            self.assertGreater(len(verbs), 10)
            self.assertLessEqual(verbs, set(self.completed(store, "")))
            self.assertEqual(set(self.completed("help", store, "")), set(self.completed(store, "")) - {"--help"})
        self.assertEqual(self.completed("engine", "com"), ["compare-and-set"])
        self.assertEqual(self.completed("gateway", "put_mes"), ["put-message", "put-messages"])

    def test_every_option_of_every_verb_is_offered(self):
        manual = self.text("manual")
        questions, expected = [], []
        for part in manual.split("\n## The store ")[1:]:
            store = part.split("\n")[0]
            settings = re.findall(r"\n\| `(\w+)`", part.split("\n| setting ")[1].split("\n\n")[0])
            for verb, section in re.findall(rf"\n####? {store}\.(\w+)\n(.*?)(?=\n###|$)", part, re.S):
                inputs = re.search(r"\n\| input .*?\n(?=\n|$)", section, re.S)
                names = settings + re.findall(r"\n\| `(\w+)`", inputs[0] if inputs else "")
                also = re.search(r"\nAlso `(\w+)`", section)
                for word in [verb] + ([also[1]] if also else []):
                    questions.append((store, word, "home", "--"))
                    expected.append({"--" + name.replace("_", "-") for name in names} | {"--json", "--home", "--help"})
        self.assertGreater(len(questions), 200)
        for words, told, offered in zip(questions, expected, self.all_completed(questions)):
            self.assertEqual(told - set(offered), set(), words)
            self.assertLessEqual(set(offered) - told, {"--null", "--announce"}, words)

    def test_every_option_of_every_command_is_offered(self):
        manual = self.text("manual").split("\n## Commands\n")[1].split("\n## ")[0]
        sections = re.findall(r"### keep (\w+)\n.*?\n    (keep [^\n]*)\n", manual, re.S)
        self.assertGreater(len(sections), 15)
        answers = self.all_completed([(command, "home", "--") for command, _ in sections])
        for (command, usage), offered in zip(sections, answers):
            self.assertEqual(set(offered), set(re.findall(r"--[a-z0-9][a-z0-9-]*", usage)) | {"--help"}, command)

    def test_choices_follow_their_option(self):
        self.assertEqual(self.completed("engine", "get", "--durability", "r"), ["relaxed"])
        self.assertEqual(self.completed("engine", "get", "--durability", "=", "r"), ["relaxed"])
        # One option, other words with another verb.
        self.assertEqual(self.completed("gateway", "list-onboarding", "--status", "a"), ["awaiting_name", "approved"])
        self.assertEqual(self.completed("gateway", "list-tasks", "--status", "ac"), ["active"])
        self.assertEqual(self.completed("gateway", "list_tasks", "--status", "ac"), ["active"])
        self.assertEqual(self.completed("migrate", "home", ""), ["status", "plan", "up"])
        self.assertEqual(self.completed("completion", ""), ["bash"])
        self.assertEqual(self.completed("help", "ser"), ["serve"])

    def test_files_and_an_agents_own_words_are_left_to_the_shell(self):
        self.assertEqual(self.completed("engine", "get", "fi"), [])
        self.assertEqual(self.completed("backup", ""), [])
        self.assertEqual(self.completed("agent", "folder", "--", "cat", "--"), [])
        self.assertEqual(self.completed("agent", "folder", "--lease", ""), [])

    def test_the_shell_itself_completes_with_it(self):
        script = 'source <("$0" completion bash); complete -p keep'
        done = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, env=environment(), check=False)
        self.assertEqual(done.stdout, b"complete -o default -F _keep keep\n")


if __name__ == "__main__":
    unittest.main()
