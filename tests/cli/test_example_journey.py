#!/usr/bin/env python3
"""The example adapter and `make run`: what they show is so, and nothing is left behind."""
import json
import mailbox
import os
import pty
import select
import signal
import subprocess
import sys
import time
import unittest

import keep_cli
import test_cli_serve
from keep_cli import COMMAND, SECONDS, SOURCE, environment

EXAMPLES = os.path.join(SOURCE, "examples")
MESSAGES = os.path.join(EXAMPLES, "messages.mbox")
RE = ("--agent", "sed 's/^/Re: /'", "--agent-text")


class JourneyTest(keep_cli.CliTest):
    def setUp(self):
        super().setUp()
        self.home = "home"

    def start_host(self, *words, listen="127.0.0.1:0"):
        host = test_cli_serve.Host.__new__(test_cli_serve.Host)
        host.process = self.start("serve", self.home, "--listen", listen, "--no-maintenance", *words)
        line = host.process.stdout.readline().decode()
        self.assertTrue(line.startswith("keep: listening on "), line)
        host.url = line.split()[-1]
        return host

    def adapter(self, url, *words, stdin=None):
        process = subprocess.Popen([sys.executable, os.path.join(EXAMPLES, "adapter.py"), "--url", url, *words],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   cwd=self.folder, env=environment())
        self.addCleanup(self.end, process)
        if stdin is not None:
            process.stdin.write(stdin.encode())
            process.stdin.close()
            process.stdin = None
        return process

    def run_adapter(self, url, *words, stdin=""):
        """To its end: (exit status, lines, standard error)."""
        process = self.adapter(url, *words, stdin=stdin)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out.decode().splitlines(), err.decode()

    def history(self, chat):
        """What is stored of a chat, oldest first: [(from us, text), …]."""
        rows = json.loads(self.ok("gateway", "history", self.home, chat, "--json"))
        return [(row["is_from_me"], row["content"]) for row in reversed(rows)]


