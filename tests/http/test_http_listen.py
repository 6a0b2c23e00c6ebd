#!/usr/bin/env python3
"""What the service listens at: addresses, TLS, what it refuses and why, other names, a proxy in front."""
import http.client
import os
import socket
import ssl
import subprocess
import unittest

from http_service import COMMAND, SECONDS, HttpTest, environment


class Listen(HttpTest):
    def refuses(self, *words):
        """The one line that says why it does not start."""
        done = subprocess.run([COMMAND, "serve", self.home, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              cwd=self.folder, env=environment(), timeout=SECONDS, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        return done.stderr.decode()

    def make_certificate(self, name="service"):
        certificate, key = (os.path.join(self.folder, f"{name}.{part}") for part in ("pem", "key"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        return certificate, key

    def make_account(self):
        self.ok("gateway", "create-user", self.home, "local:ada", "--is-operator", "--password", "-",
                stdin=b"correct horse battery staple\n")

    def test_another_address_needs_an_account_and_tls_and_the_refusal_says_so(self):
        certificate, key = self.make_certificate()
        tls = ("--tls-certificate", certificate, "--tls-key", key)
        for address in ("0.0.0.0:0", "[::]:0"):
            why = self.refuses("--listen", address)
            self.assertIn("an account", why)
            self.assertIn("TLS", why)
            why = self.refuses("--listen", address, *tls)
            self.assertIn("an account", why)
            self.assertNotIn("TLS", why)

    def test_what_is_no_address_is_refused(self):
        for address in ("127.0.0.1", "localhost", ":7400", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x", "[::1]", "::1:0",
                        "example.org:0", "127.0.0.1:-1", "[127.0.0.1]:0", "127.0.0.256:0", ""):
            self.assertIn("listen", self.refuses("--listen", address))

    def test_a_taken_address_is_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.assertIn("taken", self.refuses("--listen", f"127.0.0.1:{other.getsockname()[1]}"))
        self.assertIn("no address of this machine", self.refuses_other_machine())

    def refuses_other_machine(self):
        self.make_account()
        return self.refuses("--listen", "192.0.2.1:0", "--behind-proxy")

    def test_tls_files_that_cannot_be_used_are_refused(self):
        certificate, key = self.make_certificate()
        _, other_key = self.make_certificate("other")
        nothing = os.path.join(self.folder, "nothing")
        for words in (("--tls-certificate", certificate), ("--tls-key", key),
                      ("--tls-certificate", nothing, "--tls-key", key),
                      ("--tls-certificate", certificate, "--tls-key", os.path.join(self.home, "vault.key")),
                      ("--tls-certificate", certificate, "--tls-key", other_key)):
            self.assertIn("TLS", self.refuses("--listen", "127.0.0.1:0", *words))

    def test_tls_serves_and_a_client_that_vanishes_in_it_does_no_harm(self):
        certificate, key = self.make_certificate()
        self.start_service("--tls-certificate", certificate, "--tls-key", key)
        self.assertTrue(self.url.startswith("https://127.0.0.1:"))
        context = ssl.create_default_context(cafile=certificate)
        for _ in range(20):
            with context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname="localhost") as one:
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        for _ in range(20):
            socket.create_connection(("127.0.0.1", self.port)).close()
        client = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=SECONDS)
        self.addCleanup(client.close)
        for _ in range(3):
            client.request("GET", "/healthz")
            self.assertEqual(client.getresponse().read()[:15], b'{"status":"ok",')
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(OSError):
            old.wrap_socket(socket.create_connection(("127.0.0.1", self.port)))
        self.assertEqual(self.stop_service(), 0)

    def test_other_names_are_ours_when_they_are_said(self):
        self.start_service("--hosts", "chat.example.org,other.example.org:8443")
        for host, status in (("chat.example.org", 200), ("CHAT.example.org:1234", 200), ("other.example.org:8443", 200),
                             ("other.example.org", 421), ("example.org", 421), ("xchat.example.org", 421)):
            self.assertEqual(self.ask("GET", "/healthz", headers={"Host": host}).status, status, host)

    def test_behind_a_proxy_nobody_is_nobody(self):
        self.make_account()
        self.start_service("--behind-proxy", listen="0.0.0.0:0")
        for forwarded in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "::1, 203.0.113.9"}):
            self.assertEqual(self.ask("GET", "/healthz", headers=forwarded).status, 200)
            answer = self.ask("POST", "/v1/engine/count", b'{"path":"a"}', forwarded)
            self.assert_problem(answer, 401, "DENIED")
        self.assertIn("/v1/engine/count 401 203.0.113.9", self.log())

    def test_a_service_on_the_other_loopback_has_its_name(self):
        self.start_service(listen="[::1]:0")
        self.assertTrue(self.url.startswith("http://[::1]:"))
        client = http.client.HTTPConnection("::1", self.port, timeout=SECONDS)
        self.addCleanup(client.close)
        client.request("GET", "/healthz")
        self.assertEqual(client.getresponse().status, 200)


if __name__ == "__main__":
    unittest.main()
