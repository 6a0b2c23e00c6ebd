#!/usr/bin/env python3
"""keep call: every operation by name, waiting ones beside the others."""
import json
import signal
import unittest

from keep_cli import SOON, CliTest


class Call(CliTest):
    def setUp(self):
        super().setUp()
        self.ok("init", "home")

    def call(self, *requests, home="home"):
        text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
        return [json.loads(line) for line in self.ok("call", home, stdin=text.encode()).splitlines()]

    def serve(self, home="home"):
        process = self.start("call", home)

        def ask(request_id, name, **inputs):
            process.stdin.write(json.dumps({"id": request_id, "call": name, "with": inputs}).encode() + b"\n")
            process.stdin.flush()

        return process, ask, lambda: json.loads(process.stdout.readline())

    def test_calls_by_name(self):
        out = self.call({"id": 1, "call": "engine.set", "with": {"path": "a", "value": "v"}},
                        {"id": 2, "call": "engine.get", "with": {"path": "a"}},
                        {"id": 3, "call": "engine.get", "with": {"path": "b"}},
                        {"id": 4, "call": "engine.list", "with": {"path": "", "names": True}},
                        {"id": 5, "call": "engine.set", "with": {"path": "a", "value": "w", "engine": "e"}},
                        {"id": 6, "call": "engine.get", "with": {"path": "a", "engine": "e"}},
                        {"id": 7, "call": "engine.clear"},
                        {"id": 8, "call": "engine.count", "with": {"path": ""}},
                        {"id": 9, "call": "engine.unset", "with": {"path": "a"}})
        self.assertEqual([(a["id"], a.get("result", a.get("status"))) for a in out],
                         [(1, None), (2, "v"), (3, "NOT_FOUND"), (4, [{"name": "a", "value": "v"}]), (5, None),
                          (6, "w"), (7, None), (8, 0), (9, True)])

    def test_what_is_wrong_is_named(self):
        for request, request_id, error in (
                ("nonsense", None, "not JSON"),
                ("", None, "not JSON"),
                ("[]", None, "the line is an array"),
                ({"id": 1}, 1, "call: missing"),
                ({"id": 1, "call": 7}, 1, "call: not a text"),
                ({"id": 1, "call": "engine"}, 1, "call: 'engine' is no <store>.<verb>"),
                ({"id": 1, "call": "x.get"}, 1, "call: 'x.get' is no <store>.<verb>"),
                ({"id": 1, "call": "engine.nonsense"}, 1, "call: 'engine.nonsense' is no operation of engine"),
                ({"id": 1, "call": "engine.get", "with": 7}, 1, "with: an integer where an object belongs"),
                ({"id": 1, "call": "engine.get"}, 1, "path: missing"),
                ({"id": 1, "call": "engine.get", "with": {"path": "a", "Path": "b"}}, 1, "Path: no such input"),
                ({"id": 1, "call": "engine.watch", "with": {"path": "..", "timeout_ms": 0}}, 1, "path: '..'"),
                ({"id": 1, "call": "engine.watch", "with": {"path": "", "timeout_ms": -1}}, 1,
                 "timeout_ms: -1 is below 0"),
                ({"id": 1, "call": "engine.get", "with": {"path": "a", "engine": "a/b"}}, 1, "engine: 'a/b'")):
            out = self.call(request, {"id": 2, "call": "engine.count", "with": {"path": ""}})
            self.assertEqual((out[0]["id"], out[0]["status"]), (request_id, "INVALID"), request)
            self.assertTrue(out[0]["error"].startswith(error), out[0])
            self.assertEqual(out[1], {"id": 2, "ok": True, "result": 0})

    def test_a_watch_waits_beside_the_others_and_misses_nothing(self):
        process, ask, answer = self.serve()
        ask("w", "engine.watch", path="chat", timeout_ms=30000)
        ask(1, "engine.count", path="")
        self.assertEqual(answer(), {"id": 1, "ok": True, "result": 0})
        ask(2, "engine.set", path="chat/1", value="v")
        self.assertEqual(sorted((str(a["id"]), a["result"]) for a in (answer(), answer())),
                         [("2", None), ("w", True)])
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_a_change_by_another_process_ends_a_watch(self):
        process, ask, answer = self.serve()
        ask("w", "engine.watch", path="chat", timeout_ms=30000)
        ask(1, "engine.count", path="")
        self.assertEqual(answer()["id"], 1)
        self.ok("engine", "set", "home", "chat/1", "v")
        self.assertEqual(answer(), {"id": "w", "ok": True, "result": True})
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_a_watch_in_one_batch_with_the_change_sees_it(self):
        for _ in range(20):
            out = self.call({"id": "w", "call": "engine.watch", "with": {"path": "a", "timeout_ms": 20000}},
                            {"id": 1, "call": "engine.set", "with": {"path": "a/b", "value": "c"}})
            self.assertEqual(sorted((str(a["id"]), a["result"]) for a in out), [("1", None), ("w", True)])

    def test_many_watches_at_once_and_one_too_many(self):
        process, ask, answer = self.serve()
        for i in range(64):
            ask(i, "engine.watch", path="chat", timeout_ms=30000)
        ask("more", "engine.watch", path="chat", timeout_ms=30000)
        busy = answer()
        self.assertEqual((busy["id"], busy["status"]), ("more", "BUSY"))
        ask("set", "engine.set", path="chat/1", value="v")
        answers = [answer() for _ in range(65)]
        self.assertEqual(sorted(str(a["id"]) for a in answers), sorted([str(i) for i in range(64)] + ["set"]))
        self.assertTrue(all(a["result"] is True for a in answers if a["id"] != "set"))
        ask("again", "engine.watch", path="chat", timeout_ms=0)
        self.assertEqual(answer(), {"id": "again", "ok": True, "result": False})
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_the_end_of_input_waits_for_the_waits(self):
        out = self.call({"id": 1, "call": "engine.watch", "with": {"path": "a", "timeout_ms": 100}})
        self.assertEqual(out, [{"id": 1, "ok": True, "result": False}])

    def test_signals_end_the_waits_and_close(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process, ask, answer = self.serve()
            ask("w", "engine.watch", path="a", timeout_ms=60000)
            ask(1, "engine.set", path="b", value="c")
            self.assertEqual(answer()["id"], 1)
            process.send_signal(number)
            self.assertEqual(answer(), {"id": "w", "ok": True, "result": False})
            self.assertEqual((process.wait(SOON), process.stderr.read()), (128 + number, b""))

    def test_a_reader_that_goes_away_ends_it_with_a_wait_under_way(self):
        process, ask, answer = self.serve()
        ask("w", "engine.watch", path="a", timeout_ms=60000)
        ask(1, "engine.count", path="")
        self.assertEqual(answer()["id"], 1)
        process.stdout.close()
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))

    def test_a_session_on_one_engines_own_url(self):
        out = self.call({"id": 1, "call": "engine.set", "with": {"path": "a", "value": "v"}},
                        {"id": 2, "call": "engine.get", "with": {"path": "a"}},
                        {"id": 3, "call": "engine.get", "with": {"path": "a", "engine": "x"}}, home="memory:")
        self.assertEqual([a.get("result", a.get("status")) for a in out], [None, "v", "INVALID"])


if __name__ == "__main__":
    unittest.main()
