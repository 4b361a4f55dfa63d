"""The console command where another distribution has packages of the same names, in an environment of its own."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.killed import HANGS_S, ROOT
from tests.support.ray_head import BIN

OTHER = """
[project]
name = "other"
version = "1.0"
[tool.setuptools]
packages = ["model", "jobs", "pipeline"]
"""


def _pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=HANGS_S)


def _project(folder: Path) -> Path:
    for package in ("model", "jobs", "pipeline"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    (folder / "pyproject.toml").write_text(OTHER)
    return folder


def _told(command: Path, **environment: str) -> tuple[int, str]:
    asked = subprocess.run([command, "--version"], env=environment, capture_output=True, text=True, timeout=HANGS_S)
    return asked.returncode, asked.stdout + asked.stderr


@pytest.mark.slow
def test_what_another_distribution_did_to_our_packages_is_told(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "tests", "infra"))
    wheels = tmp_path / "wheels"
    sources = [checkout, _project(tmp_path / "project")]
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, *sources)
    ours, other = (next(wheels.glob(f"{name}-*.whl")) for name in ("nightlift", "other"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    command = tmp_path / "env/bin/nightlift"
    (site,) = tmp_path.glob("env/lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = ["--python", tmp_path / "env/bin/python", "install", "--no-deps", "--no-index", "--no-compile"]
    _pip(*install, ours)
    assert _told(command) == (0, "nightlift 0.1.0\n")
    _pip(*install, other)
    status, line = _told(command)
    assert (status, line.count("\n")) == (2, 1)
    assert f"nightlift: {site}/jobs/__init__.py is no longer nightlift's own: other has put" in line
    assert "an environment of its own (python -m venv" in line
    _pip("--python", tmp_path / "env/bin/python", "uninstall", "--yes", "other")
    status, line = _told(command)
    assert (status, line.count("\n")) == (2, 1)
    assert f"nightlift: jobs/__init__.py is missing from {site}" in line
    assert "install it again here" in line


def test_packages_that_come_before_ours_are_told(tmp_path: Path) -> None:
    other = _project(tmp_path / "other")
    status, line = _told(BIN / "nightlift", PYTHONPATH=str(other))
    assert status == 2
    assert line.startswith(f"nightlift: the package jobs is found at {other}/jobs, which is not nightlift's own;")
