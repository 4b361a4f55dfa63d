"""A program that prints AWS keys which expire, for a profile's `credential_process`, and a check of such keys."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.fake_s3 import Refusal, Request

LASTING = timedelta(minutes=5)  # so little that the AWS clients ask for new ones before each request


def profile(folder: Path, endpoint: str) -> Path:
    """Return an AWS configuration file with a profile `night`, whose keys are numbered in `folder`."""
    config = folder / "config"
    program = f"{sys.executable} {Path(__file__)} {folder / 'count'}"
    config.write_text(f"[profile night]\ncredential_process = {program}\nendpoint_url = {endpoint}\n")
    return config


def refuses_old_keys(folder: Path, request: Request) -> Refusal | None:
    """Refuse all keys but the last that were printed."""
    from tests.support.fake_s3 import Refusal  # here, as the program below finds no package of tests

    if f"Credential=night-{_printed(folder / 'count')}/" in request.headers.get("authorization", ""):
        return None
    return Refusal(400, "ExpiredToken", "The provided token has expired.")


def _printed(count: Path) -> int:
    return int(count.read_text()) if count.exists() else 0


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if path.with_name("closed").exists():
        sys.exit("no more keys")
    path.write_text(str(_printed(path) + 1))
    expires = (datetime.now(UTC) + LASTING).isoformat()
    keys = {"AccessKeyId": f"night-{_printed(path)}", "SecretAccessKey": "-", "SessionToken": f"{time.time()}"}
    print(json.dumps({"Version": 1, "Expiration": expires, **keys}))
