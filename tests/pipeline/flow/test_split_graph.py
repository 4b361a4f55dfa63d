"""The split graph on a cluster of a node with processors and a node with a GPU, which is only said to be there."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from jobs.images import ImagesConfig
from pipeline.images import decode
from pipeline.photos import PhotoSteps, PhotoWork
from pipeline.records import Record
from pipeline.storage.storage import Storage
from tests.conftest import headed_cluster
from tests.support import media
from tests.support.killed import HANGS_S, ROOT
from tests.support.outputs import rows_of, tree

SIZES = [(90, 60), (60, 90), (120, 80)]


@pytest.fixture
def nodes() -> Iterator[tuple[Cluster, str, str]]:
    """The cluster, and of its nodes the one with processors and the one with a GPU."""
    with headed_cluster() as cluster:
        processors = cluster.add_node(num_cpus=2)
        gpu = cluster.add_node(num_cpus=0, num_gpus=1)
        yield cluster, processors.node_id, gpu.node_id


@pytest.mark.slow
def test_a_gpu_is_shared_and_fed_by_the_processors_of_another_node(
    nodes: tuple[Cluster, str, str], tmp_path: Path
) -> None:
    """Photos go through the network in batches, a worker whose GPU fails is replaced, and no file tells of it."""
    cluster, processors, gpu = nodes
    source, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    source.mkdir()
    for seed in range(24):
        Image.fromarray(media.night(*SIZES[seed % 3], seed=seed)).save(source / f"{seed:02d}.png")
    log.touch()
    job = [sys.executable, "-m", "tests.support.pretended_gpu", str(log), "images", str(source), str(out)]
    job += ["--gpus-per-worker", "0.5", "--precision", "fp32", "--no-report"]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    done = subprocess.run(job, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "starting 2 workers (cuda, split)" in done.stderr
    places, processes, batches = defaultdict(set), set(), []
    for step, node, process, images in map(json.loads, log.read_text().splitlines()):
        places[step].add(node)
        if step == "enhance":
            processes.add(process)
        if step == "network":
            batches.append(images)
    assert places == {
        "decode": {processors},
        "encode": {processors},
        "enhance": {gpu},
        "failed": {gpu},
        "network": {gpu},
    }
    assert len(processes) >= 2
    assert max(batches) > 1
    _check_outputs(source, out)


def _check_outputs(source: Path, out: Path) -> None:
    rows = rows_of(out)
    assert len({row["source"] for row in rows}) == len(rows) == 24
    assert {(row["outcome"], row["attempts"]) for row in rows} == {("done", 1)}
    assert all(row["seconds_enhance"] > 0 for row in rows)  # type: ignore[operator]
    config = ImagesConfig(src=str(source), dst=str(out), precision="fp32")
    checkpoint = config.checkpoint()
    steps = PhotoSteps.of(Storage(), config.photo_settings(checkpoint), checkpoint)
    for name, content in tree(out).items():
        alone = out.parent / name
        steps(PhotoWork.of(Record(source=str(source / name), version="", size_bytes=0, destination=str(alone))))
        together, apart = (
            decode(each, max_pixels=1 << 20).frames[0].pixels.astype(int) for each in (content, alone.read_bytes())
        )
        assert np.abs(together - apart).max() <= 1  # fp32 sums depend on what shares a batch
        assert (together != apart).mean() < 0.001
