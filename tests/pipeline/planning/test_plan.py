import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import NotFound, UsageError
from pipeline.planning.destination import Destination
from pipeline.planning.history import History, hashes
from pipeline.planning.inputs import Selection
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind
from pipeline.planning.plan import Plan, check_found
from pipeline.planning.planner import make_plan
from pipeline.storage.storage import Storage

NO_HISTORY = History()


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"-")
    return folder


def _plan(source: Path, destination: Path, format_name: str | None = None, kind: Kind = PHOTOS, **more: object) -> Plan:
    target = Destination.of(Storage(), str(source), str(destination), kind, format_name)
    plan = make_plan(Storage(), str(source), target, Selection(**more), NO_HISTORY)  # type: ignore[arg-type]
    check_found(str(source), [plan], f"{kind.noun}s")
    return plan


def _history(done: Iterable[tuple[str, str, str]]) -> History:
    return History(done=np.sort(hashes(done)))


def _outputs(plan: Plan, root: Path) -> list[str]:
    return [record.destination.removeprefix(f"{root}/") for record in plan.records]


def test_each_photo_keeps_its_path_and_format(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.jpg", "deep/b.PNG", "deep/c.tiff")
    assert _outputs(_plan(source, tmp_path / "out"), tmp_path / "out") == ["a.jpg", "deep/b.PNG", "deep/c.tiff"]


def test_heif_becomes_jpeg_and_meets_nobody(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "IMG_1.HEIC", "IMG_1.jpg", "IMG_2.heic")
    plan = _plan(source, tmp_path / "out")
    assert _outputs(plan, tmp_path / "out") == ["IMG_1.HEIC.jpg", "IMG_1.jpg", "IMG_2.jpg"]


def test_heif_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "IMG_1.HEIC", "IMG_2.jpg")
    plan = _plan(source, tmp_path / "out", "heif")
    assert _outputs(plan, tmp_path / "out") == ["IMG_1.HEIC", "IMG_2.heic"]
    assert _outputs(_plan(source / "IMG_2.jpg", tmp_path / "2.heic"), tmp_path) == ["2.heic"]


