"""What the tests of events and metrics share: a home that is served, calls to it, and a reader of streams."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from keep_cli import PATIENCE, CliTest, environment  # noqa: E402  (the folder is known only now)

DEADLINE = 60 * PATIENCE


def eventually(condition, what, deadline=DEADLINE):
    """Wait until condition() is true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline} s")
        time.sleep(0.02)


class Stream:
    """An event stream, read by hand: chunks, lines, frames."""

    def __init__(self, port, query="", headers=None, read_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE)
        if read_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_buffer)
        self.socket.connect(("127.0.0.1", port))
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.socket.sendall(f"GET /v1/events{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n".encode())
        self.bytes = b""
        self.text = b""
        self.comments = []
        self.ended = False
        head = self.until(b"\r\n\r\n").decode()
        self.status = int(head.split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        if self.status == 200:
            first = self.frame()
            assert first["retry"] == "1000", first
            self.start = int(first["id"])
        else:
            length = int(self.headers["content-length"])
            self.more(length)
            self.problem = json.loads(self.bytes[:length])
            self.close()

    def more(self, size):
        while len(self.bytes) < size:
            got = self.socket.recv(1 << 16)
            if not got:
                raise EOFError(self.bytes[:200])
            self.bytes += got

    def until(self, end):
        while end not in self.bytes:
            self.more(len(self.bytes) + 1)
        found, self.bytes = self.bytes.split(end, 1)
        return found

    def chunk(self):
        size = int(self.until(b"\r\n"), 16)
        self.more(size + 2)
        self.text += self.bytes[:size]
        assert self.bytes[size:size + 2] == b"\r\n"
        self.bytes = self.bytes[size + 2:]
        self.ended = size == 0

    def frame(self):
        """The next one that is more than a comment; None at the clean end."""
        while True:
            while b"\n\n" not in self.text:
                if self.ended:
                    assert self.text == b"", self.text
                    return None
                self.chunk()
            frame, self.text = self.text.split(b"\n\n", 1)
            if not frame.startswith(b":"):
                return dict(line.split(": ", 1) for line in frame.decode().split("\n"))
            self.comments.append(frame.decode())

    def event(self):
        """(id, kind, record)"""
        frame = self.frame()
        if frame is None:
            raise EOFError("the stream ended")
        return int(frame["id"]), frame["event"], json.loads(frame["data"])

    def firsts(self, count):
        """The next `count` events of messages as they were stored, without later changes of them."""
        seen = {}
        while len(seen) < count:
            number, _, record = self.event()
            seen.setdefault((record["chat_jid"], record["id"]), number)
        return list(seen)

    def to_the_end(self):
        """Whatever still comes until the clean end."""
        while self.frame() is not None:
            pass

    def close(self):
        self.socket.close()


class ServeTest(CliTest):
    """Each test has a home of its own that is served."""

    def setUp(self):
        super().setUp()
        self.process = None
        self.token = None
        self.ok("init", "home")
        self.serve()

    def serve(self):
        log = open(os.path.join(self.folder, "serve.log"), "ab")
        self.addCleanup(log.close)
        self.process = self.run_service(log)
        line = self.process.stdout.readline().decode()
        if "http://" not in line:
            self.process.wait(DEADLINE)
            self.fail(f"keep serve: {line!r} {pathlib.Path(self.folder, 'serve.log').read_text()}")
        self.port = int(line.strip().rsplit(":", 1)[1])

    def run_service(self, log):
        process = subprocess.Popen(
            [os.environ.get("KEEP_COMMAND", "build/keep"), "serve", "home", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env=environment())
        self.addCleanup(self.end, process)
        return process

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(DEADLINE)
        self.process.stdout.close()
        return self.process.returncode

    def request(self, method, path, body=None, headers=None):
        """(HTTP status, text)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            headers = dict(headers or {})
            if body is not None:
                headers["Content-Type"] = "application/json"
            if self.token:
                headers["Authorization"] = f"Bearer {self.token}"
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def call(self, name, **inputs):
        status, text = self.request("POST", "/v1/" + name.replace(".", "/"), json.dumps(inputs))
        self.assertEqual(status, 200, text)
        return json.loads(text)["result"]

    def put(self, chat, number, content="hello"):
        return self.call("gateway.put_message", chat_jid=chat, id=str(number), content=content)

    def put_many(self, chat, numbers, content="hello"):
        self.call("gateway.put_messages",
                  messages=[{"chat_jid": chat, "id": str(number), "content": content} for number in numbers])

    def stream(self, query="", headers=None, **more):
        stream = Stream(self.port, query, headers, **more)
        self.addCleanup(stream.close)
        return stream

    def metrics(self):
        status, text = self.request("GET", "/metrics")
        self.assertEqual(status, 200)
        return text

    def metric(self, name):
        for line in self.metrics().splitlines():
            if line.split(" ")[0] == name:
                return float(line.split(" ")[1])
        raise AssertionError(f"no metric {name}")


def quote(text):
    return urllib.parse.quote(text, safe="")


main = unittest.main
