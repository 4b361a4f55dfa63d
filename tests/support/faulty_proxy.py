"""A proxy in front of an S3 server that fails on purpose, by a seed or by a plan, and counts what it did."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

Fault = Literal[
    "slow_down",  # 503, as S3 throttles
    "internal_error",  # 500
    "no_xml",  # 503 of some proxy on the way
    "expired",  # as S3 says of a session that is over
    "dropped",  # the connection ends without an answer
    "reset",  # likewise, by a reset
    "too_slow",  # no answer within `slow_s`, then the connection ends
    "lost_answer",  # the request has been carried out, but nobody hears of it
    "cut_answer",  # half of the promised body
    "cut_upload",  # the connection ends half way into the request's body
]
PASSING: tuple[Fault, ...] = (
    "slow_down",
    "internal_error",
    "no_xml",
    "dropped",
    "reset",
    "too_slow",
    "lost_answer",
    "cut_answer",
    "cut_upload",
)
ANSWERS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}
NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server", "expect"}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER


@dataclass
class Planned:
    """A fault for the next requests of a kind."""

    fault: Fault
    method: str
    part: str
    times: int


@dataclass
class FaultyProxy:
    server: str
    """Host and port of the server behind it."""
    seed: int = 0
    url: str = ""
    slow_s: float = 1.0
    rates: dict[Fault, float] = field(default_factory=dict)
    """Share of all requests that meet each fault."""
    injected: Counter[Fault] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    """`GET /bucket/key?query`, as they came."""
    on_request: Callable[[str], None] = lambda request: None
    """Called with each before it is passed on."""
    on_answer: Callable[[str, bytes], bytes] = lambda request, body: body
    """What becomes of each answer's body."""

    knows_conditions: bool = False
    """Whether it refuses to replace an object that was put through it, where the request asks for that."""

    def __post_init__(self) -> None:
        self._put: set[str] = set()
        self._random, self._lock = random.Random(self.seed), threading.Lock()
        self._plans: list[Planned] = []

    def plan(self, fault: Fault, method: str = "", part: str = "", times: int = 1) -> None:
        """The next `times` requests by this method, with this in their address, meet the fault."""
        self._plans.append(Planned(fault, method, part, times))

    def refuses(self, method: str, address: str, condition: str | None) -> bool:
        """Whether a put is refused as there is such an object; remembers what is there."""
        with self._lock:
            there = address in self._put
            if method == "PUT" and not (there and condition == "*"):
                self._put.add(address)
            if method == "DELETE":
                self._put.discard(address)
            return self.knows_conditions and method == "PUT" and there and condition == "*"

    def behave(self) -> None:
        """From now on, as if nothing had been."""
        self._plans.clear()
        self.requests.clear()
        self.injected.clear()
        self.rates, self.on_request, self.on_answer = {}, lambda request: None, lambda request, body: body

    def fault_for(self, method: str, address: str, upload_bytes: int) -> Fault | None:
        with self._lock:
            self.requests.append(f"{method} {address}")
            fault = self._chosen(method, address)
            if fault == "cut_upload" and not upload_bytes:
                fault = "dropped"
            if fault == "cut_answer" and method != "GET":
                fault = "lost_answer"
            if fault is not None:
                self.injected[fault] += 1
            return fault

    def _chosen(self, method: str, address: str) -> Fault | None:
        for plan in self._plans:
            if plan.times and plan.method in ("", method) and plan.part in address:
                plan.times -= 1
                return plan.fault
        drawn = self._random.random()
        for fault, share in self.rates.items():
            drawn -= share
            if drawn < 0:
                return fault
        return None


@contextmanager
def faulty_proxy(endpoint: str, seed: int = 0) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(urlsplit(endpoint).netloc, seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            upload_bytes = int(self.headers["Content-Length"] or 0)
            fault = proxy.fault_for(self.command, unquote(self.path), upload_bytes)
            if fault == "cut_upload":
                self.rfile.read(upload_bytes // 2)
                self.end()
                return
            upload = self.rfile.read(upload_bytes)
            if fault == "too_slow":
                time.sleep(proxy.slow_s)
            if proxy.refuses(self.command, self.path, self.headers["If-None-Match"]):
                told = b"<Error><Code>PreconditionFailed</Code><Message>there is one</Message></Error>"
                self.answer(412, {"Content-Type": "application/xml"}, told)
            elif fault in ("dropped", "reset", "too_slow"):
                self.end(reset=fault == "reset")
            elif fault == "no_xml":
                self.answer(503, {"Content-Type": "text/html"}, b"<html><p>busy")
            elif fault in ANSWERS:
                status, code, message = ANSWERS[fault]
                told = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
                self.answer(status, {"Content-Type": "application/xml"}, told.encode())
            else:
                self.pass_on(upload, fault)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 (as http.server calls them)

        def pass_on(self, upload: bytes, fault: Fault | None) -> None:
            request = f"{self.command} {unquote(self.path)}"
            proxy.on_request(request)
            server = http.client.HTTPConnection(proxy.server, timeout=60)
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the client's own Host too, which its signature covers
                if name.lower() not in NOT_PASSED_ON - {"content-length", "date"}:
                    server.putheader(name, value)
            server.endheaders(upload)
            answer = server.getresponse()
            body = proxy.on_answer(request, answer.read())
            server.close()
            if fault == "lost_answer":
                self.end()
                return
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in NOT_PASSED_ON}
            announced = int(answer.headers["Content-Length"] or 0) if self.command == "HEAD" else len(body)
            self.answer(answer.status, headers, body, announced, cut=fault == "cut_answer")

        def answer(
            self, status: int, headers: dict[str, str], body: bytes, announced: int | None = None, cut: bool = False
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body) if announced is None else announced))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.end()

        def end(self, *, reset: bool = False) -> None:
            self.close_connection = True
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has given up closes its connection: nothing to tell."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        yield proxy
        server.shutdown()
