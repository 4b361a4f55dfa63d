"""The server behind the preview page: pictures and curve maps of the files it was given, over loopback, to one page.

Addresses are files by their number in the list, never paths; all of them lie below a random word that only the page
knows, so that neither other users of the machine nor other pages in the browser can ask for anything.
"""

import json
import logging
import secrets
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jobs.flags import LEAST_ESTIMATE_PX
from model import Checkpoint
from pipeline.errors import NightliftError
from pipeline.preview import Estimator, FramePreview, Maps, PhotoPreview, VideoPreview
from pipeline.storage import Storage

log = logging.getLogger("nightlift")

LOOPBACK = "127.0.0.1"
NAMES = LOOPBACK, "localhost"  # by which a browser on this machine, or at the near end of a tunnel, asks for it
BINARY = "application/octet-stream"
PAGE = {"": "text/html", "style.css": "text/css"} | dict.fromkeys(
    ("page.js", "lift.js", "film.js", "packets.js", "panel.js", "numbers.js", "command.js"), "text/javascript"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # it would tell the word
    "X-Content-Type-Options": "nosniff",
}
KEPT = 2  # photos and videos that are held decoded, or looked through


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that the page may ask for."""

    url: str
    name: str
    """Its path below the source."""
    is_video: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """All that the page can ask for."""

    storage: Storage
    files: Sequence[Shown]
    networks: Mapping[str, Checkpoint]
    """By the name that the page shows."""
    told: Mapping[str, Any]
    """What the page has to know besides, as JSON: see `page.js`."""


class PreviewServer(ThreadingHTTPServer):
    """Serves one exhibit on a free port of the loopback interface, or on the one that is asked for."""

    daemon_threads = True

    def __init__(self, exhibit: Exhibit, port: int = 0) -> None:
        """Raises OSError where the port is taken."""
        super().__init__((LOOPBACK, port), _Handler)
        self.exhibit = exhibit
        self.word = secrets.token_urlsafe(16)
        self.working = threading.Lock()  # one file at a time is decoded, one network at a time estimates
        self.turn = 0  # of the page's requests for frames: the last one counts
        self.photo = lru_cache(KEPT)(partial(PhotoPreview.of, exhibit.storage))
        self.video = lru_cache(KEPT)(partial(VideoPreview.of, exhibit.storage))
        self.estimator = lru_cache(KEPT)(self._estimator)

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.word}/"

    def _estimator(self, network: str, estimate: str) -> Estimator:
        checkpoint = self.exhibit.networks[network]
        if estimate == "auto":
            return Estimator(checkpoint, checkpoint.estimate_size)
        if int(estimate) < LEAST_ESTIMATE_PX:
            raise ValueError(estimate)
        return Estimator(checkpoint, int(estimate))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed, or wants something else now, hangs up: that is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            log.exception("the preview could not answer")


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer

    def do_GET(self) -> None:
        answer = self._answer_for(urlsplit(self.path).path)
        try:
            if answer is None:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                answer()
        except NightliftError as error:
            self._send(json.dumps({"code": error.code, "message": str(error)}), HTTPStatus.UNPROCESSABLE_ENTITY)
        except (LookupError, ValueError):
            self.send_error(HTTPStatus.BAD_REQUEST)

    def _answer_for(self, path: str) -> Callable[[], None] | None:
        """`/WORD/` and the page's own files, `/WORD/exhibit`, `/WORD/files/NUMBER/WHAT`."""
        word, slash, rest = path.removeprefix("/").partition("/")
        known = slash and secrets.compare_digest(word.encode(), self.server.word.encode())
        at_home = self.headers.get("Host", "").rpartition(":")[0] in {*NAMES}
        if not (known and at_home):  # another name in Host: a page elsewhere had its own name lead here
            return None
        if rest in PAGE:
            return partial(self._page, rest)
        if rest == "exhibit":
            return self._exhibit
        match rest.split("/"):
            case ["files", number, what] if number.isdecimal() and int(number) < len(self.server.exhibit.files):
                answers = {"picture": self._picture, "maps": self._maps, "film": self._film, "frames": self._frames}
                return partial(answers[what], self.server.exhibit.files[int(number)]) if what in answers else None
        return None

    def _page(self, name: str) -> None:
        content = (resources.files("jobs") / "preview_page" / (name or "index.html")).read_text()
        self._send(content, kind=f"{PAGE[name]}; charset=utf-8")

    def _exhibit(self) -> None:
        exhibit = self.server.exhibit
        files = [{"name": file.name, "video": file.is_video} for file in exhibit.files]
        self._send(json.dumps({**exhibit.told, "files": files, "networks": list(exhibit.networks)}))

    def _picture(self, file: Shown) -> None:
        with self.server.working:
            photo = self.server.photo(file.url)
            picture = photo.picture()
        told = {
            "size": photo.size,
            "factor": photo.factor,
            "grey": photo.is_grey,
            "deep": photo.is_deep,
            "notes": photo.notes,
        }
        self._send(_packet(told, picture), kind=BINARY)

    def _maps(self, file: Shown) -> None:
        with self.server.working:
            maps = self.server.photo(file.url).maps(self._asked_estimator())
        self._send(_packet(_described(maps), maps.values.tobytes()), kind=BINARY)

    def _film(self, file: Shown) -> None:
        with self.server.working:
            video = self.server.video(file.url)
        info = video.info
        told = {
            "size": info.size,
            "frames": info.frames,
            "seconds": video.seconds,
            "aspect": video.aspect,
            "hdr": info.colours.hdr,
        }
        self._send(json.dumps(told))

    def _frames(self, file: Shown) -> None:
        """From the frame that was asked for to the end, or until the page asks for others or hangs up."""
        self.server.turn += 1
        turn = self.server.turn
        with self.server.working:
            video, estimator = self.server.video(file.url), self._asked_estimator()
        first = int(self._asked("from"))
        if not 0 <= first < video.info.frames:
            raise ValueError(first)
        frames = video.frames(estimator, first)
        self._head(HTTPStatus.OK, BINARY)
        while self.server.turn == turn:
            with self.server.working:  # not while the page has to be waited for
                packet = _next_packet(frames)
            if packet is None:
                return
            self.wfile.write(packet)

    def _asked_estimator(self) -> Estimator:
        return self.server.estimator(self._asked("network"), self._asked("estimate"))

    def _asked(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query)[name][0]

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
        """Requests are not told: they hold the word."""


def _packet(told: Mapping[str, Any], *parts: bytes) -> bytes:
    """Length of a JSON text in four bytes, the text, which says the lengths of all parts, and the parts."""
    text = json.dumps({**told, "lengths": [len(part) for part in parts]}).encode()
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def _described(maps: Maps) -> dict[str, Any]:
    return {"shape": maps.values.shape, "span": maps.span, "estimate": maps.estimate_px}


def _next_packet(frames: Iterator[FramePreview]) -> bytes | None:
    """The next frame, or why there is none; None at the end of the video."""
    try:
        frame = next(frames, None)
    except NightliftError as error:
        return _packet({"code": error.code, "message": str(error)})
    if frame is None:
        return None
    told = {"rank": frame.rank, "at": frame.at_s, "quarters": frame.quarters, **_described(frame.maps)}
    return _packet(told, frame.jpeg(), frame.maps.values.tobytes())
