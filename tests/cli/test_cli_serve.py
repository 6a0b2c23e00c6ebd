"""`keep serve` and `keep trace`: started, asked over HTTP, ended, taken over, refused.

    tests/support/with_servers.sh /usr/bin/python3 tests/cli/test_cli_serve.py sqlite|postgres

Each test has a home of its own; the service listens on a port of the kernel's choice.
"""
import json
import os
import signal
import sys
import time
import unittest
import urllib.error
import urllib.request

import keep_cli

KIND = "sqlite"


class Host:
    """A `keep serve` that is ready."""

    def __init__(self, test, home, *words):
        self.process = test.start("serve", home, "--listen", "127.0.0.1:0", "--no-maintenance", *words)
        line = self.process.stdout.readline().decode()
        if not line.startswith("keep: listening on http://127.0.0.1:"):
            raise AssertionError((line, self.process.stderr.read()))
        self.url = line.split()[-1]

    def call(self, name, **inputs):
        request = urllib.request.Request(
            f"{self.url}/v1/{name.replace('.', '/')}", data=json.dumps(inputs).encode(),
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=keep_cli.SECONDS) as answer:
            return json.load(answer)["result"]

    def put(self, chat, id_, text):
        return self.call("gateway.put_message", chat_jid=chat, id=id_, sender="ada", content=text)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(keep_cli.SECONDS)


class ServeTest(keep_cli.CliTest):
    def setUp(self):
        super().setUp()
        self.home = "home"
        if KIND == "postgres":
            self.database = f"keep_serve_{os.getpid()}_{time.monotonic_ns()}"
            keep_cli.psql(f"CREATE DATABASE {self.database}")
            self.addCleanup(keep_cli.psql, f"DROP DATABASE {self.database} WITH (FORCE)")
            self.home = keep_cli.server_url(self.database)
        self.ok("init", self.home)

    def deliver(self, host, count):
        """Take and report so many answers, in the order in which they come."""
        taken = []
        until = time.monotonic() + keep_cli.SECONDS
        while len(taken) < count:
            self.assertLess(time.monotonic(), until, taken)
            for message in host.call("gateway.claim_deliveries", channel="test", timeout_ms=1000):
                host.call("gateway.complete_delivery", jid=message["chat_jid"], id=message["id"],
                          attempt=message["attempts"], delivery="delivered", platform_id="p" + message["id"])
                taken.append(message)
        return taken

    def wait_for_state(self, chat, id_, state):
        until = time.monotonic() + keep_cli.SECONDS
        while True:
            told = json.loads(self.ok("trace", self.home, chat, id_, "--json"))
            if told["state"] == state:
                return told
            self.assertLess(time.monotonic(), until, told)
            time.sleep(0.01)

    def test_a_message_goes_in_and_its_answer_out(self):
        host = Host(self, self.home, "--agent", "sed 's/^/Re: /'", "--agent-text")
        self.assertEqual(host.put("test:1", "a", "hello"), {"outcome": "inserted", "seq": 1})
        self.assertEqual(host.put("test:1", "a", "hello")["outcome"], "duplicate")
        answer = self.deliver(host, 1)[0]
        self.assertEqual((answer["chat_jid"], answer["content"], answer["reply_to_id"]),
                         ("test:1", "Re: hello", "a"))
        self.wait_for_state("test:1", "a", "delivered")
        lines = self.ok("trace", self.home, "test:1", "a").decode()
        self.assertIn("accepted", lines)
        self.assertIn("completed", lines)
        self.assertTrue(lines.endswith("state: delivered\n"), lines)
        self.assertEqual(host.stop(), 0)

    def test_ending_loses_nothing_and_the_next_host_goes_on(self):
        host = Host(self, self.home, "--agent", "cat >/dev/null; echo done")
        for number in range(30):
            host.put(f"test:{number % 3}", f"m{number}", "work")
        self.assertEqual(host.stop(), 0)
        host = Host(self, self.home, "--agent", "cat >/dev/null; echo done")
        answers = self.deliver(host, 30)
        self.assertEqual(len({message["reply_to_id"] for message in answers}), 30)
        self.assertEqual(host.call("gateway.claim_deliveries", channel="test"), [])
        self.assertEqual(host.stop(), 0)

    def test_a_killed_host_is_followed_by_the_one_that_waits(self):
        words = ("--agent", "cat >/dev/null; echo done")
        first = Host(self, self.home, *words)
        second = self.start("serve", self.home, "--listen", "127.0.0.1:0", "--no-maintenance", *words)
        self.assertIn(b"waiting: ", second.stderr.readline())
        first.put("test:1", "a", "hello")
        first.process.kill()
        line = second.stdout.readline().decode()
        self.assertTrue(line.startswith("keep: listening on "), line)
        host = Host.__new__(Host)
        host.process, host.url = second, line.split()[-1]
        host.put("test:1", "b", "again")
        self.assertEqual({message["reply_to_id"] for message in self.deliver(host, 2)}, {"a", "b"})
        self.assertEqual(host.stop(), 0)

    def test_a_home_that_was_removed_or_replaced_has_no_healthy_host(self):
        home = os.path.join(self.folder, "removed")  # on a server it is the server that keeps the lease
        self.ok("init", home)
        host = Host(self, home, "--agent", "cat >/dev/null; echo done")
        os.rename(home, home + ".away")
        with self.assertRaises(urllib.error.HTTPError) as failure:
            urllib.request.urlopen(host.url + "/healthz", timeout=keep_cli.SECONDS)
        with failure.exception as answer:
            self.assertEqual(answer.code, 503)
            self.assertIn("was removed", json.load(answer)["detail"])
        os.rename(home + ".away", home)
        with urllib.request.urlopen(host.url + "/healthz", timeout=keep_cli.SECONDS) as answer:
            self.assertEqual(answer.status, 200)
        os.rename(home, home + ".away")
        self.ok("init", home)
        Host(self, home)
        self.assertEqual(host.process.wait(keep_cli.SECONDS), 4)
        self.assertIn(b"was replaced", host.process.stderr.read())

    def test_who_waits_ends_when_told(self):
        Host(self, self.home)
        second = self.start("serve", self.home, "--listen", "127.0.0.1:0")
        self.assertIn(b"waiting: ", second.stderr.readline())
        second.send_signal(signal.SIGTERM)
        self.assertEqual(second.wait(keep_cli.SECONDS), 0)

    def test_another_address_needs_an_account_and_tls(self):
        self.refused(3, "", "serve", self.home, "--listen", "0.0.0.0:0")
        self.ok("gateway", "create_user", self.home, "local:ada", "--password", "-", "--is-operator",
                stdin=b"correct horse battery")
        status, _, err = self.keep("serve", self.home, "--listen", "0.0.0.0:0")
        self.assertEqual(status, 3, err)
        self.assertIn(b"TLS", err)
        self.assertIn(b"proxy", err)

    def test_wrong_words_are_refused(self):
        self.refused(2, "--agents", "serve", self.home, "--agents", "-1")
        self.refused(2, "serve:", "serve", self.home, "--hosts", "a,,b")
        self.refused(3, "", "serve", self.home, "--listen", "nowhere")
        status, _, err = self.keep("serve", "no-such-home")
        self.assertEqual(status, 1, err)
        self.refused(2, "trace:", "trace", self.home)
        self.refused(1, "", "trace", self.home, "test:1", "never")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("sqlite", "postgres"):
        KIND = sys.argv.pop(1)
    unittest.main()
