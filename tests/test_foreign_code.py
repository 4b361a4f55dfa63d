"""What lies in the directory where a job is started, or was installed beside nightlift, is not run in place of ours."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackagePath
from pathlib import Path

import pytest

from jobs.import_path import standing_in
from jobs.nightlift import foreign_file
from tests.media import jpeg, night
from tests.outputs import tree

BIN = Path(sys.executable).parent
PACKAGES = "jobs", "model", "pipeline"


def shadow(folder: Path) -> Path:
    """Put files that have the names of packages into a folder. Returns the file that appears once one is imported."""
    ran = folder / "ran"
    modules = [f"{name}.py" for name in ("av", "numpy", "pandas", "pyarrow", "ray", "torch")]
    for name in (*modules, *(f"{package}/__init__.py" for package in PACKAGES)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(ran)!r}, 'a').write(__file__)\n")
    return ran


@pytest.mark.slow
def test_no_file_of_the_users_is_imported_by_the_command_or_its_workers(tmp_path: Path) -> None:
    """Under `uv run`, which Ray looks for, and with an empty entry in PYTHONPATH, which means the directory."""
    here = tmp_path / "here"
    (here / "in").mkdir(parents=True)
    (here / "in" / "a.jpg").write_bytes(jpeg(night()))
    ran = shadow(here)
    uv = [BIN / "uv", "run", "--no-project", "--offline", "--python", sys.executable]
    job = [*uv, BIN / "nightlift", "images", "in", "out", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", "/nowhere", str(here)])}
    done = subprocess.run(job, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not ran.exists(), ran.read_text()
    assert tree(here / "out").keys() == {"a.jpg"}


def test_ray_stands_in_an_empty_folder_and_the_job_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, empty = tmp_path / "here", tmp_path / "empty"
    here.mkdir()
    empty.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "src", str(here), "/opt/site"]))
    with standing_in(str(empty)):
        assert Path.cwd() == empty
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(Path(__file__).parents[1]), "/opt/site"]
    assert Path.cwd() == here
    assert os.environ["PYTHONPATH"].endswith("/opt/site")
    assert os.environ["PYTHONPATH"].startswith(os.pathsep)
    monkeypatch.delenv("PYTHONPATH")
    here.rmdir()  # as somebody does who clears up in another window
    with standing_in(str(empty)):
        assert Path.cwd() == empty
    assert "PYTHONPATH" not in os.environ


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("file", "told"), [("__init__.py", "is not nightlift's, but that of"), ("x.py", "not whole")])
def test_a_package_of_others_in_place_of_ours_is_one_clear_line(
    package: str, file: str, told: str, tmp_path: Path
) -> None:
    """`x.py`: the other distribution took `__init__.py` along when it was removed."""
    (tmp_path / package).mkdir()
    (tmp_path / package / file).write_text("raise SystemExit('somebody else was run')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [BIN / "nightlift", "--version"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"the package {package} " in line
    assert told in line
    assert "an environment of its own" in line


class Installed:
    """A distribution with these files."""

    def __init__(self, folder: Path, sizes: Sequence[tuple[str, int | None]]) -> None:
        self.files = []
        for name, size in sizes:
            file = PackagePath(name)
            file.dist, file.size = self, size  # type: ignore[attr-defined]
            self.files.append(file)
        self._folder = folder

    def locate_file(self, path: str) -> Path:
        return self._folder / path


def test_files_that_were_replaced_or_removed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "losses.py").write_text("ours")
    for sizes, told in (
        ([("model/losses.py", 4), ("model/weights.bin", 7), ("bin/nightlift", None)], ""),
        ([("model/losses.py", 5)], "model/losses.py is not as it was installed"),
        ([("model/losses.py", 4), ("model/gone.py", 4)], "model/gone.py is not as it was installed"),
    ):
        monkeypatch.setattr("jobs.nightlift.distribution", lambda _, sizes=sizes: Installed(tmp_path, sizes))
        assert foreign_file().endswith(told)
        assert bool(foreign_file()) == bool(told)
