"""What many tests share: one Ray for the whole session, one real S3 server."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import fsspec
import pytest
import torch
from ray.cluster_utils import Cluster

from tests.support.outputs import tree
from tests.support.s3_server import S3Server, s3_server

signal.signal(signal.SIGINT, signal.default_int_handler)  # of tests in the background, shells let it be ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and `nohup` this one
torch.set_num_threads(1)  # two on a busy machine wait for each other far longer than small pictures take
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray misses a lost node after five checks that fail
os.environ["RAY_health_check_period_ms"] = "1000"  # noqa: SIM112 (Ray's name)
os.environ.pop("RAY_ADDRESS", None)
multiprocessing.set_forkserver_preload(["tests.support.preloaded"])
forkserver.ensure_running()  # before a job in this process starts it with less
STORE_BYTES = 100 << 20  # of the object store of each node
SHARED = Path(__file__).parents[2] / "shared"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the most slow tests come first, so that none of them is the last one to run, alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried as often as at least, and given up sooner."""
    monkeypatch.setattr("pipeline.storage.retries.PATIENCE_S", 0.0)


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs in this process draw no report, which takes two seconds each, but where that is looked at."""
    if request.module.__name__ != "tests.jobs.test_report":
        monkeypatch.setattr("jobs.bulk.run.report_at_end", lambda *_, **__: None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real media and golden outputs of developers' machines; tests that need them are skipped elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real media beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from jobs.cluster.joining import ray_cluster

    with ray_cluster(workers=2):
        yield


@pytest.fixture(scope="module")
def undisturbed(photos: Path, ray_session: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a job that nothing happens to makes of the module's own `photos`."""
    from jobs.cli import main

    out = tmp_path_factory.mktemp("undisturbed")
    assert main(["images", str(photos), str(out)]) == 0
    return tree(out)


@contextmanager
def headed_cluster() -> Iterator[Cluster]:
    """A head that works at nothing, for nodes to be added to."""
    with TemporaryDirectory(prefix="ray") as disks:
        cluster = Machines(disks, num_cpus=0, include_dashboard=False)
        try:
            yield cluster
        finally:
            cluster.shutdown()


class Machines(Cluster):  # type: ignore[misc]
    """A cluster whose nodes share no disk: Ray replaces the files of a running job that a new node finds there."""

    def __init__(self, disks: str, **head: object) -> None:
        self._disks = disks
        super().__init__(initialize_head=True, head_node_args=head)

    def add_node(self, wait: bool = True, **node: object) -> object:
        disk = mkdtemp(prefix="", dir=self._disks)
        return super().add_node(wait, object_store_memory=STORE_BYTES, temp_dir=disk, **node)


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
