#!/usr/bin/env python3
"""test_cli_chat.py sqlite|postgres - keep chat HOME|URL: lines in, answers out, through the whole journey."""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

import keep_cli
import test_cli_serve
from keep_cli import COMMAND, PATIENCE, SECONDS, environment

KIND = "sqlite"
RE = ("--agent", "sed 's/^/Re: /'", "--agent-text")


class Terminal:
    """`keep chat` on a terminal, as a person sees it."""

    def __init__(self, test, *words):
        self.main, other = pty.openpty()
        self.process = subprocess.Popen([COMMAND, "chat", *words], stdin=other, stdout=other, stderr=other,
                                        cwd=test.folder, env=environment(), start_new_session=True,
                                        preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))  # TIOCSCTTY
        os.close(other)
        test.addCleanup(self.end)
        self.seen = b""

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.main)

    def type(self, text):
        os.write(self.main, text.encode())

    def expect(self, text, count=1):
        """Read on until it was seen so often."""
        until = time.monotonic() + SECONDS
        while self.seen.count(text.encode()) < count:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.main], [], [], left)[0]:
                raise AssertionError(f"{text!r} is not in {self.seen!r}")
            try:
                self.seen += os.read(self.main, 4096)
            except OSError:
                raise AssertionError(f"it ended; {text!r} is not in {self.seen!r}") from None

    def exit_status(self):
        """Once it has ended; what it still says is read."""
        until = time.monotonic() + SECONDS
        while self.process.poll() is None:
            if time.monotonic() > until:
                raise AssertionError(f"it does not end: {self.seen!r}")
            if select.select([self.main], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.main, 4096)
                except OSError:
                    pass
        return self.process.returncode


