#!/usr/bin/env python3
"""A stand-in for an endpoint of the OpenAI kind: POST /v1/chat/completions, strictly.

    completions_server.py [--key KEY]   prints its URL as a line, and serves until it is ended

A request is refused (400) unless it is what the real ones take: a model, messages with roles in an
order that makes sense (a tool's answer follows the call it belongs to), tools that are described. The
bearer key must be the right one (401). Else it answers with the next step of its play:

    {"text": T}                         a message
    {"tool": NAME, "arguments": TEXT}   a call of a tool (or "tools": [[NAME, TEXT], …])
    {"status": N, "retry_after": S}     a failure, with Retry-After when S is there
    {"body": TEXT}                      200 with that body, whatever it is
    {"silent": S}                       nothing for S seconds, then the connection ends
    {"cut": true}                       the connection ends before an answer
    {"redirect": URL}                   307

and, with nothing left of it, "You said: <the last message of the user>". In a test: `with
CompletionsServer() as server`, then server.url, server.play([...]), server.requests.
"""
import argparse
import http.server
import json
import threading

KEY = "sk-test/of+the=stand-in"


class Refusal(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Refusal(what)


def check_request(request):
    """What an endpoint would refuse, this one does, too."""
    need(isinstance(request, dict) and isinstance(request.get("model"), str), "model")
    messages = request.get("messages")
    need(isinstance(messages, list) and messages, "messages")
    called = set()
    for message in messages:
        role = message.get("role")
        need(role in ("system", "user", "assistant", "tool"), f"role {role}")
        if role == "tool":
            need(message.get("tool_call_id") in called, "a tool's answer that nothing asked for")
            called.discard(message["tool_call_id"])
        else:
            need(not called, "a tool's answer is missing")
        if role == "assistant":
            called = {call["id"] for call in message.get("tool_calls") or []}
        need(isinstance(message.get("content"), str) or (role == "assistant" and called), "content")
    need(not called, "a tool's answer is missing")
    for tool in request.get("tools", []):
        need(tool.get("type") == "function" and isinstance(tool["function"]["name"], str), "tools")
        need(tool["function"]["parameters"]["type"] == "object", "parameters")
    need(request.get("tool_choice", "auto") in ("auto", "none"), "tool_choice")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, message, **headers):
        self.send(status, {"error": {"message": message, "type": "invalid_request_error"}}, **headers)

    def message(self, message):
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        self.send(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "model": "stand-in",
                        "choices": [{"index": 0, "finish_reason": reason,
                                     "message": {"role": "assistant", **message}}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

    def do_POST(self):
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            self.fail(404, "there is nothing at this path")
            return
        if self.headers.get_all("Authorization") != [f"Bearer {owner.key}"]:
            self.fail(401, "Incorrect API key provided")
            return
        try:
            request = json.loads(body)
            check_request(request)
        except (Refusal, ValueError, KeyError, TypeError, AttributeError) as refusal:
            owner.note(None)
            self.fail(400, f"Invalid request: {refusal}")
            return
        self.act(owner.note(request), request)

    def act(self, step, request):
        if "status" in step:
            headers = {"Retry_After": step["retry_after"]} if "retry_after" in step else {}
            self.fail(step["status"], "as the play says", **headers)
        elif "body" in step:
            self.send(200, step["body"].encode())
        elif "redirect" in step:
            self.send(307, {}, Location=step["redirect"])
        elif "silent" in step or "cut" in step:
            self.server.owner.over.wait(step.get("silent", 0))
            self.close_connection = True
        elif "tool" in step or "tools" in step:
            calls = step.get("tools") or [[step["tool"], step["arguments"]]]
            self.message({"content": None, "tool_calls": [
                {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(calls)]})
        else:
            said = [message["content"] for message in request["messages"] if message["role"] == "user"]
            self.message({"content": step.get("text", f"You said: {said[-1]}")})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        """A client that went away is no news."""


class CompletionsServer:
    def __init__(self, key=KEY):
        self.key, self.steps, self.requests = key, [], []
        self.mutex, self.over = threading.Lock(), threading.Event()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def play(self, steps):
        with self.mutex:
            self.steps, self.requests = list(steps), []

    def note(self, request):
        with self.mutex:
            self.requests.append(request)
            return self.steps.pop(0) if self.steps else {}

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def main():
    parser = argparse.ArgumentParser(description="A stand-in for a chat completions endpoint.")
    parser.add_argument("--key", default=KEY)
    with CompletionsServer(parser.parse_args().key) as server:
        print(server.url, flush=True)
        try:
            server.over.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
