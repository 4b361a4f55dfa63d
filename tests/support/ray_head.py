"""A Ray head as an operator starts it: by `ray start`, with token authentication, a dashboard and a metrics port."""

import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.killed import wait_until
from tests.support.s3_server import free_port

BIN = Path(sys.executable).parent
STORE_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class RayHead:
    address: str
    """For RAY_ADDRESS."""
    dashboard: str
    """URL."""
    metrics: str
    """URL."""
    environment: Mapping[str, str]
    """For who asks something of it."""


@contextmanager
def ray_head(cpus: int, **environment: str) -> Iterator[RayHead]:
    """Runs until the block ends. `environment`: of the nodes, which jobs find their credentials in."""
    port, dashboard, metrics, agent = free_port(), free_port(), free_port(), free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the `python` of a node is the one with our packages
    start = ["--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}"]
    start += [f"--dashboard-agent-listen-port={agent}"]
    limits = [f"--metrics-export-port={metrics}", f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}"]
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # short: of sockets
        log = Path(folder, "log")
        with log.open("wb") as told:
            head = subprocess.Popen(
                [BIN / "ray", "start", *start, *limits, f"--temp-dir={folder}/ray"],
                cwd=folder,  # and not in the checkout, where its workers would find our packages
                env={**os.environ, **token, **environment, "PATH": path},
                stdout=told,
                stderr=told,
                start_new_session=True,
            )
        try:
            there = RayHead(
                f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}/metrics", token
            )
            for web in (dashboard, metrics, agent):
                wait_until(lambda web=web: _answers(f"http://127.0.0.1:{web}/"), head, 60)
            assert head.poll() is None, log.read_text()
            yield there
        finally:
            os.killpg(head.pid, signal.SIGKILL)  # all its processes: by itself it would take half a minute
            head.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it wants a token
    except OSError:
        return False
