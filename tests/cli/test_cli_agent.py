#!/usr/bin/env python3
"""test_cli_agent.py sqlite|postgres - keep agent PLACE -- COMMAND: any program as a session's agent."""
import json
import os
import select
import signal
import sqlite3
import sys
import time
import unittest

from test_cli_mailbox import KIND, MailboxTest
from keep_cli import COMMAND, PATIENCE, SOON, psql


class AgentTest(MailboxTest):
    def setUp(self):
        super().setUp()
        self.session, self.place = self.new_agent()

    def post(self, content, *words):
        content = content if isinstance(content, str) else json.dumps(content)
        return self.data("post", self.session, "-", *words, stdin=content.encode())["id"]

    def script(self, text):
        """A program of shell, as the words after --."""
        return "--", "sh", "-c", text

    def agent(self, *words, **more):
        """Run with --once to the end: (exit status, stderr)."""
        status, out, err = self.keep("agent", self.place, "--once", *words, **more)
        self.assertEqual(out, b"")
        return status, err.decode()

    def replies(self):
        """What is to be delivered, as contents; what was asked is taken over by it."""
        self.collected = self.data("collect", self.session)
        return [json.loads(item["message"]["content"]) for item in self.collected["messages"]]

    def behind(self, statement, table):
        """Change a table of the agent's side behind everybody's back."""
        if KIND == "postgres":
            psql(statement % f'"{self.url.split("schema=")[1]}".{table}')
            return
        base = sqlite3.connect(os.path.join(self.folder, self.place, "outbound.db"), timeout=SOON)
        with base:
            base.execute(statement % table)
        base.close()

    def row(self, message):
        return next(row for row in self.data("messages", self.session) if row["id"] == message)

    def wait_for(self, look, what):
        """Until `look` gives something; the tests' patience is the bound, not the outcome."""
        until = time.monotonic() + SOON
        while time.monotonic() < until:
            found = look()
            if found:
                return found
            select.select([], [], [], 0.02)
        raise AssertionError(what)

    def wait_for_file(self, name):
        def read():
            try:
                with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                    return file.read()
            except FileNotFoundError:
                return ""

        return self.wait_for(read, f"{name} does not appear")


class Replies(AgentTest):
    def test_the_message_is_the_input_and_the_output_the_reply(self):
        message = self.post({"text": "hello"})
        status, err = self.agent(*self.script('cat >input; env | grep ^KEEP_ | sort >variables; echo " hi  there"'))
        self.assertEqual((status, err), (0, ""))
        with open(os.path.join(self.folder, "input"), encoding="utf-8") as file:
            self.assertEqual(file.read(), '{"text": "hello"}\n')
        with open(os.path.join(self.folder, "variables"), encoding="utf-8") as file:
            self.assertEqual([line for line in file.read().splitlines()
                              if line.split("=")[0] in ("KEEP_ATTEMPT", "KEEP_MESSAGE_ID", "KEEP_MESSAGE_SEQ", "KEEP_SESSION")],
                             ["KEEP_ATTEMPT=1", f"KEEP_MESSAGE_ID={message}", "KEEP_MESSAGE_SEQ=2",
                              f"KEEP_SESSION={self.session}"])
        self.assertEqual(self.replies(), [{"text": " hi  there"}])
        self.assertEqual(self.collected["messages"][0]["message"]["in_reply_to"], message)
        self.assertEqual(self.row(message)["status"], "completed")

    def test_an_object_is_a_reply_of_its_own_and_anything_else_is_a_text(self):
        for output, reply in (('{"text":"a","more":[1]}\n', {"text": "a", "more": [1]}), ("[1]", {"text": "[1]"}),
                              ('{"broken"', {"text": '{"broken"'}), ('Grüße "✓"\n\nzwei\r\n', {"text": 'Grüße "✓"\n\nzwei'})):
            with open(os.path.join(self.folder, "output"), "w", encoding="utf-8", newline="") as file:
                file.write(output)
            self.post({"text": "x"})
            self.assertEqual(self.agent("--", "cat", "output"), (0, ""))
            self.assertEqual(self.replies()[-1], reply)

    def test_no_output_is_no_reply(self):
        message = self.post({"text": "x"})
        self.assertEqual(self.agent("--", "true"), (0, ""))
        self.assertEqual(self.replies(), [])
        self.assertEqual(self.row(message)["status"], "completed")

    def test_with_text_the_input_is_the_text_alone(self):
        self.post({"text": "Grüße\nund\t\"mehr\""})
        self.post({"n": 1})
        self.assertEqual(self.agent("--text", *self.script("cat >>input")), (0, ""))
        with open(os.path.join(self.folder, "input"), encoding="utf-8") as file:
            self.assertEqual(file.read(), 'Grüße\nund\t"mehr"\n{"n": 1}\n')

    def test_a_program_need_not_read_and_large_ones_do_not_get_stuck(self):
        large = "x" * 1000000
        self.post({"text": large})
        self.assertEqual(self.agent("--", "echo", "fine"), (0, ""))
        self.assertEqual(self.replies(), [{"text": "fine"}])
        self.post({"text": large})
        self.assertEqual(self.agent("--text", "--", "cat"), (0, ""))
        self.assertEqual(self.replies()[-1], {"text": large})

    def test_kinds_choose(self):
        task = self.post({"text": "t"}, "--kind", "task")
        chat = self.post({"text": "c"})
        system = self.post({"text": "s"}, "--kind", "system")
        self.assertEqual(self.agent("--kinds", "task,webhook", "--", "true"), (0, ""))
        self.replies()
        self.assertEqual([self.row(i)["status"] for i in (task, chat, system)], ["completed", "pending", "pending"])
        self.assertEqual(self.agent("--", "true"), (0, ""))
        self.replies()
        self.assertEqual([self.row(i)["status"] for i in (chat, system)], ["completed", "completed"])


