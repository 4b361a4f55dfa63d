"""Names chosen to do harm, or that no disk takes: one outcome each, and no output outside the destination."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from pipeline.errors import printable
from pipeline.planning.destination import Destination
from pipeline.planning.history import History
from pipeline.planning.inputs import Selection
from pipeline.planning.media_kinds import PHOTOS
from pipeline.planning.plan import Plan
from pipeline.planning.planner import make_plan
from pipeline.storage.storage import Storage
from tests.support.fake_s3 import s3_in_environment
from tests.support.media import landscape
from tests.support.outputs import files_below, rows_of

FINE = [
    "plain.jpg",
    "/absolute.jpg",
    "a//twice.jpg",
    "line\nbreak.jpg",
    "\x1b[31mred.jpg",
    "\u202egpj.exe.jpg",
    "back\\..\\slash.jpg",
    "%2e%2e/escaped.jpg",
    "~root.jpg",
    "$HOME.jpg",
    "..jpg",
    "dot.jpg",
    "http://example.com/web.jpg",
    "...jpg",
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",
    "C:\\windows.jpg",
    "*.jpg",
]
REFUSED = {
    "../above.jpg": "unsafe_name",
    "a/../../above.jpg": "unsafe_name",
    "./dot.jpg": "unsafe_name",
    "a/twice.jpg": "collision",
    "x" * 300 + ".jpg": "storage",
    "plain.jpg/below.jpg": "collision",
}


@pytest.fixture
def hostile_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Image.fromarray(landscape(40, 30)).save(tmp_path / "photo.jpg")
    content = (tmp_path / "photo.jpg").read_bytes()
    with s3_in_environment(monkeypatch) as store:
        store.put("in", dict.fromkeys([*FINE, *REFUSED], content))
        yield "s3://in"


@pytest.mark.usefixtures("ray_session")
def test_no_key_leads_out_of_the_destination(
    hostile_bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["images", hostile_bucket, str(out)]) == 1
    rows = {str(row["source"]).removeprefix("s3://in/"): row for row in rows_of(out)}
    assert rows.keys() == {*FINE, *REFUSED}
    assert len(rows_of(out)) == len(rows)
    assert {key: row["code"] for key, row in rows.items() if row["outcome"] != "done"} == REFUSED
    assert all(Path(os.path.normpath(str(rows[key]["destination"]))).is_file() for key in FINE)
    assert {path for path in files_below(tmp_path) if out not in path.parents} == {tmp_path / "photo.jpg"}
    told = capfd.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "(raylet)" not in line]  # Ray colours its own
    assert not [line for line in lines if "\x1b" in line or "\u202e" in line]
    assert main(["images", hostile_bucket, str(out)]) == 1
    assert f"by earlier runs: {len(FINE)} done" in capfd.readouterr().out


def test_a_file_is_no_folder_whichever_comes_first(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "a.jpg").mkdir(parents=True)
    for name in ("a.jpg/b.png", "a.png"):
        (source / name).write_bytes(b"-")
    target = Destination(kind=PHOTOS, root=str(out), format="jpeg")
    plan = make_plan(Storage(), str(source), target, Selection(), History())
    assert _names(plan, out) == ["a.jpg/b.jpg"]
    assert [refusal.code for refusal in plan.refused] == ["collision"]


def _plan(source: Path, out: Path, *, follow_links: bool = False, ignoring_case: bool = False) -> Plan:
    selection = Selection(follow_links=follow_links)
    target = Destination(kind=PHOTOS, root=str(out))
    return make_plan(Storage(), str(source), target, selection, History(), ignoring_case=ignoring_case)


def _names(plan: Plan, out: Path) -> list[str]:
    return [record.destination.removeprefix(f"{out}/") for record in plan.records]


def test_twins_on_a_disk_that_does_not_tell_them_apart(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("A.jpg", "a.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg"):
        (source / name).write_bytes(b"-")
    assert len(_names(_plan(source, out), out)) == 4
    plan = _plan(source, out, ignoring_case=True)
    assert len(_names(plan, out)) == 2
    assert [refusal.code for refusal in plan.refused] == ["collision"] * 2


def test_a_disk_is_asked_whether_it_tells_names_apart_before_anything_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Storage().ignores_case(str(tmp_path / "new" / "_nightlift"), probe=True)

    def exists(path: Path) -> bool:
        return path.name.casefold() in {name.casefold() for name in os.listdir(path.parent)}  # noqa: PTH208

    monkeypatch.setattr(Path, "exists", exists)
    assert Storage().ignores_case(str(tmp_path / "_nightlift"), probe=True)
    assert not Storage().ignores_case(str(tmp_path / "_nightlift"))
    assert list(tmp_path.iterdir()) == []


def test_whether_a_disk_tells_names_apart_is_asked_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "_nightlift").mkdir()
    assert not Storage().ignores_case(str(tmp_path / "_nightlift"))
    assert not Storage().ignores_case(str(tmp_path / "none"))
    (tmp_path / "_NIGHTLIFT").mkdir(exist_ok=True)  # as if there were but one
    assert Storage().ignores_case(str(tmp_path / "_nightlift"))
    assert not Storage().ignores_case("s3://bucket/_nightlift")


def test_links_out_of_the_source_are_inputs_only_if_asked_for(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("in/a.jpg", "private/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"-")
    (source / "link.jpg").symlink_to(tmp_path / "private" / "b.jpg")
    (source / "folder").symlink_to(tmp_path / "private")
    plan = _plan(source, out)
    assert _names(plan, out) == ["a.jpg"]
    assert {(refusal.outcome().outcome, refusal.code) for refusal in plan.refused} == {("skipped", "not_followed")}
    assert _names(_plan(source, out, follow_links=True), out) == ["a.jpg", "folder/b.jpg", "link.jpg"]


def test_what_is_shown_moves_no_cursor() -> None:
    assert printable("a\x1b[31m\r\n\u202e夜é.jpg") == "a\\x1b[31m\\r\\n\\u202e夜é.jpg"
