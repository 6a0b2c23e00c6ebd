#!/usr/bin/env python3
"""test_cli_systemd.py - `keep serve` under a service manager: what it tells, and the unit that starts it."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from keep_cli import SECONDS

KEEP = os.environ.get("KEEP_COMMAND", "build/keep")
UNIT = os.path.join(os.environ.get("KEEP_SOURCE", "."), "dist", "keep.service")


class Systemd(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="keep-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.home = os.path.join(self.folder, "home")
        subprocess.run([KEEP, "init", self.home], check=True, capture_output=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(os.path.join(self.folder, "notify"))
        self.manager.settimeout(SECONDS)

    def serve(self):
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(self.folder, "notify"), WATCHDOG_USEC="200000")
        environment.pop("WATCHDOG_PID", None)
        # pylint: disable-next=consider-using-with
        service = subprocess.Popen([KEEP, "serve", self.home, "--listen", "127.0.0.1:0"], env=environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(service.wait)
        self.addCleanup(service.kill)
        return service

    def hear(self, wanted):
        """Everything up to what was wanted."""
        until, heard = time.monotonic() + SECONDS, []
        while time.monotonic() < until:
            heard.append(self.manager.recv(1024).decode())
            if wanted in heard[-1].split("\n"):
                return heard
        raise AssertionError(f"{wanted}: {heard}")

    def test_the_manager_hears_that_it_is_ready_alive_and_ending(self):
        service = self.serve()
        self.assertIn("STATUS=serving at http://127.0.0.1:", self.hear("READY=1")[-1])
        self.hear("WATCHDOG=1")
        self.hear("WATCHDOG=1")
        service.send_signal(signal.SIGTERM)
        self.hear("STOPPING=1")
        self.assertEqual(service.wait(SECONDS), 0)

    def test_a_second_host_is_not_ready_until_the_first_is_gone(self):
        first = self.serve()
        self.hear("READY=1")
        second = self.serve()
        heard = self.hear_status("STATUS=waiting: the home is served by ")
        self.assertIn(str(first.pid), heard)
        first.kill()
        self.hear("READY=1")
        second.send_signal(signal.SIGTERM)
        self.assertEqual(second.wait(SECONDS), 0)

    def hear_status(self, start):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for line in self.manager.recv(1024).decode().split("\n"):
                if line.startswith(start):
                    return line
        raise AssertionError(start)


class Unit(unittest.TestCase):
    """systemd's own check needs systemd; this one needs nothing."""

    def setUp(self):
        self.sections, section = {}, None
        with open(UNIT, encoding="utf-8") as file:
            for line in file.read().splitlines():
                if not line or line.startswith("#"):
                    continue
                if re.fullmatch(r"\[\w+\]", line):
                    section = self.sections.setdefault(line[1:-1], [])
                    continue
                self.assertRegex(line, r"^[A-Z]\w+=", "a setting")
                section.append(tuple(line.split("=", 1)))

    def of(self, name):
        return [value for key, value in self.sections["Service"] if key == name]

    def test_it_starts_the_command_and_waits_for_its_word(self):
        self.assertEqual(set(self.sections), {"Unit", "Service", "Install"})
        self.assertEqual(self.of("Type"), ["notify"])
        self.assertTrue(int(self.of("WatchdogSec")[0]) > 0)
        words = self.of("ExecStart")[0].split()
        self.assertEqual(words[:3], ["@BINDIR@/keep", "serve", "/var/lib/keep"])
        told = subprocess.run([KEEP, "serve", "--help"], capture_output=True, check=True, text=True).stdout
        for word in words:
            if word.startswith("--"):
                self.assertIn(word, told)

    def test_no_setting_is_there_twice_and_it_may_write_its_home_alone(self):
        for settings in self.sections.values():
            names = [name for name, _ in settings]
            self.assertEqual(len(names), len(set(names)), names)
        self.assertEqual(self.of("ProtectSystem"), ["strict"])
        self.assertEqual(self.of("StateDirectory"), ["keep"])
        self.assertEqual(self.of("NoNewPrivileges"), ["yes"])
        self.assertEqual(self.of("UMask"), ["0077"])

    def test_the_state_folder_is_a_home_for_init(self):
        """ExecStartPre meets a folder that the manager has made, empty or a home."""
        folder = tempfile.mkdtemp(prefix="keep-")
        self.addCleanup(shutil.rmtree, folder)
        for _ in range(2):
            subprocess.run([KEEP, "init", folder], check=True, capture_output=True)


if __name__ == "__main__":
    unittest.main()
