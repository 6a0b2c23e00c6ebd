#!/usr/bin/env python3
"""Rows as JSON lines while they are read: types, backpressure, clients that go away, ends that are none."""
import http.client
import json
import os
import socket
import unittest

from http_service import JSON, SECONDS, HttpTest, parse_answer

LINES = {"Accept": "application/jsonl"}
SCAN = b'{"path":""}'


def scan_request(version=b"1.1"):
    return (b"POST /v1/engine/scan HTTP/" + version + b"\r\nHost: localhost\r\nAccept: application/jsonl\r\n"
            b"Content-Length: %d\r\n\r\n" % len(SCAN) + SCAN)


class Lines(HttpTest):
    def setUp(self):
        super().setUp()
        self.start_service()

    def fill(self, count, size):
        changes = [{"op": "set", "path": f"d/{number:06}", "value": "x" * size} for number in range(count)]
        for at in range(0, count, 500):
            self.call("engine.batch", changes=changes[at:at + 500])

    def memory(self):
        with open(f"/proc/{self.service.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def test_rows_come_one_a_line(self):
        self.fill(1000, 10)
        whole = self.call("engine.scan", path="")
        for accept in ("application/jsonl", "application/x-ndjson", "text/html, application/jsonl;q=0.9",
                       "Application/JSONL"):
            answer = self.post("engine.scan", {"path": ""}, {"Accept": accept})
            self.assertEqual((answer.status, answer.headers["transfer-encoding"]), (200, "chunked"))
            self.assertIn(answer.headers["content-type"], accept.lower())
            self.assertEqual([json.loads(line) for line in answer.body.splitlines()], whole)
            self.assertTrue(answer.body.endswith(b"}\n"))

    def test_no_rows_are_no_lines(self):
        answer = self.post("engine.scan", {"path": "nothing"}, LINES)
        self.assertEqual((answer.status, answer.headers["content-type"], answer.body), (200, "application/jsonl", b""))

    def test_a_failure_before_the_first_row_is_a_problem(self):
        self.assert_problem(self.post("engine.scan", {"limit": -1}, LINES), 400, "INVALID", "limit")

    def test_what_has_no_rows_is_answered_as_ever(self):
        answer = self.post("engine.count", {"path": "a"}, LINES)
        self.assertEqual((answer.headers["content-type"], answer.json), ("application/json", {"ok": True, "result": 0}))

    def test_a_connection_goes_on_after_lines(self):
        self.fill(10, 10)
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.addCleanup(client.close)
        for _ in range(5):
            client.request("POST", "/v1/engine/scan", SCAN, dict(JSON, **LINES))
            self.assertEqual(len(client.getresponse().read().splitlines()), 10)

    def test_a_long_answer_is_not_held_in_memory(self):
        self.fill(1500, 16000)
        self.read_lines()  # the store's own caches are filled now
        before = self.memory()
        self.assertLess(self.read_lines() - before, 12 << 20, "24 MB of rows went through")

    def read_lines(self):
        """Read a long answer; the most memory that the service had meanwhile."""
        connection = self.connect()
        connection.sendall(scan_request())
        with connection.makefile("rb") as file:
            self.assertIn(b"200", file.readline())
            while file.readline() != b"\r\n":
                pass
            most, count = 0, 0
            while True:
                size = int(file.readline().strip(), 16)
                count += file.read(size + 2).count(b"\n") - 1 + (size == 0)
                most = max(most, self.memory()) if count % 16 == 0 else most
                if size == 0:
                    break
        connection.close()
        return most

    def test_a_failure_in_the_middle_never_looks_like_the_end(self):
        self.fill(20, 10)
        self.post("engine.set", {"path": "z", "value": "/////w==", "encoding": "base64"})
        with self.assertRaises(http.client.IncompleteRead):
            self.post("engine.scan", {"path": ""}, LINES)
        self.assertIn("was broken off", self.log())
        # Where the end of the connection is the end of the body, there are no lines.
        self.assert_problem(self.send(scan_request(b"1.0")), 400, "INVALID", "value")
        self.assert_alive()

    def test_clients_that_go_away_in_the_middle_free_their_threads(self):
        self.fill(800, 4000)
        for _ in range(300):  # more than there are threads that may take long
            connection = socket.create_connection(("127.0.0.1", self.port))
            connection.sendall(scan_request())
            connection.recv(100)
            connection.close()
        self.assertTrue(self.until(lambda: self.post("engine.scan", {"path": "", "limit": 1}, LINES).status == 200))
        answer = self.post("engine.scan", {"path": ""}, LINES)
        self.assertEqual(len(answer.body.splitlines()), 800)

    def test_lines_that_nobody_reads_do_not_keep_the_service_from_stopping(self):
        self.fill(1000, 8000)
        connection = self.connect()
        connection.sendall(scan_request())
        self.assertIn(b"200 OK", connection.recv(100))
        self.assertIn(self.stop_service(), (0, 143))

    def test_pipelined_lines_are_answered_in_order(self):
        self.fill(5, 10)
        connection = self.connect()
        connection.sendall(scan_request() * 3)
        with connection.makefile("rb") as file:
            for _ in range(3):
                self.assertEqual(len(parse_answer(file).body.splitlines()), 5)


if __name__ == "__main__":
    unittest.main()
