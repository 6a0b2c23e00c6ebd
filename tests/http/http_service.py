"""What the tests of the HTTP interface share: a home, `keep serve` on it, and clients that may misbehave."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from keep_cli import COMMAND, PATIENCE, CliTest, environment  # noqa: E402  the folder is known only now

SECONDS = 60 * PATIENCE
JSON = {"Content-Type": "application/json"}


class Answer:
    """One answer, read whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def parse_answer(file):
    """The next answer of a socket's file: None when the connection ended before it."""
    line = file.readline()
    if not line:
        return None
    status, headers = int(line.split()[1]), {}
    for line in iter(file.readline, b"\r\n"):
        if not line:
            break
        name, value = line.decode("latin-1").split(":", 1)
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body, size = b"", 1
        while size:
            size = int(file.readline().strip(), 16)
            body += file.read(size + 2)[:size]
    else:
        body = file.read(int(headers.get("content-length", 0)))
    return Answer(status, headers, body)


class HttpTest(CliTest):
    """Each test has a home of its own; start_service() serves it."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.folder, "home")
        self.ok("init", self.home)

    def start_service(self, *words, listen="127.0.0.1:0", more_environment=None):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.addCleanup(log.close)
        self.service = subprocess.Popen(
            [COMMAND, "serve", self.home, "--listen", listen, "--verbose", "--no-maintenance", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=self.folder,
            env=dict(environment(), **(more_environment or {})))
        self.addCleanup(self.kill_service)
        line = self.service.stdout.readline().decode()
        self.assertRegex(line, r"^keep: listening on https?://", self.log())
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill_service(self):
        if self.service.poll() is None:
            self.service.kill()
        self.service.wait()
        self.service.stdout.close()

    def stop_service(self):
        """SIGTERM, and how it ended."""
        self.service.send_signal(signal.SIGTERM)
        return self.service.wait(timeout=SECONDS)

    def log(self):
        return pathlib.Path(self.folder, "log").read_text(encoding="utf-8", errors="replace")

    def connect(self, timeout=SECONDS):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        self.addCleanup(connection.close)
        return connection

    def ask(self, method, path, body=None, headers=None, timeout=SECONDS):
        """A well-behaved request on a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            client.close()

    def post(self, operation, inputs=None, headers=None, timeout=SECONDS):
        store, verb = operation.split(".")
        return self.ask("POST", f"/v1/{store}/{verb}", json.dumps(inputs or {}),
                        dict(JSON, **(headers or {})), timeout)

    def call(self, operation, **inputs):
        """An operation that must be done: its result."""
        answer = self.post(operation, inputs)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIs(answer.json["ok"], True)
        return answer.json["result"]

    def send(self, data):
        """Bytes as they are; the first answer, or None. The connection ends afterwards."""
        connection = self.connect()
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end: the answer says why
        with connection.makefile("rb") as file:
            try:
                return parse_answer(file)
            except ConnectionResetError:
                return None

    def assert_problem(self, answer, status, code=None, detail=None):
        self.assertIsNotNone(answer)
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        problem = answer.json
        self.assertEqual(problem["status"], status)
        self.assertEqual(problem["type"], "about:blank")
        self.assertTrue(problem["title"] and problem["detail"])
        if code:
            self.assertEqual(problem["code"], code)
        if detail:
            self.assertIn(detail, problem["detail"])
        return problem

    def assert_alive(self):
        self.assertEqual(self.ask("GET", "/healthz").json["status"], "ok")

    @staticmethod
    def until(condition, seconds=SECONDS):
        """Wait for a condition; its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value or time.monotonic() > deadline:
                return value
            time.sleep(0.05)


class SharedServiceTest(HttpTest):
    """All tests of the class use one home and one service."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.owner = HttpTest()
        cls.addClassCleanup(cls.owner.doCleanups)
        cls.owner.setUp()
        cls.owner.start_service()

    def setUp(self):
        for name in ("folder", "home", "service", "url", "port"):
            setattr(self, name, getattr(self.owner, name))
