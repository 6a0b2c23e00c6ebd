#!/usr/bin/env python3
"""Clients in numbers, slow ones, ones that vanish: the others are served, and nothing is kept."""
import json
import os
import resource
import socket
import threading
import time
import unittest

from http_service import PATIENCE, HttpTest, parse_answer

SILENT = 1000


def allow_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


class Bounds(HttpTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What the service is started with is the usual thousand; it asks for more itself.
        cls.files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def setUp(self):
        super().setUp()
        self.start_service()

    def open_files(self):
        return len(os.listdir(f"/proc/{self.service.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.service.pid}/task"))

    def test_a_thousand_connections_that_send_nothing_hold_nobody_up_and_are_cut(self):
        allow_files()
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, self.files)
        before, threads = self.open_files(), self.threads()
        begin = time.monotonic()
        silent = [self.connect() for _ in range(SILENT)]
        slow = [self.connect() for _ in range(20)]
        for number in range(20):
            slow[number].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            self.call("engine.set", path=f"a/{number}", value="v")
        self.assertEqual(self.call("engine.count", path="a"), 20)
        self.assertLess(self.threads(), threads + 40, "a connection must not cost a thread")
        # One byte now and then does not help.
        cut = False
        while not cut and time.monotonic() - begin < 60 * PATIENCE:
            time.sleep(0.5)
            for connection in slow:
                try:
                    connection.sendall(b"a")
                    cut = cut or self.has_ended(connection)
                except (BrokenPipeError, ConnectionResetError):
                    cut = True
        self.assertTrue(cut)
        self.assertGreater(time.monotonic() - begin, 8)
        for connection in silent:
            self.assertTrue(self.until(lambda c=connection: self.has_ended(c)))
        self.assertTrue(self.until(lambda: self.open_files() <= before + 40))
        self.assert_alive()

    @staticmethod
    def has_ended(connection):
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def test_clients_that_vanish_leave_nothing_behind(self):
        before = self.open_files()
        request = b"POST /v1/engine/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n"
        for number in range(300):
            connection = socket.create_connection(("127.0.0.1", self.port))
            if number % 3:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(request[:10 + number % 60] if number % 2 else request + b'{"path":"a"}')
            connection.close()
        self.assertTrue(self.until(lambda: self.open_files() <= before + 40))
        self.assert_alive()

    def test_many_requests_at_once_are_all_answered(self):
        failures = []

        def work(worker):
            try:
                for number in range(20):
                    answer = self.post("engine.set", {"path": f"w/{worker}/{number}", "value": "v"})
                    if answer.status != 200:
                        failures.append(answer.body)
            except OSError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual([self.call("engine.count", path=f"w/{worker}") for worker in range(64)], [20] * 64)

    def test_what_is_in_flight_is_answered_when_the_service_stops(self):
        idle, half = self.connect(), self.connect()
        half.sendall(b"POST /v1/engine/set HTTP/1.1\r\nHost: localhost\r\n")
        acknowledged, failures = [], []

        def work(worker):
            number = 0
            while True:
                try:
                    answer = self.post("engine.set", {"path": f"w/{worker}/{number}", "value": "v"})
                except OSError:
                    return  # no new connection is taken
                if answer.status == 503:
                    return
                if answer.status != 200:
                    failures.append(answer.body)
                acknowledged.append(f"w/{worker}/{number}")
                number += 1

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        self.until(lambda: len(acknowledged) > 100)
        self.assertEqual(self.stop_service(), 0)
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertTrue(self.has_ended(idle))
        rows = self.ok("engine", "scan", self.home, "w", "--json")
        stored = {row["path"].lstrip("/") for row in json.loads(rows)}
        for path in acknowledged:
            self.assertIn(path, stored)

    def test_a_slow_reader_of_a_long_answer_holds_no_thread(self):
        size = 8 << 20
        self.call("engine.set", path="long", value="x" * size)
        body = b'{"path":"long"}'
        readers = []
        for _ in range(40):
            connection = socket.socket()
            self.addCleanup(connection.close)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(b"POST /v1/engine/get HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                               % len(body) + body)
            readers.append(connection)
        for number in range(20):
            self.call("engine.set", path=f"a/{number}", value="v")
        self.assertEqual(self.call("engine.count", path="a"), 20)
        with readers[0].makefile("rb") as file:
            self.assertEqual(len(parse_answer(file).json["result"]), size)


if __name__ == "__main__":
    unittest.main()
