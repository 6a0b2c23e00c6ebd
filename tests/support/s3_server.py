#!/usr/bin/env python3
"""A stand-in for S3 of our own: one bucket, path style, that really verifies what it is sent.

    s3_server.py COMMAND [ARGUMENT...]   run a command beside it; the exit status is the command's
    s3_server.py --self-test             AWS's published examples, through its own verifier

The command finds KEEP_TEST_S3 (http://127.0.0.1:PORT), KEEP_TEST_S3_TLS (https://localhost:PORT) and
KEEP_TEST_S3_CA (whom to trust for it). Ports are the system's choice; all is gone when it ends.

Signatures (Version 4) are computed here from what came over the wire, with nothing of the client's: a
wrong key, a wrong date, a changed path, query or header is 403. A body that is not its
x-amz-content-sha256 is 400. Uploads in parts, listings (list-type=2, pages, delimiter), Range,
If-Match are served as the documentation of S3 tells.

What the server is to do wrong is asked for at /-/faults, unsigned, as a JSON list of rules:

    {"kind": K, "times": N, "method": M, "contains": TEXT, "after": BYTES}

A rule is used up by N requests of that method whose target contains TEXT. Kinds: any status ("500",
"503", "429", "403", "301", "501"), "slowdown", "retry_after", "cut" (the connection ends before an
answer), "lost" (it is done, then the connection ends), "cut_body" (the answer's body ends after
BYTES), "silent" (nothing for a while, BYTES seconds), "damaged" (one byte of an answer's body is
changed), "wrong_etag", "wrong_object" (other bytes are stored), "error_in_200", "no_range" (Range is
ignored), "region", "not_xml", "endless" (a listing that never moves on), "entities". GET /-/state
tells counts: {"requests": {...}, "objects": [...], "uploads": N}; POST /-/reset forgets all.
"""
import datetime
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from xml.sax.saxutils import escape

ACCESS_KEY = "AKIDKEEPTEST"
SECRET_KEY = "secret/of+the=tests~"
TOKEN = "a-session/token+of==tests"
BUCKET = "keep-test"
REGION = "us-east-1"
SKEW_SECONDS = 900
PAGE = 1000
PART_BYTES_MIN = 5 << 20
BLOCK = 1 << 16


# ---------------------------------------------------------------- signatures

