#!/usr/bin/env python3
"""GET /v1/events: what comes, in which order, from where on, for whom, and what becomes of the clients.

The ring alone is the business of tests/unit/test_event_ring.c.
"""
import json
import os
import signal
import socket
import threading
import time

from event_client import DEADLINE, PATIENCE, ServeTest, Stream, eventually, main, quote

RING = 4096  # events; who is further behind reads the gateway


class WhatComes(ServeTest):
    def test_a_message_comes_as_the_operations_tell_it(self):
        stream = self.stream()
        self.put("telegram:1", 17, 'good\nmorning "you"')
        number, kind, record = stream.event()
        self.assertEqual(kind, "message")
        self.assertEqual((record["chat_jid"], record["id"], record["content"]),
                         ("telegram:1", "17", 'good\nmorning "you"'))
        self.assertEqual(record["change"], number)
        self.assertGreater(number, stream.start)
        stored = self.call("gateway.get_message", jid="telegram:1", id="17")
        self.assertEqual(set(stored), set(record))
        for name, value in (("content-type", "text/event-stream"), ("cache-control", "no-store"),
                            ("x-accel-buffering", "no")):
            self.assertEqual(stream.headers[name], value)

    def test_a_delivery_comes_with_each_of_its_states(self):
        stream = self.stream("?kind=delivery")
        self.put("telegram:1", 1)
        self.call("gateway.put_outbound", chat_jid="telegram:1", id="a", content="yes")
        first, kind, record = stream.event()
        self.assertEqual((kind, record["status"], record["id"]), ("delivery", "pending", "a"))
        claimed, = self.call("gateway.claim_deliveries", channel="telegram")
        second, kind, record = stream.event()
        self.assertEqual((kind, record["status"]), ("delivery", "sending"))
        self.call("gateway.complete_delivery", jid="telegram:1", id="a", attempt=claimed["attempts"],
                  delivery="delivered", platform_id="99")
        third, _, record = stream.event()
        self.assertEqual((record["status"], record["platform_id"]), ("delivered", "99"))
        self.assertTrue(first < second < third)

    def test_chat_channel_and_kind_choose(self):
        chat = self.stream("?kind=message&chat=" + quote("a:1"))
        channel = self.stream("?kind=message&channel=b")
        deliveries = self.stream("?kind=delivery")
        for jid in ("a:10", "a:1", "b:1"):
            self.put(jid, 1)
        self.call("gateway.put_outbound", chat_jid="a:1", id="out", content="yes")
        self.put("b:2", 1)
        self.put("a:1", 2)
        self.assertEqual(chat.firsts(2), [("a:1", "1"), ("a:1", "2")])
        self.assertEqual(channel.firsts(2), [("b:1", "1"), ("b:2", "1")])
        self.assertEqual(deliveries.event()[2]["id"], "out")

    def test_an_event_as_long_as_a_message_may_be_is_whole(self):
        content = '"\\\n' * 300000
        streams = [self.stream("?kind=message") for _ in range(4)]
        self.put("a:1", 1, content)
        self.put("a:1", 2)
        for stream in streams:
            self.assertEqual(stream.event()[2]["content"], content)
            while stream.event()[2]["id"] != "2":
                pass
        late = self.stream("?after=0&kind=message")
        records = [late.event()[2] for _ in range(2)]
        self.assertIn(content, [record["content"] for record in records])


