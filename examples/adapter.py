#!/usr/bin/env python3
"""adapter.py - a channel for Keep, as a small program of its own: messages in, answers out, over HTTP.

    examples/adapter.py --url http://127.0.0.1:7400 --mbox messages.mbox [--trace]
    examples/adapter.py --url http://127.0.0.1:7400 --chat terminal:ada

The first posts the mails of a file, each to the chat of its sender (mail:ada@example.org), and prints the
answers. The second is a person who types lines, or a pipe. Both end when their input has ended and
everything was answered or has failed; --stay goes on with the deliveries until Ctrl-C. The exit status
is 1 when a message was not answered. An account's token comes from KEEP_TOKEN.

What makes it an adapter that neither loses nor repeats, killed at any moment:

1. Each message has an id before the first try to post it: a mail's Message-ID; of a line, a number that
   is stored in the engine *before* the line is posted, so a restart goes on with the next one. Posting
   the same message again is answered "duplicate", so whatever is in doubt is simply posted again.
2. Each delivery carries a key, the same at every try. Before an answer is shown, its key is stored in
   the engine; a key that is there already is not shown again, and reported as delivered.
3. Deliveries are leased to us: when we die, they come again. Their report says how many times we tried.
4. When the service is away, it is tried again with growing pauses, for as long as --patience says.

What it is not: a mail program. It reads plain text, and prints what it would send.
"""
import argparse
import datetime
import email
import email.policy
import email.utils
import hashlib
import http.client
import json
import mailbox
import os
import random
import sys
import threading
import time
import urllib.parse

POLL_MS = 20000
CLAIM_LIMIT = 50
PAUSE_MAX_SECONDS = 5
LOOK_SECONDS = 1
# What can be tried again: HTTP's own statuses, and Keep's.
BUSY = (408, 429, 502, 503, 504, 507)


class Refused(Exception):
    """The service has answered, and the answer is no: {"code": "CONFLICT", "detail": …}."""

    def __init__(self, problem):
        super().__init__(problem.get("detail") or problem.get("title") or "refused")
        self.code = problem.get("code", "")


class Away(Exception):
    """The service did not answer, for longer than we have patience."""


class Service:
    """POST /v1/<store>/<verb>, with tries; a connection for each thread."""

    def __init__(self, url, token, patience):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SystemExit(f"adapter.py: {url}: no http:// or https:// URL")
        self.make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.address = (parts.hostname, parts.port)
        self.token, self.patience = token, patience
        self.mine = threading.local()
        self.stopping = threading.Event()

    def send(self, method, path, body=None):
        connection = getattr(self.mine, "connection", None)
        if connection is None:
            connection = self.mine.connection = self.make(*self.address, timeout=POLL_MS / 1000 + 30)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.mine.connection = None
            raise

    def ask(self, method, path, body=None):
        """The answer's JSON. Everything here may be repeated, so a lost answer is only asked for again."""
        until, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                status, answer = self.send(method, path, body)
                answer = json.loads(answer)
                if status == 200:
                    return answer
                if status not in BUSY:
                    raise Refused(answer)
                why = answer.get("detail")
            except (OSError, http.client.HTTPException, ValueError) as failure:
                why = str(failure) or type(failure).__name__
            if time.monotonic() + pause > until or self.stopping.wait(pause * random.uniform(0.5, 1)):
                raise Away(f"{path}: {why}")
            pause = min(2 * pause, PAUSE_MAX_SECONDS)

    def call(self, operation, **inputs):
        """The result of an operation: gateway.put_message is POST /v1/gateway/put_message."""
        return self.ask("POST", "/v1/" + operation.replace(".", "/"), json.dumps(inputs).encode())["result"]

    def trace(self, chat, name):
        """Where a message is: {"steps": […], "state": …, "why": …}."""
        return self.ask("GET", "/v1/trace?" + urllib.parse.urlencode({"chat": chat, "id": name}))


class Memory:
    """What the adapter must not forget, in the engine store: /adapter/<name>/…"""

    def __init__(self, service, name):
        self.service, self.root = service, f"adapter/{quote(name)}"

    def get(self, path):
        try:
            return self.service.call("engine.get", path=f"{self.root}/{path}")
        except Refused as refusal:
            if refusal.code != "NOT_FOUND":
                raise
            return None

    def set(self, path, value):
        self.service.call("engine.set", path=f"{self.root}/{path}", value=value)


