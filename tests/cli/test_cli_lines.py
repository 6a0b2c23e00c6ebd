#!/usr/bin/env python3
"""keep engine batch: the engine contract's JSON lines, and everything that is not such a line."""
import fcntl
import json
import os
import random
import select
import signal
import subprocess
import unittest

from keep_cli import COMMAND, SOON, CliTest, environment

URLS = ("memory:", "sqlite:x.db", "file:x")

# The contract's table, verbatim.
TABLE = (
    ('{"id":1,"op":"set","path":"/chat/x","value":"…"}', '{"id":1,"ok":true,"result":null}'),
    ('{"id":2,"op":"get","path":"chat/x"}', '{"id":2,"ok":true,"result":"…"}'),
    ('{"id":4,"op":"list","path":"chat","offset":0,"limit":50}', '{"id":4,"ok":true,"result":["…"]}'),
    ('{"id":5,"op":"count","path":"chat"}', '{"id":5,"ok":true,"result":1}'),
    ('{"id":3,"op":"unset","path":"chat/x"}', '{"id":3,"ok":true,"result":true}'),
    ('{"id":2,"op":"get","path":"chat/x"}', '{"id":2,"ok":true,"result":null}'),
    ('{"id":6,"op":"clear"}', '{"id":6,"ok":true,"result":null}'),
    ('{"id":7,"op":"get","path":"chat/../x"}',
     '{"id":7,"ok":false,"status":"INVALID","error":"path: \'..\' is not a segment"}'),
    ('{"id":8,"op":"list","path":"nothing"}', '{"id":8,"ok":true,"result":[]}'),
    ('{"id":9,"op":"unset","path":"nothing"}', '{"id":9,"ok":true,"result":true}'),
    ('{"id":10,"op":"count","path":""}', '{"id":10,"ok":true,"result":0}'),
)

# Lines that are no JSON object: answered with the id null.
NO_REQUESTS = (
    b"", b" ", b"{", b"}", b"nonsense", b"null", b"7", b'"text"', b"[]", b'[{"id":1,"op":"clear"}]', b"{}x",
    b'{"id":1,"op":"clear"', b'{"id":1,"op":"clear"}}', b'{"id":1 "op":"clear"}', b"{'id':1}", b'{"id":01}',
    b'{"id":1,"id":2,"op":"clear"}', b'{"id":1,"op":"clear",}', b'{"id":"\\ud800","op":"clear"}',
    b'{"id":1,"op":"get","path":"\xff"}', b"\xff\xfe", b"\x00", b"\x00" * 100, b"[" * 100000,
    b'{"id":1,"op":"clear"}{"id":2,"op":"clear"}', b'\xef\xbb\xbf{"id":1,"op":"clear"}',
    b'{"id":NaN}', b'{"id":1e999,"op":"clear"}', b'{"a":' * 70 + b"1" + b"}" * 70, b"\x1b[31m", b"{\t\r",
)

# JSON objects that ask for nothing that there is: their own id, and INVALID.
WRONG = (
    ('{"id":1}', "op: missing"),
    ('{"id":1,"op":7}', "op: an integer where a text belongs"),
    ('{"id":1,"op":"nonsense"}', "op: 'nonsense' is no operation here"),
    ('{"id":1,"op":"watch","path":"a"}', "op: 'watch' is no operation here"),
    ('{"id":1,"op":"SET","path":"a","value":"b"}', "op: 'SET' is no operation here"),
    ('{"id":1,"op":""}', "op: '' is no operation here"),
    ('{"id":1,"op":"get"}', "path: missing"),
    ('{"id":1,"op":"list"}', "path: missing"),
    ('{"id":1,"op":"unset"}', "path: missing"),
    ('{"id":1,"op":"set","path":"a"}', "value: missing"),
    ('{"id":1,"op":"set","path":"a","value":null}', "value: null where a text belongs"),
    ('{"id":1,"op":"set","path":"a","value":7}', "value: an integer where a text belongs"),
    ('{"id":1,"op":"set","path":"a","value":{"b":1}}', "value: an object where a text belongs"),
    ('{"id":1,"op":"set","path":["a"],"value":""}', "path: an array where a text belongs"),
    ('{"id":1,"op":"set","path":null,"value":""}', "path: null where a text belongs"),
    ('{"id":1,"op":"set","path":"","value":"x"}', "path: the root has no value; a document needs a name"),
    ('{"id":1,"op":"get","path":"//"}', "path: the root has no value; a document needs a name"),
    ('{"id":1,"op":"set","path":"a\\u0000b","value":"x"}', "path: a zero byte at position 1"),
    ('{"id":1,"op":"set","path":".","value":"x"}', "path: '.' is not a segment"),
    ('{"id":1,"op":"list","path":"a","limit":-1}', "limit: -1 is below 0"),
    ('{"id":1,"op":"list","path":"a","limit":1000001}', "limit: 1000001 is over 1000000"),
    ('{"id":1,"op":"list","path":"a","limit":"5"}', "limit: a text where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","limit":1.5}', "limit: a number where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","limit":1e2}', "limit: a number where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","limit":null}', "limit: null where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","offset":-1}', "offset: -1 is below 0"),
    ('{"id":1,"op":"list","path":"a","offset":true}', "offset: true or false where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","offset":99999999999999999999}',
     "offset: a number where an integer belongs"),
    ('{"id":1,"op":"list","path":"a","names":1}', "names: an integer where a boolean belongs"),
    ('{"id":1,"op":"set","path":"a","value":"b","score_ms":-1}', "score_ms: -1 is below 0"),
    ('{"id":1,"op":"set","path":"a","value":"b","encoding":"hex"}', "encoding: 'hex' is not one of its words"),
    ('{"id":1,"op":"compare_and_set","path":"a","value":"b"}', "expected: missing"),
    ('{"id":1,"op":"batch"}', "changes: missing"),
    ('{"id":1,"op":"batch","changes":[{"op":"clear"},7]}', "changes[1]: an integer where an object belongs"),
)


