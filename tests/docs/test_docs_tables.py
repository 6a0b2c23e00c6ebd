#!/usr/bin/env python3
"""test_docs_tables.py ROOT PROGRAM - numbers and lists of the documents are those of the sources.

Each row of NUMBERS is a sentence of a page and the line of the source that makes it true: whoever changes one of the
two is told of the other. PROGRAM is examples/first.c, built.
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, PROGRAM = pathlib.Path(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1)).resolve()
SERVICE = "src/service/"
NUMBERS = (
    (("limits.md", "| connections | 2,000; 500 of one address"), ("http.md", "| connections | 2,000; 500 of one address"),
     ("http_exchange.h", "KP_HTTP_CONNECTIONS_MAX = 2000,\n\tKP_HTTP_ADDRESS_CONNECTIONS_MAX = 500,")),
    (("limits.md", "| an address, headers | 8 KiB, 16 KiB |"), ("http.md", "an address of over 8 KiB"),
     ("http.md", "| headers | 16 KiB, and 10 s to send them |"),
     ("http_exchange.h", "KP_HTTP_URI_MAX = 8 * 1024,"), ("http_exchange.h", "KP_HTTP_HEAD_MAX = 16 * 1024,"),
     ("http_exchange.h", "KP_HTTP_HEAD_MS = 10 * 1000,")),
    (("limits.md", "| a body | 16 MiB where"), ("http.md", "| a body | 16 MiB where"), ("http.md", "256 MiB together"),
     ("limits.md", "256 MiB together"), ("http_exchange.h", "KP_HTTP_BODY_MAX = 16 * 1024 * 1024,"),
     ("http_exchange.h", "KP_HTTP_BODIES_MAX = 256 * 1024 * 1024,"), ("limits.md", "of sign-ins 16 KiB"),
     ("http_routes.c", "AUTH_BODY_MAX = 16 * 1024")),
    (("limits.md", "| an answer in one piece | 64 MiB"), ("http.md", "in one piece it is at most 64 MiB"),
     ("http_exchange.h", "KP_HTTP_RESULT_MAX = 64 * 1024 * 1024,")),
    (("limits.md", "| 32, 1,024, 256; else 503 |"), ("http.md", "| calls under way | 32, and 1,024 that wait"),
     ("http.md", "| calls that wait, and streams of rows | 256, then 503 |"), ("http_server.c", "WORKERS_MAX = 32,"),
     ("http_server.c", "QUEUE_MAX = 1024,"), ("http_server.c", "PATIENT_MAX = 256,")),
    (("http.md", "30 s of rows; an answer in one piece 60 s and a second for each 16 kB; an event stream 60 s"),
     ("http_lines.c", "STALL_MS = 30 * 1000"), ("http_server.c", "SENDING_MS = 60 * 1000,"),
     ("http_server.c", "BYTES_PER_MS = 16,"), ("event_follow.c", "#define STUCK_NS (60 * SECOND_NS)")),
    (("limits.md", "| event streams | 1,500; 64 of one address"), ("http.md", "| event streams | 1,500; 64 of one address"),
     ("events.md", "At most 1500 streams are open, and 64 of one address"), ("http_events.c", "STREAMS_MAX = 1500,"),
     ("http_events.c", "ADDRESS_STREAMS_MAX = 64,")),
    (("events.md", "nothing for a minute, or for which more than 1 MiB have been waiting for five seconds"),
     ("event_follow.c", "#define HEAVY_NS (5 * SECOND_NS)"), ("event_follow.c", "WAITING_MAX = 1 << 20,")),
    (("limits.md", "up to 1,000; four of them for jobs"), ("agents.h", "#define KP_AGENTS_MAX 1000"),
     ("agent_jobs.c", "THREADS_MAX = 4,")),
    (("limits.md", "| sessions in line for a command | 65,536;"), ("agents.h", "#define KP_QUEUE_MAX 65536")),
    (("limits.md", "| chats that rest after a failure | 256, each for up to 10 s"), ("router.c", "RESTING_MAX = 256,"),
     ("router.c", "REST_MAX_MS = 10000,")),
    (("limits.md", "looks through | 100,000: else FULL |"), ("accounts.md", "more than 100,000 rows ends with FULL"),
     ("access_lists.c", "LOOKED_AT_MAX = 100000")),
    (("limits.md", "| further names in `Host` | 16 |"), ("../src/cli/cli_serve.c", "HOSTS_MAX = 16")),
    (("agents.md", "logged, and tried again after 1 to 15 s"), ("agent_queue.c", "PAUSE_MIN_MS = 1000, PAUSE_MAX_MS = 15000")),
    (("accounts.md", "A counter is forgotten 15 minutes after"), ("password_tries.c", "FORGET_MS = 15 * 60 * 1000"),
     ("accounts.md", "1 s, 2 s, 4 s … 60 s between two"), ("password_tries.c", "DELAY_MAX_MS = 60000")),
    (("limits.md", "| sign-ins under way | 16 |"), ("accounts.md", "16 sign-ins are under way at most"),
     ("password_tries.c", "AT_ONCE = 16,")),
    (("accounts.md", "| of an address (of IPv6 its /64) | 20 |"),
     ("password_tries.c", "of_address = {20, 16}, of_account = {5, 8};")),
    (("limits.md", "follow within 50 ms of its end"), ("host_lease.c", "WAIT_MS = 50,")),
    (("serve.md", "| daily at 03:00 | a backup"), ("maintenance.c", "backup      daily at 03:00")),
)


def text_of(name):
    if name.endswith(".md"):
        return (ROOT / "docs" / name).read_text(encoding="utf-8")
    return (ROOT / SERVICE / name).read_text(encoding="utf-8") if "/" not in name else \
        (ROOT / name.removeprefix("../")).read_text(encoding="utf-8")


class Tables(unittest.TestCase):
    def test_numbers_of_the_documents_are_those_of_the_sources(self):
        for row in NUMBERS:
            for name, piece in row:
                self.assertTrue(piece in text_of(name), f"{name} has no longer: {piece}\nit belongs to: {row}")

    def test_the_accounts_page_names_every_operation_of_an_account_with_folders(self):
        rules = re.findall(r'^\t\{"(\w+)", "(\w+)",', text_of("access_table.c"), re.M)
        self.assertGreater(len(rules), 80)
        section = text_of("accounts.md").split("\n## What an account of some folders may\n")[1].split("\n## ")[0]
        told = set()
        for line in section.splitlines():
            if line.startswith("| `"):
                names = re.findall(r"`([a-z_.]+)`", line.split(" | ")[0])
                store = names[0].split(".")[0]
                told |= {(store, name.split(".")[-1]) for name in names}
        self.assertEqual(told, set(rules))

    def test_every_path_of_the_service_is_on_its_page(self):
        paths = re.findall(r'"(?:GET |POST)\s+(/[\w/.<>]+)', text_of("http_routes.c"))
        self.assertGreater(len(paths), 5)
        for path in paths:
            self.assertIn(path, text_of("http.md"))

    def test_the_program_of_the_readme_is_the_example_and_prints_the_newest_first(self):
        block = re.search(r"^```c\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]
        self.assertTrue((ROOT / "examples" / "first.c").read_text(encoding="utf-8").endswith(block))
        with tempfile.TemporaryDirectory(prefix="keep-docs-") as folder:
            done = subprocess.run([PROGRAM], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual((done.stdout, done.stderr), ("again\nhello\n", ""))


if __name__ == "__main__":
    unittest.main()
