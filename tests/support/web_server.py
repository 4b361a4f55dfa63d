"""A web server of one file, on loopback, that can break off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

Ending = Literal["drop", "short", "forbidden"]


@dataclass
class WebServer:
    """Serves `content` at every path, by ranges. From byte `breaks_at` on it drops the connection within the answer, or
    sends nothing of it, or says 403."""

    content: bytes
    url: str = ""
    breaks_at: int | None = None
    ending: Ending = "drop"
    ranges: bool = True
    refusal: int = 0
    """Status of every answer, if not 0; a redirect leads to the same address."""


@contextmanager
def web_server(content: bytes) -> Iterator[WebServer]:
    served = WebServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if not self.refused():
                self.answer(200, 0, len(content))

        def refused(self) -> bool:
            if served.refusal:
                self.send_response(served.refusal)
                self.send_header("Location", self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
            return bool(served.refusal)

        def do_GET(self) -> None:
            if self.refused():
                return
            asked = self.headers["Range"] if served.ranges else None
            first, _, last = asked.removeprefix("bytes=").partition("-") if asked else ("0", "", "")
            start, end = int(first), min(int(last or len(content)) + 1, len(content))
            breaks = served.breaks_at is not None and end > served.breaks_at
            if breaks and served.ending == "forbidden":
                self.send_error(403)
                return
            whole = range(start, start if breaks and served.ending == "short" else end)
            self.answer(206 if asked else 200, whole.start, whole.stop)
            self.wfile.write(content[whole.start : served.breaks_at if breaks else whole.stop][: len(whole)])
            self.close_connection = True

        def answer(self, status: int, start: int, end: int) -> None:
            self.send_response(status)
            if served.ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(end - start))
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}"
        yield served
        server.shutdown()
