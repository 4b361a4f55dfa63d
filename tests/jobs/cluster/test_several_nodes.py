"""Jobs on a cluster whose nodes share nothing but a bucket: one joins midway, one is lost, the outputs are the same."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from jobs.cli import main
from jobs.train.state import read_state
from pipeline.flow.ray_data import BLOCK_BYTES
from pipeline.storage.storage import Storage
from tests.conftest import headed_cluster
from tests.support.clips import clip, rgb, streets, times
from tests.support.dying_workers import STARTING, WORKERS
from tests.support.killed import HANGS_S, ROOT, wait_until
from tests.support.media import landscape, night
from tests.support.outputs import table_in, tree
from tests.support.s3_server import S3Server
from tests.support.slow_photos import slow_images

PHOTOS = 60  # with two seconds for each, for as long as a node takes to join and its worker to start
DIFFERENT = 7
BLOCK = bytes(BLOCK_BYTES // 2)  # makes each photo a block by itself
EPOCHS = 12  # more than there is time for before the loss is felt
FAST = ["--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32"]
SMALL = ["--epochs", str(EPOCHS), "--batch", "4", "--size-px", "32", "--estimate-size", "128", "--precision", "fp32"]


@pytest.fixture(scope="module")
def cluster(ray_session: None) -> Iterator[Cluster]:
    """A head that works at nothing, and two nodes of one processor each; each test leaves it so, with others.

    It starts after this process's own Ray, whose token all its nodes and jobs then have.
    """
    with headed_cluster() as cluster:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster


def _put(source: Path, bucket: str) -> None:
    for name, content in tree(source).items():
        Storage().write(f"{bucket}/in/{name}", content)


def _names(place: str) -> set[str]:
    """Of files, while others write there."""
    found = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False).find(place)
    return {f"s3://{name}".removeprefix(f"{place}/") for name in found}


def _outcomes(bucket: str) -> list[tuple[str, str]]:
    rows = table_in(bucket, "out/_nightlift/manifest").to_pylist()
    return sorted((row["source"].rpartition("/")[2], row["outcome"]) for row in rows)


@contextmanager
def _job(cluster: Cluster, log: Path, job: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    with log.open("wb") as told:
        process = subprocess.Popen(job, cwd=ROOT, env=environment, stdout=told, stderr=told, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _lose(cluster: Cluster, node: object) -> None:
    """As when its machine is gone."""
    cluster.remove_node(node, allow_graceful=False)


def _workers(cluster: Cluster) -> int:
    """How many are at work, on all nodes."""
    count = 0
    for node in cluster.worker_nodes:
        for raylet in node.all_processes["raylet"]:
            with suppress(psutil.NoSuchProcess):
                names = [child.name() for child in psutil.Process(raylet.process.pid).children()]
                count += sum(name.startswith(WORKERS) and STARTING not in name for name in names)
    return count


@pytest.mark.slow
def test_photos(cluster: Cluster, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(DIFFERENT):
        Image.fromarray(night(seed=number)).save(source / f"{number}.png")
    names = [f"{number:02}.png" for number in range(PHOTOS)]
    for number, name in enumerate(names):
        Storage().write(f"{bucket}/in/{name}", (source / f"{number % DIFFERENT}.png").read_bytes() + BLOCK)
    photos = slow_images(2.0, f"{bucket}/in", f"{bucket}/out", "--workers-per-core", "1")
    with _job(cluster, tmp_path / "log", photos) as job:
        wait_until(lambda: len(_names(f"{bucket}/out")) > 2, job)
        cluster.add_node(num_cpus=1)
        wait_until(lambda: _workers(cluster) == 3, job)
        assert job.poll() is None, (tmp_path / "log").read_text()
        _lose(cluster, next(iter(cluster.worker_nodes)))
        assert job.wait(HANGS_S) == 0, (tmp_path / "log").read_text()
    assert "starting 2 workers" in (tmp_path / "log").read_text()
    assert _outcomes(bucket) == [(name, "done") for name in names]
    assert main(["images", str(source), str(tmp_path / "out")]) == 0
    assert {name for name in _names(f"{bucket}/out") if "_nightlift" not in name} == set(names)
    for number, name in enumerate(names):
        assert Storage().read(f"{bucket}/out/{name}") == (tmp_path / "out" / f"{number % DIFFERENT}.png").read_bytes()


@pytest.mark.slow
def test_videos(cluster: Cluster, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for seed in range(3):
        (source / f"{seed}.mp4").write_bytes(clip(streets(90, seed=seed)))
    _put(source, bucket)
    videos = [sys.executable, "-m", "jobs.videos", f"{bucket}/in", f"{bucket}/out", *FAST]
    with _job(cluster, tmp_path / "log", videos) as job:
        wait_until(lambda: sum(name.endswith(".json") for name in _names(f"{bucket}/out")) >= 4, job)
        assert not [name for name in _names(f"{bucket}/out") if name.endswith(".mp4")]
        at_work = next(iter(cluster.worker_nodes))
        cluster.add_node(num_cpus=1)
        _lose(cluster, at_work)
        assert job.wait(HANGS_S) == 0, (tmp_path / "log").read_text()
    assert "starting 2 workers" in (tmp_path / "log").read_text()
    assert _outcomes(bucket) == [(path.name, "done") for path in sorted(source.iterdir())]
    assert main(["videos", str(source), str(tmp_path / "out"), *FAST]) == 0
    for path in source.iterdir():
        enhanced, expected = Storage().read(f"{bucket}/out/{path.name}"), tmp_path / "out" / path.name
        assert times(enhanced) == times(path)
        assert np.array_equal(rgb(enhanced), rgb(expected))


@pytest.mark.slow
def test_a_training(cluster: Cluster, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for seed in range(5):
        Image.fromarray(landscape(240, 180, seed=seed)).save(source / f"{seed}.png")  # too large to be inlined
    _put(source, bucket)
    job = [sys.executable, "-m", "jobs.train", f"{bucket}/in", f"{bucket}/out", *SMALL]
    with _job(cluster, tmp_path / "log", job) as training:
        wait_until(lambda: read_state(Storage(), f"{bucket}/out") is not None, training)
        at_work = next(iter(cluster.worker_nodes))
        cluster.add_node(num_cpus=1)  # so that workers start again at once
        _lose(cluster, at_work)
        assert training.wait(HANGS_S) == 0, (tmp_path / "log").read_text()
    assert "starting 2 workers on cpu" in (tmp_path / "log").read_text()
    assert "lost a worker" in (tmp_path / "log").read_text()
    losses = table_in(bucket, "out/losses.parquet")
    assert losses["epoch"].to_pylist() == list(range(1, EPOCHS + 1))
    assert main(["train", str(source), str(tmp_path / "out"), *SMALL]) == 0
    expected = pq.read_table(tmp_path / "out" / "losses.parquet")
    column = "training_total"  # other numbers of workers round otherwise, and that grows
    np.testing.assert_allclose(losses[column].to_numpy()[:5], expected[column].to_numpy()[:5], rtol=1e-3)
    np.testing.assert_allclose(losses[column].to_numpy(), expected[column].to_numpy(), rtol=0.05)
