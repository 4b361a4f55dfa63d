"""A node that is lost while photos are enhanced: every photo is done, once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from tests.killed import ROOT
from tests.outputs import rows_of, tree, whole

COUNT = 80


@pytest.mark.slow
def test_photos_are_done_by_the_node_that_is_left(cluster: Cluster, tmp_path: Path) -> None:
    source, out, straight, log = (tmp_path / name for name in ("in", "out", "straight", "log"))
    source.mkdir()
    night = np.random.default_rng(5).integers(0, 50, (600, 800, 3), dtype=np.uint8)
    for number in range(COUNT):
        Image.fromarray(np.roll(night, number, 0)).save(source / f"{number:03d}.jpg")
    job = [sys.executable, "-m", "jobs.images", str(source)]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    with log.open("wb") as told:
        process = subprocess.Popen([*job, str(out)], cwd=ROOT, env=environment, stdout=told, stderr=told)
    try:
        until = time.monotonic() + 120
        while not len(whole(out)) >= 20 and time.monotonic() < until:
            time.sleep(0.02)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert len(whole(out)) < COUNT
        assert process.wait(300) == 0, log.read_text()
    finally:
        process.kill()
    assert "2 workers" in log.read_text()
    rows = rows_of(out)
    assert sorted(Path(str(row["source"])) for row in rows) == sorted(source.iterdir())
    assert {row["outcome"] for row in rows} == {"done"}
    subprocess.run([*job, str(straight)], cwd=ROOT, env=environment, capture_output=True, timeout=300, check=True)
    assert tree(out) == tree(straight)  # no files half-written either
