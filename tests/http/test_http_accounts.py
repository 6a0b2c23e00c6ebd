#!/usr/bin/env python3
"""Accounts over HTTP: signing in, tokens that are not good, folders, guessing, and what the log says of it.

Each password costs 64 MiB and a quarter of a second, so few are tried.
"""
import base64
import json
import threading
import unittest

from http_service import JSON, HttpTest

PASSWORD = "correct horse battery"


def encode(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class AccountsTest(HttpTest):
    def setUp(self):
        super().setUp()
        for jid, folder in (("test:a", "a"), ("test:inner", "a/x"), ("test:b", "b"), ("test:ab", "ab")):
            self.by_command("gateway.put_group", jid=jid, folder=folder)
            self.by_command("gateway.put_message", chat_jid=jid, id="first", content=f"said in {folder}")
        self.run_commands()

    def by_command(self, operation, **inputs):
        self.commands = [*getattr(self, "commands", []), {"id": 0, "call": operation, "with": inputs}]

    def run_commands(self):
        lines = "".join(json.dumps(command) + "\n" for command in self.commands)
        self.commands = []
        for line in self.ok("call", self.home, stdin=lines.encode()).splitlines():
            self.assertTrue(json.loads(line)["ok"], line)

    def make_account(self, sub, **more):
        self.by_command("gateway.create_user", sub=sub, password=PASSWORD, **more)
        self.run_commands()

    def sign_in(self, username, password=PASSWORD):
        return self.ask("POST", "/v1/auth/sign_in",
                        json.dumps({"username": username, "password": password}), JSON)

    def tokens(self, username):
        answer = self.sign_in(username)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        return answer.json["result"]

    def as_account(self, tokens, operation, **inputs):
        return self.post(operation, inputs, {"Authorization": f"Bearer {tokens['access_token']}"})

    def assert_refused(self, answer, error=None):
        self.assert_problem(answer, 401, "DENIED")
        challenge = answer.headers["www-authenticate"]
        self.assertTrue(challenge.startswith("Bearer"), challenge)
        self.assertEqual('error="invalid_token"' in challenge, error == "invalid_token", challenge)


class WithAccounts(AccountsTest):
    def setUp(self):
        super().setUp()
        self.make_account("local:op", is_operator=True)
        self.make_account("local:ada", folders=["a"])
        self.start_service()

    def test_every_request_but_the_open_doors_needs_a_token(self):
        self.assert_alive()
        for operation in ("gateway.list_chats", "engine.count", "mailbox.list_sessions", "assistant.sizes"):
            self.assert_refused(self.post(operation))
        for path in ("/metrics", "/v1/events", "/v1/trace?chat=test:a&id=first"):
            self.assert_refused(self.ask("GET", path))
        self.assert_refused(self.post("gateway.create_user", {"sub": "local:me", "is_operator": True}))

    def test_who_signed_in_sees_their_folders_and_nothing_else(self):
        tokens = self.tokens("local:ada")
        self.assertEqual((tokens["token_type"], tokens["expires_in"], tokens["sub"], tokens["is_operator"],
                          tokens["folders"]), ("Bearer", 3600, "local:ada", False, ["a"]))
        for jid, status in (("test:a", 200), ("test:inner", 200), ("test:b", 403), ("test:ab", 403),
                            ("test:none", 403), ("TEST:a", 403), ("test:a ", 403)):
            answer = self.as_account(tokens, "gateway.history", jid=jid)
            self.assertEqual(answer.status, status, (jid, answer.body))
            answer = self.as_account(tokens, "gateway.put_message", chat_jid=jid, id="new", content="x")
            self.assertEqual(answer.status, status, (jid, answer.body))
        one = self.as_account(tokens, "gateway.history", jid="test:b").json
        self.assertEqual(one, self.as_account(tokens, "gateway.history", jid="test:none").json)
        chats = self.as_account(tokens, "gateway.list_chats").json["result"]
        self.assertEqual([chat["jid"] for chat in chats], ["test:a", "test:inner"])
        chats = self.as_account(tokens, "gateway.list_chats", limit=1, after_jid="test:a").json["result"]
        self.assertEqual([chat["jid"] for chat in chats], ["test:inner"])
        self.assert_problem(self.as_account(tokens, "gateway.claim_deliveries"), 403, "DENIED", "operators")
        self.assert_problem(self.as_account(tokens, "engine.count", path="a"), 403, "DENIED", "operators")
        self.assertEqual(len(self.as_account(self.tokens("local:op"), "gateway.list_chats").json["result"]), 4)

    def test_rows_as_lines_are_the_same_rows(self):
        tokens = self.tokens("local:ada")
        answer = self.post("gateway.list_chats", {}, {"Authorization": f"Bearer {tokens['access_token']}",
                                                      "Accept": "application/jsonl"})
        rows = [json.loads(line) for line in answer.body.splitlines()]
        self.assertEqual([row["jid"] for row in rows], ["test:a", "test:inner"])

    def test_an_envelope_or_an_alias_is_judged_like_the_call_itself(self):
        tokens = self.tokens("local:ada")
        envelope = {"id": 1, "call": "gateway.history", "with": {"jid": "test:b"}}
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.assert_problem(self.post("gateway.history", envelope, header), 403, "DENIED")
        self.assertIn(self.post("gateway.list", {"owner": "b"}, header).status, (403, 404))

    def test_tokens_that_are_not_good_are_refused(self):
        good = self.tokens("local:ada")["access_token"]
        head, claims, signature = good.split(".")
        operator = encode({"sub": "local:ada", "name": "", "groups": None, "iat": 1, "exp": 4100000000})
        bad = [f"{head}.{operator}.{signature}", f"{encode({'alg': 'none'})}.{operator}.",
               f"{encode({'alg': 'none', 'typ': 'JWT'})}.{claims}.{signature}", f"{head}.{claims}.",
               f"{head}.{claims}", good[:-2], good + "A", good.upper(), "x", "a.b.c", "." * 3, "A" * 9000]
        for token in bad:
            answer = self.post("gateway.history", {"jid": "test:a"}, {"Authorization": f"Bearer {token}"})
            if answer.status != 431:
                self.assert_refused(answer, "invalid_token")
        for header in (good, f"Basic {good}", "Bearer", "Bearer ", f"Bearer {good} {good}", f"Bearer {good},x",
                       f"Bearer\t{good}", f"Token {good}", f"Bearer \"{good}\""):
            self.assert_refused(self.post("gateway.history", {"jid": "test:a"}, {"Authorization": header}),
                                "invalid_token")
        for header in (f"Bearer {good}", f"bearer {good}", f"BEARER   {good}"):
            self.assertEqual(self.post("gateway.history", {"jid": "test:a"}, {"Authorization": header}).status, 200)
        # Not in the query but for events, and not twice.
        self.assert_refused(self.ask("POST", f"/v1/gateway/list_chats?access_token={good}", "{}", JSON))
        answer = self.send(b"POST /v1/gateway/list_chats HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                           + f"Authorization: Bearer {good}\r\nAuthorization: Bearer x\r\n\r\n{{}}".encode())
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.ask("GET", f"/v1/events?access_token={bad[0]}").status, 401)
        log = self.log()
        for secret in (good, claims, signature, PASSWORD, operator):
            self.assertNotIn(secret, log)

    def test_a_refresh_token_is_good_once_and_its_theft_ends_the_session(self):
        first = self.tokens("local:ada")

        def refresh(token):
            return self.ask("POST", "/v1/auth/refresh", json.dumps({"refresh_token": token}), JSON)

        second = refresh(first["refresh_token"])
        self.assertEqual(second.status, 200, second.body)
        self.assertEqual(self.as_account(second.json["result"], "gateway.list_chats").status, 200)
        self.assert_refused(refresh(first["refresh_token"]))
        self.assert_refused(refresh(second.json["result"]["refresh_token"]))
        self.assert_refused(refresh(first["access_token"]))
        third = self.tokens("local:ada")
        body = json.dumps({"refresh_token": third["refresh_token"]})
        self.assertEqual(self.ask("POST", "/v1/auth/sign_out", body, JSON).json, {"ok": True, "result": None})
        self.assert_refused(refresh(third["refresh_token"]))
        self.assertNotIn(third["refresh_token"], self.log())

    def test_of_many_that_refresh_at_once_one_wins(self):
        token = self.tokens("local:ada")["refresh_token"]
        answers = []

        def refresh():
            answers.append(self.ask("POST", "/v1/auth/refresh", json.dumps({"refresh_token": token}), JSON).status)

        threads = [threading.Thread(target=refresh) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answers), [200] + [401] * 7)

    def test_a_disabled_account_and_a_retired_key_are_refused_within_a_second(self):
        ada, operator = self.tokens("local:ada"), self.tokens("local:op")
        answer = self.as_account(operator, "gateway.set_user_disabled", sub="local:ada", disabled=True)
        self.assertEqual(answer.status, 200, answer.body)
        # Through the service at once; by another process within a second.
        self.assert_refused(self.as_account(ada, "gateway.list_chats"), "invalid_token")
        self.ok("gateway", "set-user-disabled", self.home, "local:op", "true")
        self.until(lambda: self.as_account(operator, "gateway.list_chats").status == 401)
        self.ok("gateway", "set-user-disabled", self.home, "local:op", "false")
        self.until(lambda: self.as_account(operator, "gateway.list_chats").status == 200)
        self.ok("gateway", "renew-signing-key", self.home, "--retire")
        self.assert_refused(self.as_account(operator, "gateway.list_chats"), "invalid_token")

    def test_what_was_taken_from_an_account_its_tokens_lose(self):
        ada, operator = self.tokens("local:ada"), self.tokens("local:op")
        self.as_account(operator, "gateway.set_user_folders", sub="local:ada", folders=["a/x", "b"])
        self.assertEqual(self.as_account(ada, "gateway.history", jid="test:inner").status, 200)
        self.assertEqual(self.as_account(ada, "gateway.history", jid="test:a").status, 403)
        self.assertEqual(self.as_account(ada, "gateway.history", jid="test:b").status, 403)

    def test_guessing_has_to_wait_and_tells_nothing(self):
        answers = {}
        for username in ("local:ada", "local:nobody"):
            for _ in range(20):
                answer = self.sign_in(username, "wrong password")
                if answer.status != 401:
                    break
                answers[username] = answer.body
            self.assert_problem(answer, 429)
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.assertEqual(*answers.values())
        self.assertNotIn(b"ada", answers["local:ada"])
        self.assertNotIn("wrong password", self.log())
        # Not for good: after the wait that was told, the right one is taken.
        self.until(lambda: self.sign_in("local:ada").status == 200)
        self.assert_alive()

    def test_a_page_of_elsewhere_cannot_use_what_it_does_not_have(self):
        answer = self.post("gateway.list_chats", {}, {"Origin": "http://elsewhere.example"})
        self.assertIn(answer.status, (401, 403))


