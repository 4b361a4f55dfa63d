"""The photo job from end to end: real Ray, real files, a real S3 server, a real kill."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.photos import FusedWorker, PhotoFlow
from pipeline.photos import PhotoWork, ReadAndDecode
from pipeline.storage.storage import Storage
from tests.support.counts import count, in_full_alone
from tests.support.killed import HANGS_S, ROOT, wait_until
from tests.support.odd_files import ODD_ERRORS
from tests.support.outputs import rows_of, tree
from tests.support.s3_server import KEY, S3Server, free_port
from tests.support.shadows import shadows

NIGHT = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)


def _photos(folder: Path, count: int, size: int = 1) -> Path:
    """`count` dark photos of several formats in two folders."""
    for number in range(count):
        path = folder / ("deep" if number % 2 else "") / f"{number:03d}{('.jpg', '.png', '.webp')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(np.roll(NIGHT, number, 0), (size, size, 1))).save(path)
    return folder


def _done(rows: list[dict[str, object]]) -> list[str]:
    return sorted(Path(str(row["source"])).name for row in rows if row["outcome"] == "done")


@pytest.mark.usefixtures("ray_session")
def test_a_folder_becomes_the_same_tree_enhanced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _photos(tmp_path / "in", 8), tmp_path / "out"
    (source / "broken.jpg").write_bytes(b"no photo")
    (source / "notes.txt").write_text("no photo either")
    assert main(["images", str(source), str(out)]) == 1
    assert tree(out).keys() == tree(source).keys() - {"broken.jpg", "notes.txt"}
    assert sorted(row["outcome"] for row in rows_of(out)) == ["done"] * 8 + ["failed", "skipped"]
    for name in tree(out):
        with Image.open(source / name) as before, Image.open(out / name) as after:
            assert (after.size, after.format) == (before.size, before.format)
            assert np.asarray(after).mean() > 1.5 * np.asarray(before).mean()
    printed = capsys.readouterr().out
    assert "8 done, 1 skipped, 1 failed" in printed
    assert f"  failed, not_media: {source}/broken.jpg: " in printed
    assert f"  skipped, not_a_photo: {source}/notes.txt: " in printed


@pytest.mark.usefixtures("ray_session")
def test_a_rerun_does_only_what_is_new_changed_or_failed(tmp_path: Path) -> None:
    source, out = _photos(tmp_path / "in", 4), tmp_path / "out"
    (source / "broken.jpg").write_bytes(b"no photo")
    job = ["images", str(source), str(out)]
    assert main(job) == 1
    first = tree(out)
    assert main(job) == 1  # only the failed one is tried again
    assert len(rows_of(out)) == 6
    Image.fromarray(NIGHT[::2]).save(source / "broken.jpg")  # mended
    Image.fromarray(NIGHT[::3]).save(source / "000.jpg")  # changed
    Image.fromarray(NIGHT[::4]).save(source / "new.jpg")
    (out / "deep" / "001.png").unlink()  # lost
    assert main(job) == 0
    assert _done(rows_of(out)[6:]) == ["000.jpg", "001.png", "broken.jpg", "new.jpg"]
    assert {name: content for name, content in tree(out).items() if name in first and name != "000.jpg"} == {
        name: content for name, content in first.items() if name != "000.jpg"
    }
    before = len(rows_of(out))
    assert main(job) == 0
    assert len(rows_of(out)) == before


@pytest.mark.usefixtures("ray_session")
def test_other_settings_and_fresh_redo(tmp_path: Path) -> None:
    source, out = _photos(tmp_path / "in", 2), tmp_path / "out"
    job = ["images", str(source), str(out)]
    main(job)
    main([*job, "--strength", "0.5"])
    main([*job, "--strength", "0.5"])
    main([*job, "--strength", "0.5", "--fresh"])
    main([*job, "--variant", "plus"])
    assert len(rows_of(out)) == 2 * 4


@pytest.mark.usefixtures("ray_session")
def test_both_topologies_give_the_same_files(tmp_path: Path) -> None:
    source = _photos(tmp_path / "in", 6)
    (source / "broken.jpg").write_bytes(b"no photo")
    for topology in ("fused", "split"):
        assert main(["images", str(source), str(tmp_path / topology), "--topology", topology]) == 1
    assert tree(tmp_path / "fused") == tree(tmp_path / "split")
    assert len(rows_of(tmp_path / "split")) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("topology", count(["split"], ["fused", "split"]))
def test_a_photo_that_kills_its_worker_is_named_and_costs_no_other(tmp_path: Path, monkeypatch, topology: str) -> None:
    source, out = _photos(tmp_path / "in", 12), tmp_path / "out"
    poison = count(["deep/poison.png"], ["poison.png", "deep/poison.png"])
    for name in poison:
        Image.fromarray(NIGHT).save(source / name)

    class Deadly(ReadAndDecode):
        def __call__(self, work: PhotoWork) -> PhotoWork:
            if work.record.source.endswith("deep/poison.png"):
                raise SystemExit
            if work.record.source.endswith("poison.png"):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(work)

    class DeadlyWorker(FusedWorker):
        def __init__(self, flow: PhotoFlow) -> None:
            super().__init__(flow)
            self.develop.step = replace(self.develop.step, decode=Deadly(flow.storage, flow.settings))

    monkeypatch.setattr("pipeline.flow.photos.FusedWorker", DeadlyWorker)
    monkeypatch.setattr("pipeline.flow.photos.ReadAndDecode", Deadly)
    assert main(["images", str(source), str(out), "--topology", topology]) == 1
    rows = rows_of(out)
    assert len(rows) == 12 + len(poison)
    failed = [row for row in rows if row["outcome"] == "failed"]
    assert [(row["code"], row["attempts"]) for row in failed] == [("worker_died", ATTEMPTS)] * len(poison)
    assert all("poison.png" in str(row["message"]) for row in failed)
    assert tree(out).keys() == tree(source).keys() - set(poison)


@pytest.mark.usefixtures("ray_session")
def test_format_limit_and_patterns(tmp_path: Path) -> None:
    source, out = _photos(tmp_path / "in", 9), tmp_path / "out"
    flags = ["--format", "webp", "--quality", "70", "--include", "*.png", "--include", "*.jpg", "--exclude", "deep/*"]
    assert main(["images", str(source), str(out), *flags, "--limit", "2"]) == 0
    assert sorted(tree(out)) == ["000.webp", "004.webp"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_every_odd_file_has_one_honest_outcome(shared: Path, tmp_path: Path) -> None:
    odd, out = shared / "data" / "dev" / "odd", tmp_path / "out"
    assert main(["images", str(odd), str(out)]) == 1
    rows = {Path(str(row["source"])).name: row for row in rows_of(out)}
    assert len(rows_of(out)) == len(rows) == len(list(odd.iterdir()))
    assert {name: row["code"] for name, row in rows.items() if row["outcome"] != "done"} == ODD_ERRORS
    for row in rows.values():
        assert Path(str(row["destination"])).exists() == (row["outcome"] == "done")


@pytest.mark.usefixtures("ray_session")
def test_bucket_to_bucket_with_resume(bucket: str) -> None:
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    for number in range(4):
        with fs.open(f"{bucket}/in/{number}é.png", "wb") as file:
            Image.fromarray(np.roll(NIGHT, number, 0)).save(file, "png")
    job = ["images", f"{bucket}/in", f"{bucket}/out"]
    assert main([*job, "--limit", "3"]) == 0
    assert main(job) == 0
    assert main(job) == 0
    fs.invalidate_cache()
    assert sorted(Path(name).name for name in fs.ls(f"{bucket}/out", detail=False)) == [
        *(f"{number}é.png" for number in range(4)),
        "_nightlift",
    ]
    parts = fs.ls(f"{bucket}/out/_nightlift/manifest", detail=False)
    rows = [row for part in parts for row in pq.read_table(part, filesystem=fs).to_pylist()]
    assert sorted(row["source"] for row in rows) == [f"{bucket}/in/{number}é.png" for number in range(4)]


def test_a_wrong_credential_is_one_clear_line(bucket: str, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    assert main(["images", f"{bucket}/in", f"{bucket}/out"]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "listing" not in line]
    assert len(lines) == 1
    assert "access denied" in lines[0]
    assert "credentials" in lines[0]
    assert "wrong-secret" not in lines[0]


def test_credentials_by_storage_options(bucket: str, s3: S3Server, monkeypatch, capsys, tmp_path: Path) -> None:
    for name in s3.environment:
        monkeypatch.delenv(name)
    options = f'{{"key": "{KEY}", "secret": "nightlift-tests-secret", "endpoint_url": "{s3.endpoint}"}}'
    Storage.from_environment([bucket], json.loads(options)).write(f"{bucket}/a.png", b"-")
    assert main(["images", bucket, str(tmp_path / "out"), "--storage-options", options, "--dry-run"]) == 0
    assert "photos to do: 1 (" in capsys.readouterr().out


def test_options_that_do_not_fit_and_buckets_that_do_not_exist(
    bucket: str, s3: S3Server, tmp_path: Path, capsys
) -> None:
    source = str(_photos(tmp_path / "in", 1))
    assert main(["images", bucket, "out", "--storage-options", '{"nonsense": 1}']) == 2
    assert "--storage-options" in capsys.readouterr().err.splitlines()[-1]
    assert main(["images", source, "s3://no-such-bucket/out"]) == 2
    assert "no such bucket" in capsys.readouterr().err.splitlines()[-1]


def test_dry_run_tells_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _photos(tmp_path / "in", 9)
    (source / "notes.txt").write_text("no photo")
    assert main(["images", str(source), str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for expected in ("photos to do: 9 (", "3 jpeg", "3 png", "3 webp", "not_a_photo: notes.txt", "about"):
        assert expected in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "out"], "nothing is there"),
        ([".", ".", "--dry-run"], "the same"),
        ([".", "out", "--iterations", "17"], "--iterations"),
        ([".", "out", "--format", "docx"], "choose from"),
        ([".", "out", "--weights", "missing.pth"], "missing.pth"),
        ([".", "out", "--storage-options", "{"], "not JSON"),
        ([".", "out", "--limit", "0"], "--limit"),
        ([".", "out", "--quality", "101"], "--quality"),
        ([".", "out", "--include", "*.none"], "no files found"),
        (["gs://bucket", "out"], "nightlift[gcs]"),
        (["", "out"], "SRC is empty"),
        ([".", " "], "DST is empty"),
        ([".", "afile"], "is a file"),
        (["000.jpg", "taken.jpg"], "no record of writing it"),
        ([".", "/proc/none/out"], "/proc/none/out: the file system there takes no new files"),
        (["000.jpg", "/proc/none.jpg"], "/proc: the file system there takes no new files"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_status_2(tmp_path: Path, monkeypatch, capsys, arguments, told) -> None:
    _photos(tmp_path, 1)
    (tmp_path / "afile").write_bytes(b"-")
    (tmp_path / "taken.jpg").write_bytes((tmp_path / "000.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["images", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("nightlift: ")
    assert told in error


def test_a_cluster_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    job = [sys.executable, "-m", "jobs.images", str(_photos(tmp_path / "in", 1)), str(tmp_path / "out")]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9"}
    done = subprocess.run(job, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 2
    assert "RAY_ADDRESS=127.0.0.1:9: no cluster answers" in done.stderr.splitlines()[-1]


@in_full_alone  # tests/jobs/test_submit.py joins one with token authentication
def test_joins_a_running_cluster_and_brings_its_code_along(tmp_path: Path) -> None:
    """Neither the cluster nor the command runs in the checkout, and nothing is imported from where the command runs."""
    ran = shadows(tmp_path)
    source, out, port = _photos(tmp_path / "in", 3), tmp_path / "out", free_port()
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": f"127.0.0.1:{port}"}
    start = ["start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    ray = Path(sys.executable).parent / "ray"
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # Ray's sockets allow no long path
        with (tmp_path / "log").open("wb") as log:
            head = subprocess.Popen(
                [ray, *start, f"--temp-dir={short}"], env=environment, stdout=log, stderr=log, cwd=short
            )
        try:
            job = [sys.executable, "-P", "-c", JOB_FROM_ELSEWHERE, str(ROOT), "images", str(source), str(out)]
            wait_until(lambda: "Ray runtime started" in (tmp_path / "log").read_text(), head)
            done = subprocess.run(
                job, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS_S, check=False
            )
        finally:
            head.terminate()
            head.wait(60)
    assert done.returncode == 0, done.stderr
    assert "joining the Ray cluster" in done.stderr
    assert not ran.exists(), ran.read_text()
    assert tree(out).keys() == tree(source).keys()


JOB_FROM_ELSEWHERE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from jobs.cli import main; sys.exit(main(sys.argv[2:]))"
)