def quote(text):
    """Any text as one segment of an engine's path."""
    if len(text.encode()) > 150:
        return "sha256-" + hashlib.sha256(text.encode()).hexdigest()
    return urllib.parse.quote(text, safe="") or "-"


class Adapter:
    """What both kinds of input share: post, take, show, report, and know when all is done."""

    def __init__(self, service, channel, trace):
        self.service, self.channel, self.trace = service, channel, trace
        self.memory = Memory(service, channel)
        self.mutex = threading.Lock()   # guards the next four, and the screen
        self.waiting = {}               # (chat, id) of what is neither answered nor failed: when to ask
        self.accepted, self.answered, self.failed = 0, 0, []
        self.delivered = 0
        self.said_all = threading.Event()
        self.stays = False
        self.failure = None

    def say(self, text):
        with self.mutex:
            print(text, flush=True)

    def step(self, chat, name, text):
        if self.trace:
            self.say(f"    {chat} {name}: {text}")

    # ------------------------------------------------------------ in

    def accept(self, chat, name, text, **more):
        with self.mutex:
            self.waiting[chat, name] = time.monotonic() + LOOK_SECONDS
        try:
            result = self.service.call("gateway.put_message", chat_jid=chat, id=name, content=text,
                                       channel=self.channel, **more)
        except Refused as refusal:
            self.close(chat, name, f"not accepted: {refusal}")
            return
        with self.mutex:
            self.accepted += 1
        self.step(chat, name, "accepted" if result["outcome"] == "inserted" else "accepted before")

    def close(self, chat, name, failure=None):
        """It was answered, or has failed."""
        with self.mutex:
            if self.waiting.pop((chat, name), None) is None:
                return
            if failure is None:
                self.answered += 1
            else:
                self.failed.append((chat, name, failure))
        self.step(chat, name, "answered" if failure is None else f"failed: {failure}")

    # ------------------------------------------------------------ out

    def deliver_all(self):
        """Take deliveries by long poll, and ask about what brings none; runs beside the input."""
        try:
            while not self.service.stopping.is_set() and not self.is_done():
                for delivery in self.service.call("gateway.claim_deliveries", channel=self.channel,
                                                  limit=CLAIM_LIMIT, timeout_ms=self.poll_ms()):
                    self.deliver(delivery)
                self.look_after()
        except (Away, Refused) as failure:
            self.failure = failure

    def poll_ms(self):
        """Long when there is only to wait; short while something may fail, and then brings no delivery. Nor
        is a long poll left behind at the end: it would take deliveries that nobody shows."""
        with self.mutex:
            return POLL_MS if self.stays and not self.waiting else int(LOOK_SECONDS * 1000)

    def is_done(self):
        with self.mutex:
            return self.said_all.is_set() and not self.waiting

    def deliver(self, delivery):
        chat, key = delivery["chat_jid"], delivery["id"]
        seen = f"delivered/{quote(chat)}/{quote(key)}"
        if self.memory.get(seen) is None:
            self.memory.set(seen, delivery["content"])
            self.say(f"{chat} <- {delivery['content']}")
            with self.mutex:
                self.delivered += 1
        try:
            self.service.call("gateway.complete_delivery", jid=chat, id=key, attempt=delivery["attempts"],
                              delivery="delivered")
        except Refused as refusal:
            if refusal.code != "CONFLICT":
                raise
            return  # the lease moved on: whoever has it now finds the key, and reports
        self.step(chat, delivery.get("reply_to_id"), f"its answer was delivered under the key {key}")
        if delivery.get("reply_to_id"):
            self.close(chat, delivery["reply_to_id"])

    def look_after(self):
        """What became of messages that bring no delivery: they failed, or nobody answers them."""
        now = time.monotonic()
        with self.mutex:
            due = [message for message, at in self.waiting.items() if at <= now][:CLAIM_LIMIT]
            for message in due:
                self.waiting[message] = now + LOOK_SECONDS
        for chat, name in due:
            try:
                told = self.service.trace(chat, name)
            except Refused:
                continue  # not posted yet, or an account that may not ask
            if told["state"] in ("failed", "refused", "uncertain", "unrouted", "unknown"):
                self.close(chat, name, f"{told['state']}: {told['why']}")
            elif told["state"] == "delivered":
                self.close(chat, name)
            elif told["state"] == "completed" and not any(step["what"] == "replied" for step in told["steps"]):
                self.close(chat, name)  # the agent has nothing to say to it

    # ------------------------------------------------------------ both

    def run(self, inputs, stay):
        """`inputs` posts everything; the answers come beside it."""
        self.stays = stay
        receiver = threading.Thread(target=self.deliver_all, daemon=True)
        receiver.start()
        try:
            inputs(self)
            if not stay:
                self.said_all.set()
            while receiver.is_alive():
                receiver.join(0.2)
        except KeyboardInterrupt:
            self.service.stopping.set()
        except (Away, Refused) as failure:
            self.failure = self.failure or failure
        return self.end()

    def end(self):
        for chat, name, why in self.failed:
            print(f"adapter.py: {chat} {name} was not answered: {why}", file=sys.stderr)
        if self.failure:
            print(f"adapter.py: {self.failure}", file=sys.stderr)
        if self.trace:
            self.say(f"{self.accepted} accepted, {self.answered} answered, {self.delivered} delivered")
        with self.mutex:
            return 1 if self.failed or self.failure or (self.waiting and self.said_all.is_set()) else 0