class WithoutAccounts(AccountsTest):
    def test_the_first_account_closes_the_door(self):
        self.start_service()
        self.assertEqual(len(self.call("gateway.list_chats")), 4)
        self.call("gateway.create_user", sub="local:op", password=PASSWORD, is_operator=True)
        self.assert_refused(self.post("gateway.list_chats"))
        self.assertEqual(self.as_account(self.tokens("local:op"), "gateway.list_chats").status, 200)

    def test_an_account_made_by_another_process_closes_it_within_a_second(self):
        self.start_service()
        self.assertEqual(len(self.call("gateway.list_chats")), 4)
        self.make_account("local:op", is_operator=True)
        self.until(lambda: self.post("gateway.list_chats").status == 401)

    def test_a_bad_token_is_refused_where_none_is_needed(self):
        self.start_service()
        answer = self.post("gateway.list_chats", {}, {"Authorization": "Bearer a.b.c"})
        self.assert_refused(answer, "invalid_token")

    def test_bodies_of_signing_in_are_checked_and_quoted_nowhere(self):
        self.start_service()
        for body in (b"", b"{", b"[]", b'{"username":"SECRET"}', b'{"username":"x","password":1}',
                     b'{"username":"x","password":"SECRET","more":"SECRET"}', b'{"username":"x","passwort":"SECRET"}'):
            answer = self.ask("POST", "/v1/auth/sign_in", body, JSON)
            self.assert_problem(answer, 400, "INVALID")
            self.assertNotIn(b"SECRET", answer.body)
        self.assertEqual(self.ask("GET", "/v1/auth/sign_in").status, 405)
        self.assertNotIn("SECRET", self.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