class AdapterTest(JourneyTest):
    def setUp(self):
        super().setUp()
        self.ok("init", self.home)

    def test_every_mail_is_posted_once_and_its_answer_shown_once(self):
        host = self.start_host("--agent", "echo Thank you", "--agent-text")
        status, out, err = self.run_adapter(host.url, "--mbox", MESSAGES, "--trace")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(sorted(line for line in out if " <- " in line),
                         ["mail:ada@example.org <- Thank you"] * 2 + ["mail:bob@example.com <- Thank you"])
        self.assertEqual(out[-1], "3 accepted, 3 answered, 3 delivered")
        status, out, err = self.run_adapter(host.url, "--mbox", MESSAGES, "--trace")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out[-1], "3 accepted, 3 answered, 0 delivered")
        self.assertEqual(sum("accepted before" in line for line in out), 3)
        row = json.loads(self.ok("gateway", "get_message", self.home, "mail:bob@example.com", "CAFE.6@example.com",
                                 "--json"))
        self.assertEqual((row["content"], row["sender_name"], row["timestamp"]),
                         ("Café for six\n\nPlease find a café for six people on Friday at 17:00, not far from "
                          "the station.", "Bob Babbage", "2026-01-01T08:05:40.000Z"))

    def test_a_restart_of_lines_neither_repeats_nor_skips(self):
        host = self.start_host(*RE)
        self.assertEqual(self.run_adapter(host.url, "--chat", "terminal:ada", stdin="one\ntwo\n"),
                         (0, ["terminal:ada <- Re: one", "terminal:ada <- Re: two"], ""))
        # One that was killed between its own note and the service's: the note is there, the message is not.
        self.ok("engine", "set", self.home, "adapter/terminal%3Aada/last_line", '{"number":3,"text":"three"}')
        self.assertEqual(self.run_adapter(host.url, "--chat", "terminal:ada", stdin="four\n"),
                         (0, ["terminal:ada <- Re: three", "terminal:ada <- Re: four"], ""))
        self.assertEqual([text for is_ours, text in self.history("terminal:ada") if not is_ours],
                         ["one", "two", "three", "four"])

    def test_a_reply_whose_report_was_lost_is_shown_once(self):
        host = self.start_host(*RE)
        # As if it had died between showing an answer and reporting it: the key is noted, the delivery is due.
        self.ok("gateway", "put_outbound", self.home, "terminal:ada", "Re: again", "--id", "a-key-of-before",
                "--source", "terminal:ada")
        self.ok("engine", "set", self.home, "adapter/terminal%3Aada/delivered/terminal%3Aada/a-key-of-before", "x")
        status, out, err = self.run_adapter(host.url, "--chat", "terminal:ada", stdin="two\n")
        self.assertEqual((status, [line for line in out if "again" in line], err), (0, [], ""))
        self.assertIn("terminal:ada <- Re: two", out)
        row = json.loads(self.ok("gateway", "get_message", self.home, "terminal:ada", "a-key-of-before", "--json"))
        self.assertEqual(row["status"], "delivered")

    def test_it_waits_for_a_service_that_is_away(self):
        host = self.start_host(*RE)
        port = host.url.rsplit(":", 1)[1]
        process = self.adapter(host.url, "--chat", "terminal:ada", "--stay")
        process.stdin.write(b"one\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"terminal:ada <- Re: one\n")
        host.process.kill()
        host.process.wait()
        process.stdin.write(b"two\n")
        process.stdin.flush()
        self.start_host(*RE, listen=f"127.0.0.1:{port}")
        self.assertEqual(process.stdout.readline(), b"terminal:ada <- Re: two\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 0)

    def test_its_patience_ends(self):
        status, out, err = self.run_adapter("http://127.0.0.1:9", "--mbox", MESSAGES, "--patience", "0.5")
        self.assertEqual((status, out), (1, []))
        self.assertTrue(err.startswith("adapter.py: "), err)

    def test_a_message_that_nobody_answers_is_told_with_why(self):
        host = self.start_host()
        status, out, err = self.run_adapter(host.url, "--chat", "terminal:ada", stdin="one\n")
        self.assertEqual((status, out), (1, []))
        self.assertIn("terminal:ada line-1 was not answered: unrouted: ", err)

    def test_two_terminals_take_nothing_from_each_other(self):
        host = self.start_host(*RE)
        said = "".join(f"{number}\n" for number in range(5))
        running = {name: self.adapter(host.url, "--chat", f"terminal:{name}", stdin=said) for name in ("ada", "bob")}
        for name, process in running.items():
            out, err = process.communicate(timeout=SECONDS)
            self.assertEqual((process.returncode, err), (0, b""))
            self.assertEqual(out.decode().splitlines(), [f"terminal:{name} <- Re: {number}" for number in range(5)])

    def test_mails_that_are_odd_stop_nobody(self):
        path = os.path.join(self.folder, "odd.mbox")
        box = mailbox.mbox(path)
        for text in (b"Subject: no sender\n\nx", b"From: x@example.org\nDate: nonsense\n\nno id, no date",
                     b"From: y@example.org\nMessage-ID: <y@1>\nContent-Type: text/html\n\n<p>no text"):
            box.add(text)
        box.close()
        host = self.start_host("--agent", "echo Thank you", "--agent-text")
        status, out, err = self.run_adapter(host.url, "--mbox", path)
        self.assertEqual(status, 0, err)
        self.assertEqual(sum(" <- " in line for line in out), 2)
        self.assertIn("without a sender", err)


class RunTest(JourneyTest):
    """The scripts, in a folder for temporary files of their own, so that it can be seen what is left."""

    def env(self, **more):
        env = {key: value for key, value in environment().items() if key not in ("AGENT", "AGENT_TEXT")}
        return dict(env, TMPDIR=self.folder, **more)

    def run_script(self, name, **more):
        done = subprocess.run([os.path.join(EXAMPLES, name), COMMAND], stdin=subprocess.DEVNULL, capture_output=True,
                              cwd=SOURCE, env=self.env(**more), timeout=SECONDS * 2, check=False)
        self.assertEqual(os.listdir(self.folder), [])
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_make_run_shows_each_step_and_ends_without_a_terminal(self):
        status, out, err = self.run_script("run.sh")
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("\n3 accepted, 3 answered, 3 delivered\n", out)
        for word in ("accepted", "session", "acknowledged", "replied", "delivered"):
            self.assertGreaterEqual(out.count(word), 3, word)
        self.assertEqual(out.count("state: delivered"), 3)

    def test_any_command_may_be_the_agent(self):
        status, out, err = self.run_script("run.sh", AGENT="tr a-z A-Z | head -n 1", AGENT_TEXT="yes")
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("mail:ada@example.org <- TRAIN ON MONDAY\n", out)

    def test_the_service_goes_on_for_a_person_until_control_c(self):
        main, other = pty.openpty()
        self.addCleanup(os.close, main)
        process = subprocess.Popen([os.path.join(EXAMPLES, "run.sh"), COMMAND], stdin=other, stdout=other,
                                   stderr=other, cwd=SOURCE, env=self.env(), start_new_session=True)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        os.close(other)
        seen, until = b"", time.monotonic() + SECONDS
        while b"make run, your own" not in seen:
            self.assertTrue(select.select([main], [], [], max(0, until - time.monotonic()))[0], seen)
            seen += os.read(main, 4096)
        chat = next(line for line in seen.decode().splitlines() if " chat " in line).split()
        self.assertEqual(self.ok("chat", chat[3], "--once", "Hello"),
                         b"You said: Hello (line 1 of our conversation)\n")
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_signal_in_the_middle_leaves_nothing_behind(self):
        process = subprocess.Popen([os.path.join(EXAMPLES, "run.sh"), COMMAND], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=SOURCE,
                                   env=self.env(AGENT="exit 9"), start_new_session=True)
        self.addCleanup(self.end, process)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        line = b""
        while b": accepted" not in line:
            line = process.stdout.readline()
            self.assertTrue(line)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
