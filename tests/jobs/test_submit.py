"""Jobs sent to a cluster by Ray's job API, as the README prints it: a head with token authentication, a bucket."""

import asyncio
import io
import json
import os
import subprocess
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobStatus

from jobs import submit
from jobs.cli import main
from jobs.cluster.shipment import shipped_folder
from pipeline.errors import ClusterError
from pipeline.storage.storage import Storage
from tests.support.clips import clip, streets, times
from tests.support.counts import in_full_alone
from tests.support.killed import HANGS_S, ROOT, killed_once
from tests.support.media import landscape
from tests.support.outputs import table_in
from tests.support.ray_head import BIN, RayHead, ray_head
from tests.support.s3_server import S3Server
from tests.support.shadows import UV_RUN, shadows

UPLOAD_BYTES = 3 << 20
PHOTOS = 20


@pytest.fixture(scope="module")
def head(_server: S3Server) -> Iterator[RayHead]:
    """Its nodes have the keys to the storage, but not its address."""
    keys = {name: value for name, value in _server.environment.items() if "KEY" in name}
    with ray_head(2, **keys) as head:
        yield head


def _run(head: RayHead, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **head.environment, "RAY_API_SERVER_ADDRESS": "", **environment}
    return subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S
    )


def _photo(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(landscape(320, 240, seed=seed) // 4).save(file, "JPEG", quality=92)
    return file.getvalue()


@pytest.mark.slow
def test_photos_by_rays_own_command_watched_by_their_metrics(
    head: RayHead, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(PHOTOS):
        content = _photo(number % 5) if number else b"no photo"
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(content)
        Storage().write(f"{bucket}/in/{number:02}.jpg", content)
    there = json.dumps({"env_vars": {"AWS_ENDPOINT_URL": s3.endpoint}})
    job = ["--", "python", "-m", "jobs.images", f"{bucket}/in", f"{bucket}/out"]
    submitted = _run(
        head,
        "ray",
        "job",
        "submit",
        "--address",
        head.dashboard,
        "--runtime-env-json",
        there,
        "--working-dir",
        ".",
        *job,
    )
    assert submitted.returncode == 1, submitted.stderr  # Ray's own word for any failure
    assert f"photos: {PHOTOS - 1} done, 1 failed" in submitted.stdout
    assert main(["images", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    for path in (tmp_path / "out").glob("*.jpg"):
        assert Storage().read(f"{bucket}/out/{path.name}") == path.read_bytes()
    rows = table_in(bucket, "out/_nightlift/manifest")
    done = rows.filter(rows["outcome"].to_numpy(zero_copy_only=False) == "done").to_pydict()
    assert _scraped(head, "files_total", kind="photo", outcome="done") == PHOTOS - 1
    assert _scraped(head, "files_total", kind="photo", outcome="failed", code="not_media") == 1
    assert _scraped(head, "files_left", kind="photo") == 0
    assert _scraped(head, "frames_total", kind="photo", outcome="done") == PHOTOS - 1
    assert _scraped(head, "read_bytes_total", kind="photo") == sum(rows["bytes_in"].to_pylist())
    assert _scraped(head, "written_bytes_total", kind="photo") == sum(done["bytes_out"])
    assert _scraped(head, "batch_images_count", device="cpu") == PHOTOS - 1
    for stage in ("read", "decode", "enhance", "encode", "write"):
        assert _scraped(head, "stage_seconds_count", stage=stage) == PHOTOS - 1
        assert _scraped(head, "seconds_total", stage=stage) == pytest.approx(sum(done[f"seconds_{stage}"]))


def _scraped(head: RayHead, name: str, **tags: str) -> float:
    """The sum over all processes of the head's node."""
    text = requests.get(head.metrics, timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith(f"ray_nightlift_{name}{{")]
    return sum(float(line.split()[-1]) for line in lines if all(f'{tag}="{tags[tag]}"' in line for tag in tags))


@pytest.mark.slow
def test_videos_end_with_the_jobs_own_status(head: RayHead, s3: S3Server, bucket: str) -> None:
    content = clip(streets(25))
    Storage().write(f"{bucket}/in/night.mp4", content)
    Storage().write(f"{bucket}/in/broken.mp4", b"no video")
    flags = ["--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32"]
    videos = ["videos", f"{bucket}/in", f"{bucket}/out", "--address", head.dashboard, *flags]
    submitted = _run(head, "nightlift", "submit", *videos, "--env", f"AWS_ENDPOINT_URL={s3.endpoint}")
    assert submitted.returncode == 1, submitted.stderr
    assert "submitted as raysubmit_" in submitted.stderr
    assert "videos: 1 done, 1 failed" in submitted.stdout
    assert times(Storage().read(f"{bucket}/out/night.mp4")) == times(content)
    assert _scraped(head, "frames_enhanced_total") >= 25
    nothing = _run(head, "nightlift", "submit", "images", "/nothing", "/there", "--address", head.dashboard)
    assert nothing.returncode == 2
    assert "/nothing: " in nothing.stdout


@pytest.mark.slow
def test_a_training_that_nobody_waits_for(head: RayHead, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    for number in range(4):
        Storage().write(f"{bucket}/in/{number}.jpg", _photo(number))
    first = tmp_path / "first weights.safetensors"
    first.write_bytes((ROOT / "model/weights/plus.safetensors").read_bytes())
    flags = ["--init-from", str(first), "--epochs", "1", "--batch", "2", "--size-px", "32", "--validation-share", "0"]
    train = ["train", f"{bucket}/in", f"{bucket}/run", "--no-wait", *flags]
    submitted = _run(
        head,
        *("nightlift", "submit", *train, "--env", "AWS_ENDPOINT_URL"),
        RAY_API_SERVER_ADDRESS=head.dashboard,
        AWS_ENDPOINT_URL=s3.endpoint,
    )
    assert submitted.returncode == 0, submitted.stderr
    number = submitted.stdout.strip()
    followed = _run(head, "ray", "job", "logs", "--follow", "--address", head.dashboard, number)
    assert "epoch 1/1" in followed.stdout
    assert len(Storage().read(f"{bucket}/run/weights.safetensors")) > 10_000
    assert _scraped(head, "training_epoch") == 1  # for as long as Ray remembers who told of it
    assert _scraped(head, "training_loss", part="training", loss="total") > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "written"),
    [
        (["images", "in", "out"], "out/0.jpg"),
        pytest.param(
            ["train", "in", "run", "--epochs", "1", "--batch", "2", "--size-px", "32"],
            "run/weights.safetensors",
            marks=in_full_alone,
        ),
    ],
)
def test_workers_of_a_cluster_run_none_of_the_files_beside_a_job(
    head: RayHead, tmp_path: Path, job: list[str], written: str
) -> None:
    ran = shadows(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / f"in/{number}.jpg").write_bytes(_photo(number))
    log = tmp_path / "log"
    environment = {**head.environment, "RAY_ADDRESS": head.address}
    killed_once([*UV_RUN, BIN / "nightlift", *job], log, ran.exists, cwd=tmp_path, **environment)
    assert not ran.exists(), ran.read_text()
    assert (tmp_path / written).exists(), log.read_text()
    assert "joining the Ray cluster" in log.read_text()


def test_without_the_token_nothing_is_taken(head: RayHead) -> None:
    job = ["images", "s3://in", "s3://out", "--address", head.dashboard]
    refused = _run(head, "nightlift", "submit", *job, RAY_AUTH_TOKEN="x" * 64)
    assert refused.returncode == 2
    assert "the cluster rejected the token" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["images", "photos", "s3://out"], "photos: the cluster cannot reach files of this machine"),
        (["train", "s3://in", "file://run"], "file://run: the cluster cannot reach files of this machine"),
        (["images", "s3://in", "s3://out", "--weights", "/none.pth"], "/none.pth: no such file on this machine"),
        (["images", "s3://in", "s3://out", "--env", "NO_SUCH"], "--env NO_SUCH: this variable is not set here"),
        (["images", "s3://in", "s3://out", "--iterations", "99"], "iterations is 99"),
        (
            ["images", "s3://in", "s3://out", "--storage-options", '{"s3": {"secret": "x"}}'],
            "everybody who sees the cluster's jobs",
        ),
        (["images", "s3://in", "s3://out", "--storage-options", "{'secret': 'x'}"], "--storage-options is not JSON"),
        (["images", "https://in/a.jpg?X-Amz-Signature=1", "s3://out"], "everybody who sees the cluster's jobs"),
        (["images", "s3://in", "s3://out"], "no cluster given; add --address"),
        (["images", "s3://in", "s3://out", "--address", "127.0.0.1:1"], "http://127.0.0.1:1: no Ray dashboard answers"),
    ],
)
def test_slips_are_told_before_anything_is_sent(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")
    assert main(["submit", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("way", ["the checkout", "nightlift submit"])
def test_what_is_uploaded_is_small(way: str, tmp_path: Path) -> None:
    weights = tmp_path / "my.safetensors"
    weights.write_bytes(b"weights")
    with shipped_folder({weights: "carried/my.safetensors"}) as folder:
        create_package(str(ROOT if way == "the checkout" else folder), tmp_path / "sent.zip", include_gitignore=True)
    sent = zipfile.ZipFile(tmp_path / "sent.zip").namelist()
    assert (tmp_path / "sent.zip").stat().st_size < UPLOAD_BYTES
    assert {"jobs/images.py", "pipeline/flow/photos.py", "model/weights/dce.safetensors"} <= set(sent)
    assert not [name for name in sent if name.startswith(("tests/", "infra/", ".")) and name.count("/")]
    assert ("carried/my.safetensors" in sent) == (way == "nightlift submit")


def test_arguments_in_the_words_of_the_cluster() -> None:
    carried = {Path("my run/w.pth"): "carried/w.pth"}
    given = ["--weights=my run/w.pth", "--weights", "./my run/w.pth", "s3://a/*.jpg", "--limit", "3"]
    there = ["--weights=carried/w.pth", "--weights", "carried/w.pth", "s3://a/*.jpg", "--limit", "3"]
    assert [submit._there(each, carried) for each in given] == there


class _Client:
    """A cluster to which the connection is lost: each entry is what comes until then, None a long silence."""

    def __init__(
        self, *parts: list[str | None], status: JobStatus = JobStatus.SUCCEEDED, exit_code: int | None = 3
    ) -> None:
        self.parts, self.status, self.exit_code = list(parts), status, exit_code

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        for text in self.parts.pop(0) if self.parts else ():
            if text is None:
                await asyncio.sleep(60)
            else:
                yield text
        if self.parts or self.status is JobStatus.RUNNING:
            raise RuntimeError("the socket was closed")

    def get_address(self) -> str:
        return "http://head:8265"

    def get_job_info(self, number: str) -> Any:
        status = JobStatus.RUNNING if self.parts else self.status
        return type("Info", (), {"status": status, "message": "no room", "driver_exit_code": self.exit_code})


def test_a_lost_connection_is_taken_up_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(submit, "QUIET_S", 0.05)
    client: Any = _Client(["one\n", "tw"], ["o"], [], [None], ["one\n", None], ["one\ntwo\nth", "ree\n"])
    assert submit._watched(client, "1") == 3
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("status", "exit_code", "ours"), [("STOPPED", None, 143), ("FAILED", 2, 2), ("SUCCEEDED", 0, 0)]
)
def test_the_status_is_the_jobs_own(status: str, exit_code: int | None, ours: int) -> None:
    client: Any = _Client(status=JobStatus(status), exit_code=exit_code)
    assert submit._watched(client, "1") == ours


def test_a_job_that_did_not_start_says_why() -> None:
    client: Any = _Client(status=JobStatus.FAILED, exit_code=None)
    with pytest.raises(ClusterError, match="raysubmit_1 did not start: no room"):
        submit._watched(client, "raysubmit_1")


def test_what_is_shown_to_nobody_ends_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    client: Any = _Client(["one\n"])
    with pytest.raises(BrokenPipeError):
        submit._watched(client, "1")


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", stop)
    caplog.set_level("INFO", "nightlift")
    client: Any = _Client(["one\n"])
    assert submit._watched(client, "raysubmit_1") == 130
    assert (
        "ray job logs --follow --address http://head:8265 raysubmit_1; to stop it: ray job stop --address"
        in caplog.text
    )


def test_a_cluster_that_stays_silent_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submit, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(submit, "SILENT_S", 0.1)
    client: Any = _Client(status=JobStatus.RUNNING)
    with pytest.raises(ClusterError, match="has not answered for 0 s"):
        asyncio.run(submit._followed(client, "raysubmit_1"))
    assert caplog.text.count("lost the connection to the cluster (the socket was closed)") == 1
