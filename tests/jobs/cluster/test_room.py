"""What a local Ray needs of its machine: folders for its files and sockets, and a token."""

import tempfile
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cluster import local_ray, room
from jobs.cluster.joining import ray_cluster
from jobs.cluster.room import LONGEST, ray_folder, ray_parent
from pipeline.errors import UsageError


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, as Ray needs it. No variable names one for Ray's files yet."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="n") as name:
        yield Path(name)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_no_room_for_rays_files_is_told_before_it_starts(
    variable: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(short / "not" / "there"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(room.shutil, "disk_usage", lambda place: usage(0, 0, 100 if place == short else 10**9))
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    begun = time.monotonic()
    with (
        pytest.raises(UsageError, match=rf"{short}: only 0.0 MB are free, but Ray needs 50 MB .* set (RAY_)?TMPDIR"),
        ray_cluster(1),
    ):
        pass
    assert time.monotonic() - begun < 5


def test_ray_gets_a_folder_in_which_its_sockets_have_room(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_parent() == "/tmp"
    monkeypatch.setenv("TMPDIR", str(short))
    assert (ray_parent(), ray_folder()) == (str(short), short)
    monkeypatch.setenv("TMPDIR", str(short / ("long" * LONGEST)))
    assert ray_parent() == "/tmp"
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    assert ray_parent() == str(short)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long" * LONGEST)
    with pytest.raises(UsageError, match=r"RAY_TMPDIR=/tmp/long.*: longer than the .* bytes"):
        ray_parent()


def test_ray_gets_a_token_where_no_home_directory_has_one(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(short / "missing"))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    local_ray._provide_token()
    token = local_ray.os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    local_ray._provide_token()
    assert local_ray.os.environ["RAY_AUTH_TOKEN"] == token
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("HOME", str(short))
    (short / ".ray").mkdir()
    (short / ".ray" / "auth_token").write_text("Ray's own")
    local_ray._provide_token()
    assert not local_ray.os.environ["RAY_AUTH_TOKEN"]
