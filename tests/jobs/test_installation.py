"""The console command where something else is installed than here, or on another system."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import pytest
from PIL import Image

from tests.support import media
from tests.support.clips import clip, streets
from tests.support.killed import HANGS_S, ROOT
from tests.support.outputs import rows_of
from tests.support.ray_head import BIN

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NEEDS = {  # extra -> a package of it, and a command that needs it
    "heif": ("pillow_heif", ["images", "night.heic", "out"]),
    "raw": ("rawpy", ["images", "night.cr3", "out"]),
    "avif": ("imagecodecs", ["images", "deep.avif", "out"]),
    "jxl": ("imagecodecs", ["images", "night.jxl", "out"]),
    "gcs": ("gcsfs", ["images", "gs://bucket", "out"]),
    "azure": ("adlfs", ["images", "az://bucket", "out"]),
    "http": ("aiohttp", ["images", "https://127.0.0.1/night.jpg", "out"]),
    "cluster": ("grpc", ["images", "night.heic", "out"]),
    "evaluate": ("skimage", ["evaluate", ".", "out", "--ref", "."]),
    "onnx": ("onnx", ["export", "network.onnx"]),
}
WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from jobs.cli import main
sys.exit(main(sys.argv[2:]))
"""
LIKE_WINDOWS = """
import sys
sys.platform, sys.modules["fcntl"], sys.modules["resource"] = "win32", None, None
"""
LIKE_A_MAC = """
import ctypes, os
names = "sched_ getxattr setxattr listxattr removexattr O_PATH O_TMPFILE posix_fa copy_file_range memfd_create "
names += "pidfd_open eventfd splice fdatasync getrandom pipe2"
for name in [name for name in vars(os) if name.startswith(tuple(names.split()))]:
    delattr(os, name)
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
"""
ON_A_MAC = """
import sys
from jobs import enhance
from jobs.cli import main
sys.platform = "darwin"
sys.exit(main(sys.argv[1:]))
"""

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


def _imported(python: str | Path, folder: Path, script: str = "import nightlift; nightlift.enhance") -> str:
    """What Python says last of a script that uses the library, where the script lies."""
    (folder / "script.py").write_text(script)
    done = subprocess.run([python, folder / "script.py"], env={}, capture_output=True, text=True, timeout=HANGS_S)
    return (done.stdout + done.stderr).strip().rpartition("\n")[2]


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
    (site / "dependencies.pth").write_text(str(Path(Image.__file__).parents[1]))
    install = ["--python", tmp_path / "env/bin/python", "install", "--no-deps", "--no-index", "--no-compile"]
    _pip(*install, ours)
    assert _told(command) == (0, "nightlift 0.1.0\n")
    python, scripts = tmp_path / "env/bin/python", tmp_path / "scripts"
    scripts.mkdir()
    assert _imported(python, scripts, "import nightlift; print(nightlift.load.__module__)") == "nightlift.photos"
    assert (site / "nightlift/py.typed").exists()
    _pip(*install, other)
    assert f"ImportError: nightlift: {site}/jobs/__init__.py is no longer nightlift's" in _imported(python, scripts)
    status, line = _told(command)
    assert (status, line.count("\n")) == (2, 1)
    assert f"nightlift: {site}/jobs/__init__.py is no longer nightlift's own: other has put" in line
    assert "an environment of its own (python -m venv" in line
    _pip("--python", tmp_path / "env/bin/python", "uninstall", "--yes", "other")
    status, line = _told(command)
    assert (status, line.count("\n")) == (2, 1)
    assert f"nightlift: jobs/__init__.py is missing from {site}" in line
    assert "install it again here" in line


@pytest.mark.parametrize("name", ["model.py", "pipeline/__init__.py", "jobs/__init__.py"])
def test_a_library_user_is_told_of_a_module_that_shadows_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("print('not ours')\n")
    package = name.removesuffix(".py").partition("/")[0]
    found = tmp_path / (name if "/" not in name else package)
    reason = f"nightlift: the package {package} is found at {found}, which is not nightlift's own"
    advice = "nightlift needs this name: rename yours, or start Python in another folder"
    assert _imported(sys.executable, tmp_path) == f"ImportError: {reason}; {advice}"


