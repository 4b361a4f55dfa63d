"""The house rules that a reader relies on: who imports whom, and what the packages export."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for package in ("model", "pipeline", "jobs") for path in (ROOT / package).rglob("*.py"))
FLOWS = {ROOT / "pipeline" / name for name in ("flow.py", "video_flow.py", "watched.py", "monitoring.py")}
MAY_IMPORT = {"model": {"model"}, "pipeline": {"pipeline", "model"}, "jobs": {"jobs", "pipeline", "model"}}


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in _imported(path)} & MAY_IMPORT.keys()
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_appears_in_the_flows_and_in_jobs_only(path: Path) -> None:
    uses_ray = any(name.split(".")[0] == "ray" for name in _imported(path))
    assert not uses_ray or path.parent.name == "jobs" or path in FLOWS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320


@pytest.mark.parametrize("package", ["model", "pipeline"])
def test_public_names_exist(package: str) -> None:
    module = import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)
