#!/usr/bin/env python3
"""Fernet tokens exchanged both ways with Python's cryptography (Debian's python3-cryptography).

    test_fernet_python.py PROGRAM       PROGRAM is fernet_lines

What one makes the other reads, for texts of many lengths; both refuse the same changed tokens and
agree on every second of a token's life; with several keys both find the one that fits.
"""
import base64
import random
import subprocess
import sys
import unittest

try:
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet
except ImportError:
    sys.exit("python3-cryptography is missing: ./setup.sh test installs it")

PROGRAM = sys.argv.pop(1)
NOW = 1_700_000_000


class Lines:
    """The program, a request at a time."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def encrypt(self, keys, now, text):
        return self.ask("encrypt", keys, now, text.hex() or "-")

    def decrypt(self, keys, token, now=0, ttl=-1):
        """(key index, text), or a status."""
        answer = self.ask("decrypt", keys, now, ttl, token)
        if " " not in answer:
            return answer
        index, digits = answer.split(" ")
        return int(index), b"" if digits == "-" else bytes.fromhex(digits)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


class TokensAreExchanged(unittest.TestCase):
    def setUp(self):
        self.lines = Lines()
        self.random = random.Random(1)

    def tearDown(self):
        self.assertEqual(self.lines.close(), 0, "memory is left")

    def texts(self):
        for length in list(range(0, 100)) + [1000, 1023, 1024, 4096, 65535, 300_000]:
            yield self.random.randbytes(length)

    def test_a_new_key_is_a_key_there(self):
        for _ in range(20):
            key = self.lines.ask("key")
            token = Fernet(key).encrypt(b"hello").decode()
            self.assertEqual(self.lines.decrypt(key, token), (0, b"hello"))

    def test_what_python_makes_is_read(self):
        for text in self.texts():
            key = Fernet.generate_key().decode()
            token = Fernet(key).encrypt_at_time(text, NOW).decode()
            self.assertEqual(self.lines.decrypt(key, token), (0, text))
            self.assertEqual(self.lines.decrypt(key, token, NOW, 0), (0, text))

    def test_what_is_made_python_reads(self):
        for text in self.texts():
            key = self.lines.ask("key")
            token = self.lines.encrypt(key, NOW, text)
            self.assertEqual(Fernet(key).decrypt_at_time(token, 0, NOW), text)
            self.assertEqual(Fernet(key).extract_timestamp(token), NOW)

    def test_both_agree_on_every_second_of_a_life(self):
        key = Fernet.generate_key().decode()
        token = Fernet(key).encrypt_at_time(b"hello", NOW).decode()
        for ttl in (0, 1, 60):
            for now in range(NOW - 70, NOW + 70):
                try:
                    wanted = 0, Fernet(key).decrypt_at_time(token, ttl, now)
                except InvalidToken:
                    wanted = "DENIED"
                self.assertEqual(self.lines.decrypt(key, token, now, ttl), wanted, (ttl, now))

    def test_both_refuse_what_was_changed(self):
        key = Fernet.generate_key().decode()
        token = Fernet(key).encrypt_at_time(b"hello", NOW).decode()
        raw = base64.urlsafe_b64decode(token)
        for bit in range(8 * len(raw)):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            other = base64.urlsafe_b64encode(changed).decode()
            with self.assertRaises(InvalidToken):
                Fernet(key).decrypt(other.encode())
            self.assertEqual(self.lines.decrypt(key, other), "CORRUPT" if bit < 8 else "DENIED")

    def test_with_several_keys_both_find_the_one_that_fits(self):
        keys = [Fernet.generate_key().decode() for _ in range(5)]
        every = MultiFernet([Fernet(key) for key in keys])
        for index, key in enumerate(keys):
            token = Fernet(key).encrypt(b"hello").decode()
            self.assertEqual(self.lines.decrypt(",".join(keys), token), (index, b"hello"))
        self.assertEqual(every.decrypt(self.lines.encrypt(",".join(keys), NOW, b"new")), b"new")
        rotated = every.rotate(Fernet(keys[3]).encrypt(b"old")).decode()
        self.assertEqual(self.lines.decrypt(",".join(keys), rotated), (0, b"old"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
