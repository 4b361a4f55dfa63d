"""What many tests share: one Ray for the whole session, one real S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.s3_server import S3Server, s3_server

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real media and golden outputs of developers' machines; tests that need them are skipped elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real media beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from jobs.cluster import ray_cluster

    with ray_cluster(workers=2):
        yield


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its credentials in the environment."""
    for name, value in _server.environment.items():
        monkeypatch.setenv(name, value)
    return _server


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """URL of a fresh, empty bucket."""
    name = f"b{abs(hash(request.node.nodeid)) % 10**12}"
    fsspec.filesystem("s3", endpoint_url=s3.endpoint, skip_instance_cache=True).mkdir(name)
    return f"s3://{name}"
