"""Files of the current directory are not imported, whatever they are called: neither here nor by workers."""

import os
from pathlib import Path

import pytest
from PIL import Image

from jobs.cluster.shipment import standing_apart
from pipeline.storage.credentials import worker_options
from tests.support.killed import killed_once
from tests.support.media import landscape
from tests.support.ray_head import BIN
from tests.support.shadows import UV_RUN, shadows


@pytest.mark.slow
def test_a_job_runs_none_of_the_files_beside_it(tmp_path: Path) -> None:
    """Started by `uv run`, for which Ray would take the directory to its workers, and with it in PYTHONPATH."""
    ran = shadows(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(landscape(64, 48) // 4).save(tmp_path / "in/night.jpg")
    log = tmp_path / "log"
    job = [BIN / "nightlift", "images", "in", "out", "--workers", "2"]
    killed_once([*UV_RUN, *job], log, ran.exists, cwd=tmp_path, PYTHONPATH=os.pathsep)
    assert not ran.exists(), ran.read_text()
    assert "photos: 1 done" in log.read_text()


def test_paths_stay_what_they_are_where_workers_stand_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    monkeypatch.setenv("AWS_CONFIG_FILE", "~/aws")
    monkeypatch.setenv("AWS_PROFILE", "night")
    (tmp_path / "empty").mkdir()
    with standing_apart(tmp_path / "empty"):
        assert Path.cwd() == tmp_path / "empty"
    assert Path.cwd() == tmp_path
    assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == str(tmp_path / "key.json")
    assert os.environ["AWS_CONFIG_FILE"] == "~/aws"
    assert os.environ["AWS_PROFILE"] == "night"


def test_a_directory_that_is_gone_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, empty = tmp_path / "here", tmp_path / "empty"
    here.mkdir()
    empty.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with standing_apart(empty):
        assert Path.cwd() == empty
    assert not os.path.lexists(here)
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