# ---------------------------------------------------------------- a file of mails

def text_of(mail):
    """The plain text of a mail, below its subject."""
    part = mail.get_body(preferencelist=("plain",))
    body = part.get_content().strip() if part else ""
    return f"{mail['subject']}\n\n{body}".strip() if mail["subject"] else body


def date_of(mail):
    """When it says that it was sent; None: it does not, or nonsense."""
    try:
        when = email.utils.parsedate_to_datetime(mail["date"])
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    return when.isoformat(timespec="milliseconds")


def post_mail(adapter, mail):
    sender_name, sender = email.utils.parseaddr(str(mail["from"] or ""))
    if not sender:
        print("adapter.py: a mail without a sender was left out", file=sys.stderr)
        return
    name = (mail["message-id"] or "").strip().strip("<>")
    if not name:
        name = "sha256-" + hashlib.sha256(mail.as_bytes()).hexdigest()
    more = {"sender": sender, "sender_name": sender_name, "timestamp": date_of(mail),
            "reply_to_id": (mail["in-reply-to"] or "").strip().strip("<>")}
    adapter.accept(f"mail:{sender.lower()}", name, text_of(mail), **{key: value for key, value in more.items() if value})


def mails(path):
    """Post every mail of the file; all of them again after a restart, which changes nothing."""
    def post_all(adapter):
        box = mailbox.mbox(path, create=False,
                           factory=lambda file: email.message_from_binary_file(file, policy=email.policy.default))
        for key in box.keys():
            post_mail(adapter, box[key])
    return post_all


# ---------------------------------------------------------------- lines

def lines(chat):
    """Post every line of the standard input, under numbers that outlive us."""
    def post_line(adapter, number, text):
        adapter.accept(chat, f"line-{number}", text, sender=chat.partition(":")[2])

    def post_all(adapter):
        last = json.loads(adapter.memory.get("last_line") or "null") or {"number": 0, "text": None}
        if last["text"] is not None:
            post_line(adapter, last["number"], last["text"])  # we may have ended before it was accepted
        number = last["number"]
        for line in sys.stdin:
            if not line.strip():
                continue
            number += 1
            text = line.rstrip("\n")
            adapter.memory.set("last_line", json.dumps({"number": number, "text": text}))
            post_line(adapter, number, text)
    return post_all


def main():
    parser = argparse.ArgumentParser(description="A channel for Keep: a mailbox file, or lines.")
    parser.add_argument("--url", default="http://127.0.0.1:7400", help="of keep serve")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--mbox", metavar="FILE", help="post the mails of this file")
    what.add_argument("--chat", metavar="CHANNEL:NAME", help="post lines of standard input in this chat")
    parser.add_argument("--stay", action="store_true", help="go on with deliveries until Ctrl-C")
    parser.add_argument("--trace", action="store_true", help="show each step of each message")
    parser.add_argument("--patience", type=float, default=600, metavar="SECONDS",
                        help="how long a service that is away is tried again (600)")
    options = parser.parse_args()
    if options.chat and not all(options.chat.partition(":")):
        parser.error("--chat: CHANNEL:NAME is needed")
    if options.mbox and not os.path.isfile(options.mbox):
        parser.error(f"--mbox: {options.mbox}: no such file")
    service = Service(options.url, os.environ.get("KEEP_TOKEN"), options.patience)
    # Lines have a channel of their own, so that two terminals take nothing from each other.
    adapter = Adapter(service, options.chat or "mail", options.trace)
    return adapter.run(lines(options.chat) if options.chat else mails(options.mbox), options.stay)


if __name__ == "__main__":
    sys.exit(main())