class ChatTest(keep_cli.CliTest):
    def setUp(self):
        super().setUp()
        self.home = "home"
        if KIND == "postgres":
            self.database = f"keep_chat_{os.getpid()}_{time.monotonic_ns()}"
            keep_cli.psql(f"CREATE DATABASE {self.database}")
            self.addCleanup(keep_cli.psql, f"DROP DATABASE {self.database} WITH (FORCE)")
            self.home = keep_cli.server_url(self.database)
        self.ok("init", self.home)

    def host(self, *words):
        return test_cli_serve.Host(self, self.home, *words)

    def chat(self, place, text, *words):
        """Lines in a pipe: (exit status, answers, standard error)."""
        status, out, err = self.keep("chat", place, "--chat", "terminal:ada", *words, stdin=text.encode())
        return status, out.decode().splitlines(), err.decode()

    def wait_for(self, look, what):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            found = look()
            if found:
                return found
            select.select([], [], [], 0.02)
        raise AssertionError(what)

    def history(self):
        return json.loads(self.ok("gateway", "history", self.home, "terminal:ada", "--json"))

    # ------------------------------------------------------------ in a pipe

    def test_each_line_is_a_message_and_its_answer_a_line(self):
        host = self.host(*RE)
        for place in (self.home, host.url, host.url + "/"):
            self.assertEqual(self.chat(place, "Hello\n\n  \nIs it “late”?\nno end"),
                             (0, ["Re: Hello", "Re: Is it “late”?", "Re: no end"], ""))
        stored = self.history()
        self.assertEqual(len(stored), 18)
        self.assertTrue(all(message["status"] == "delivered" for message in stored if message["is_from_me"]))

    def test_once_says_one_thing_and_waits_for_its_answer(self):
        host = self.host(*RE)
        self.assertEqual(self.chat(self.home, "not read\n", "--once", "Hello"), (0, ["Re: Hello"], ""))
        self.assertEqual(self.chat(host.url, "", "--once", "Hello"), (0, ["Re: Hello"], ""))

    def test_with_an_agent_it_is_the_host_for_as_long_as_it_lasts(self):
        for _ in range(2):
            self.assertEqual(self.chat(self.home, "Hello\n", *RE), (0, ["Re: Hello"], ""))
        status, out, err = self.chat(self.home, "Hello\n")
        self.assertEqual((status, out), (8, []))
        self.assertTrue(err.startswith("keep: no keep serve runs on "), err)
        self.assertEqual(err.count("\n"), 1)

    def test_there_is_one_host(self):
        self.host(*RE)
        status, out, err = self.chat(self.home, "Hello\n", "--agent", "cat")
        self.assertEqual((status, out), (4, []))
        self.assertIn("host of this home already", err)

    def test_a_message_that_nobody_takes_is_told_with_why(self):
        self.host()
        status, out, err = self.chat(self.home, "Hello\n")
        self.assertEqual((status, out), (1, []))
        self.assertTrue(err.startswith("keep: message 1 was not answered: unrouted: "), err)

    def test_an_agent_that_says_nothing_is_told(self):
        self.host("--agent", "true")
        status, out, err = self.chat(self.home, "Hello\n")
        self.assertEqual((status, out), (0, []))
        self.assertIn("message 1: the agent said nothing", err)

    def test_an_agent_that_fails_is_told_with_why_and_answers_the_next_time(self):
        self.host("--agent", "if [ $KEEP_ATTEMPT = 1 ]; then echo out of tea >&2; exit 3; fi; echo at last")
        process = self.start("chat", self.home, "--chat", "terminal:ada", "--once", "Hello")
        self.assertIn(b"message 1 is tried again: ", process.stderr.readline())
        process.stdin.close()
        self.assertEqual(process.stdout.readline(), b"at last\n")
        self.assertEqual(process.wait(SECONDS), 0)

    def test_talks_of_two_names_take_nothing_from_each_other(self):
        host = self.host(*RE)
        said = [f"{number}" for number in range(10)]
        talks = []
        for name, place in (("ada", self.home), ("bob", host.url), ("eve", host.url)):
            process = self.start("chat", place, "--chat", f"terminal:{name}")
            process.stdin.write("".join(f"{name} {text}\n" for text in said).encode())
            process.stdin.close()
            talks.append((name, process))
        for name, process in talks:
            self.assertEqual(process.stdout.read().decode().splitlines(), [f"Re: {name} {text}" for text in said])
            self.assertEqual((process.stderr.read(), process.wait(SECONDS)), (b"", 0))

    def test_an_answer_that_comes_after_the_talk_is_shown_by_the_next(self):
        self.host("--agent", "while [ ! -e go ]; do sleep 0.05; done; echo so late")
        process = self.start("chat", self.home, "--chat", "terminal:ada", "--once", "Hello")
        self.wait_for(lambda: self.keep("gateway", "history", self.home, "terminal:ada")[1], "the message")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 130)
        with open(os.path.join(self.folder, "go"), "w", encoding="utf-8"):
            pass
        status, out, _ = self.chat(self.home, "Again\n")
        self.assertEqual((status, out), (0, ["so late", "so late"]))

    def test_it_goes_on_when_another_host_takes_over(self):
        host = self.host(*RE)
        process = self.start("chat", self.home, "--chat", "terminal:ada")
        process.stdin.write(b"one\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"Re: one\n")
        host.process.kill()
        host.process.wait()
        process.stdin.write(b"two\n")
        process.stdin.close()
        self.host(*RE)
        self.assertEqual(process.stdout.readline(), b"Re: two\n")
        self.assertEqual(process.wait(SECONDS), 0)

    def test_lines_that_cannot_be_messages_are_told_and_the_others_answered(self):
        self.host(*RE)
        status, out, err = self.keep("chat", self.home, "--chat", "terminal:ada",
                                     stdin=b"one\n\xff\n" + b"x" * (1 << 20) + b"x\ntwo\n")
        self.assertEqual((status, out), (1, b"Re: one\nRe: two\n"))
        self.assertEqual(err.count(b"keep: "), 2, err[:500])

    def test_a_file_of_an_answer_is_named(self):
        self.host("--agent", """echo '{"text":"Here it is","files":[]}'""")
        self.assertEqual(self.chat(self.home, "A map, please\n")[:2], (0, ["Here it is"]))

    # ------------------------------------------------------------ over HTTP

    def test_a_service_that_is_not_there_or_none_is_told(self):
        status, out, err = self.chat("http://127.0.0.1:9", "Hello\n")
        self.assertEqual((status, out), (8, []))
        self.assertTrue(err.startswith("keep: http://127.0.0.1:9: "), err)

    def test_an_account_needs_its_token(self):
        host = self.host(*RE)
        self.ok("gateway", "create_user", self.home, "local:op", "--password", "correct horse battery",
                "--is-operator")
        body = json.dumps({"username": "local:op", "password": "correct horse battery"}).encode()
        until = time.monotonic() + SECONDS
        status, out, err = self.chat(host.url, "Hello\n")
        while status == 0 and time.monotonic() < until:  # that there is an account is seen within a second
            status, out, err = self.chat(host.url, "Hello\n")
        self.assertEqual((status, out), (5, []), err)
        request = urllib.request.Request(host.url + "/v1/auth/sign_in", data=body,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            token = json.load(answer)
        token = token.get("result", token)["access_token"]
        with open(os.path.join(self.folder, "token"), "w", encoding="utf-8") as file:
            file.write(token + "\n")
        self.assertEqual(self.chat(host.url, "Hello\n", "--token-file", "token"), (0, ["Re: Hello"], ""))
        status, out, err = self.chat(host.url, "Hello\n", "--token-file", "nowhere")
        self.assertEqual((status, out), (1, []))
        self.assertNotIn(token, err)

    def test_a_token_never_goes_over_the_network_in_the_clear(self):
        with open(os.path.join(self.folder, "token"), "w", encoding="utf-8") as file:
            file.write("secret")
        for url in ("http://keep.example.org:7400", "http://127.0.0.1.example.org"):
            status, out, err = self.chat(url, "Hello\n", "--token-file", "token")
            self.assertEqual((status, out), (3, []))
            self.assertIn("https://", err)

    # ------------------------------------------------------------ on a terminal

    def test_a_person_has_a_prompt_and_leaves_by_control_c(self):
        self.host(*RE)
        terminal = Terminal(self, self.home, "--chat", "terminal:ada")
        terminal.expect("ada> ")
        terminal.type("Hello\n")
        terminal.expect("main: Re: Hello")
        terminal.type("And again\n")
        terminal.expect("main: Re: And again")
        terminal.type("\x03")
        self.assertEqual(terminal.exit_status(), 0)

    def test_the_end_of_input_ends_it_after_the_last_answer(self):
        terminal = Terminal(self, self.home, "--chat", "terminal:ada", *RE)
        terminal.expect("ada> ")
        terminal.type("Hello\n\x04")
        terminal.expect("main: Re: Hello")
        self.assertEqual(terminal.exit_status(), 0)

    def test_control_c_ends_a_talk_that_is_its_own_host_in_the_middle_of_an_answer(self):
        terminal = Terminal(self, self.home, "--chat", "terminal:ada", "--agent", "touch begun; sleep 1000")
        terminal.expect("ada> ")
        terminal.type("Hello\n")
        self.wait_for(lambda: os.path.exists(os.path.join(self.folder, "begun")), "the agent does not begin")
        terminal.type("\x03")
        self.assertEqual(terminal.exit_status(), 0)

    # ------------------------------------------------------------ words

    def test_wrong_words_are_refused(self):
        for words, message in ((("chat",), "chat: HOME or URL: missing"),
                               (("chat", self.home, "--chat", "telegram:ada"), "--chat: terminal:NAME"),
                               (("chat", self.home, "--chat", "terminal:"), "--chat: terminal:NAME"),
                               (("chat", self.home, "--token-file", "x"), "--token-file: "),
                               (("chat", self.home, "--once", ""), "--once: "),
                               (("chat", self.home, "--agent", ""), "--agent: "),
                               (("chat", "http://127.0.0.1:9", "--agent", "cat"), "--agent: "),
                               (("chat", self.home, "again"), "chat: 'again'")):
            self.refused(2, message, *words)
        self.refused(1, "", "chat", "nowhere", "--once", "x")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        KIND = sys.argv.pop(1)
    unittest.main()