def encode(text, safe=b"-._~"):
    """RFC 3986 as AWS wants it, byte by byte."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + safe
    data = text if isinstance(text, bytes) else text.encode()
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)


def decode(text):
    return urllib.parse.unquote_to_bytes(text)


def sign(secret, method, target, headers, signed, date, region, payload):
    """The signature of a request; `headers` maps lower-case names to values."""
    path, _, query = target.partition("?")
    pairs = [part.partition("=") for part in query.split("&") if part]
    pairs = sorted((encode(decode(name)), encode(decode(value))) for name, _, value in pairs)
    lines = [method, encode(decode(path), b"-._~/"), "&".join(f"{n}={v}" for n, v in pairs)]
    lines += [f"{name}:{re.sub(' +', ' ', headers.get(name, '').strip())}" for name in signed]
    lines += ["", ";".join(signed), payload]
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", date, scope, digest])
    key = ("AWS4" + secret).encode()
    for part in (date[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


class Refusal(Exception):
    def __init__(self, status, code, extra=""):
        super().__init__(code)
        self.status, self.code, self.extra = status, code, extra


def verify(method, target, headers):
    """Raise a Refusal unless the request is rightly signed, now, by who may."""
    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
                         r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
                         headers.get("authorization", ""))
    if not match:
        raise Refusal(403, "AccessDenied")
    access, day, region, signed, signature = match.groups()
    date = headers.get("x-amz-date", "")
    if access != ACCESS_KEY:
        raise Refusal(403, "InvalidAccessKeyId")
    if region != REGION:
        raise Refusal(400, "AuthorizationHeaderMalformed", f"<Region>{REGION}</Region>")
    if not re.fullmatch(r"\d{8}T\d{6}Z", date) or date[:8] != day:
        raise Refusal(403, "AccessDenied")
    when = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    now = datetime.datetime.now(datetime.timezone.utc)
    if abs((now - when).total_seconds()) > SKEW_SECONDS:
        raise Refusal(403, "RequestTimeTooSkewed")
    names = signed.split(";")
    must = {name for name in headers if name == "host" or name.startswith("x-amz-")}
    payload = headers.get("x-amz-content-sha256", "")
    if names != sorted(names) or not must <= set(names) or not re.fullmatch("[0-9a-f]{64}", payload):
        raise Refusal(403, "AccessDenied")
    wanted = sign(SECRET_KEY, method, target, headers, names, date, region, payload)
    if not hmac.compare_digest(wanted, signature):
        raise Refusal(403, "SignatureDoesNotMatch")
    if headers.get("x-amz-security-token", TOKEN) != TOKEN:
        raise Refusal(400, "InvalidToken")


def self_test():
    """The examples of AWS's "Signature Calculations for the Authorization Header"."""
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    empty = hashlib.sha256(b"").hexdigest()
    host = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z",
            "x-amz-content-sha256": empty}
    body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    put = {**host, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-content-sha256": body,
           "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    examples = [
        ("GET", "/test.txt", {**host, "range": "bytes=0-9"}, empty,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "/test%24file.text", put, body,
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "/?lifecycle", host, empty,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", "/?max-keys=2&prefix=J", host, empty,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ]
    for method, target, headers, payload, wanted in examples:
        found = sign(secret, method, target, headers, sorted(headers), host["x-amz-date"],
                     "us-east-1", payload)
        assert found == wanted, f"{method} {target}: {found} instead of {wanted}"
    print(f"{len(examples)} published examples hold")


# ---------------------------------------------------------------- what is stored

class Store:
    """Bodies are files, so that large ones cost no memory."""

    def __init__(self, folder):
        self.folder, self.lock, self.number = pathlib.Path(folder), threading.RLock(), 0
        self.reset()

    def reset(self):
        with self.lock:
            self.objects, self.uploads, self.rules, self.counts = {}, {}, [], {}

    def new_file(self):
        with self.lock:
            self.number += 1
            return self.folder / str(self.number)

    def rule_of(self, method, target):
        with self.lock:
            self.counts[method] = self.counts.get(method, 0) + 1
            for rule in self.rules:
                if rule["times"] > 0 and rule.get("method", method) == method and \
                        rule.get("contains", "") in target:
                    rule["times"] -= 1
                    return rule
        return {"kind": ""}


def http_date(when):
    return when.strftime("%a, %d %b %Y %H:%M:%S GMT")


def xml_time(when):
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "KeepTest"
    store = None

    def log_message(self, *arguments):
        pass

    # ---------------------------------------------------------------- in and out

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    def cut(self):
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def answer(self, status, body=b"", headers=None, size=None):
        if self.rule["kind"] == "lost":
            self.cut()
            return
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_xml(self, text, status=200):
        if self.rule["kind"] == "not_xml":
            text = "<html><body>sign in, please"
        if self.rule["kind"] == "entities":
            text = '<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
        self.answer(status, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(),
                    {"Content-Type": "application/xml"})

    def refuse(self, refusal):
        text = f"<Error><Code>{refusal.code}</Code><Message>{ACCESS_KEY} quoted</Message>" \
               f"{refusal.extra}<RequestId>1</RequestId></Error>"
        self.close_connection = True
        self.drain_body()
        headers = {"Content-Type": "application/xml", "Connection": "close"}
        if refusal.status in (301, 307):
            headers["Location"] = "http://127.0.0.1:9/elsewhere"
            headers["x-amz-bucket-region"] = "eu-central-1"
        if self.rule["kind"] == "retry_after":
            headers["Retry-After"] = "7"
        self.answer(refusal.status, b"" if self.command == "HEAD" else text.encode(), headers)

    def drain_body(self):
        """What is sent still: a connection that ends before it was read loses the answer."""
        while self.left > 0 and (block := self.rfile.read(min(self.left, BLOCK))):
            self.left -= len(block)

    def read_body(self):
        """The body as a file, and its digests."""
        left, self.left = self.left, 0
        path, sha256, md5 = self.store.new_file(), hashlib.sha256(), hashlib.md5()
        with open(path, "wb") as out:
            while left > 0:
                block = self.rfile.read(min(left, BLOCK))
                if not block:
                    raise ConnectionError("the body ended early")
                sha256.update(block)
                md5.update(block)
                if block.count(0) == len(block):
                    out.seek(len(block), os.SEEK_CUR)
                else:
                    out.write(block)
                left -= len(block)
            out.truncate()
        if sha256.hexdigest() != self.headers.get("x-amz-content-sha256"):
            path.unlink()
            raise Refusal(400, "XAmzContentSHA256Mismatch")
        return path, md5.hexdigest()

    # ---------------------------------------------------------------- one request

    def do_any(self):
        self.rule, self.left = {"kind": ""}, int(self.headers.get("Content-Length", "0"))
        if self.path.startswith("/-/"):
            self.control()
            return
        self.rule = self.store.rule_of(self.command, self.path)
        kind = self.rule["kind"]
        try:
            if kind == "cut":
                self.cut()
                return
            if kind == "silent":
                self.server.ending.wait(self.rule.get("after", 5))
                self.cut()
                return
            if kind in ("slowdown", "retry_after"):
                raise Refusal(503, "SlowDown")
            if kind == "region":
                raise Refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>")
            if kind.isdigit():
                code = "AccessDenied" if kind == "403" else "InternalError"
                raise Refusal(int(kind), self.rule.get("code", code))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.headers.get_all("x-amz-date", []) != [headers.get("x-amz-date")]:
                raise Refusal(403, "AccessDenied")
            verify(self.command, self.path, headers)
            self.dispatch()
        except Refusal as refusal:
            self.refuse(refusal)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def control(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with self.store.lock:
            if self.path == "/-/faults":
                self.store.rules = json.loads(body)
            elif self.path == "/-/reset":
                self.store.reset()
            elif self.path == "/-/age":
                for upload in self.store.uploads.values():
                    upload["when"] -= datetime.timedelta(seconds=json.loads(body))
            state = {"requests": self.store.counts, "objects": sorted(self.store.objects),
                     "uploads": len(self.store.uploads)}
        self.answer(200, json.dumps(state).encode())

    def dispatch(self):
        path, _, query = self.path.partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        query = {name: decode(value).decode() for name, _, value in pairs}
        parts = path.split("/", 2)
        if decode(parts[1]).decode() != BUCKET:
            raise Refusal(404, "NoSuchBucket")
        key = decode(parts[2]).decode() if len(parts) > 2 else ""
        if not key:
            self.list_uploads(query) if "uploads" in query else self.list_objects(query)
        elif self.command in ("GET", "HEAD"):
            self.get(key)
        elif self.command == "PUT":
            self.put_part(key, query) if "uploadId" in query else self.put(key)
        elif self.command == "POST":
            self.begin(key) if "uploads" in query else self.complete(key, query)
        else:
            self.delete(key, query)

    # ---------------------------------------------------------------- objects

    def store_object(self, key, path, etag, meta):
        with self.store.lock:
            self.store.objects[key] = {
                "path": path, "etag": etag, "size": path.stat().st_size, "meta": meta,
                "when": datetime.datetime.now(datetime.timezone.utc)}

    def meta(self):
        return {name.lower(): value for name, value in self.headers.items()
                if name.lower().startswith("x-amz-meta-")}

    def put(self, key):
        path, md5 = self.read_body()
        etag = md5
        if self.rule["kind"] == "wrong_object":
            path.write_bytes(b"other bytes")
            etag = hashlib.md5(b"other bytes").hexdigest()
        if self.rule["kind"] == "wrong_etag":
            etag = "0" * 32
        self.store_object(key, path, etag, self.meta())
        headers = {"ETag": f'"{etag}"'}
        if self.rule["kind"] == "encrypted":
            headers = {"ETag": '"' + "e" * 32 + '"', "x-amz-server-side-encryption": "aws:kms"}
        self.answer(200, b"", headers)

    def get(self, key):
        with self.store.lock:
            found = self.store.objects.get(key)
        if not found:
            raise Refusal(404, "NoSuchKey")
        headers = {"ETag": f'"{found["etag"]}"', "Last-Modified": http_date(found["when"]),
                   "Accept-Ranges": "bytes", **found["meta"]}
        begin, status = 0, 200
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.headers.get("If-Match") not in (None, headers["ETag"]):
            raise Refusal(412, "PreconditionFailed")
        if match and self.rule["kind"] != "no_range":
            begin, status = int(match[1]), 206
            if begin >= found["size"]:
                raise Refusal(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {begin}-{found['size'] - 1}/{found['size']}"
        self.answer(status, b"", headers, found["size"] - begin)
        if self.command == "HEAD" or self.close_connection:
            return
        stop = begin + self.rule["after"] if self.rule["kind"] == "cut_body" else found["size"]
        with open(found["path"], "rb") as file:
            file.seek(begin)
            while begin < stop:
                block = file.read(min(BLOCK, stop - begin))
                if not block:
                    break
                if self.rule["kind"] == "damaged" and begin == 0:
                    block = bytes([block[0] ^ 1]) + block[1:]
                self.wfile.write(block)
                begin += len(block)
        if begin < found["size"]:
            self.wfile.flush()
            self.cut()

    def delete(self, key, query):
        with self.store.lock:
            if "uploadId" in query:
                if not self.store.uploads.pop(query["uploadId"], None):
                    raise Refusal(404, "NoSuchUpload")
            else:
                self.store.objects.pop(key, None)
        self.answer(204)

    # ---------------------------------------------------------------- parts

    def begin(self, key):
        self.read_body()
        with self.store.lock:
            self.store.number += 1
            upload_id = f"upload+{self.store.number}/=="
            self.store.uploads[upload_id] = {
                "key": key, "parts": {}, "meta": self.meta(),
                "when": datetime.datetime.now(datetime.timezone.utc)}
        self.answer_xml(f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}"
                        f"</Key><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>")

    def upload(self, key, query):
        with self.store.lock:
            found = self.store.uploads.get(query["uploadId"])
        if not found or found["key"] != key:
            raise Refusal(404, "NoSuchUpload")
        return found

    def put_part(self, key, query):
        upload = self.upload(key, query)
        path, md5 = self.read_body()
        if self.rule["kind"] == "wrong_etag":
            md5 = "0" * 32
        with self.store.lock:
            upload["parts"][int(query["partNumber"])] = (path, md5)
        self.answer(200, b"", {"ETag": f'"{md5}"'})

    def complete(self, key, query):
        path, _ = self.read_body()
        text = path.read_text()
        upload = self.upload(key, query)
        if self.rule["kind"] == "error_in_200":
            self.answer_xml("<Error><Code>InternalError</Code></Error>")
            return
        asked = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>&quot;([0-9a-f]+)&quot;</ETag>", text)
        parts = [(int(number), etag) for number, etag in asked]
        if not parts or [n for n, _ in parts] != sorted(upload["parts"]):
            raise Refusal(400, "InvalidPart")
        whole = self.store.new_file()
        with open(whole, "wb") as out:
            for number, etag in parts:
                part, md5 = upload["parts"][number]
                if md5 != etag:
                    raise Refusal(400, "InvalidPart")
                if number != parts[-1][0] and part.stat().st_size < PART_BYTES_MIN:
                    raise Refusal(400, "EntityTooSmall")
                with open(part, "rb") as source:
                    while block := source.read(BLOCK):
                        if block.count(0) == len(block):
                            out.seek(len(block), os.SEEK_CUR)
                        else:
                            out.write(block)
            out.truncate()
        joined = hashlib.md5(b"".join(bytes.fromhex(etag) for _, etag in parts)).hexdigest()
        self.store_object(key, whole, f"{joined}-{len(parts)}", upload["meta"])
        with self.store.lock:
            del self.store.uploads[query["uploadId"]]
        self.answer_xml(f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key>"
                        f"<ETag>&quot;{joined}-{len(parts)}&quot;</ETag></CompleteMultipartUploadResult>")

    # ---------------------------------------------------------------- listings

    def list_objects(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after, most = query.get("continuation-token", ""), int(query.get("max-keys", PAGE))
        most = min(most, self.rule.get("after", PAGE))
        shown = encode if query.get("encoding-type") == "url" else escape
        lines, names, token = [], [], ""
        with self.store.lock:
            keys = sorted(self.store.objects, key=str.encode)
        for key in keys:
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix):]
            name = prefix + rest[:rest.index(delimiter) + 1] if delimiter and delimiter in rest else key
            if name in names or (after and name.encode() <= after.encode()):
                continue
            if len(names) == most:
                token = names[-1]
                break
            names.append(name)
            if name != key:
                lines.append(f"<CommonPrefixes><Prefix>{shown(name)}</Prefix></CommonPrefixes>")
                continue
            found = self.store.objects[key]
            lines.append(f"<Contents><Key>{shown(key).replace('%20', '+')}</Key>"
                         f"<LastModified>{xml_time(found['when'])}</LastModified>"
                         f"<Size>{found['size']}</Size></Contents>")
        if self.rule["kind"] == "endless":
            token = "always the same"
        lines.append(f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>")
        if token:
            lines.append(f"<NextContinuationToken>{escape(token)}</NextContinuationToken>")
        if "encoding-type" in query:
            lines.append("<EncodingType>url</EncodingType>")
        self.answer_xml('<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                        + "".join(lines) + "</ListBucketResult>")

    def list_uploads(self, query):
        marker = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        with self.store.lock:
            found = sorted((upload["key"], name, upload["when"])
                           for name, upload in self.store.uploads.items())
        found = [each for each in found
                 if each[0].startswith(query.get("prefix", "")) and each[:2] > marker]
        page = found[:2]
        lines = [f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
                 f"<Initiated>{xml_time(when)}</Initiated></Upload>" for key, name, when in page]
        lines.append(f"<IsTruncated>{'true' if len(found) > len(page) else 'false'}</IsTruncated>")
        if len(found) > len(page):
            lines.append(f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>"
                         f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>")
        self.answer_xml("<ListMultipartUploadsResult>" + "".join(lines)
                        + "</ListMultipartUploadsResult>")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, ValueError, OSError)):
            super().handle_error(request, client_address)


# ---------------------------------------------------------------- beside a command

def start(store, context=None):
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"store": store}))
    server.ending = threading.Event()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def make_certificate(folder):
    """One for localhost that nobody trusts but who is given it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def run(command):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keep-s3-"))
    child = None

    def end(number, _frame):
        if child:
            child.send_signal(number)
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    try:
        certificate, context = make_certificate(folder)
        (folder / "bodies").mkdir()
        store = Store(folder / "bodies")
        plain, secret = start(store), start(store, context)
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}
        environment |= {
            "KEEP_TEST_S3": f"http://127.0.0.1:{plain.server_port}",
            "KEEP_TEST_S3_TLS": f"https://localhost:{secret.server_port}",
            "KEEP_TEST_S3_CA": str(certificate), "KEEP_TEST_S3_BUCKET": BUCKET,
            "KEEP_TEST_S3_ACCESS_KEY": ACCESS_KEY, "KEEP_TEST_S3_SECRET_KEY": SECRET_KEY,
            "KEEP_TEST_S3_TOKEN": TOKEN,
        }
        child = subprocess.Popen(command, env=environment)
        status = child.wait()
        plain.ending.set()
        secret.ending.set()
        return 128 - status if status < 0 else status
    finally:
        if child and child.poll() is None:
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) > 1:
        sys.exit(run(sys.argv[1:]))
    else:
        sys.exit("usage: s3_server.py COMMAND [ARGUMENT...] | --self-test")