class Failures(AgentTest):
    def test_another_exit_status_is_a_failure_with_its_last_line(self):
        message = self.post({"text": "x"})
        status, err = self.agent(*self.script('echo first >&2; echo "no such bird" >&2; echo out; exit 3'))
        self.assertEqual(status, 0)
        self.assertIn("first\nno such bird\n", err)
        self.assertIn(f"keep: message {message}: exit status 3: no such bird\n", err)
        self.assertEqual(self.replies(), [])
        self.assertEqual(self.collected["retried"], 1)
        row = self.row(message)
        self.assertEqual((row["status"], row["tries"], row["last_error"]), ("pending", 1, "exit status 3: no such bird"))

    def test_a_signal_is_a_failure(self):
        message = self.post({"text": "x"})
        self.agent(*self.script("kill -9 $$"))
        self.replies()
        self.assertEqual(self.row(message)["last_error"], "ended by signal 9")

    def test_a_time_limit_ends_the_program_and_what_it_started(self):
        message = self.post({"text": "x"})
        status, err = self.agent("--time-limit", "300ms", *self.script("sleep 1000 & echo $! >child; echo so far >&2; wait"))
        self.assertEqual(status, 0)
        self.assertIn("ended after its time limit of 300 ms: so far", err)
        child = int(self.wait_for_file("child"))
        self.wait_for(lambda: not self.lives(child), "what it started lives on")
        self.replies()
        self.assertEqual(self.row(message)["tries"], 1)

    @staticmethod
    def lives(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_output_that_is_none_is_a_failure(self):
        for text, why in (("head -c 1048577 /dev/zero | tr '\\0' x", "its output is over 1048576 bytes"),
                          ("printf 'a\\377b'", "the output is no text"), ("printf 'a\\0b'", "the output is no text")):
            message = self.post({"text": "x"})
            self.agent(*self.script(text))
            self.assertEqual(self.replies(), [])
            self.assertIn(why, self.row(message)["last_error"])

    def test_a_command_that_cannot_be_started_fails_no_message(self):
        message = self.post({"text": "x"})
        status, err = self.agent("--", "./nobody")
        self.assertNotEqual(status, 0)
        self.assertIn("./nobody", err)
        self.assertEqual(self.replies(), [])
        self.assertEqual((self.row(message)["status"], self.row(message)["tries"]), ("pending", 0))
        self.assertEqual(self.agent("--", "echo", "now"), (0, ""))
        self.assertEqual(self.replies(), [{"text": "now"}])

    def test_wrong_words_are_named(self):
        for words, why in (((), "agent: -- COMMAND: missing"), (("--",), "agent: -- COMMAND: missing"),
                           (("--max", "0", "--", "x"), "agent: --max: '0' is out of range"),
                           (("--max", "101", "--", "x"), "agent: --max: '101' is out of range"),
                           (("--lease", "5", "x"), "agent: 'x': one word too many"),
                           (("--lease", "5x", "--", "x"), "agent: --lease: '5x' is out of range"),
                           (("--lease", "10ms", "--", "x"), "agent: --lease: '10ms' is out of range"),
                           (("--time-limit", "0s", "--", "x"), "agent: --time-limit: '0s' is"),
                           (("--kinds", "a,,b", "--", "x"), "agent: --kinds: ',b' is no list of kinds"),
                           (("--nonsense", "1", "--", "x"), "agent: --nonsense: no such option")):
            self.refused(2, why, "agent", self.place, *words)
        self.refused(2, "agent: FOLDER: missing", "agent", "--", "x")
        self.refused(1, "", "agent", "nowhere" if KIND == "sqlite" else self.place.replace(self.session, "nobody"), "--", "x")


class Life(AgentTest):
    def start_agent(self, *words):
        return self.start("agent", self.place, *words)

    def test_it_waits_for_the_next_message_and_ends_with_a_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start_agent("--", "cat")
            for n in range(3):
                message = self.post({"n": n})
                self.wait_for(lambda m=message: self.replies() and self.row(m)["status"] == "completed", "no reply")
            process.send_signal(number)
            self.assertEqual((process.wait(SOON), process.stderr.read()), (128 + number, b""))

    def test_the_first_signal_lets_the_program_end(self):
        message = self.post({"text": "x"})
        other = self.post({"text": "y"})
        process = self.start_agent(*self.script("echo $$ >started; while [ ! -e go ]; do sleep 0.02; done; echo done"))
        self.wait_for_file("started")
        process.send_signal(signal.SIGTERM)
        self.assertIsNone(process.poll())
        with open(os.path.join(self.folder, "go"), "w", encoding="utf-8"):
            pass
        self.assertEqual(process.wait(SOON), 143)
        self.assertEqual(self.replies(), [{"text": "done"}])
        self.assertEqual([self.row(i)["status"] for i in (message, other)], ["completed", "pending"])

    def test_the_second_signal_kills_it_and_gives_the_message_back(self):
        message = self.post({"text": "x"})
        process = self.start_agent(*self.script("trap '' TERM; echo $$ >started; while :; do sleep 1; done"))
        program = int(self.wait_for_file("started"))
        process.send_signal(signal.SIGTERM)
        self.wait_for(lambda: self.caught(process.pid), "the first signal is not seen")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(SOON), 143)
        self.wait_for(lambda: not Failures.lives(program), "the program lives on")
        self.assertEqual(self.replies(), [])
        self.assertEqual(self.row(message)["tries"], 0)
        rows = self.data("claim", place=self.place)
        self.assertEqual([(row["message"]["id"], row["attempt"]) for row in rows], [(message, 2)])

    @staticmethod
    def caught(pid):
        """Whether no SIGTERM is pending for the process: somebody has taken it."""
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        return not int(lines["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1

    def test_a_killed_agent_takes_its_program_along_and_the_message_is_free(self):
        message = self.post({"text": "x"})
        process = self.start_agent(*self.script("echo $$ >started; exec sleep 1000"))
        program = int(self.wait_for_file("started"))
        process.kill()
        process.wait()
        self.wait_for(lambda: not Failures.lives(program), "the program lives on")
        self.assertEqual(self.agent("--", "echo", "again"), (0, ""))
        self.assertEqual(self.replies(), [{"text": "again"}])
        self.assertEqual(self.row(message)["status"], "completed")

    def test_the_lease_is_extended_while_the_program_runs(self):
        message = self.post({"text": "x"})
        process = self.start_agent("--lease", "9s", "--once", *self.script("echo 1 >started; while [ ! -e go ]; do sleep 0.02; done"))
        self.wait_for_file("started")
        first = self.lease()
        self.wait_for(lambda: self.lease() > first, "the lease stays")
        with open(os.path.join(self.folder, "go"), "w", encoding="utf-8"):
            pass
        self.assertEqual((process.wait(SOON * PATIENCE), process.stderr.read()), (0, b""))
        self.replies()
        self.assertEqual(self.row(message)["status"], "completed")

    def lease(self):
        """When the only claim ends, as a text."""
        trace = self.data("trace", self.data("messages", self.session)[0]["id"])
        self.assertEqual(trace["state"], "processing")
        return trace["detail"]

    def test_several_at_the_same_time(self):
        for n in range(3):
            self.post({"n": n})
        process = self.start_agent("--max", "3", "--once", *self.script(
            "echo $KEEP_MESSAGE_SEQ >here-$KEEP_MESSAGE_SEQ; while [ ! -e go ]; do sleep 0.02; done; echo $KEEP_MESSAGE_SEQ"))
        for n in (2, 4, 6):
            self.wait_for_file(f"here-{n}")
        with open(os.path.join(self.folder, "go"), "w", encoding="utf-8"):
            pass
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))
        self.assertEqual(sorted(reply["text"] for reply in self.replies()), ["2", "4", "6"])

    def test_a_claim_that_was_lost_ends_the_program_and_is_not_reported(self):
        message = self.post({"text": "x"})
        process = self.start_agent("--lease", "1s", "--once", *self.script(
            '[ "$KEEP_ATTEMPT" = 1 ] || exit 0; echo $$ >started; exec sleep 1000'))
        program = int(self.wait_for_file("started"))
        self.behind("UPDATE %s SET attempt = attempt + 1, owner = 'somebody'", "processing_ack")
        self.wait_for(lambda: not Failures.lives(program), "the program lives on")
        self.assertEqual(process.wait(SOON), 0)
        self.assertIn(message.encode(), process.stderr.read())
        self.replies()
        self.assertEqual(self.row(message)["tries"], 0)

    def test_it_tells_that_it_lives(self):
        self.assertEqual(self.agent("--", "true"), (0, ""))
        if KIND == "sqlite":
            self.assertTrue(os.path.exists(os.path.join(self.folder, self.place, ".heartbeat")))


class Help(AgentTest):
    def test_help_explains_it(self):
        text = self.ok("agent", "--help").decode()
        self.assertEqual(self.ok("help", "agent").decode(), text)
        for word in ("--max", "--lease", "--time-limit", "--kinds", "--text", "--once", "KEEP_MESSAGE_ID", "KEEP_SESSION"):
            self.assertIn(word, text)
        self.assertTrue(os.path.exists(COMMAND))


if __name__ == "__main__":
    unittest.main()
