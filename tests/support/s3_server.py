"""A real S3 server on loopback: the MinIO gateway that JuiceFS ships, over a folder."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY, SECRET = "nightlift-tests", "nightlift-tests-secret"
JUICEFS = Path(sys.executable).parent / "juicefs"


@dataclass(frozen=True, slots=True)
class S3Server:
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": self.endpoint}


@contextmanager
def s3_server(folder: Path, *, etags: bool = True, metadata: bool = True) -> Iterator[S3Server]:
    """Serves buckets from below `folder` until the block ends.

    `etags`: whether it tells those of what it is given. `metadata`: whether it keeps what objects carry. It does not
    know conditional puts: it replaces what is there.
    """
    database, address = f"sqlite3://{folder}/meta.db", f"127.0.0.1:{free_port()}"
    make = [JUICEFS, "format", "--storage", "file", "--bucket", f"{folder}/store/", database, "media"]
    subprocess.run(make, check=True, capture_output=True)
    options = ["--no-banner", "--multi-buckets", "--log", f"{folder}/gateway.log", *(["--keep-etag"] if etags else [])]
    options += ["--object-meta"] if metadata else []
    environment = {**os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}
    with (folder / "output.log").open("wb") as output:
        server = subprocess.Popen(
            [JUICEFS, "gateway", *options, database, address], env=environment, stdout=output, stderr=output
        )
        try:
            _wait_until_live(f"http://{address}", server)
            yield S3Server(f"http://{address}")
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_live(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(f"the S3 server ended with status {server.returncode}")
        try:
            with urllib.request.urlopen(f"{endpoint}/minio/health/live", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("the S3 server did not answer within 30 seconds")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
