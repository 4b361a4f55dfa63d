"""Buckets of many keys: the driver lists them, subtracts what is done, and stays small."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.records import OUTCOME_SCHEMA, Outcome, Record
from tests.support.counts import count
from tests.support.fake_s3 import etag_of, key_of, s3_in_environment
from tests.support.killed import HANGS_S, ROOT

KEYS = count(50_000, 1_000_000)
DONE, PART = KEYS * 9 // 10, KEYS * 3 // 10
MOST_BYTES = 180_000_000 + 600 * KEYS  # for a million: 780 MB, beside 400 of packages and 200 of Ray

PLAN = """
import json
from pathlib import Path
from jobs.bulk.job import Job
from jobs.images import PHOTO_MEDIA, ImagesConfig

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

config = ImagesConfig(src="s3://in", dst="s3://out")
checkpoint = config.checkpoint()
job = Job.of(PHOTO_MEDIA, config, checkpoint)
job.storage.list_files("s3://small")  # what the client itself takes
before = peak()
plan = job.plan()
print(json.dumps([len(plan.records), plan.done, len(plan.refused), peak() - before]))
"""


def _rows(first: int, end: int, fingerprint: str) -> bytes:
    """A part of a manifest: these keys are done."""
    outcomes = []
    for number in range(first, end):
        key, version = key_of(number), f"{etag_of(number)}-1000"
        record = Record(source=f"s3://in/{key}", version=version, size_bytes=1000, destination=f"s3://out/{key}")
        outcome = Outcome.of(record)
        outcome.outcome, outcome.bytes_out, outcome.fingerprint, outcome.run = "done", 900, fingerprint, "20260101-ab"
        outcomes.append(outcome.row())
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(outcomes, schema=OUTCOME_SCHEMA), sink)
    return sink.getvalue()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from jobs.images import ImagesConfig

    config = ImagesConfig(src="s3://in", dst="s3://out")
    checkpoint = config.checkpoint()
    fingerprint = config.photo_settings(checkpoint).fingerprint(checkpoint)
    with s3_in_environment(monkeypatch) as store:
        store.made_up = {"in": KEYS, "out": DONE, "small": 1}
        for bucket in store.made_up:
            store.put(bucket, {})
        for first in range(0, DONE, PART):
            rows = _rows(first, min(DONE, first + PART), fingerprint)
            store.put("out", {f"_nightlift/manifest/20260101-ab-{first:05}.parquet": rows})
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("many")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is told by Linux")
def test_a_large_bucket_is_planned_in_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAN],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    to_do, before, refused, grown_bytes = json.loads(done.stdout.splitlines()[-1])
    assert (to_do, before, refused) == (KEYS - DONE, DONE, 0)
    assert grown_bytes < MOST_BYTES, grown_bytes
