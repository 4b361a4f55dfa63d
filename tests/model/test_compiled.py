"""The cache of machine code: it saves time, and never costs a result."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from model.compiled import compiled, kernel_folder
from model.full_size.tiles import TILE, store
from tests.support.killed import ROOT


def _twice(x):  # type: ignore[no-untyped-def]
    return 2 * x


def _without_its_end(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zeros_at_its_end(content: bytes) -> bytes:
    return _without_its_end(content) + bytes(len(content) - len(content) // 2)


@pytest.mark.parametrize(
    "damaged", [_without_its_end, _zeros_at_its_end, lambda content: b"", lambda content: b"not ours\n" * 9]
)
def test_machine_code_that_is_damaged_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert compiled(_twice)(3) == 6
    kept = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.suffix for path in kept] == [".nbc", ".nbi"]
    for path in kept:  # as power that was lost, or a disk that was full, leaves them
        path.write_bytes(damaged(path.read_bytes()))
        assert compiled(_twice)(3) == 6
        again = compiled(_twice)
        assert again(3) == 6
        assert again.stats.cache_hits  # it was mended


def test_machine_code_is_compiled_where_no_file_can_be_read_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    assert compiled(_twice)(3) == 6
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.unlink()
        path.mkdir()  # that cannot be read or replaced, not even by root
    assert compiled(_twice)(3) == 6
    later = compiled(_twice)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    assert later(3) == 6


def test_machine_code_is_kept_among_temporary_files_where_there_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_bytes(b"")  # no folder can be made in it
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "home"))
    assert compiled(_twice)(3) == 6
    (kept,) = tmp_path.glob("nightlift-cache-*")
    assert kept.stat().st_mode & 0o077 == 0
    assert any(path.suffix == ".nbc" for path in kept.rglob("*"))


@pytest.mark.parametrize("made", ["open to all", "link"])
def test_machine_code_that_others_may_have_put_there_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    (tmp_path / "home").write_bytes(b"")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "home"))
    parent, elsewhere = tmp_path / f"nightlift-cache-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if made == "link":
        parent.symlink_to(elsewhere)
    else:
        parent.mkdir()
        parent.chmod(0o777)
    assert kernel_folder() is None
    assert compiled(_twice)(3) == 6
    assert not list(parent.iterdir())


def test_machine_code_that_can_only_be_read_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "image"))
    assert compiled(_twice)(3) == 6
    monkeypatch.setattr("model.compiled.TemporaryFile", fail)
    monkeypatch.setattr(numba.config, "CACHE_DIR", f"{tmp_path}/image/.")  # another name: what was found is kept
    again = compiled(_twice)
    assert again(3) == 6
    assert again.stats.cache_hits


def test_copies_of_one_version_share_the_machine_code(tmp_path: Path) -> None:
    """Ray brings a copy of our sources to each node of a cluster, for each job."""
    program = "import numpy as np; from model.full_size.reduce import *; reduce_pixels(np.ones((8, 8, 3), np.uint8), 4)"
    kept = []
    for place in ("one", "two"):
        shutil.copytree(ROOT / "model", tmp_path / place / "model")
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path / place,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            check=True,
        )
        kept.append({path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")})
    assert kept[0] and kept[0] == kept[1]


def test_compiles_where_the_current_directory_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    values = np.zeros(3 * TILE, dtype=np.uint8)
    compiled(store.py_func)(values, np.ones((3, TILE), dtype=np.float32), np.float32(255))
    assert np.all(values == 255)
