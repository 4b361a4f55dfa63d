"""A camera raw file beside the camera's JPEG of the same shot: their names, and which of them is enhanced."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.planning.destination import Destination
from pipeline.planning.history import History, hashes
from pipeline.planning.inputs import Selection
from pipeline.planning.media_kinds import Photos
from pipeline.planning.plan import Plan
from pipeline.planning.planner import make_plan
from pipeline.storage.storage import Storage

FILES = (
    "IMG_1.CR2",
    "IMG_1.JPG",
    "img_2.nef",
    "IMG_2.jpeg",
    "IMG_3.dng",
    "IMG_4.jpg",
    "a/IMG_4.arw",
    "IMG_5.raf",
    "IMG_5.HEIC",
)


def _plan(folder: Path, kind: Photos, history: History | None = None, **selection: object) -> Plan:
    source = folder / "in"
    for name in FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if not (source / name).exists():
            (source / name).touch()
    target = Destination.of(Storage(), str(source), str(folder / "out"), kind, None)
    return make_plan(Storage(), str(source), target, Selection(**selection), history or History())  # type: ignore[arg-type]


def _outputs(plan: Plan, folder: Path) -> list[str]:
    return sorted(record.destination.removeprefix(f"{folder}/out/") for record in plan.records)


def _paired(plan: Plan) -> list[str]:
    assert {(refusal.code, refusal.ending) for refusal in plan.refused} <= {("paired", "skipped")}
    return sorted(refusal.file.relative for refusal in plan.refused)


def test_raw_files_become_tiff_and_both_of_a_pair_are_enhanced(tmp_path: Path) -> None:
    plan = _plan(tmp_path, Photos())
    assert _outputs(plan, tmp_path) == [
        *("IMG_1.JPG", "IMG_1.tif", "IMG_2.jpeg", "IMG_3.tif", "IMG_4.jpg", "IMG_5.jpg", "IMG_5.tif"),
        *("a/IMG_4.tif", "img_2.tif"),
    ]
    assert plan.refused == []


def test_previews_meet_no_jpeg_even_where_case_does_not_count(tmp_path: Path) -> None:
    outputs = _outputs(_plan(tmp_path, Photos(raw_as="jpeg")), tmp_path)
    assert outputs == [
        *("IMG_1.CR2.jpg", "IMG_1.JPG", "IMG_2.jpeg", "IMG_3.jpg", "IMG_4.jpg", "IMG_5.HEIC.jpg", "IMG_5.raf.jpg"),
        *("a/IMG_4.jpg", "img_2.jpg"),
    ]
    assert len({name.casefold() for name in outputs}) == len(FILES)


@pytest.mark.parametrize(
    ("kept", "left_out"),
    [
        ("both", []),
        ("jpeg", ["IMG_1.CR2", "IMG_5.raf", "img_2.nef"]),
        ("raw", ["IMG_1.JPG", "IMG_2.jpeg", "IMG_5.HEIC"]),
    ],
)
def test_of_a_pair_only_the_wanted_one_is_enhanced(tmp_path: Path, kept: str, left_out: list[str]) -> None:
    plan = _plan(tmp_path, Photos(raw_pairs=kept))  # type: ignore[arg-type]
    assert _paired(plan) == left_out
    assert len(plan.records) == len(FILES) - len(left_out)
    assert all(f"--raw-pairs {kept}" in refusal.message for refusal in plan.refused)


def test_a_twin_that_is_not_selected_does_not_count(tmp_path: Path) -> None:
    plan = _plan(tmp_path, Photos(raw_pairs="jpeg"), exclude=("*.JPG",))
    assert _paired(plan) == ["IMG_5.raf", "img_2.nef"]


def test_a_row_that_is_there_stays_the_newest(tmp_path: Path) -> None:
    first = _plan(tmp_path, Photos(raw_pairs="jpeg"))
    known = [(refusal.source, refusal.file.version) for refusal in first.refused]
    again = _plan(tmp_path, Photos(raw_pairs="jpeg"), History(known=np.sort(hashes(known))))
    assert again.refused == []
    assert again.skipped == len(known)