def test_another_checkout_is_told_as_such(tmp_path: Path) -> None:
    for name in ("jobs/__init__.py", "jobs/nightlift/entry.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    told = _imported(sys.executable, tmp_path)
    assert f"the package jobs is found at {tmp_path}/jobs, which is not nightlift's own; it is a checkout" in told


def test_a_library_user_may_have_imported_or_made_such_a_module_before(tmp_path: Path) -> None:
    made = "import sys, types; sys.modules['model'] = types.ModuleType('model')\n"
    told = _imported(sys.executable, tmp_path, made + "import nightlift; nightlift.load")
    assert told.startswith(
        "ImportError: nightlift: the package model is found at no file, which is not nightlift's own"
    )


def test_packages_that_come_before_ours_are_told(tmp_path: Path) -> None:
    other = _project(tmp_path / "other")
    status, line = _told(BIN / "nightlift", PYTHONPATH=str(other))
    assert status == 2
    assert line.startswith(f"nightlift: the package jobs is found at {other}/jobs, which is not nightlift's own;")


def _run(command: Sequence[str | Path], folder: Path, at_start: str = "", **environment: str) -> tuple[int, str]:
    """Runs a command in the folder, after what each Python does `at_start`. Returns its status and what it said."""
    (folder / "start").mkdir()
    (folder / "start/sitecustomize.py").write_text(at_start)
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    given = {**os.environ, "PYTHONPATH": str(folder / "start"), "XDG_CACHE_HOME": caches, **environment}
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=HANGS_S, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "start", [[BIN / "nightlift"], [sys.executable, "-m", "jobs.images"]], ids=["command", "module"]
)
def test_windows_is_told_where_to_start_it(tmp_path: Path, start: list[str | Path]) -> None:
    status, line = _run([*start, "--version"], tmp_path, LIKE_WINDOWS)
    assert (status, line.count("\n")) == (2, 1)
    assert "wsl --install" in line


def test_what_only_linux_has_is_not_needed(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(media.night()).save(source / "a.avif")
    (source / "street.mp4").write_bytes(clip(streets(5)))
    job = [sys.executable, "-c", ON_A_MAC, "enhance", str(source), str(out), "--no-report"]
    status, told = _run(job, tmp_path, LIKE_A_MAC)
    assert status == 0, told
    assert [row["outcome"] for row in rows_of(out)] == ["done", "done"]


@pytest.mark.parametrize("extra", [extra for extra in DECLARED if extra != "dev"])
def test_a_missing_extra_is_named_by_the_command_that_needs_it(tmp_path: Path, extra: str) -> None:
    package, arguments = NEEDS[extra]
    (tmp_path / "night.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40))
    deep = imagecodecs.avif_encode(media.night_16() >> 6, 90, bitspersample=10, pixelformat="444")
    (tmp_path / "deep.avif").write_bytes(deep)
    (tmp_path / "night.cr3").write_bytes(b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(40))
    (tmp_path / "night.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    address = {"RAY_ADDRESS": "ray://127.0.0.1:1"} if extra == "cluster" else {}
    status, told = _run([sys.executable, "-c", WITHOUT, package, *arguments], tmp_path, **address)
    assert status in ((0,) if extra == "avif" else (1, 2)), told  # without it a photo is done, with a note
    assert told.count(f'pip install "nightlift[{extra}]"') == 1
    assert "Traceback" not in told


def test_without_a_home_there_is_a_report_and_no_warning(tmp_path: Path) -> None:
    Image.fromarray(media.night()).save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    status, told = _run([BIN / "nightlift", "images", "a.png", "out"], tmp_path, HOME=str(tmp_path / "file/home"))
    assert status == 0, told
    assert "report:" in told
    assert "atplotlib" not in told and "mkdir" not in told
