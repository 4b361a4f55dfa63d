"""A small S3 server on loopback, kept in memory.

It takes keys as they are, makes up a million of them, and refuses what a test says.
"""

import hashlib
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

KEY, SECRET = "fake-key", "fake-secret"
PAGE = 1000
ENTRY = (
    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>{}</ETag><Size>{}</Size></Contents>"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """With names in small letters."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of what was asked for."""

    status: int
    code: str
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object."""

    data: bytes
    headers: Mapping[str, str]
    """Of its own metadata."""

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


def key_of(number: int) -> str:
    """A key that is made up."""
    return f"camera-{number % 7}/2026-11-{number % 28 + 1:02}/IMG_{number:08}.jpg"


def etag_of(number: int) -> str:
    return f"{number:032x}"


@dataclass
class FakeS3:
    """Buckets and their objects, and the requests for them."""

    url: str = ""
    buckets: dict[str, dict[str, Stored]] = field(default_factory=lambda: defaultdict(dict))
    """Objects by key; a bucket is made by naming it here."""
    made_up: dict[str, int] = field(default_factory=dict)
    """Numbers of keys that a whole bucket lists beside its own; nothing can be read from them."""
    requests: list[Request] = field(default_factory=list)
    refuses: Callable[[Request], Refusal | None] = lambda request: None
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Parts of unfinished uploads, by the upload's name."""

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        self.buckets[bucket] |= {key: Stored(data, {}) for key, data in objects.items()}

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": self.url}


def refuses_checksums(request: Request) -> Refusal | None:
    """Refuse what botocore has added to uploads since 2025, as Ceph, older MinIO and Backblaze B2 do."""
    told = " ".join(f"{name}={value}" for name, value in request.headers.items())
    for part in ("x-amz-trailer", "aws-chunked", "x-amz-checksum-", "x-amz-sdk-checksum-algorithm"):
        if part in told:
            return Refusal(501, "NotImplemented", f"A header you provided implies functionality of {part}")
    return None


@contextmanager
def s3_in_environment(monkeypatch: pytest.MonkeyPatch, certificate: Path | None = None) -> Iterator[FakeS3]:
    """A store that the environment names."""
    with fake_s3(certificate) as fake:
        for name, value in fake.environment.items():
            monkeypatch.setenv(name, value)
        yield fake


@contextmanager
def fake_s3(certificate: Path | None = None) -> Iterator[FakeS3]:
    """Serve until the block ends. `certificate`: a PEM file with its key, to speak TLS."""
    fake, numbers = FakeS3(), count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.body()
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(address.path), query, headers)
            fake.requests.append(request)
            refusal = fake.refuses(request)
            if refusal is None:
                refusal = self.served(request, body)
            if refusal is not None:
                told = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
                self.answer(refusal.status, told.encode(), refusal.headers)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 (as http.server calls them)

        def served(self, request: Request, body: bytes) -> Refusal | None:
            """Do what was asked for, and answer it, or return why not."""
            bucket, _, key = request.path.removeprefix("/").partition("/")
            if request.method == "PUT" and not key:
                fake.buckets[bucket].clear()
                return self.answer(200)
            if bucket not in fake.buckets:
                return Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
            objects = fake.buckets[bucket]
            if not key:
                return self.answer(200) if request.method == "HEAD" else self.list(bucket, request.query)
            if "uploads" in request.query or "uploadId" in request.query:
                return self.upload(objects, key, request, body)
            if request.method == "PUT":
                return self.put(objects, key, request, body)
            if request.method == "DELETE":
                objects.pop(key, None)
                return self.answer(204)
            return self.get(objects, key, request)

        def put(self, objects: dict[str, Stored], key: str, request: Request, body: bytes) -> Refusal | None:
            """Keep an object, and answer with its tag. A whole upload is answered in XML, which alone counts there."""
            if key in objects and request.headers.get("if-none-match") == "*":
                return Refusal(412, "PreconditionFailed", "there is one")
            own = {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}
            objects[key] = Stored(body, own)
            told = f"<R><ETag>{escape(objects[key].etag)}</ETag></R>" if request.method == "POST" else ""
            return self.answer(200, told.encode(), {"ETag": objects[key].etag})

        def get(self, objects: dict[str, Stored], key: str, request: Request) -> Refusal | None:
            if key not in objects:
                return Refusal(404, "NoSuchKey", "The specified key does not exist.")
            stored = objects[key]
            headers = {**stored.headers, "ETag": stored.etag, "Last-Modified": "Mon, 02 Mar 2026 10:00:00 GMT"}
            first, separator, last = request.headers.get("range", "").removeprefix("bytes=").partition("-")
            data = stored.data[int(first) : int(last or len(stored.data)) + 1] if separator else stored.data
            return self.answer(206 if separator else 200, data, headers)

        def upload(self, objects: dict[str, Stored], key: str, request: Request, body: bytes) -> Refusal | None:
            name = request.query.get("uploadId") or f"upload-{next(numbers)}"
            if request.method == "DELETE":
                fake.uploads.pop(name, None)
                return self.answer(204)
            if request.method == "PUT":
                fake.uploads[name][int(request.query["partNumber"])] = body
                return self.answer(200, headers={"ETag": f'"{name}"'})
            if "uploads" in request.query:
                fake.uploads[name] = {}
                told = f"<R><UploadId>{name}</UploadId></R>"
                return self.answer(200, told.encode())
            whole = b"".join(part for _, part in sorted(fake.uploads[name].items()))
            return self.put(objects, key, request, whole)

        def list(self, bucket: str, query: Mapping[str, str]) -> None:
            """Answer with all of its own keys, and page by page with those made up."""
            objects, prefix, delimiter = fake.buckets[bucket], query.get("prefix", ""), query.get("delimiter", "")
            begin, total = int(query.get("continuation-token", 0)), 0 if prefix else fake.made_up.get(bucket, 0)
            end = min(total, begin + min(PAGE, int(query.get("max-keys", PAGE))))
            rows, folders = [], set()
            for key in sorted(each for each in objects if each.startswith(prefix)) if not begin else ():
                inner, separator, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                if separator:
                    folders.add(f"{prefix}{inner}{delimiter}")
                    continue
                rows.append(ENTRY.format(quote(key, safe=""), escape(objects[key].etag), len(objects[key].data)))
            rows += [ENTRY.format(quote(key_of(number)), f'"{etag_of(number)}"', 1000) for number in range(begin, end)]
            rows += [f"<CommonPrefixes><Prefix>{quote(each)}</Prefix></CommonPrefixes>" for each in sorted(folders)]
            more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < total else ""
            told = f"<IsTruncated>{str(end < total).lower()}</IsTruncated>{more}{''.join(rows)}"
            return self.answer(200, f"<R><EncodingType>url</EncodingType>{told}</R>".encode())

        def body(self) -> bytes:
            """Return what was sent; what a checksum follows is left in its chunks."""
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers["Content-Length"] or 0))
            body = b""
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has given up closes its connection: nothing to tell."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fake.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
        yield fake
        server.shutdown()
