"""A node that is lost while videos are enhanced: every video is finished, with one outcome."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from tests.clips import clip, streets, times

ROOT = Path(__file__).parents[1]
FAST = ("--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32")


@pytest.mark.slow
def test_videos_are_finished_by_the_node_that_is_left(cluster: Cluster, tmp_path: Path) -> None:
    source, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    source.mkdir()
    contents = {f"{seed}.mp4": clip(streets(150, seed=seed)) for seed in range(3)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    job = [sys.executable, "-m", "jobs.videos", str(source), str(out), *FAST]
    with log.open("wb") as told:
        process = subprocess.Popen(
            job, cwd=ROOT, env={**os.environ, "RAY_ADDRESS": cluster.address}, stdout=told, stderr=told
        )
    try:
        until = time.monotonic() + 120
        while len([*(out / "_nightlift" / "segments").rglob("*.json")]) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        assert not [*out.glob("*.mp4")]
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert process.wait(300) == 0, log.read_text()
    finally:
        process.kill()
    rows = pq.read_table(out / "_nightlift" / "manifest").to_pylist()
    assert sorted((Path(row["source"]).name, row["outcome"]) for row in rows) == [(name, "done") for name in contents]
    assert "2 workers" in log.read_text()
    for name, content in contents.items():
        assert times(out / name) == times(content)
