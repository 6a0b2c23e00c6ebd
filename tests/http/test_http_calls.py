#!/usr/bin/env python3
"""POST /v1/<store>/<verb>: inputs, envelopes, results, failures, and the small paths."""
import http.client
import json
import unittest

from http_service import JSON, SECONDS, HttpTest, SharedServiceTest, parse_answer

MESSAGE = {"chat_jid": "tg:1", "id": "m1", "sender": "ada", "content": "hello"}


class Calls(HttpTest):
    def setUp(self):
        super().setUp()
        self.start_service()

    def test_the_body_is_the_inputs_and_the_answer_has_the_result(self):
        self.assertIsNone(self.call("engine.set", path="a/b", value="x"))
        answer = self.post("engine.get", {"path": "a/b"})
        self.assertEqual((answer.status, answer.json), (200, {"ok": True, "result": "x"}))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")

    def test_an_envelope_gives_its_id_back_as_it_was_written(self):
        for identity in (7, "seven", None, {"a": [1.50]}):
            answer = self.post("engine.count", {"id": identity, "with": {"path": "a"}})
            self.assertEqual(answer.json, {"id": identity, "ok": True, "result": 0})
        answer = self.ask("POST", "/v1/engine/count", '{"with":{"path":"a"},"id":1.50}', JSON)
        self.assertIn(b'"id":1.50,', answer.body)

    def test_the_call_of_an_envelope_must_be_that_of_the_path(self):
        right = {"id": 1, "call": "engine.count", "with": {"path": "a"}}
        self.assertEqual(self.post("engine.count", right).json["result"], 0)
        wrong = dict(right, call="engine.get")
        problem = self.assert_problem(self.post("engine.count", wrong), 400, "INVALID", "call")
        self.assertEqual(problem["detail"].count("engine.count"), 1)
        self.assert_problem(self.post("engine.count", dict(right, call=1)), 400, "INVALID", "call")

    def test_what_is_no_envelope_is_inputs(self):
        # `id` is an input of put_message; `with` beside other members is an input that there is not.
        self.assertEqual(self.call("gateway.put_message", **MESSAGE)["outcome"], "inserted")
        self.assert_problem(self.post("engine.count", {"with": {}, "path": "a"}), 400, "INVALID", "with")

    def test_an_empty_body_is_an_empty_object(self):
        answer = self.ask("POST", "/v1/gateway/list_chats", b"", JSON)
        self.assertEqual((answer.status, answer.json["result"]), (200, []))

    def test_a_type_of_the_body_may_be_left_out(self):
        self.assertEqual(self.ask("POST", "/v1/gateway/list_chats", b"{}").status, 200)
        for kind in ("application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"'):
            self.assertEqual(self.ask("POST", "/v1/gateway/list_chats", b"{}", {"Content-Type": kind}).status, 200)

    def test_a_failure_is_a_problem_with_the_http_status_of_its_status(self):
        self.assert_problem(self.post("engine.get", {"path": "nothing"}), 404, "NOT_FOUND")
        self.assert_problem(self.post("engine.get", {}), 400, "INVALID", "path")
        self.assert_problem(self.post("engine.get", {"path": 1}), 400, "INVALID", "path")
        self.assert_problem(self.post("engine.get", {"path": "a", "pathh": "b"}), 400, "INVALID", "pathh")
        self.call("gateway.put_message", **MESSAGE)
        problem = self.assert_problem(self.post("gateway.put_message", dict(MESSAGE, content="other")), 409,
                                      "CONFLICT")
        self.assertEqual(problem["title"], "Conflict")

    def test_a_failure_has_the_id_of_its_envelope(self):
        problem = self.assert_problem(self.post("engine.get", {"id": "x", "with": {}}), 400, "INVALID")
        self.assertEqual(problem["id"], "x")
        self.assertNotIn("id", self.post("engine.get", {}).json)

    def test_a_message_comes_in_once_whatever_is_repeated(self):
        first = self.call("gateway.put_message", **MESSAGE)
        again = self.call("gateway.put_message", **MESSAGE)
        self.assertEqual((first["outcome"], again["outcome"]), ("inserted", "duplicate"))
        self.assertEqual(len(self.call("gateway.history", jid="tg:1")), 1)

    def test_texts_of_all_kinds_come_back_exactly(self):
        value = "".join(map(chr, range(1, 0x250))) + "\U0001f600 \u2028"
        self.call("engine.set", path="a", value=value)
        self.assertEqual(self.call("engine.get", path="a"), value)

    def test_a_body_of_some_mebibytes_goes_through(self):
        value = "x" * (3 << 20)
        self.call("engine.set", path="big", value=value)
        self.assertEqual(self.call("engine.get", path="big"), value)

    def test_one_connection_serves_many_requests(self):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.addCleanup(client.close)
        client.connect()
        sock = client.sock
        for number in range(50):
            client.request("POST", "/v1/engine/set", json.dumps({"path": f"p/{number}", "value": "v"}), JSON)
            self.assertEqual(client.getresponse().read(), b'{"ok":true,"result":null}\n')
        self.assertIs(client.sock, sock)
        self.assertEqual(self.call("engine.count", path="p"), 50)

    def test_a_chunked_body_is_read(self):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.addCleanup(client.close)
        client.request("POST", "/v1/engine/set", iter([b'{"path":"c",', b'"value":"', b'v"}']), JSON,
                       encode_chunked=True)
        self.assertEqual(client.getresponse().status, 200)
        self.assertEqual(self.call("engine.get", path="c"), "v")

    def test_pipelined_requests_are_answered_in_order(self):
        connection = self.connect()
        requests = b""
        for number in range(40):
            body = json.dumps({"id": number, "with": {"path": f"q/{number}", "value": "v"}}).encode()
            requests += (b"POST /v1/engine/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                         % len(body)) + body
        connection.sendall(requests)
        with connection.makefile("rb") as file:
            for number in range(40):
                self.assertEqual(parse_answer(file).json, {"id": number, "ok": True, "result": None})


class Paths(SharedServiceTest):
    def test_the_root_says_what_this_is(self):
        answer = self.ask("GET", "/")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"/v1/<store>/<verb>", answer.body)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain"))

    def test_health_is_told_with_a_version(self):
        answer = self.ask("GET", "/healthz")
        self.assertEqual((answer.status, answer.json["status"]), (200, "ok"))
        self.assertRegex(answer.json["version"], r"^\d+\.\d+\.\d+$")
        head = self.ask("HEAD", "/healthz")
        self.assertEqual((head.status, head.body), (200, b""))

    def test_metrics_are_prometheus_text(self):
        answer = self.ask("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"))

    def test_unknown_paths_stores_and_verbs_are_not_found(self):
        for path in ("/nothing", "/v1", "/v1/", "/v2/engine/get", "/v1/engine", "/v1/engine/", "/v1/engine/nothing",
                     "/v1/nothing/get", "/v1/engine/get/", "/v1/Engine/get", "//v1/engine/get", "/v1/engine/../engine/get",
                     "/v1/engine%2Fget", "/%68ealthz", "/healthz/", "/v1/engine/" + "x" * 3000):
            self.assert_problem(self.ask("POST", path, b"{}", JSON), 404, "NOT_FOUND")

    def test_another_method_is_told_which_one_is_right(self):
        for method, path, allow in (("GET", "/v1/engine/get", "POST"), ("PUT", "/v1/engine/get", "POST"),
                                    ("DELETE", "/healthz", "GET, HEAD"), ("POST", "/", "GET, HEAD"),
                                    ("OPTIONS", "/v1/engine/get", "POST"), ("BREW", "/metrics", "GET, HEAD"),
                                    ("GET", "/v1/auth/sign_in", "POST"), ("POST", "/v1/events", "GET")):
            answer = self.ask(method, path, b"{}" if method != "GET" else None)
            self.assert_problem(answer, 405, "INVALID")
            self.assertEqual(answer.headers["allow"], allow, (method, path))


if __name__ == "__main__":
    unittest.main()