class FromWhere(ServeTest):
    def test_without_an_id_only_what_is_new_comes(self):
        self.put("a:1", 1)
        self.put("a:1", 2)
        # What becomes of those is over before the stream begins.
        last = [0]

        def is_quiet():
            before, last[0] = last[0], self.call("gateway.last_change")
            return before == last[0] > 0 and not self.call("gateway.pending_chats", consumer="serve")

        eventually(is_quiet, "the router has seen both")
        stream = self.stream()
        self.assertEqual(stream.start, self.call("gateway.last_change"))
        self.put("a:1", 3)
        self.assertEqual(stream.event()[2]["id"], "3")

    def test_the_last_id_resumes_exactly_after_it_from_any_moment(self):
        self.stop()
        old, new = 1500, 150
        puts = [{"id": n, "call": "gateway.put_outbound",
                 "with": {"chat_jid": "a:1", "id": str(n), "content": "hello"}} for n in range(old)]
        self.ok("call", "home", stdin="".join(json.dumps(put) + "\n" for put in puts).encode())
        self.serve()
        live = self.stream("?kind=delivery&chat=" + quote("a:1"))
        for number in range(old, old + new):
            self.call("gateway.put_outbound", chat_jid="a:1", id=str(number), content="hello")
        self.assertEqual([live.event()[2]["id"] for _ in range(new)], [str(n) for n in range(old, old + new)])
        past = self.stream("?after=0")
        ids = [past.event()[0] for _ in range(old + new)]
        self.assertEqual(ids, sorted(set(ids)))
        for place in (0, 1, 70, old - 2, old - 1, old, old + 1, old + new - 2):
            stream = self.stream("?after=0", {"Last-Event-ID": ids[place]})
            rest = len(ids) - place - 1
            self.assertEqual([stream.event()[0] for _ in range(rest)], ids[place + 1:])
            stream.close()

    def test_one_that_the_feed_overtakes_still_gets_everything(self):
        streams = [self.stream("?kind=message") for _ in range(5)]
        count = 6 * 900
        self.assertGreater(count, RING)
        for first in range(0, count, 900):
            self.put_many("a:1", range(first, first + 900))
            # Nobody is to remark on them one by one.
            self.call("gateway.advance", consumer="serve", jid="a:1", seq=first + 900)
        for stream in streams:
            self.assertEqual(sorted(int(name) for _, name in stream.firsts(count)), list(range(count)))

    def test_a_restart_loses_nothing_on_the_way(self):
        stream = self.stream("?kind=message")
        self.put("a:1", 1)
        seen = stream.event()[0]
        self.assertEqual(self.stop(), 0)
        stream.to_the_end()
        self.serve()
        self.put("a:1", 2)
        stream = self.stream("?kind=message", {"Last-Event-ID": seen})
        while stream.event()[2]["id"] != "2":
            pass
        stream.close()
        self.stop(signal.SIGKILL)
        self.serve()
        stream = self.stream("?after=0&kind=message")
        self.assertEqual(sorted(stream.firsts(2)), [("a:1", "1"), ("a:1", "2")])

    def test_what_is_no_id_is_refused(self):
        self.put("a:1", 1)
        for query, headers, what in (
                ("?after=-1", {}, "after: not the id of an event"),
                ("?after=x", {}, "after: not the id of an event"),
                ("?after=99999", {}, "after: there is no event 99999 yet"),
                ("?after=0", {"Last-Event-ID": "99999"}, "Last-Event-ID: there is no event 99999 yet"),
                ("", {"Last-Event-ID": "1 "  "2"}, "Last-Event-ID: not the id of an event"),
                ("?kind=thought", {}, "kind: neither message nor delivery"),
                ("?chat=", {}, "chat")):
            stream = self.stream(query, headers)
            self.assertEqual(stream.status, 400, query)
            self.assertEqual(stream.headers["content-type"], "application/problem+json")
            self.assertEqual(stream.problem["code"], "INVALID")
            self.assertTrue(stream.problem["detail"].startswith(what), stream.problem)


