"""What the tests of the command share: a folder for each test, and the command run in it."""
import os
import subprocess
import tempfile
import unittest

COMMAND = os.environ.get("KEEP_COMMAND", "build/keep")
SOURCE = os.environ.get("KEEP_SOURCE", os.getcwd())
PATIENCE = int(os.environ.get("KEEP_TEST_PATIENCE", "1"))
SECONDS = 60 * PATIENCE
SOON = 10 * PATIENCE


def environment(home=None):
    env = {k: v for k, v in os.environ.items() if k != "KEEP_HOME"}
    if home is not None:
        env["KEEP_HOME"] = home
    return env


def server():
    """The tests' PostgreSQL, as parts of a URL."""
    if "KEEP_TEST_POSTGRES" not in os.environ:
        raise AssertionError("KEEP_TEST_POSTGRES is not set: run this below tests/support/with_servers.sh")
    return dict(part.split("=", 1) for part in os.environ["KEEP_TEST_POSTGRES"].split())


def server_url(database=None):
    parts = server()
    return f"postgres:///{database or parts['dbname']}?host={parts['host']}&user={parts['user']}"


def psql(statement):
    parts = server()
    subprocess.run(["psql", "-qX", "-h", parts["host"], "-U", parts["user"], "-d", parts["dbname"], "-c", statement],
                   check=True, capture_output=True)


class CliTest(unittest.TestCase):
    """Each test runs in an empty folder of its own."""

    maxDiff = None

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="keep-cli-")
        self.addCleanup(self.temporary.cleanup)
        self.folder = self.temporary.name

    def keep(self, *words, stdin=b"", home=None):
        """Run to the end: (exit status, stdout, stderr), bytes."""
        done = subprocess.run([COMMAND, *words], input=stdin, capture_output=True, cwd=self.folder,
                              env=environment(home), timeout=SECONDS, check=False)
        return done.returncode, done.stdout, done.stderr

    def start(self, *words, home=None, **more):
        """Start with pipes on all three."""
        process = subprocess.Popen([COMMAND, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.folder, env=environment(home), **more)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def ok(self, *words, **more):
        """Must be done without a word on stderr; its output."""
        status, out, err = self.keep(*words, **more)
        self.assertEqual((status, err), (0, b""), words)
        return out

    def refused(self, exit_status, message, *words, **more):
        """Must end so, with one line on stderr that begins with `message`, and no output."""
        status, out, err = self.keep(*words, **more)
        self.assertEqual((status, out), (exit_status, b""), (words, err))
        self.assertTrue(err.startswith(b"keep: ") and err.endswith(b"\n") and err.count(b"\n") == 1, err)
        self.assertTrue(err[6:].startswith(message.encode()), err)
