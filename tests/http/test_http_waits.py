#!/usr/bin/env python3
"""Calls that wait: woken, timed out, given up by their clients, ended with the service."""
import json
import os
import threading
import time
import unittest

from http_service import JSON, SECONDS, HttpTest

MESSAGE = {"chat_jid": "tg:1", "id": "m1", "sender": "ada", "content": "hello"}


class Waits(HttpTest):
    def setUp(self):
        super().setUp()
        self.start_service()

    def in_background(self, operation, inputs):
        answers = []

        def work():
            answers.append(self.post(operation, inputs))

        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)
        return thread, answers

    def threads(self):
        return len(os.listdir(f"/proc/{self.service.pid}/task"))

    def test_a_wait_ends_when_there_is_something(self):
        thread, answers = self.in_background("gateway.wait_changes", {"after_change": 0, "timeout_ms": 60000})
        self.call("gateway.put_message", **MESSAGE)
        thread.join(SECONDS)
        self.assertEqual(answers[0].json, {"ok": True, "result": True})

    def test_a_wait_ends_with_its_time(self):
        begin = time.monotonic()
        self.assertIs(self.call("gateway.wait_deliveries", channel="none", timeout_ms=1000), False)
        self.assertGreaterEqual(time.monotonic() - begin, 0.99)
        self.assertIs(self.call("gateway.wait_deliveries", channel="none", timeout_ms=0), False)
        self.assert_problem(self.post("gateway.wait_deliveries", {"channel": "none", "timeout_ms": "1"}), 400)

    def test_deliveries_are_given_as_soon_as_they_are_there(self):
        inputs = {"channel": "tg", "timeout_ms": 60000, "claimed_by": "adapter"}
        if self.post("gateway.claim_deliveries", dict(inputs, timeout_ms=0)).status != 200:
            inputs.pop("claimed_by")
        thread, answers = self.in_background("gateway.claim_deliveries", inputs)
        self.call("gateway.put_message", **dict(MESSAGE, channel="tg"))
        self.call("gateway.put_outbound", chat_jid="tg:1", id="o1", content="hi")
        thread.join(SECONDS)
        self.assertEqual([row["id"] for row in answers[0].json["result"]], ["o1"])

    def test_a_change_of_an_engine_is_seen(self):
        self.call("engine.set", path="a", value="1")
        thread, answers = self.in_background("engine.watch", {"path": "a", "timeout_ms": 60000})
        number = 0
        while thread.is_alive():
            self.call("engine.set", path="a", value=str(number))
            thread.join(0.1)
            number += 1
        self.assertEqual(answers[0].json["result"], True)

    def test_clients_that_went_away_end_their_waits(self):
        body = json.dumps({"channel": "none", "timeout_ms": 3600000}).encode()
        request = b"POST /v1/gateway/wait_deliveries HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" \
                  % len(body) + body
        waiting = [self.connect() for _ in range(300)]
        for connection in waiting:
            connection.sendall(request)
        # All threads that may wait do: one more is refused, and other calls are served.
        self.assertTrue(self.until(lambda: self.threads() > 256))
        answer = self.post("gateway.wait_deliveries", {"channel": "none", "timeout_ms": 1000})
        self.assert_problem(answer, 503, "BUSY")
        self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.call("engine.set", path="a", value="1")
        for connection in waiting:
            connection.close()
        self.assertTrue(self.until(lambda: self.post("gateway.wait_deliveries",
                                                     {"channel": "none", "timeout_ms": 1}).status == 200))

    def test_stopping_ends_waits_and_answers_them(self):
        body = json.dumps({"channel": "none", "timeout_ms": 3600000})
        answers = []

        def work():
            answers.append(self.ask("POST", "/v1/gateway/wait_deliveries", body, JSON))

        threads = [threading.Thread(target=work) for _ in range(20)]
        before = self.threads()
        for thread in threads:
            thread.start()
        self.assertTrue(self.until(lambda: self.threads() >= before + 20))
        begin = time.monotonic()
        self.assertIn(self.stop_service(), (0, 143))
        for thread in threads:
            thread.join(SECONDS)
        self.assertLess(time.monotonic() - begin, SECONDS)
        self.assertEqual([answer.json for answer in answers], [{"ok": True, "result": False}] * 20)


if __name__ == "__main__":
    unittest.main()
