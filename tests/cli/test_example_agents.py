#!/usr/bin/env python3
"""The example agents: what they answer, what they remember, and what they do when something is wrong.

Each is run as a host runs it: a message on standard input, KEEP_… in the environment.
"""
import json
import os
import subprocess
import sys
import time
import unittest

from keep_cli import COMMAND, SECONDS, SOURCE, CliTest, environment

sys.path.insert(0, os.path.join(SOURCE, "tests", "support"))
from completions_server import KEY, CompletionsServer  # noqa: E402

AGENTS = os.path.join(SOURCE, "examples", "agents")
COMPLETIONS = os.environ.get("KEEP_COMPLETIONS_AGENT", "build/examples/chat_completions")


class ExampleTest(CliTest):
    def setUp(self):
        super().setUp()
        self.ok("init", "home")
        self.home = os.path.join(self.folder, "home")
        self.number = 0

    def run_agent(self, words, text, message=None, chat="telegram:ada", session="s1", **variables):
        """Give it one message: (exit status, answer, standard error)."""
        self.number += 1
        env = environment(self.home)
        env.update(KEEP_COMMAND=COMMAND, KEEP_CHAT=chat, KEEP_SESSION=session,
                   KEEP_MESSAGE_ID=message or f"m{self.number}", KEEP_ATTEMPT="1")
        env.update(variables)
        env = {name: value for name, value in env.items() if value is not None}
        given = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, separators=(",", ":"))
        done = subprocess.run(words, input=given.encode() + b"\n", capture_output=True, cwd=self.folder, env=env,
                              timeout=SECONDS, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def say(self, text, **more):
        """It must answer, without a word on stderr; its answer."""
        status, out, err = self.run_agent(self.words, text, **more)
        self.assertEqual((status, err), (0, ""), (text, out))
        self.assertTrue(out.endswith("\n") or not out)
        return out[:-1]

    def data(self, *words):
        return json.loads(self.ok("assistant", *words, "--home", "home", "--json"))

    def conversation(self, contact="ada", channel="telegram"):
        """What is stored of it: [(role, text), …]."""
        found = self.data("find_or_create", channel, contact)["conversation"]["conversation_id"]
        context = self.data("context", found)
        return [(message["role"], message["content"]) for message in context["messages"]]


class EchoTest(ExampleTest):
    words = [os.path.join(AGENTS, "echo.sh")]

    def test_it_answers_and_keeps_both_sides_of_the_conversation(self):
        first = self.say({"text": "Is the train on time?", "id": "17"})
        self.assertEqual(first, "You said: Is the train on time? (line 1 of our conversation)")
        self.assertEqual(self.say({"text": "And the next?"}),
                         "You said: And the next? (line 3 of our conversation)")
        self.assertEqual(self.conversation(), [
            ("user", "Is the train on time?"), ("assistant", first), ("user", "And the next?"),
            ("assistant", "You said: And the next? (line 3 of our conversation)")])

    def test_a_message_that_comes_again_is_answered_the_same_and_stored_once(self):
        first = self.say({"text": "Hello"}, message="m1-7")
        self.assertEqual(self.say({"text": "Hello"}, message="m1-7"), first)
        self.assertEqual(self.conversation(), [("user", "Hello"), ("assistant", first)])

    def test_without_a_home_it_answers_all_the_same(self):
        self.assertEqual(self.say({"text": "Hello"}, KEEP_HOME=None), "You said: Hello")

    def test_a_plain_text_is_understood_as_well_as_json_with_escapes(self):
        self.assertEqual(self.say("Plain “text”, -- and all", KEEP_HOME=None), "You said: Plain “text”, -- and all")
        self.assertEqual(self.say({"text": 'A "quoted" \\ slash /, not "text":"other"', "other": "x"}, KEEP_HOME=None),
                         'You said: A "quoted" \\ slash /, not "text":"other"')
        self.assertTrue(self.say({"text": "--limit"}).startswith("You said: --limit (line 1"))

    def test_a_message_without_text_is_completed_without_an_answer(self):
        self.assertEqual(self.say({"files": [{"name": "a.png"}]}), "")

    def test_a_home_that_is_gone_fails_the_message(self):
        status, out, err = self.run_agent(self.words, {"text": "Hello"}, KEEP_HOME="/nowhere")
        self.assertNotEqual(status, 0)
        self.assertEqual(out, "")
        self.assertIn("/nowhere", err)


class MemoryTest(ExampleTest):
    words = [sys.executable, os.path.join(AGENTS, "memory_agent.py")]

    def test_it_finds_what_was_said_and_only_in_its_own_conversation(self):
        self.assertEqual(self.say({"text": "My bicycle is red"}),
                         "I will remember that. You told me 1 thing so far.")
        self.say({"text": "My bicycle is green"}, chat="telegram:bob", session="s2")
        self.assertEqual(self.say({"text": "What did I say about BICYCLE?"}), "You said: “My bicycle is red”")
        self.assertEqual(self.say({"text": "what did i say about boats"}), "You said nothing about boats yet.")
        self.assertEqual(self.say({"text": "What did I say about bicycle?"}, chat="telegram:bob", session="s2"),
                         "You said: “My bicycle is green”")

    def test_a_message_that_comes_again_is_answered_the_same_and_stored_once(self):
        first = self.say({"text": "Hello"}, message="m1")
        self.say({"text": "Something else"}, message="m2")
        self.assertEqual(self.say({"text": "Hello"}, message="m1"), first)
        self.assertEqual(len(self.conversation()), 4)

    def test_a_run_that_ended_before_its_answer_is_taken_up(self):
        self.say({"text": "Hello"}, message="m1")
        found = self.data("find_or_create", "telegram", "ada")["conversation"]["conversation_id"]
        self.ok("assistant", "append", "home", found, "user", "Killed here", "--message-id", "s1:m2")
        self.assertEqual(self.say({"text": "Killed here"}, message="m2"),
                         "I will remember that. You told me 2 things so far.")

    def test_it_fails_where_there_is_no_store(self):
        status, out, err = self.run_agent(self.words, {"text": "Hello"}, KEEP_HOME=None)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("KEEP_HOME", err)
        status, out, err = self.run_agent(self.words, {"text": "Hello"}, KEEP_HOME=None,
                                          KEEP_URL="http://127.0.0.1:9")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("memory_agent.py: ", err)

    def test_it_is_an_agent_below_keep_agent(self):
        self.ok("mailbox", "put_agent_group", "home", "Main", "main", "--id", "main")
        self.ok("mailbox", "put_messaging_group", "home", "telegram", "ada", "--id", "ada")
        self.ok("mailbox", "wire", "home", "ada", "main", "--id", "ada-main")
        self.ok("mailbox", "route", "home", "telegram", "ada", '{"text":"My cat is black"}')
        session = self.ok("mailbox", "list_sessions", "home").decode().split("\t", 1)[0]
        place = self.ok("mailbox", "session_place", "home", session).decode().strip()
        env = dict(environment(self.home), KEEP_COMMAND=COMMAND)
        done = subprocess.run([COMMAND, "agent", place, "--once", "--", *self.words], capture_output=True,
                              cwd=self.folder, env=env, timeout=SECONDS, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        collected = json.loads(self.ok("mailbox", "collect", "home", session, "--json"))
        self.assertEqual([json.loads(item["message"]["content"]) for item in collected["messages"]],
                         [{"text": "I will remember that. You told me 1 thing so far."}])


class CompletionsTest(ExampleTest):
    def setUp(self):
        super().setUp()
        self.server = CompletionsServer()
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)
        self.put_key(KEY)
        self.words = self.command()

    def put_key(self, key):
        self.ok("assistant", "put_credential", "home", "openai", "api_key", "-", stdin=key.encode())

    def command(self, *more):
        return [COMPLETIONS, "--url", self.server.url, "--model", "small", *more]

    def fails(self, why, text="Hello", words=None, **more):
        status, out, err = self.run_agent(words or self.words, {"text": text}, **more)
        self.assertEqual((status, out), (1, ""), err)
        self.assertTrue(err.startswith("chat_completions: ") and err.count("\n") == 1, err)
        self.assertIn(why, err)
        self.assertNotIn(KEY, err)

    def test_the_model_is_shown_the_prompt_and_the_conversation(self):
        self.ok("assistant", "set_prompt", "home", "system_prompt_custom", "You are brief.")
        self.server.play([{"text": "Ten minutes late."}, {"text": "On time."}])
        self.assertEqual(self.say({"text": "Is the train on time?"}), "Ten minutes late.")
        self.assertEqual(self.say({"text": "And the next?"}), "On time.")
        self.assertEqual(self.server.requests[1]["messages"], [
            {"role": "system", "content": "You are brief."}, {"role": "user", "content": "Is the train on time?"},
            {"role": "assistant", "content": "Ten minutes late."}, {"role": "user", "content": "And the next?"}])
        self.assertEqual(self.server.requests[1]["model"], "small")
        self.assertEqual(self.conversation()[-1], ("assistant", "On time."))

    def test_another_prompt_may_be_named_and_one_that_is_not_there_fails(self):
        self.ok("assistant", "set_prompt", "home", "pirate", "Speak like a pirate.")
        self.words = self.command("--prompt", "pirate")
        self.say({"text": "Hello"})
        self.assertEqual(self.server.requests[0]["messages"][0]["content"], "Speak like a pirate.")
        self.fails("prompt", words=self.command("--prompt", "nobody"))

    def test_the_budget_leaves_out_what_is_oldest_and_the_model_may_look_it_up(self):
        self.say({"text": "My passport number is 4711. " + "And so on, and so forth. " * 20})
        self.words = self.command("--budget", "40")
        self.server.play([{"tool": "search_messages", "arguments": '{"query":"passport"}'}, {"text": "It is 4711."}])
        self.assertEqual(self.say({"text": "What is my passport number?"}), "It is 4711.")
        first, second = self.server.requests
        self.assertNotIn("4711", json.dumps(first["messages"]))
        self.assertEqual(first["tools"][0]["function"]["name"], "search_messages")
        self.assertEqual(second["messages"][-1]["role"], "tool")
        self.assertIn("4711", second["messages"][-1]["content"])

    def test_a_search_never_sees_another_chat(self):
        self.say({"text": "The secret word is rhubarb"}, chat="telegram:bob", session="s2")
        self.server.play([{"tool": "search_messages", "arguments": '{"query":"rhubarb"}'}, {"text": "Nothing."}])
        self.say({"text": "What is Bob's word?"})
        self.assertEqual(json.loads(self.server.requests[1]["messages"][-1]["content"]), {"messages": []})

    def test_a_call_of_a_tool_that_makes_no_sense_is_told_to_the_model(self):
        self.server.play([{"tools": [["search_messages", "{no json"], ["search_messages", '{"query":"-"}'],
                                     ["launch_rocket", "{}"]]}, {"text": "Sorry."}])
        self.assertEqual(self.say({"text": "Hello"}), "Sorry.")
        answers = [json.loads(message["content"]) for message in self.server.requests[1]["messages"][-3:]]
        self.assertTrue(all("error" in answer for answer in answers), answers)

    def test_a_model_that_never_ends_its_calls_is_made_to_answer(self):
        self.server.play([{"tool": "search_messages", "arguments": '{"query":"x"}'}] * 4 + [{"text": "Enough."}])
        self.assertEqual(self.say({"text": "Hello"}), "Enough.")
        self.assertEqual([request["tool_choice"] for request in self.server.requests], ["auto"] * 4 + ["none"])

    def test_failures_that_pass_are_tried_again_after_the_pause_that_was_asked_for(self):
        self.server.play([{"status": 429, "retry_after": 1}, {"status": 500}, {"cut": True}, {"text": "Hello!"}])
        before = time.monotonic()
        self.assertEqual(self.say({"text": "Hello"}), "Hello!")
        self.assertGreaterEqual(time.monotonic() - before, 1)
        self.assertEqual(len(self.server.requests), 4)
        self.assertEqual(self.conversation(), [("user", "Hello"), ("assistant", "Hello!")])

    def test_a_wrong_key_fails_at_once_and_is_not_printed(self):
        self.put_key("sk-wrong-key")
        self.fails("refuses the key")
        self.assertEqual(self.server.requests, [])
        status, _, err = self.run_agent(self.words, {"text": "Hello"})
        self.assertEqual((status, "sk-wrong-key" in err), (1, False))

    def test_a_key_that_is_not_there_or_none_fails(self):
        self.ok("assistant", "remove_credential", "home", "openai")
        self.fails("openai")
        self.put_key("two\nlines")
        self.fails("no key")

    def test_the_time_limit_holds_whatever_the_endpoint_does(self):
        for play in ([{"silent": 30}], [{"status": 429, "retry_after": 30}], [{"status": 503}] * 9):
            with self.subTest(play=play[0]):
                self.server.play(play)
                before = time.monotonic()
                self.fails("endpoint", words=self.command("--time-limit", "1"), message="m1")
                self.assertLess(time.monotonic() - before, 20)

    def test_answers_that_are_none_fail_the_message_and_a_later_run_answers_it(self):
        for play in ({"body": "<html>"}, {"body": "{}"}, {"body": '{"choices":[]}'}, {"body": ""}, {"text": ""},
                     {"body": '{"choices":[{"message":{"content":5}}]}'}, {"status": 400}, {"status": 404},
                     {"redirect": "http://127.0.0.1:9/v1/chat/completions"}, {"body": " " * (9 << 20)},
                     {"body": '{"choices":[{"message":{"tool_calls":[{"id":7}]}}]}'}):
            with self.subTest(play=str(play)[:60]):
                self.server.play([play])
                self.fails("endpoint", message="m1")
        self.server.play([{"text": "At last."}])
        self.assertEqual(self.say({"text": "Hello"}, message="m1"), "At last.")
        self.assertEqual(self.conversation(), [("user", "Hello"), ("assistant", "At last.")])

    def test_an_endpoint_that_is_not_there_fails_the_message(self):
        self.fails("endpoint", words=[COMPLETIONS, "--url", "http://127.0.0.1:9", "--model", "m", "--time-limit", "1"])

    def test_a_message_that_was_answered_costs_no_second_request(self):
        self.server.play([{"text": "Once."}])
        self.assertEqual(self.say({"text": "Hello"}, message="m1"), "Once.")
        self.assertEqual(self.say({"text": "Hello"}, message="m1"), "Once.")
        self.assertEqual(len(self.server.requests), 1)

    def test_the_key_never_goes_over_the_network_in_the_clear(self):
        for url in ("http://api.example.org/v1", "http://127.0.0.1.example.org/", "http://localhost@example.org/",
                    "http://localhost:80@example.org/", "ftp://127.0.0.1/"):
            status, out, err = self.run_agent([COMPLETIONS, "--url", url, "--model", "m"], {"text": "Hello"})
            self.assertEqual((status, out), (2, ""), url)
            self.assertIn("https://", err)

    def test_wrong_words_are_told(self):
        for words in ([], ["--url", self.server.url], ["--budget", "0"], ["--nothing", "x"], ["--model"]):
            status, out, err = self.run_agent([COMPLETIONS, *words], {"text": "Hello"})
            self.assertEqual((status, out), (2, ""))
            self.assertIn("usage: chat_completions", err)

    def test_every_look_at_the_key_is_in_the_audit_log(self):
        self.say({"text": "Hello"})
        log = self.ok("assistant", "query_audit", "home", "--json").decode()
        self.assertIn("chat_completions", log)


if __name__ == "__main__":
    unittest.main()
