"""What a job finds at its source: everything but what nightlift keeps there and what the job itself writes."""

from glob import escape
from pathlib import Path

import pytest

from pipeline.planning.inputs import Inputs
from pipeline.planning.manifest import Manifest
from pipeline.planning.path_list import PathList
from pipeline.records import Outcome
from pipeline.storage.storage import Storage

FILES = ("a.jpg", "sub/b.jpg", "sub/_nightlift/manifest/x", "_nightlift/runs/y", "out/c.jpg", "out/deep/d.jpg")


@pytest.fixture(params=["in", "in [2024]*"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of a plain name, or of one that would be a pattern if there were no such folder."""
    for name in FILES:
        path = tmp_path / request.param / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / str(request.param)


def _found(source: Path | str, outside: Path | str = "", *, follow_links: bool = False) -> list[str]:
    inputs = Inputs(Storage(), str(source), follow_links=follow_links, outside=str(outside))
    return [file.relative for file in inputs.sorted()]


def test_what_nightlift_keeps_is_left_out_and_where_it_wrote_is_told(folder: Path) -> None:
    inputs = Inputs(Storage(), str(folder), follow_links=False)
    assert [file.relative for file in inputs.sorted()] == ["a.jpg", "out/c.jpg", "out/deep/d.jpg", "sub/b.jpg"]
    assert list(inputs.written) == ["sub"]


def test_what_the_job_writes_inside_its_source_is_left_out(folder: Path, tmp_path: Path) -> None:
    assert _found(folder, folder / "out") == ["a.jpg", "sub/b.jpg"]
    assert _found(f"{escape(str(folder))}/*/*.jpg", folder / "out")[-1].endswith("sub/b.jpg")
    (tmp_path / "link").symlink_to(folder)
    for source, outside in ((tmp_path / "link", folder / "out"), (folder, tmp_path / "link" / "out")):
        assert _found(source, outside) == ["a.jpg", "sub/b.jpg"]
    assert _found(folder, folder / "ou") == _found(folder)


@pytest.mark.parametrize("outside", ["..", ".", "out"])
def test_a_source_inside_the_destination_is_listed_whole(folder: Path, outside: str) -> None:
    assert _found(folder / "out", folder / outside) == ["c.jpg", "deep/d.jpg"]
    assert _found(folder / "a.jpg", folder / outside) == ["a.jpg"]


def test_a_destination_that_is_a_link_inside_the_source_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "out").rename(tmp_path / "large disk")
    (folder / "out").symlink_to(tmp_path / "large disk")
    for follow_links in (False, True):
        found = _found(f"{escape(str(folder))}/*/*.jpg", folder / "out", follow_links=follow_links)
        assert [name.rpartition("/")[2] for name in found] == ["b.jpg"]


def test_links_into_the_destination_are_left_out(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    out.mkdir()
    (out / "e.jpg").touch()
    (folder / "sub" / "there").symlink_to(out)
    assert "sub/there/e.jpg" in _found(folder, follow_links=True)
    assert "sub/there/e.jpg" not in _found(folder, out, follow_links=True)
    assert "a.jpg" in _found(folder, out, follow_links=True)


def test_folders_that_other_jobs_wrote_to_are_found_above_files_that_are_named(tmp_path: Path) -> None:
    manifest = Manifest(Storage(), f"{tmp_path}/lit", "f1", {})
    for name in ("lit/deep/a.jpg", "lit/b.jpg", "dark/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"-")
    names = [f"{tmp_path}/lit/{name}" for name in ("deep/a.jpg", "b.jpg")]
    manifest.append(Outcome(source="/a", version="", destination=name, outcome="done", bytes_out=1) for name in names)
    manifest.close()
    listed = PathList("list", f"{tmp_path}/dark/c.jpg\n{tmp_path}/lit/deep/a.jpg".encode())
    named = [listed, f"{tmp_path}/lit/*/a.jpg", f"{tmp_path}/lit/b.jpg", f"{tmp_path}/lit/**"]
    for source in named:
        inputs = Inputs(Storage(), source, follow_links=False)
        inputs.sorted()
        assert inputs.written_above("/out") == [f"{tmp_path}/lit"]
        assert inputs.written_above(f"{tmp_path}/lit") == []
    (tmp_path / "lit" / "mine.jpg").write_bytes(b"-")
    for place in ("dark", "lit", "lit/mine.jpg"):  # a folder that is named itself is meant
        inputs = Inputs(Storage(), f"{tmp_path}/{place}", follow_links=False)
        inputs.sorted()
        assert inputs.written_above("/out") == []
