"""Files of the current directory are not imported, whatever they are called: neither here nor by workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jobs.shipment import standing_apart
from pipeline.credentials import worker_options
from tests.media import landscape
from tests.ray_head import BIN
from tests.shadows import shadows


@pytest.mark.slow
def test_a_job_runs_none_of_the_files_beside_it(tmp_path: Path) -> None:
    """Started by uv, which Ray would send the directory for, and with an entry in PYTHONPATH that names it."""
    ran = shadows(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(landscape(64, 48) // 4).save(tmp_path / "in/night.jpg")
    uv = [BIN / "uv", "run", "--no-project", "--offline", "--python", sys.executable]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ENABLE_UV")}
    job = subprocess.run(
        [*uv, BIN / "nightlift", "images", "in", "out", "--workers", "2"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert not ran.exists(), ran.read_text()
    assert job.returncode == 0, job.stderr
    assert (tmp_path / "out/night.jpg").exists()


def test_paths_stay_what_they_are_where_workers_stand_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    monkeypatch.setenv("AWS_CONFIG_FILE", "~/aws")
    with standing_apart():
        assert list(Path.cwd().iterdir()) == []
    assert Path.cwd() == tmp_path
    assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == str(tmp_path / "key.json")
    assert os.environ["AWS_CONFIG_FILE"] == "~/aws"


def test_a_directory_that_is_gone_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with standing_apart():
        assert Path.cwd() != tmp_path
    assert not os.path.lexists(tmp_path)
    with pytest.raises(FileNotFoundError):
        Path.cwd()


def test_options_that_name_a_file_name_it_for_workers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.json").touch()
    (tmp_path / "anon").touch()
    given = {"token": "key.json", "project": "anon", "session_kwargs": {"cert": "key.json"}, "other": "none.json"}
    key = str(tmp_path / "key.json")
    expected = {"token": key, "project": "anon", "session_kwargs": {"cert": key}, "other": "none.json"}
    assert worker_options(["gs"], given) == {"gs": expected}
