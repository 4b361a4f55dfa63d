"""HTTP server of the preview page: sends images, curve maps and cells of files over loopback, to this machine only.

Addresses name files by their number in the list, never by path. All addresses lie below a random word, so that neither
other users of the machine nor other pages in the browser can request anything. (While a browser is being opened, its
command line shows the word.)

Each page numbers its requests: once a newer one of the same page has arrived, older ones are dropped.
"""

import json
import logging
import secrets
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from jobs.flags import LEAST_ESTIMATE_PX
from jobs.preview.views import CellMaps, Estimator, FramePreview, Maps, PhotoPreview, VideoPreview
from model import Checkpoint
from pipeline.errors import NightliftError
from pipeline.storage.storage import Storage

log = logging.getLogger("nightlift")

LOOPBACK = "127.0.0.1"
NAMES = LOOPBACK, "localhost"  # Host names that a browser sends from this machine or through a tunnel
BINARY = "application/octet-stream"
PAGE = {"": "text/html", "style.css": "text/css"} | dict.fromkeys(
    ("page.js", "lift.js", "player.js", "packets.js", "panel.js", "numbers.js", "command.js"), "text/javascript"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # a referrer would reveal the word
    "X-Content-Type-Options": "nosniff",
}
KEPT = 2  # cached of each: decoded photos, scanned videos, estimators


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that the page may request."""

    url: str
    name: str
    """Its path below the source."""
    is_video: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """Everything that the page can request."""

    storage: Storage
    files: Sequence[Shown]
    networks: Mapping[str, Checkpoint]
    """By the name that the page shows."""
    settings: Mapping[str, Any]
    """Initial settings and other values for the page, sent as JSON; see `page.js`."""


class PreviewServer(ThreadingHTTPServer):
    """Server of one exhibit on a port of the loopback interface; 0: any free port."""

    daemon_threads = True

    def __init__(self, exhibit: Exhibit, port: int = 0) -> None:
        """Bind to the port. Raises OSError if it is taken."""
        super().__init__((LOOPBACK, port), _Handler)
        self.exhibit = exhibit
        self.word = secrets.token_urlsafe(16)
        self.working = threading.Lock()  # held while decoding or estimating: one request at a time
        self.turns: dict[str, int] = {}  # newest request number of each page
        self.photo = lru_cache(KEPT)(partial(PhotoPreview.of, exhibit.storage))
        self.video = lru_cache(KEPT)(partial(VideoPreview.of, exhibit.storage))
        self.estimator = lru_cache(KEPT)(self._estimator)

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.word}/"

    def _estimator(self, network: str, estimate: str) -> Estimator:
        checkpoint = self.exhibit.networks[network]
        if estimate in ("auto", "full"):
            return Estimator(checkpoint, checkpoint.estimate_size if estimate == "auto" else None)
        return Estimator(checkpoint, int(estimate))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log errors, except lost connections: a page hangs up when it is closed or no longer needs the answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            log.exception("the preview could not answer a request")


class _Refused(Exception):
    """A request that the page never makes."""

    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class _Outdated(ConnectionError):
    """A request that the page has replaced by a newer one."""


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer

    def do_GET(self) -> None:
        try:
            self._answer_for(self.path.partition("?")[0])()
        except _Refused as refused:
            self.send_error(refused.status)
        except NightliftError as error:
            self._send(json.dumps({"code": error.code, "message": str(error)}), HTTPStatus.UNPROCESSABLE_ENTITY)

    def _answer_for(self, path: str) -> Callable[[], None]:
        """Find the function that answers a request. Raises _Refused if there is none.

        Paths: `/WORD/` and the page's own files below it, `/WORD/exhibit`, `/WORD/files/NUMBER/WHAT`.
        """
        word, slash, rest = path.removeprefix("/").partition("/")
        known = slash and secrets.compare_digest(word.encode(), self.server.word.encode())
        at_home = self.headers.get("Host", "").partition(":")[0] in NAMES
        if not (known and at_home):  # a foreign Host means DNS rebinding by another page
            raise _Refused(HTTPStatus.NOT_FOUND)
        if rest in PAGE:
            return partial(self._page, rest)
        if rest == "exhibit":
            return self._exhibit
        match rest.split("/"):
            case ["files", number, what] if number.isdecimal() and int(number) < len(self.server.exhibit.files):
                answers = {"image": self._image, "maps": self._maps, "video": self._video, "frames": self._frames}
                if what in answers:
                    return partial(answers[what], self.server.exhibit.files[int(number)])
        raise _Refused(HTTPStatus.NOT_FOUND)

    def _page(self, name: str) -> None:
        content = (resources.files("jobs.preview") / "page" / (name or "index.html")).read_text()
        self._send(content, kind=f"{PAGE[name]}; charset=utf-8")

    def _exhibit(self) -> None:
        exhibit = self.server.exhibit
        files = [{"name": file.name, "video": file.is_video} for file in exhibit.files]
        self._send(json.dumps({**exhibit.settings, "files": files, "networks": list(exhibit.networks)}))

    def _image(self, file: Shown) -> None:
        with self._working():
            photo = self.server.photo(file.url)
            image = photo.image()
        facts = {
            "size": photo.size,
            "factor": photo.factor,
            "grey": photo.is_grey,
            "deep": photo.is_deep,
            "notes": photo.notes,
        }
        self._send(_packet(facts, image), kind=BINARY)

    def _maps(self, file: Shown) -> None:
        estimator = self._asked_estimator()
        with self._working():
            maps, cells = self.server.photo(file.url).maps(estimator)
        self._send(_packet(_described(maps, cells), maps.values.tobytes(), cells.values.tobytes()), kind=BINARY)

    def _video(self, file: Shown) -> None:
        with self._working():
            video = self.server.video(file.url)
        info = video.info
        facts = {
            "size": info.picture_size,
            "frames": info.frames,
            "seconds": video.seconds,
            "aspect": video.aspect,
            "hdr": info.colours.hdr,
        }
        self._send(json.dumps(facts))

    def _frames(self, file: Shown) -> None:
        """Send frames from the requested one to the end, or until the page requests others or hangs up."""
        first, estimator = self._asked_number("from"), self._asked_estimator()
        with self._working():
            video = self.server.video(file.url)
        if first >= video.info.frames:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        frames = video.frames(estimator, first)
        self._head(HTTPStatus.OK, BINARY)
        more = True
        while more:
            with self._working():  # released while the packet is sent, which may wait for the page
                packet, more = _next_packet(frames)
            self.wfile.write(packet)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the server's lock in the body. Raises _Outdated if the page has made a newer request."""
        page, turn = self._asked("page"), self._asked_number("turn")
        self.server.turns[page] = max(turn, self.server.turns.get(page, 0))
        with self.server.working:
            if self.server.turns[page] > turn:
                raise _Outdated
            yield

    def _asked_estimator(self) -> Estimator:
        network, estimate = self._asked("network"), self._asked("estimate")
        px = self._asked_number("estimate") if estimate not in ("auto", "full") else LEAST_ESTIMATE_PX
        if network not in self.server.exhibit.networks or px < LEAST_ESTIMATE_PX:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        return self.server.estimator(network, estimate)

    def _asked(self, name: str) -> str:
        found = parse_qs(self.path.partition("?")[2]).get(name)
        if not found:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        return found[0]

    def _asked_number(self, name: str) -> int:
        text = self._asked(name)
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise _Refused(HTTPStatus.BAD_REQUEST)
        return int(text)

    def _send(self, content: str | bytes, status: HTTPStatus = HTTPStatus.OK, kind: str = "application/json") -> None:
        body = content.encode() if isinstance(content, str) else content
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: requests contain the word."""


def _packet(facts: Mapping[str, Any], *parts: bytes) -> bytes:
    """Build a packet: a JSON text's length in four bytes, the text with the lengths of all parts, then the parts."""
    text = json.dumps({**facts, "lengths": [len(part) for part in parts]}).encode()
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def _described(maps: Maps, cells: CellMaps) -> dict[str, Any]:
    return {
        "shape": maps.values.shape,
        "span": maps.span,
        "capped": maps.capped,
        "space": maps.space,
        "cells": {"shape": cells.values.shape, "span": cells.span, "black": cells.black},
    }


def _next_packet(frames: Iterator[FramePreview]) -> tuple[bytes, bool]:
    """Build the packet of the next frame, of the end or of an error. Returns it, and whether more may come."""
    try:
        frame = next(frames, None)
    except NightliftError as error:
        return _packet({"code": error.code, "message": str(error)}), False
    if frame is None:
        return _packet({"end": True}), False
    facts = {"rank": frame.rank, "at": frame.at_s, "quarters": frame.quarters}
    facts |= _described(frame.maps, frame.cells)
    return _packet(facts, frame.jpeg(), frame.maps.values.tobytes(), frame.cells.values.tobytes()), True
