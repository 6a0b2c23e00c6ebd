"""The chaos run: everything between a channel and an agent is killed at random, the disk fills and is
freed, the clock is stepped; and every accepted message ends answered, each answer shown once.

    tests/support/with_servers.sh /usr/bin/python3 tests/crash/journey_chaos.py sqlite|postgres

KEEP_CHAOS_SECONDS of it (10; `make chaos`: 300), KEEP_CHAOS_CHATS chats (12; 50), KEEP_TEST_SEED.

The actors, each a process of its own:
  two hosts      `keep serve` on the same home, one of which waits; killed, or told to end, at random
  agents         what the host runs: a shell script; killed at random; it fails some first attempts
  two adapters   this program again (`adapter N`): each posts the messages of its chats, in order, until
                 each is accepted, and shows answers; killed at random. What it has been told and what it
                 has shown is in its journal, on disk, so that it honours idempotency keys
  the world      a full disk and a stepped clock (tests/support/rough_world.c), for hosts and agents

What must hold in the end: every message whose acceptance an adapter heard of has exactly one answer,
which is its own, shown once, and so has every task that came due; `keep trace` says delivered; and
`keep check` finds nothing.
"""
import http.client
import json
import mmap
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

KEEP = os.path.realpath(os.environ.get("KEEP_COMMAND", "build/keep"))
ROUGH = os.environ.get("KEEP_ROUGH_LIBRARY", "")
PATIENCE = int(os.environ.get("KEEP_TEST_PATIENCE", "1"))
SECONDS = float(os.environ.get("KEEP_CHAOS_SECONDS", "10"))
CHATS = int(os.environ.get("KEEP_CHAOS_CHATS", "12"))
ADAPTERS = 2
TASKS = 6
DRAIN_SECONDS = 240 * PATIENCE
RETRY = 0.05
UNANSWERED_MAX = 10


# ---------------------------------------------------------------- an adapter