class Lines(CliTest):
    def lines(self, url, text):
        if isinstance(text, (list, tuple)):
            text = "".join(line + "\n" for line in text)
        if isinstance(text, str):
            text = text.encode()
        return self.ok("engine", "batch", url, stdin=text).decode().splitlines()

    def test_the_contracts_table(self):
        for url in URLS:
            with self.subTest(url=url):
                self.assertEqual(self.lines(url, [line for line, _ in TABLE]), [answer for _, answer in TABLE])

    def test_what_is_no_request_gets_the_id_null_and_the_next_line_is_served(self):
        for line in NO_REQUESTS:
            out = self.lines("memory:", line + b'\n{"id":"next","op":"count","path":""}\n')
            self.assertEqual(len(out), 2, line[:80])
            answer = json.loads(out[0])
            self.assertEqual((answer["id"], answer["ok"], answer["status"]), (None, False, "INVALID"), line[:80])
            self.assertEqual(set(answer), {"id", "ok", "status", "error"})
            self.assertEqual(out[1], '{"id":"next","ok":true,"result":0}')

    def test_what_is_wrong_in_a_request_is_named(self):
        for line, error in WRONG:
            self.assertEqual(self.lines("memory:", [line]),
                             [f'{{"id":1,"ok":false,"status":"INVALID","error":"{error}"}}'], line)

    def test_an_id_comes_back_byte_for_byte(self):
        for text in ("0", "-1", "1.50", "1e300", "12345678901234567890123", "null", "true", '""',
                     '"\\u00e9\\/"', "[1, 2]", '{"a": {"b":null}}', '"…"'):
            self.assertEqual(self.lines("memory:", [f'{{"op":"clear" , "id" : {text} }}']),
                             [f'{{"id":{text},"ok":true,"result":null}}'])
        self.assertEqual(self.lines("memory:", ['{"op":"clear"}']), ['{"id":null,"ok":true,"result":null}'])

    def test_unknown_members_are_let_by(self):
        self.assertEqual(self.lines("memory:", ['{"id":1,"op":"set","path":"a","value":"b","engine":7,"x":[]}',
                                                '{"id":2,"op":"get","path":"a","value":9}']),
                         ['{"id":1,"ok":true,"result":null}', '{"id":2,"ok":true,"result":"b"}'])

    def test_line_ends_and_a_last_line_without_one(self):
        self.assertEqual(self.lines("memory:", b'{"id":1,"op":"clear"}\r\n{"id":2,"op":"clear"}'),
                         ['{"id":1,"ok":true,"result":null}', '{"id":2,"ok":true,"result":null}'])
        self.assertEqual(self.lines("memory:", b""), [])

    def test_beyond_the_contract(self):
        out = self.lines("sqlite:x.db", [
            '{"id":1,"op":"set","path":"p/late","value":"1","score_ms":2000}',
            '{"id":2,"op":"set","path":"p/early","value":"/wA=","encoding":"base64","score_ms":1000}',
            '{"id":3,"op":"list","path":"p"}',
            '{"id":4,"op":"list","path":"p","names":true,"encoding":"base64"}',
            '{"id":5,"op":"get","path":"p/early"}',
            '{"id":6,"op":"scan","path":"","encoding":"base64","limit":1}',
            '{"id":7,"op":"compare_and_set","path":"c","expected":null,"value":"1"}',
            '{"id":8,"op":"compare_and_set","path":"c","expected":null,"value":"2"}',
            '{"id":9,"op":"batch","changes":[{"op":"unset","path":"p"},{"op":"set","path":"d","value":"3"}]}',
            '{"id":10,"op":"count","path":""}',
            '{"id":11,"op":"describe"}'])
        self.assertEqual([json.loads(line).get("result", "failed") for line in out[:2]], [None, None])
        self.assertEqual(json.loads(out[2])["status"], "INVALID")
        self.assertEqual(json.loads(out[3])["result"],
                         [{"name": "late", "value": "MQ=="}, {"name": "early", "value": "/wA="}])
        self.assertIn("base64", json.loads(out[4])["error"])
        self.assertEqual(len(json.loads(out[5])["result"]), 1)
        self.assertEqual(out[6], '{"id":7,"ok":true,"result":null}')
        self.assertEqual(json.loads(out[7])["status"], "CONFLICT")
        self.assertEqual(out[8], '{"id":9,"ok":true,"result":null}')
        self.assertEqual(out[9], '{"id":10,"ok":true,"result":2}')
        self.assertEqual(json.loads(out[10])["result"]["backend"], "sqlite")

    def test_ten_thousand_pipelined_requests_mean_what_they_would_one_by_one(self):
        rng = random.Random(7)
        requests, model = [], {}
        expected = []
        for i in range(10000):
            path = f"p/{rng.randrange(50)}"
            op = rng.choice(("set", "set", "get", "unset", "count", "wrong"))
            if op == "set":
                requests.append({"id": i, "op": op, "path": path, "value": f"value {i}\n"})
                model[path] = f"value {i}\n"
                expected.append(None)
            elif op == "get":
                requests.append({"id": i, "op": op, "path": path})
                expected.append(model.get(path))
            elif op == "unset":
                requests.append({"id": i, "op": op, "path": path})
                model.pop(path, None)
                expected.append(True)
            elif op == "count":
                requests.append({"id": i, "op": op, "path": "p"})
                expected.append(len(model))
            else:
                requests.append({"id": i, "op": "set", "path": "a/./b", "value": ""})
                expected.append("INVALID")
        text = "".join(json.dumps(request) + "\n" for request in requests)
        for url in ("memory:", "sqlite:x.db"):
            answers = [json.loads(line) for line in self.lines(url, text)]
            self.assertEqual([answer["id"] for answer in answers], list(range(10000)))
            self.assertEqual([answer.get("result", answer.get("status")) for answer in answers], expected)

    def test_a_client_that_writes_all_before_it_reads_is_not_stuck(self):
        process = self.start("engine", "batch", "memory:")
        line = json.dumps({"id": 1, "op": "set", "path": "a", "value": "x" * 500}) + "\n"
        reads = json.dumps({"id": 2, "op": "get", "path": "a"}) + "\n"
        process.stdin.write((line + reads * 9999).encode())
        process.stdin.close()
        self.assertEqual(len(process.stdout.read().splitlines()), 10000)
        self.assertEqual(process.wait(SOON), 0)

    def test_one_request_at_a_time_is_answered_at_once(self):
        process = self.start("engine", "batch", "sqlite:x.db")
        for i in range(50):
            process.stdin.write(f'{{"id":{i},"op":"set","path":"a","value":"b"}}\n'.encode())
            process.stdin.flush()
            self.assertTrue(select.select([process.stdout], [], [], 10)[0])
            self.assertEqual(process.stdout.readline(), f'{{"id":{i},"ok":true,"result":null}}\n'.encode())
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_a_client_that_stops_in_the_middle_of_a_line(self):
        for url in ("memory:", "sqlite:x.db"):
            out = self.lines(url, b'{"id":1,"op":"set","path":"a","value":"b"}\n{"id":2,"op":"unset","pa')
            self.assertEqual(out[0], '{"id":1,"ok":true,"result":null}')
            self.assertEqual((len(out), json.loads(out[1])["id"]), (2, None))
        self.assertEqual(self.ok("engine", "get", "sqlite:x.db", "a"), b"b")

    def test_a_client_that_closes_the_answers_ends_it(self):
        process = self.start("engine", "batch", "sqlite:x.db")
        process.stdin.write(b'{"id":1,"op":"set","path":"a","value":"b"}\n')
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        # Although the input stays open.
        self.assertEqual((process.wait(SOON), process.stderr.read()), (0, b""))
        self.assertEqual(self.ok("engine", "get", "sqlite:x.db", "a"), b"b")

    def test_closed_descriptors_harm_nothing(self):
        for close in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            done = subprocess.run(["sh", "-c", f'"$0" engine set sqlite:x.db a b {close}', COMMAND],
                                  cwd=self.folder, env=environment(), check=False)
            self.assertEqual(done.returncode, 0, close)
            self.assertEqual(self.ok("engine", "get", "sqlite:x.db", "a"), b"b")
        done = subprocess.run(["sh", "-c", '"$0" engine batch sqlite:x.db >&- 2>&-', COMMAND],
                              input=b'{"id":1,"op":"set","path":"a","value":"c"}\n', cwd=self.folder,
                              env=environment(), check=False)
        self.assertEqual(self.ok("engine", "scan", "sqlite:x.db"), b"a\tc\n")

    def test_signals_answer_what_was_read_and_close(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start("engine", "batch", "sqlite:x.db")
            process.stdin.write(b'{"id":1,"op":"set","path":"a","value":"b"}\n{"id":2,"op"')
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b'{"id":1,"ok":true,"result":null}\n')
            process.send_signal(number)
            self.assertEqual((process.wait(SOON), process.stdout.read(), process.stderr.read()),
                             (128 + number, b"", b""))

    def test_a_line_over_the_limit_is_skipped_in_bounded_memory(self):
        process = self.start("engine", "batch", "memory:", "--value-bytes-max", "1000")
        head = b'{"id":1,"op":"set","path":"a","value":"'
        process.stdin.write(head)
        for _ in range(64):
            process.stdin.write(b"x" * (1 << 20))
        process.stdin.write(b'"}\n{"id":2,"op":"count","path":""}\n')
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        self.assertEqual((first["id"], first["status"]), (None, "FULL"))
        self.assertEqual(process.stdout.readline(), b'{"id":2,"ok":true,"result":0}\n')
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        self.assertLess(peak, 100000, "kilobytes at the peak")
        process.stdin.close()
        self.assertEqual(process.wait(SOON), 0)

    def test_a_value_of_64_mib_of_escapes_goes_through(self):
        value = "\\u0001" * (64 << 20)
        process = self.start("engine", "batch", "memory:")
        process.stdin.write(b'{"id":1,"op":"set","path":"a","value":"' + value.encode() + b'"}\n')
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b'{"id":1,"ok":true,"result":null}\n')
        process.stdin.write(b'{"id":2,"op":"get","path":"a"}\n')
        process.stdin.flush()
        self.assertTrue(process.stdout.readline() == b'{"id":2,"ok":true,"result":"' + value.encode() + b'"}\n')
        process.stdin.write(b'{"id":3,"op":"set","path":"a","value":"' + b"x" * ((64 << 20) + 1) + b'"}\n')
        process.stdin.close()
        self.assertEqual(json.loads(process.stdout.readline())["status"], "FULL")
        self.assertEqual(process.wait(SOON), 0)

    def test_a_small_pipe_loses_nothing(self):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
        process = subprocess.Popen([COMMAND, "engine", "batch", "memory:"], stdin=subprocess.PIPE,
                                   stdout=writer, cwd=self.folder, env=environment())
        os.close(writer)
        value = "x" * 10000
        process.stdin.write(json.dumps({"id": 1, "op": "set", "path": "a", "value": value}).encode() + b"\n")
        process.stdin.write(b'{"id":2,"op":"get","path":"a"}\n' * 200)
        process.stdin.close()
        with open(reader, "rb") as answers:
            lines = answers.read().splitlines()
        self.assertEqual(process.wait(SOON), 0)
        self.assertEqual(len(lines), 201)
        self.assertTrue(all(json.loads(line)["result"] == value for line in lines[1:]))

    def test_a_store_that_cannot_be_opened_is_told_before_any_line(self):
        self.assertNotEqual(self.keep("engine", "batch", "sqlite:/nowhere/at/all.db")[0], 0)
        self.assertEqual(self.keep("engine", "batch", "sqlite:x.db", "--read-only")[0], 1)


if __name__ == "__main__":
    unittest.main()
