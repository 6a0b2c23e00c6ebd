#!/usr/bin/env python3
"""memory_agent.py - an agent that remembers what was said to it, in Python's standard library alone.

    keep serve HOME --agent examples/agents/memory_agent.py
    KEEP_HOME=HOME keep agent SESSION_FOLDER -- examples/agents/memory_agent.py

It is run once for each message: the message's JSON on standard input, the answer on standard output,
exit status 0 when it has answered; any other, and the host runs it again later. KEEP_CHAT, KEEP_SESSION
and KEEP_MESSAGE_ID say what the message is.

It remembers whatever is said to it, and looks it up when it is asked "what did I say about WORDS?".
The conversation is in the home's assistant store, reached by `keep call` (a child
that speaks JSON lines) or, with KEEP_URL and KEEP_TOKEN or without KEEP_HOME, by HTTP: the operations
are the same, so the rest of this file does not know which it is.

Every write has a name that was chosen before the first try ("<session>:<message>"), so a run that is
repeated after a crash stores nothing twice and gives the same answer.
"""
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 30
FOUND_MAX = 3


class Failure(Exception):
    """An operation that was refused: its status ("NOT_FOUND") and its sentence."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class CallStore:
    """Operations by `keep call HOME`: a JSON line each."""

    def __init__(self, home):
        command = os.environ.get("KEEP_COMMAND", "keep")
        self.child = subprocess.Popen([command, "call", home], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, operation, **inputs):
        line = json.dumps({"id": 1, "call": operation, "with": inputs})
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise Failure("UNAVAILABLE", "keep call ended without an answer")
        answer = json.loads(answer)
        if not answer["ok"]:
            raise Failure(answer["status"], answer["error"])
        return answer["result"]

    def close(self):
        self.child.stdin.close()
        self.child.wait(TIMEOUT_SECONDS)
        self.child.stdout.close()


class HttpStore:
    """The same operations by HTTP: POST /v1/<store>/<verb>."""

    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/"), token

    def call(self, operation, **inputs):
        request = urllib.request.Request(f"{self.url}/v1/{operation.replace('.', '/')}",
                                         data=json.dumps(inputs).encode(),
                                         headers={"Content-Type": "application/json"})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                problem = json.loads(refusal.read() or b"{}")
            raise Failure(problem.get("code", "UNAVAILABLE"), problem.get("detail", str(refusal))) from None

    def close(self):
        pass


def open_store():
    home, url, token = (os.environ.get(name) for name in ("KEEP_HOME", "KEEP_URL", "KEEP_TOKEN"))
    if url and (token or not home):
        return HttpStore(url, token)
    if home:
        return CallStore(home)
    raise Failure("INVALID", "neither KEEP_HOME nor KEEP_URL is set")


def find_conversation(store):
    """telegram:ada is a conversation with ada on telegram; a session without a chat is one of its own."""
    channel, _, contact = os.environ.get("KEEP_CHAT", "").partition(":")
    if not channel or not contact:
        channel, contact = "session", os.environ["KEEP_SESSION"]
    found = store.call("assistant.find_or_create", channel=channel, contact=contact)
    return found["conversation"]["conversation_id"]


def recall(store, conversation, words, name):
    """What was said about some words, but for the question itself."""
    query = " ".join(re.findall(r"\w+", words))
    if not query:
        return "About what?"
    found = store.call("assistant.search_messages", query=query, conversation_id=conversation, limit=20)
    said = [match["message"]["content"] for match in found["matches"]
            if match["message"]["role"] == "user" and match["message"]["message_id"] != name]
    said = [text for text in said if not re.match(r"what did i say about", text, re.I)]
    if not said:
        return f"You said nothing about {words} yet."
    return "You said: " + "; ".join(f"“{text}”" for text in said[:FOUND_MAX])


def answer(store, conversation, text, name):
    asked = re.fullmatch(r"what did i say about (.+?)\s*\?*", text, re.I | re.S)
    if asked:
        return recall(store, conversation, asked[1], name)
    context = store.call("assistant.context", conversation_id=conversation, token_budget=2000)
    said = sum(message["role"] == "user" for message in context["messages"])
    return f"I will remember that. You told me {said} thing{'' if said == 1 else 's'} so far."


def stored_answer(store, name):
    """What an earlier run for the same message has answered, if it came so far."""
    try:
        return store.call("assistant.get_message", message_id=name)["content"]
    except Failure as failure:
        if failure.status != "NOT_FOUND":
            raise
        return None


def run(store, text):
    name = f"{os.environ.get('KEEP_SESSION', '')}:{os.environ['KEEP_MESSAGE_ID']}"
    conversation = find_conversation(store)
    reply = stored_answer(store, name + ":answer")
    if reply is None:
        store.call("assistant.append", conversation_id=conversation, role="user", content=text, message_id=name)
        reply = answer(store, conversation, text, name)
        store.call("assistant.append", conversation_id=conversation, role="assistant", content=reply,
                   message_id=name + ":answer")
    print(reply)


def main():
    message = sys.stdin.read()
    try:
        message = json.loads(message)
        text = message.get("text") if isinstance(message, dict) else None
    except ValueError:
        text = message.strip()
    if not text:
        return  # a file, a reaction: nothing to answer
    store = open_store()
    try:
        run(store, text)
    finally:
        store.close()


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, KeyError) as failure:
        sys.exit(f"memory_agent.py: {failure}")
