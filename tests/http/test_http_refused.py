#!/usr/bin/env python3
"""Requests that are refused: malformed, repeated, misdirected, of other origins, too long. The rest goes on."""
import json
import socket
import unittest

from http_service import JSON, SharedServiceTest, parse_answer

COUNT = b"POST /v1/engine/count HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"path":"a"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


class Refused(SharedServiceTest):
    def tearDown(self):
        self.assert_alive()
        super().tearDown()

    # ---------------------------------------------------------------- headers

    def test_repeated_headers_are_refused(self):
        for name, value in (("Host", b"localhost"), ("Content-Length", b"%d" % len(BODY)),
                            ("Content-Type", b"application/json"), ("Authorization", b"Bearer x"),
                            ("Transfer-Encoding", b"chunked"), ("Origin", b"http://localhost")):
            head = b"POST /v1/engine/count HTTP/1.1\r\n"
            others = {"Host": b"localhost", "Content-Length": b"%d" % len(BODY)}
            if name == "Transfer-Encoding":
                del others["Content-Length"]
            others[name] = value
            lines = b"".join(n.encode() + b": " + v + b"\r\n" for n, v in others.items())
            again = name.upper().encode() + b": " + value + b"\r\n"
            answer = self.send(head + lines + again + b"\r\n" + BODY)
            self.assert_problem(answer, 400, "INVALID", "more than once")
            self.assertEqual(answer.headers["connection"].lower(), "close")

    def test_two_ways_to_say_where_a_body_ends_are_refused(self):
        both = COUNT + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        connection = self.connect()
        connection.sendall(both)
        with connection.makefile("rb") as file:
            self.assert_problem(parse_answer(file), 400, "INVALID", "Transfer-Encoding")
            try:
                self.assertEqual(file.read(), b"", "nothing after it may be taken for a request")
            except ConnectionResetError:
                pass
        self.assertNotIn("smuggled", self.log())

    def test_other_codings_are_refused(self):
        for coding in (b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked"):
            self.assert_problem(self.send(COUNT + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"), 501)
        self.assert_problem(self.ask("POST", "/v1/engine/count", BODY, dict(JSON, **{"Content-Encoding": "gzip"})), 415)
        self.assert_problem(self.send(COUNT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                            400)

    def test_lengths_that_are_none_are_refused(self):
        for length in (b"abc", b"-1", b"+2", b"2, 2", b"0x2", b"1e1", b" "):
            answer = self.send(COUNT + b"Content-Length: " + length + b"\r\n\r\n" + BODY)
            self.assertEqual(answer.status, 400 if length != b" " else answer.status, length)
            self.assertGreaterEqual(answer.status, 400)
        self.assertEqual(self.send(COUNT + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n").status, 413)
        self.assert_problem(self.send(COUNT + b"\r\n"), 411, "INVALID", "Content-Length")

    def test_what_is_no_http_is_refused(self):
        for data in (b"GARBAGE\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nnocolon\r\n\r\n",
                     b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
                     COUNT + b"Content-Length : 2\r\n\r\n{}", COUNT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x@localhost\r\n\r\n", COUNT + LENGTH + b"Expect: 200-ok\r\n\r\n" + BODY):
            answer = self.send(data)
            self.assertTrue(answer is None or answer.status in (400, 417, 505), (data, answer and answer.status))

    def test_headers_and_addresses_that_are_too_long_are_refused(self):
        for size in (17000, 40000, 400000):
            answer = self.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * size + b"\r\n\r\n")
            self.assertEqual(answer.status, 431, size)
        self.assert_problem(self.ask("GET", "/", headers={"X": "a" * 17000}), 431)
        self.assert_problem(self.ask("GET", "/" + "a" * 9000), 414)
        self.assertEqual(self.ask("GET", "/" + "a" * 100000).status, 414)
        self.assertEqual(self.ask("GET", "/healthz", headers={"X": "a" * 15000}).status, 200)

    def test_another_type_of_body_is_refused(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                     "application/jsonl", "application/json-patch+json", "application/json; charset=latin1", ""):
            self.assert_problem(self.ask("POST", "/v1/engine/count", BODY, {"Content-Type": kind}), 415, "INVALID")

    # ---------------------------------------------------------------- who is meant, who sends

    def test_a_host_that_is_not_ours_is_misdirected(self):
        for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "192.168.0.1", "0.0.0.0", "localhost.",
                     "127.0.0.1.", "[::2]", "127.1"):
            self.assert_problem(self.ask("GET", "/healthz", headers={"Host": host}), 421, "DENIED")
            self.assert_problem(self.ask("POST", "/v1/engine/set", '{"path":"a","value":"b"}',
                                         dict(JSON, Host=host)), 421)
        self.assertEqual(self.call("engine.count", path="a"), 0, "a refused call must not be run")
        for host in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]", f"localhost:{self.port}", f"127.0.0.1:{self.port}"):
            self.assertEqual(self.ask("GET", "/healthz", headers={"Host": host}).status, 200, host)

    def test_a_page_of_another_origin_is_refused(self):
        own = f"http://localhost:{self.port}"
        host = f"localhost:{self.port}"
        for origin in ("http://evil.example", "null", "https://" + host, "http://localhost", "http://localhost:1",
                       f"http://127.0.0.1:{self.port}", "file://", own + ".evil.example", ""):
            answer = self.ask("POST", "/v1/engine/set", '{"path":"a","value":"b"}', dict(JSON, Host=host, Origin=origin))
            self.assert_problem(answer, 403, "DENIED", "Origin")
            self.assertNotIn("access-control-allow-origin", answer.headers)
        self.assertEqual(self.call("engine.count", path="a"), 0, "a refused call must not be run")
        self.assertEqual(self.ask("GET", "/healthz", headers={"Host": host, "Origin": own}).status, 200)

    # ---------------------------------------------------------------- bodies

    def test_bodies_that_are_no_json_object_are_refused(self):
        for body in (b"{", b"[]", b"null", b"1", b'"a"', b"{'path':'a'}", b'{"path":"a"} x', b'{"path":"a",}',
                     b'{"path":"a","path":"a"}', b'{"path":"\xff"}', b'{"path":"\\ud800"}', b"\xef\xbb\xbf{}", b"\0",
                     b'{"id":1,"with":[]}', b'{"id":1,"with":null}', b'{"path":NaN}'):
            self.assert_problem(self.ask("POST", "/v1/engine/count", body, JSON), 400, "INVALID")

    def test_deep_json_is_refused(self):
        for deep in (b"[" * 100000, b'{"a":' * 100000, b'{"path":' + b"[" * 65 + b"]" * 65 + b"}"):
            self.assert_problem(self.ask("POST", "/v1/engine/count", deep, JSON), 400, "INVALID")

    def test_bodies_that_are_too_long_are_refused_and_the_client_hears_it(self):
        self.assert_problem(self.send(COUNT + b"Content-Length: 999999999\r\n\r\n"), 413, "FULL")
        # Read and dropped, so that a client that only sends gets its answer, too.
        self.assert_problem(self.ask("POST", "/v1/engine/set", b"x" * (17 << 20), JSON), 413, "FULL", "16777216")
        self.assert_problem(self.ask("POST", "/v1/engine/count", b"x" * (2 << 20), JSON), 413, "FULL")
        self.assert_problem(self.ask("POST", "/v1/auth/sign_in", b"x" * 20000, JSON), 413, "FULL")
        expecting = b"POST /v1/engine/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n" \
                    b"Expect: 100-continue\r\n\r\n"
        self.assert_problem(self.send(expecting), 413, "FULL")
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        self.assert_problem(self.send(COUNT + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n"), 413)

    def test_a_refused_request_leaves_its_connection_usable(self):
        connection = self.connect()
        wrong = b"POST /v1/engine/nothing HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + BODY
        connection.sendall(wrong + COUNT + LENGTH + b"\r\n" + BODY)
        with connection.makefile("rb") as file:
            self.assert_problem(parse_answer(file), 404, "NOT_FOUND")
            self.assertEqual(parse_answer(file).json, {"ok": True, "result": 0})

    def test_a_client_that_has_ended_its_side_gets_its_answer(self):
        connection = self.connect()
        connection.sendall(COUNT + LENGTH + b"\r\n" + BODY)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as file:
            self.assertEqual(parse_answer(file).json["result"], 0)
            self.assertEqual(file.read(), b"")

    def test_a_request_that_never_becomes_whole_is_dropped(self):
        connections = [self.connect() for _ in range(3)]
        for connection, part in zip(connections, (COUNT, COUNT + LENGTH + b"\r\n" + BODY[:-1], b"PO")):
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        for connection in connections:
            self.assertEqual(connection.recv(100), b"")

    # ---------------------------------------------------------------- logs

    def test_logs_have_no_query_no_header_and_no_body(self):
        secret = "s3cr3t-that-nobody-may-see"
        self.ask("GET", f"/healthz?token={secret}")
        self.ask("GET", "/nothing?" + secret, headers={"Authorization": "Bearer " + secret, "Cookie": secret})
        self.ask("POST", "/v1/engine/set", json.dumps({"path": "a", "value": secret}), JSON)
        self.ask("POST", "/v1/engine/set", json.dumps({"path": secret, secret: secret}), JSON)
        self.ask("POST", "/v1/auth/sign_in", json.dumps({"username": "ada", "password": secret}), JSON)
        self.send(b"POST /v1/engine/set HTTP/1.1\r\nHost: " + secret.encode() + b"\r\n" + LENGTH + b"\r\n" + BODY)
        self.assert_alive()
        log = self.log()
        self.assertIn("http: GET /healthz 200 127.0.0.1", log)
        self.assertIn("http: GET /nothing 404 127.0.0.1", log)
        self.assertNotIn(secret, log)


if __name__ == "__main__":
    unittest.main()