def test_converted_names_that_would_meet_keep_their_old_extension(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.jpg", "a.png", "b.png", "c.webp", "c.png")
    plan = _plan(source, tmp_path / "out", "webp")
    assert _outputs(plan, tmp_path / "out") == ["a.jpg.webp", "a.png.webp", "b.webp", "c.png.webp", "c.webp"]


def test_a_converted_name_never_takes_one_that_is_kept(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.png", "a.webp", "a.png.webp")
    plan = _plan(source, tmp_path / "out", "webp")
    assert _outputs(plan, tmp_path / "out") == ["a.png.webp.webp", "a.png.webp", "a.webp"]


def test_converted_names_meet_kept_ones_also_where_only_their_case_differs(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "IMG_1.HEIC", "IMG_1.JPG", "IMG_2.HEIC", "img_2.heic", "\u00c4.heic", "a\u0308.jpg")
    out = tmp_path / "out"
    names = ["IMG_1.HEIC.jpg", "IMG_1.JPG", "IMG_2.HEIC.jpg", "a\u0308.jpg", "img_2.heic.jpg", "\u00c4.heic.jpg"]
    assert _outputs(_plan(source, out), out) == names


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.jpg", "notes.txt", "README", "._a.jpg")
    plan = _plan(source, tmp_path / "out")
    assert len(plan.records) == 1
    assert [(refusal.outcome().outcome, refusal.code) for refusal in plan.refused] == [("skipped", "not_a_photo")] * 3
    assert "macOS" in plan.refused[0].message
    assert "notes.txt" in plan.refused[2].message


def test_include_and_exclude(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "2023/a.jpg", "2024/b.jpg", "2024/c.png")
    kept = _plan(source, tmp_path / "out", include=("2024/*",), exclude=("*.png",))
    assert _outputs(kept, tmp_path / "out") == ["2024/b.jpg"]


def test_what_nightlift_wrote_is_not_an_input(tmp_path: Path) -> None:
    source = _fill(tmp_path, "a.jpg", "out/a.jpg", "out/_nightlift/manifest/1.parquet", "other/_nightlift/x.jpg")
    assert _outputs(_plan(source, tmp_path / "out"), tmp_path / "out") == ["a.jpg"]


def test_outputs_of_another_job_in_the_source_are_told(tmp_path: Path) -> None:
    source = _fill(tmp_path, "a.jpg", "x/y/b.jpg", "x/y/_nightlift/manifest/1.parquet", "out/_nightlift/1.parquet")
    plan = _plan(source, tmp_path / "out")
    assert plan.results == ["x/y"]
    assert len(plan.records) == 2
    assert _plan(source, tmp_path / "out", exclude=("x/y/*",)).results == []
    assert _plan(source / "x" / "y", tmp_path / "out").results == []
    (tmp_path / "x" / "y" / "b.jpg").rename(tmp_path / "x" / "y" / "b.mp4")
    assert _plan(source, tmp_path / "out").results == []


def test_one_file_to_one_file(tmp_path: Path) -> None:
    source = _fill(tmp_path, "a.jpg") / "a.jpg"
    plan = _plan(source, tmp_path / "bright" / "b.png")
    assert _outputs(plan, tmp_path) == ["bright/b.png"]


def test_places_that_make_no_sense_together(tmp_path: Path) -> None:
    _fill(tmp_path, "in/a.jpg", "in/b.jpg")
    with pytest.raises(UsageError, match="the same"):
        _plan(tmp_path / "in", tmp_path / "in")
    with pytest.raises(UsageError, match="replace a source"):
        _plan(tmp_path / "in" / "*.jpg", tmp_path / "in")
    for many in (tmp_path / "in", tmp_path / "in" / "*.jpg"):
        with pytest.raises(UsageError, match="names one photo, but SRC may hold many"):
            _plan(many, tmp_path / "out.jpg")
    with pytest.raises(UsageError, match="extension"):
        _plan(tmp_path / "in" / "a.jpg", tmp_path / "out.png", "webp")
    with pytest.raises(UsageError, match="web server"):
        Destination.of(Storage(), str(tmp_path / "in"), "https://example.com/out", PHOTOS, None)
    with pytest.raises(NotFound, match="none"):
        _plan(tmp_path / "none", tmp_path / "out")


def test_done_is_subtracted_while_source_and_output_are_as_they_were(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg"), _fill(tmp_path / "out", "a.jpg", "b.jpg")
    versions = {file.url: file.version for file in Storage().list_files(str(source))}
    versions[f"{source}/b.jpg"] = "older"
    done = _history((url, version, url.replace("/in/", "/out/")) for url, version in versions.items())
    plan = make_plan(Storage(), str(source), Destination(kind=PHOTOS, root=str(out)), Selection(), done)
    assert plan.done == 1
    assert _outputs(plan, out) == ["b.jpg", "c.jpg"]  # b has changed; c's output has vanished


def test_what_was_skipped_does_not_count_as_done(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in", "bright.jpg", "notes.txt"), _fill(tmp_path / "out", "a.jpg")
    history = _history((file.url, file.version, "") for file in Storage().list_files(str(source)))
    plan = make_plan(Storage(), str(source), Destination(kind=PHOTOS, root=str(out)), Selection(), history)
    assert (plan.records, plan.refused, plan.done) == ([], [], 0)
    assert plan.skipped == 2


def _listing_done(source: Path, out: Path, format_name: str) -> History:
    plan = make_plan(
        Storage(), str(source), Destination(kind=PHOTOS, root=str(out), format=format_name), Selection(), NO_HISTORY
    )
    for record in plan.records:
        _fill(out, record.destination.removeprefix(f"{out}/"))
    return _history((record.source, record.version, record.destination) for record in plan.records)


def test_a_collision_is_remembered_by_the_next_run(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in", "a.png", "a.jpg/b.png"), tmp_path / "out"
    history = _listing_done(source, out, "jpeg")
    plan = make_plan(
        Storage(), str(source), Destination(kind=PHOTOS, root=str(out), format="jpeg"), Selection(), history
    )
    assert (plan.records, [refusal.code for refusal in plan.refused], plan.done) == ([], ["collision"], 1)


def test_names_do_not_depend_on_the_selection(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "IMG.heic", "IMG.jpg")
    assert _outputs(_plan(source, tmp_path / "out", include=("*.heic",)), tmp_path / "out") == ["IMG.heic.jpg"]


@pytest.mark.parametrize(
    ("source", "destination", "format_name"),
    [("w/*.jpg", "w", "png"), ("w/2024", "w", None), ("w", "w/sub", None), ("w", "link", None)],
)
def test_no_original_near_the_sources_is_replaced(
    tmp_path: Path, source: str, destination: str, format_name: str | None
) -> None:
    _fill(tmp_path / "w", "a.jpg", "a.png", "2024/a.jpg", "sub/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "w")
    with pytest.raises(UsageError, match=r"replace a source|no record|the same"):
        _plan(tmp_path / source, tmp_path / destination, format_name)


def test_a_destination_inside_the_source_goes_on_in_the_next_run(tmp_path: Path) -> None:
    source = _fill(tmp_path / "w", "a.jpg", "bright/a.jpg", "bright/_nightlift/manifest/1.parquet")
    assert _outputs(_plan(source, source / "bright"), source) == ["bright/a.jpg"]


def test_names_that_are_no_text_are_refused_with_their_bytes_spelled_out(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.jpg")
    Path(os.fsdecode(os.fsencode(source / "caf") + b"\xe9.jpg")).write_bytes(b"-")
    plan = _plan(source, tmp_path / "out")
    assert [(refusal.code, refusal.source) for refusal in plan.refused] == [("bad_name", f"{source}/caf\\xe9.jpg")]
    assert len(plan.records) == 1


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.jpg")
    (source / "dangling.jpg").symlink_to(tmp_path / "none")
    [refused] = _plan(source, tmp_path / "out").refused
    assert (refused.outcome().outcome, refused.code) == ("failed", "unreadable")


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2 \.psd"):
        _plan(_fill(tmp_path / "in", "a.PSD", "b.psd"), tmp_path / "out")


def test_a_web_folder_is_told() -> None:
    with pytest.raises(UsageError, match="one photo, or a glob"):
        make_plan(
            Storage(), "https://example.com/photos/", Destination(kind=PHOTOS, root="/out"), Selection(), NO_HISTORY
        )


def test_videos_keep_their_container_where_it_is_written(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.mp4", "deep/b.MOV", "c.avi", "d.wmv", "e.mpg", "e.mp4", "photo.jpg")
    plan = _plan(source, tmp_path / "out", kind=VIDEOS)
    names = ["a.mp4", "c.mkv", "d.mkv", "deep/b.MOV", "e.mp4", "e.mpg.mp4"]
    assert sorted(_outputs(plan, tmp_path / "out")) == names
    assert [(refusal.outcome().outcome, refusal.code) for refusal in plan.refused] == [("skipped", "not_a_video")]
    assert sorted(_outputs(_plan(source, tmp_path / "out", ".mkv", VIDEOS), tmp_path / "out"))[0] == "a.mkv"


def test_one_video_and_its_new_name(tmp_path: Path) -> None:
    source = _fill(tmp_path / "in", "a.mp4")
    assert _outputs(_plan(source / "a.mp4", tmp_path / "b.mkv", kind=VIDEOS), tmp_path) == ["b.mkv"]
    for name in ("b.avi", "b.wmv"):
        with pytest.raises(UsageError, match="cannot write"):
            _plan(source / "a.mp4", tmp_path / name, kind=VIDEOS)
    with pytest.raises(UsageError, match="names one video, but SRC may hold many"):
        _plan(source, tmp_path / "b.mp4", kind=VIDEOS)
