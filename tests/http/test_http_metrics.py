#!/usr/bin/env python3
"""GET /metrics: every number is there with a name, a help and a type that Prometheus' own tool has nothing
to say about; they count what happens; and docs/metrics.md names each, and no other."""
import pathlib
import re
import shutil
import subprocess

from event_client import ServeTest, eventually, main
from keep_cli import SOURCE, SECONDS


class Metrics(ServeTest):
    def heads(self):
        """name: (type, help)"""
        found, helps = {}, {}
        for line in self.metrics().splitlines():
            word = line.split(" ", 3)
            if line.startswith("# HELP "):
                helps[word[2]] = word[3]
            elif line.startswith("# TYPE "):
                self.assertNotIn(word[2], found, "twice")
                found[word[2]] = (word[3], helps[word[2]])
        return found

    def test_promtool_has_nothing_to_say(self):
        self.assertTrue(shutil.which("promtool"), "promtool is missing: it is in Debian's package prometheus")
        self.put("a:1", 1)
        done = subprocess.run(["promtool", "check", "metrics"], input=self.metrics().encode(), check=False,
                              capture_output=True, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_the_documents_name_each_and_no_other(self):
        text = pathlib.Path(SOURCE, "docs", "metrics.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", text, re.M)
        self.assertEqual({name: (kind, words) for name, kind, words in rows}, self.heads())
        self.assertEqual(len(rows), len(self.heads()))

    def test_they_count_what_happens(self):
        stream = self.stream("?kind=message")
        self.put("a:1", 1)
        stream.event()
        self.assertEqual(self.metric("keep_event_streams"), 1)
        self.assertEqual(self.metric("keep_accept_seconds_count"), 1)
        self.assertEqual(self.metric('keep_accept_seconds_bucket{le="+Inf"}'), 1)
        self.assertGreater(self.metric("keep_accept_seconds_sum"), 0)
        # An event is counted when libmicrohttpd has all of it.
        eventually(lambda: self.metric("keep_events_sent_total") >= 1, "the event is counted")
        before = self.metric("keep_http_refused_total")
        self.assertEqual(self.request("GET", "/v1/nothing")[0], 404)
        eventually(lambda: self.metric("keep_http_refused_total") == before + 1, "the refusal is counted")
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
                     "keep_http_requests_total", "keep_store_up"):
            self.assertGreater(self.metric(name), 0, name)
        version = self.ok("--version").decode().split()[-1]
        self.assertEqual(self.metric(f'keep_build_info{{version="{version}"}}'), 1)

    def test_what_waits_in_the_stores_is_seen(self):
        for number in range(3):
            self.call("gateway.put_outbound", chat_jid=f"a:{number}", id="x", content="hello")
        eventually(lambda: self.metric("keep_deliveries_waiting") == 3, "three wait")
        claimed, = self.call("gateway.claim_deliveries", limit=1)
        self.call("gateway.complete_delivery", jid=claimed["chat_jid"], id="x", attempt=claimed["attempts"],
                  delivery="refused", error="no such chat")
        eventually(lambda: (self.metric("keep_deliveries_waiting"), self.metric("keep_deliveries_failed")) == (2, 1),
                   "one was refused")


if __name__ == "__main__":
    main()