class Journal:
    """Lines on disk: what was heard of, and what was shown. A cut last line was never written."""

    def __init__(self, path):
        self.posted, self.shown, self.answers = {}, set(), {}
        for line in path.read_text().split("\n")[:-1] if path.exists() else []:
            what, rest = line.split(" ", 1)
            if what == "posted":
                chat, number = rest.split(" ")
                self.posted[chat] = int(number)
            else:
                self.note(*rest.split(" ")[:2])
        self.file = path.open("a")

    def note(self, key, chat):
        self.shown.add(key)
        self.answers[chat] = self.answers.get(chat, 0) + 1

    def write(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


class Link:
    """A connection to whichever host listens by now; None for an answer that did not come."""

    def __init__(self, folder):
        self.folder, self.link = folder, None

    def call(self, name, inputs):
        try:
            if not self.link:
                url = urllib.parse.urlsplit((self.folder / "url").read_text())
                self.link = http.client.HTTPConnection(url.hostname, url.port, timeout=20 * PATIENCE)
            self.link.request("POST", f"/v1/{name}", json.dumps(inputs), {"Content-Type": "application/json"})
            answer = self.link.getresponse()
            body = json.loads(answer.read())
            if answer.status == 200:
                return body["result"]
            if answer.status in (409,):
                return body
        except (OSError, ValueError, http.client.HTTPException):
            pass
        if self.link:
            self.link.close()
        self.link = None
        time.sleep(RETRY)
        return None


def post_next(link, journal, chats, stopping):
    """One more message of each chat, if the last one was accepted; nobody talks for ever to the wind."""
    for chat in chats:
        number = journal.posted.get(chat, 0) + 1
        if stopping.exists() or number - journal.answers.get(chat, 0) > UNANSWERED_MAX:
            continue
        done = link.call("gateway/put_message", {"chat_jid": chat, "id": f"m{number}", "sender": "ada",
                                                 "content": f"{chat} {number}"})
        if done and done.get("outcome") in ("inserted", "duplicate"):
            journal.write(f"posted {chat} {number}")
            journal.posted[chat] = number
        elif done:
            raise SystemExit(f"adapter: {chat} {number}: {done}")


def show(link, journal, channel):
    answers = link.call("gateway/claim_deliveries", {"channel": channel, "limit": 20, "timeout_ms": 200,
                                                     "lease_ms": 5000})
    for answer in answers or []:
        key = answer["id"]
        if key not in journal.shown:
            content = answer["content"].replace("\n", " ")
            journal.write(f"shown {key} {answer['chat_jid']} {answer.get('reply_to_id')} {content}")
            journal.note(key, answer["chat_jid"])
        link.call("gateway/complete_delivery", {"jid": answer["chat_jid"], "id": key, "attempt": answer["attempts"],
                                                "delivery": "delivered", "platform_id": key})


def run_adapter(folder, index):
    journal = Journal(folder / f"adapter{index}")
    channel = f"test{index}"
    chats = [f"{channel}:{chat}" for chat in range(index, CHATS, ADAPTERS)]
    link = Link(folder)
    while True:
        post_next(link, journal, chats, folder / "stopping")
        show(link, journal, channel)


# ---------------------------------------------------------------- the run


AGENT = r"""read -r line
case "$KEEP_ATTEMPT$line" in
1*[0-9]7*) case "$RANDOM_FAILS" in yes) echo 'a bad day' >&2; exit 1 ;; esac ;;
esac
printf 're: %s\n' "$line"
"""


class Chaos:
    def __init__(self, kind):
        self.temporary = tempfile.TemporaryDirectory(prefix="keep-chaos-")
        self.folder = pathlib.Path(self.temporary.name)
        self.random = random.Random(int(os.environ.get("KEEP_TEST_SEED", "1")))
        self.kind, self.home, self.database = kind, str(self.folder / "home"), None
        self.hosts, self.adapters, self.counts = [None, None], [None] * ADAPTERS, {}
        world = self.folder / "world"
        world.write_bytes(bytes(16))
        with world.open("r+b") as file:
            self.world = mmap.mmap(file.fileno(), 16)
        (self.folder / "agent.sh").write_text(AGENT)
        self.environment = dict(os.environ, RANDOM_FAILS="yes")
        self.environment.pop("KEEP_HOME", None)
        if ROUGH:
            self.environment.update(LD_PRELOAD=ROUGH, KEEP_ROUGH_WORLD=str(world))
        self.ahead = 0

    def check_world(self):
        """The preloaded library does what it is there for."""
        probe = "import os, sys, time; print(time.time()); f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); " \
                "sys.exit(3 if os.write(f, b'x') == 1 else 4)"
        self.set_world(full=1, ahead=7200 * 1000)
        done = subprocess.run([sys.executable, "-c", probe, str(self.folder / "probe")], env=self.environment,
                              capture_output=True, check=False)
        self.set_world(full=0, ahead=0)
        assert b"No space left" in done.stderr, ("the disk is not full", done)
        assert float(done.stdout) > time.time() + 3600, ("the clock is not ahead", done)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def make_home(self):
        if self.kind == "postgres":
            parts = dict(part.split("=", 1) for part in os.environ["KEEP_TEST_POSTGRES"].split())
            self.database = f"keep_chaos_{os.getpid()}"
            self.psql = ["psql", "-qX", "-h", parts["host"], "-U", parts["user"], "-d", parts["dbname"], "-c"]
            subprocess.run(self.psql + [f"CREATE DATABASE {self.database}"], check=True)
            self.home = f"postgres:///{self.database}?host={parts['host']}&user={parts['user']}"
        subprocess.run([KEEP, "init", self.home], check=True)
        for number in range(TASKS):
            due = int((time.time() + SECONDS * (number + 1) / (TASKS + 1)) * 1000)
            chat = f"test{number % ADAPTERS}:{number % ADAPTERS}"
            subprocess.run([KEEP, "gateway", "create_task", self.home, "main", chat, f"{chat} task{number}",
                            "--id", f"task{number}", "--next-run", str(due)], check=True, capture_output=True)

    def start_host(self, index):
        log = (self.folder / f"host{index}.log").open("ab")
        output = (self.folder / f"host{index}.out").open("wb")
        agent = f"sh {self.folder}/agent.sh"
        self.hosts[index] = subprocess.Popen(
            [KEEP, "serve", self.home, "--listen", "127.0.0.1:0", "--agent", agent, "--agent-text",
             "--no-maintenance", "--grace-seconds", "5"], stdout=output, stderr=log, env=self.environment)
        self.count("hosts started")

    def start_adapter(self, index):
        log = (self.folder / f"adapter{index}.log").open("ab")
        self.adapters[index] = subprocess.Popen(
            [sys.executable, __file__, "adapter", str(self.folder), str(index)], stdout=log, stderr=log)
        self.count("adapters started")

    def publish_url(self):
        """Where the host that has the lease listens, for adapters."""
        for index, host in enumerate(self.hosts):
            if not host or host.poll() is not None:
                continue
            text = (self.folder / f"host{index}.out").read_text()
            if text.startswith("keep: listening on ") and text.endswith("\n"):
                url = text.split()[-1]
                known = self.folder / "url"
                if not known.exists() or known.read_text() != url:
                    (self.folder / "url.new").write_text(url)
                    os.rename(self.folder / "url.new", known)
                return True
        return False

    def keep_alive(self):
        for index, host in enumerate(self.hosts):
            if not host or host.poll() is not None:
                self.start_host(index)
        for index, adapter in enumerate(self.adapters):
            if not adapter or adapter.poll() is not None:
                if adapter and adapter.returncode not in (None, -signal.SIGKILL):
                    raise AssertionError((self.folder / f"adapter{index}.log").read_text())
                self.start_adapter(index)
        self.publish_url()

    def set_world(self, full=None, ahead=None):
        if full is not None:
            self.world[0:8] = struct.pack("=q", full)
        if ahead is not None:
            self.ahead = ahead
            self.world[8:16] = struct.pack("=q", ahead)

    # what may happen

    def kill_host(self):
        self.random.choice(self.hosts).kill()
        self.count("hosts killed")

    def end_host(self):
        self.random.choice(self.hosts).terminate()
        self.count("hosts told to end")

    def kill_adapter(self):
        self.random.choice(self.adapters).kill()
        self.count("adapters killed")

    def kill_agents(self):
        done = subprocess.run(["pkill", "-KILL", "-f", f"{self.folder}/agent.sh"], check=False)
        self.count("agents killed" if done.returncode == 0 else "agents not met")

    def fill_disk(self):
        if ROUGH and self.kind == "sqlite":
            self.set_world(full=1)
            time.sleep(self.random.uniform(0.1, 1))
            self.set_world(full=0)
            self.count("disk full")

    def step_clock(self):
        if ROUGH:
            self.set_world(ahead=self.random.randint(-30, 60) * 1000)
            self.count("clock steps")

    def rage(self):
        acts = [self.kill_host] * 3 + [self.end_host, self.kill_adapter, self.kill_adapter, self.fill_disk,
                                       self.step_clock] + [self.kill_agents] * 3
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            self.keep_alive()
            self.random.choice(acts)()
            rest = time.monotonic() + self.random.uniform(0.05, 0.6)
            while time.monotonic() < rest:
                self.publish_url()
                time.sleep(0.02)

    # what must hold

    def journals(self):
        return [Journal(self.folder / f"adapter{index}") for index in range(ADAPTERS)]

    def shown_lines(self):
        lines = []
        for index in range(ADAPTERS):
            path = self.folder / f"adapter{index}"
            lines += [line for line in path.read_text().split("\n")[:-1] if line.startswith("shown ")]
        return lines

    def drain(self):
        """In peace everything comes to its end; the clock is past what it ever was."""
        (self.folder / "stopping").touch()
        self.set_world(full=0, ahead=3600 * 1000 if ROUGH else 0)
        until, quiet_since, before = time.monotonic() + DRAIN_SECONDS, time.monotonic(), 0
        while True:
            self.keep_alive()
            accepted = sum(sum(journal.posted.values()) for journal in self.journals())
            answered = {tuple(line.split(" ")[2:4]) for line in self.shown_lines()}
            shown = sum(1 for _, message in answered if not message.startswith("sched-"))
            if accepted != before:  # the last posts of adapters come in
                before, quiet_since = accepted, time.monotonic()
            is_quiet = time.monotonic() - quiet_since > 3
            if is_quiet and shown >= accepted and len(answered) - shown >= TASKS:
                return accepted
            if time.monotonic() > until:
                self.explain()
                raise AssertionError(f"{accepted} were accepted, {shown} have an answer that was shown; of "
                                     f"{TASKS} tasks {len(answered) - shown}")
            time.sleep(0.1)

    def explain(self):
        answered = {tuple(line.split(" ")[2:4]) for line in self.shown_lines()}
        left = [(chat, f"m{number}") for journal in self.journals() for chat, last in journal.posted.items()
                for number in range(1, last + 1) if (chat, f"m{number}") not in answered]
        for chat, message in left[:3]:
            subprocess.run([KEEP, "trace", self.home, chat, message], check=False)
        for log in sorted(self.folder.glob("*.log")):
            print(log.name, log.read_text()[-3000:])

    def check_answers(self):
        keys = [line.split(" ")[1] for line in self.shown_lines()]
        assert len(keys) == len(set(keys)), "an answer was shown twice"
        seen = {}
        for line in self.shown_lines():
            _, _, chat, replied, content = line.split(" ", 4)
            assert content == f"re: {chat} {replied.split('-')[1] if '-' in replied else replied[1:]}", line
            seen[chat, replied] = seen.get((chat, replied), 0) + 1
        twice = {message: count for message, count in seen.items() if count > 1}
        assert not twice, f"more than one answer: {twice}"
        for journal in self.journals():
            for chat, last in journal.posted.items():
                for number in range(1, last + 1):
                    assert (chat, f"m{number}") in seen, f"{chat} m{number} has no answer"
        tasks = {message for _, message in seen if message.startswith("sched-")}
        assert len(tasks) == TASKS, f"tasks that were answered: {tasks}"

    def check_home(self):
        """With nobody at work, nothing is damaged and nothing is held."""
        for index, host in enumerate(self.hosts):
            host.terminate()
        for host in self.hosts:
            assert host.wait(60 * PATIENCE) == 0, "a host that was told to end failed"
        done = subprocess.run([KEEP, "check", self.home], check=False, capture_output=True)
        assert done.returncode == 0, (done.returncode, done.stdout.decode(), done.stderr.decode())

    def check_traces(self):
        messages = [(chat, f"m{number}") for journal in self.journals() for chat, last in journal.posted.items()
                    for number in range(1, last + 1)]
        for chat, message in self.random.sample(messages, min(20, len(messages))):
            until = time.monotonic() + DRAIN_SECONDS
            while True:
                told = json.loads(subprocess.run([KEEP, "trace", self.home, chat, message, "--json"], check=True,
                                                 capture_output=True).stdout)
                if told["state"] == "delivered":
                    break
                assert time.monotonic() < until, told
                time.sleep(0.1)

    def run(self):
        if ROUGH:
            self.check_world()
        self.make_home()
        try:
            self.rage()
            accepted = self.drain()
            self.check_answers()
            self.check_traces()
            self.check_home()
            told = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
            print(f"{self.kind}: {accepted} accepted, each answered once; {told}")
            if accepted < CHATS:
                self.explain()
                raise AssertionError("hardly anything was accepted")
        finally:
            self.stop()

    def stop(self):
        for process in self.hosts + self.adapters:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.database:
            subprocess.run(self.psql + [f"DROP DATABASE {self.database} WITH (FORCE)"], check=False)
        self.temporary.cleanup()


if __name__ == "__main__":
    if sys.argv[1] == "adapter":
        run_adapter(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    else:
        Chaos(sys.argv[1]).run()
