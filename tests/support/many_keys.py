"""An S3 server for what a real one is not asked to hold: a million keys, which it makes up, or keys of any spelling."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

PAGE = 1000
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{etag}&quot;</ETag><Size>1000</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def key_of(number: int) -> str:
    return f"camera-{number % 7}/2026-11-{number % 28 + 1:02}/IMG_{number:08}.jpg"


def etag_of(number: int) -> str:
    return f"{number:032x}"


@contextmanager
def s3_of_many_keys(counts: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What is there, by `/bucket/key`; the environment names the server. `counts`: of keys it makes up."""
    kept: dict[str, bytes] = {}

    class Handler(_Handler):
        made_up, objects = counts, kept

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "none", "SECRET_ACCESS_KEY": "none"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield kept
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    made_up: dict[str, int]
    objects: dict[str, bytes]

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(place.query).items()}
        if "list-type" in asked:
            self._answer(200, self._listing(place.path.strip("/"), asked))
        elif place.path.strip("/") in self.made_up:  # the bucket itself
            self._answer(200, b"")
        elif unquote(place.path) in self.objects:
            self._answer(200, self.objects[unquote(place.path)])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        self.objects[unquote(urlsplit(self.path).path)] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_DELETE(self) -> None:
        self.objects.pop(unquote(urlsplit(self.path).path), None)
        self._answer(204, b"")

    def _listing(self, bucket: str, asked: dict[str, str]) -> bytes:
        prefix, first = asked.get("prefix", ""), int(asked.get("continuation-token", 0))
        kept = [key.removeprefix(f"/{bucket}/") for key in self.objects if key.startswith(f"/{bucket}/{prefix}")]
        entries = [ENTRY.format(key=quote(key, safe=""), etag="0" * 32) for key in kept] if not first else []
        total = 0 if prefix else self.made_up.get(bucket, 0)
        last = min(total, first + min(PAGE, int(asked.get("max-keys", PAGE))))
        entries += [ENTRY.format(key=key_of(number), etag=etag_of(number)) for number in range(first, last)]
        more = f"<NextContinuationToken>{last}</NextContinuationToken>" if last < total else ""
        return (
            f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType><KeyCount>{len(entries)}</KeyCount>"
            f"<IsTruncated>{str(last < total).lower()}</IsTruncated>{more}{''.join(entries)}</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{"0" * 32}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