class Clients(ServeTest):
    def open_streams(self):
        return self.metric("keep_event_streams")

    def cpu_ticks(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            return sum(int(word) for word in file.read().rsplit(")", 1)[1].split()[11:13])

    def test_idle_streams_cost_no_time(self):
        streams = [self.stream() for _ in range(50)]
        self.put("a:1", 1)
        for stream in streams:
            stream.event()
        eventually(lambda: not self.call("gateway.pending_chats", consumer="serve"), "all is routed")
        before, begun = self.cpu_ticks(), time.monotonic()
        time.sleep(1)  # it is what is measured
        share = (self.cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
        self.assertLess(share, 0.6, "a thread that spins takes a whole core")

    def test_one_that_went_away_is_noticed_and_one_that_only_listens_stays(self):
        gone = [self.stream() for _ in range(20)]
        listens = self.stream()
        self.assertEqual(self.open_streams(), 21)
        for stream in gone:
            stream.close()
        listens.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: self.open_streams() == 1, "closed streams end")
        self.put("a:1", 1)
        self.assertEqual(listens.event()[2]["id"], "1")
        self.assertEqual(listens.comments, [": keep"])
        listens.close()
        eventually(lambda: self.open_streams() == 0, "the last one ends")

    def test_streams_that_come_and_go_while_messages_flow_harm_nobody(self):
        stays = [self.stream("?kind=message") for _ in range(20)]
        failed = []
        over = threading.Event()

        def come_and_go(kind):
            try:
                while not over.is_set():
                    stream = Stream(self.port, "?after=0" if kind else "")
                    if kind == 2:
                        stream.event()
                    stream.close()
            except Exception as error:  # told by the main thread
                failed.append(error)

        threads = [threading.Thread(target=come_and_go, args=(i % 3,)) for i in range(6)]
        for thread in threads:
            thread.start()
        count = 400
        for number in range(count):
            self.put("a:1", number)
        over.set()
        for thread in threads:
            thread.join(DEADLINE)
        self.assertEqual(failed, [])
        for stream in stays:
            self.assertEqual(sorted(int(name) for _, name in stream.firsts(count)), list(range(count)))
            stream.close()
        eventually(lambda: self.open_streams() == 0, "all streams end")

    def test_one_that_does_not_read_is_cut_off_and_an_idle_one_hears_a_heartbeat(self):
        idle = self.stream("?chat=" + quote("z:1"))
        deaf = self.stream("?after=0", read_buffer=4096)
        reads = self.stream("?kind=message&chat=" + quote("a:1"))
        text = "x" * 500000
        for number in range(30):
            self.put("a:1", number, text)
        # Who reads gets all of it, however long the others are.
        self.assertEqual(len(reads.firsts(30)), 30)
        eventually(lambda: self.open_streams() <= 2, "it is cut off")
        with self.assertRaises((EOFError, ConnectionError)):
            while True:
                deaf.event()
        idle.chunk()  # 15 s after it began
        self.assertEqual(idle.text, b": keep\n\n")

    def test_the_end_of_the_service_is_a_clean_end(self):
        streams = [self.stream() for _ in range(50)]
        past = self.stream("?after=0")
        self.put("a:1", 1)
        past.event()
        begun = time.monotonic()
        self.assertEqual(self.stop(), 0)
        self.assertLess(time.monotonic() - begun, 30 * PATIENCE)
        for stream in streams + [past]:
            stream.to_the_end()


class Accounts(ServeTest):
    def make_account(self, name, *words):
        self.ok("gateway", "create_user", "home", f"local:{name}", "--username", name, "--password", "-", *words,
                stdin=b"correct horse")

    def sign_in(self, name):
        status, text = self.request("POST", "/v1/auth/sign_in",
                                    json.dumps({"username": name, "password": "correct horse"}))
        self.assertEqual(status, 200, text)
        return json.loads(text)["result"]["access_token"]

    def bearer(self, name):
        return {"Authorization": f"Bearer {self.sign_in(name)}"}

    def test_a_folder_sees_what_is_its_own_and_nothing_else(self):
        for folder in ("a", "b"):
            self.call("gateway.put_group", jid=f"{folder}:1", folder=folder)
        self.make_account("root", "--is-operator")
        self.make_account("ada", "--folders", '["a"]')
        self.token = self.sign_in("root")
        everything = self.stream("?kind=message", self.bearer("root"))
        own = self.stream("?kind=message", self.bearer("ada"))
        other = self.stream("?kind=message&chat=" + quote("b:1"), self.bearer("ada"))
        for number in range(3):
            for chat in ("b:1", "a:1", "c:1"):
                self.put(chat, number)
        mine = [("a:1", str(number)) for number in range(3)]
        self.assertEqual(own.firsts(3), mine)
        self.assertEqual(len(everything.firsts(9)), 9)
        past = self.stream("?after=0&kind=message", self.bearer("ada"))
        self.assertEqual(sorted(past.firsts(3)), mine)
        self.put("a:1", 3)
        while own.event()[2]["id"] != "3":
            pass
        self.stop()
        self.assertIsNone(other.frame(), "only the end")

    def test_without_a_token_there_is_none_once_an_account_exists(self):
        anonymous = self.stream()
        self.make_account("root", "--is-operator")
        anonymous.to_the_end()
        refused = self.stream()
        self.assertEqual((refused.status, refused.headers["www-authenticate"][:6]), (401, "bearer"))
        accepted = self.stream("?access_token=" + self.sign_in("root"))
        self.assertEqual(accepted.status, 200)

    def test_it_ends_when_its_account_is_disabled(self):
        self.make_account("root", "--is-operator")
        self.make_account("ada", "--is-operator")
        ada = self.stream("", self.bearer("ada"))
        root = self.stream("?kind=message", self.bearer("root"))
        self.token = self.sign_in("root")
        self.ok("gateway", "set_user_disabled", "home", "local:ada", "true")
        ada.to_the_end()
        self.put("a:1", 1)
        self.assertEqual(root.event()[2]["id"], "1")


if __name__ == "__main__":
    main()
