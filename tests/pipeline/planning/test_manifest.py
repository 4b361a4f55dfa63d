import json
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import ManifestError, NotFound, StorageError
from pipeline.planning.history import History
from pipeline.planning.manifest import KEY, MERGE_PARTS, Manifest
from pipeline.records import OUTCOME_SCHEMA, Outcome, Record
from pipeline.storage.storage import Storage


def _manifest(folder: Path, fingerprint: str = "f1") -> Manifest:
    return Manifest(Storage(), str(folder), fingerprint, {"iterations": 8})


def _done(source: str, version: str = "v1") -> Outcome:
    record = Record(source=source, version=version, size_bytes=3, destination=f"/out{source}")
    return replace(Outcome.of(record), outcome="done", bytes_out=3, notes=["palette became RGB"])


def _is_done(history: History, source: str, version: str = "v1") -> bool:
    return history.is_done(source, version, f"/out{source}")


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / "_nightlift" / "manifest").iterdir())


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg"), _done("/b.jpg")])
    manifest.close()
    table = manifest.read()
    assert table.schema.names == OUTCOME_SCHEMA.names
    rows = table.to_pylist()
    assert [row["source"] for row in rows] == ["/a.jpg", "/b.jpg"]
    assert {row["fingerprint"] for row in rows} == {"f1"}
    assert {row["run"] for row in rows} == {manifest.run}
    assert rows[0]["notes"] == ["palette became RGB"]


def test_other_tools_read_the_folder(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg")])
    manifest.close()
    assert pq.read_table(tmp_path / "_nightlift" / "manifest").num_rows == 1


def test_a_run_begins_with_a_record_of_its_settings_or_not_at_all(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.begin()
    [record] = (tmp_path / "_nightlift" / "runs").iterdir()
    assert json.loads(record.read_text()) == {
        "run": manifest.run,
        "root": str(tmp_path),
        "fingerprint": "f1",
        "iterations": 8,
    }
    (tmp_path / "file").write_bytes(b"-")
    with pytest.raises(StorageError, match="file"):
        _manifest(tmp_path / "file").begin()


def test_rows_are_on_storage_within_moments_while_the_run_goes_on(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg")])
    deadline = time.monotonic() + 30
    while not _is_done(_manifest(tmp_path).history(), "/a.jpg") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _is_done(_manifest(tmp_path).history(), "/a.jpg")
    manifest.close()


def test_done_is_what_the_newest_row_says_under_the_same_fingerprint(tmp_path: Path) -> None:
    first = _manifest(tmp_path)
    first.append([_done("/a.jpg"), _done("/b.jpg"), _done("/c.jpg")])
    first.close()
    second = _manifest(tmp_path)
    second.append([replace(_done("/b.jpg"), outcome="failed", code="damaged"), _done("/c.jpg", "v2")])
    second.close()
    history = _manifest(tmp_path).history()
    assert _is_done(history, "/a.jpg")
    assert not _is_done(history, "/b.jpg")
    assert _is_done(history, "/c.jpg", "v2")
    assert not _is_done(history, "/c.jpg", "v1")
    assert len(history.done) == 2
    assert not len(_manifest(tmp_path, "f2").history().done)
    assert not len(history.without_done().done)


def test_a_later_run_counts_though_an_earlier_ones_clock_was_ahead(tmp_path: Path) -> None:
    ahead, begun = "20990101T000000000000-ffff", datetime(2099, 1, 1, tzinfo=UTC)
    first = _manifest(tmp_path)
    first.run = ahead
    first.append([replace(_done("/a.jpg"), outcome="failed", code="damaged", started_at=begun)])
    first.close()
    for name in ("runs", "manifest"):  # either tells that there was such a run
        second = _manifest(tmp_path / name)
        (tmp_path / name / "_nightlift").mkdir(parents=True)
        shutil.copytree(tmp_path / "_nightlift" / "manifest", tmp_path / name / "_nightlift" / "manifest")
        if name == "runs":
            part = next((tmp_path / name / "_nightlift" / "manifest").iterdir())
            part.rename(part.with_name("20200101T000000000000-0000-00000.parquet"))
            (tmp_path / name / "_nightlift" / "runs").mkdir()
            (tmp_path / name / "_nightlift" / "runs" / f"{ahead}.json").write_text("{}")
        second.begin()
        second.append([_done("/a.jpg")])
        second.close()
        third = _manifest(tmp_path / name)
        assert _is_done(third.history(), "/a.jpg")
        assert third.read().column("outcome").to_pylist() == ["failed", "done"]
        third.begin()
        assert ahead < second.run < third.run


def test_rows_of_a_bucket_that_had_another_name_count(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([replace(_done("s3a://b/in/a.jpg"), destination="s3a://b/out/a.jpg", bytes_out=7)])
    manifest.close()
    history = _manifest(tmp_path).history()
    assert history.is_done("s3://b/in/a.jpg", "v1", "s3://b/out/a.jpg")
    assert history.known_bytes("s3://b/out/a.jpg") == 7


def test_history_knows_every_file_that_any_run_wrote(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg"), replace(_done("/b.txt"), outcome="skipped", bytes_out=0)])
    manifest.close()
    history = _manifest(tmp_path, "f2").history()
    assert (history.known_bytes("/out/a.jpg") > 0, history.known_bytes("/out/b.txt")) == (True, 0)
    assert (history.is_known("/b.txt", "v1"), history.is_known("/b.txt", "v2")) == (True, False)
    assert manifest.outputs() == {"/out/a.jpg"}


def test_rows_that_come_faster_than_they_are_written_wait_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.planning.manifest.MOST_PENDING", 10)
    monkeypatch.setattr("pipeline.planning.manifest.FLUSH_S", 60.0)
    manifest = _manifest(tmp_path)
    manifest.append(_done(f"/{number}.jpg") for number in range(25))
    assert _manifest(tmp_path).read().num_rows == 20
    manifest.close()
    assert _manifest(tmp_path).read().num_rows == 25


def test_an_output_that_another_source_replaced_is_work_again(tmp_path: Path) -> None:
    for source in ("/one/a.jpg", "/two/a.jpg"):
        manifest = _manifest(tmp_path)
        manifest.run = f"{source}-run"
        manifest.append([replace(_done(source), destination="/out/a.jpg")])
        manifest.close()
    history = _manifest(tmp_path).history()
    assert history.is_done("/two/a.jpg", "v1", "/out/a.jpg")
    assert len(history.done) == 1


def test_an_older_output_that_was_replaced_does_not_undo_a_newer_one(tmp_path: Path) -> None:
    for run, source, target in (("1", "/one.jpg", "/a"), ("2", "/two.jpg", "/a"), ("3", "/one.jpg", "/b")):
        manifest = _manifest(tmp_path)
        manifest.run = run
        manifest.append([replace(_done(source), destination=target)])
        manifest.close()
    history = _manifest(tmp_path).history()
    assert history.is_done("/one.jpg", "v1", "/b")
    assert history.is_done("/two.jpg", "v1", "/a")
    assert len(history.done) == 2


def test_rows_wait_for_storage_that_fails_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = _manifest(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "write", _fail)
        manifest.append([_done("/a.jpg")])
        with pytest.raises(ManifestError, match="1 row "):
            manifest.close()
    manifest.close()
    assert _is_done(_manifest(tmp_path).history(), "/a.jpg")


def _fail(*_: object) -> None:
    raise StorageError("the disk is full")


def test_a_skipped_row_without_output_is_done_too(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([replace(_done("/a.txt"), outcome="skipped", code="not_a_photo", bytes_out=0)])
    manifest.close()
    assert manifest.history().is_done("/a.txt", "v1", "")


def test_many_parts_are_merged_and_no_row_is_lost(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    for number in range(3 * MERGE_PARTS + 5):
        manifest.append([_done(f"/{number}.jpg")])
        manifest._flush()
        assert len(_parts(tmp_path)) <= 2 * MERGE_PARTS
    manifest.close()
    assert len(_parts(tmp_path)) == 1
    assert len(manifest.history().done) == 3 * MERGE_PARTS + 5


def test_a_part_that_is_not_seen_while_others_are_merged_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = _manifest(tmp_path)
    for name in ("/a.jpg", "/b.jpg", "/c.jpg"):
        manifest.append([_done(name)])
        manifest._flush()
    unseen, read = _parts(tmp_path)[1].name, Storage.read

    def lagging(self: Storage, url: str) -> bytes:
        if url.endswith(unseen):
            raise NotFound(f"{url}: nothing is there")
        return read(self, url)

    with monkeypatch.context() as broken:
        broken.setattr(Storage, "read", lagging)
        manifest.close()
    assert _parts(tmp_path)[0].name == unseen
    assert manifest.read().num_rows == 3


def test_rows_are_taken_while_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, write, slow = _manifest(tmp_path), Storage.write, threading.Event()

    def waiting(self: Storage, url: str, data: bytes) -> None:
        assert slow.wait(60)
        write(self, url, data)

    monkeypatch.setattr(Storage, "write", waiting)
    for name in ("/a.jpg", "/b.jpg"):
        manifest.append([_done(name)])
        time.sleep(0.5)  # until the first is being written
    slow.set()
    manifest.close()
    assert manifest.read().num_rows == 2


def test_what_small_runs_leave_is_compacted_and_whole_parts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(MERGE_PARTS + 1):
        manifest = _manifest(tmp_path)
        manifest.append([_done(f"/{number}.jpg")])
        manifest.close()
    assert len(_parts(tmp_path)) == 1
    assert manifest.read().num_rows == MERGE_PARTS + 1
    monkeypatch.setattr("pipeline.planning.manifest.WHOLE_PART_BYTES", 1)
    manifest = _manifest(tmp_path)
    for number in range(3):
        manifest.append([_done(f"/more-{number}.jpg")])
        manifest._flush()
    manifest.close()
    assert len(_parts(tmp_path)) == 4


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg")])
    manifest.close()
    [part] = _parts(tmp_path)
    part.write_bytes(b"PAR1 not really")
    with pytest.raises(ManifestError, match=part.name):
        manifest.history()


def test_parts_of_earlier_versions_are_read_and_merged(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.append([_done("/a.jpg")])
    manifest.close()
    [part] = _parts(tmp_path)
    pq.write_table(pq.read_table(part).drop_columns(["sha256", "night_s"]), part)
    manifest.append([replace(_done("/b.jpg"), sha256="ab", night_s=2.0)])
    manifest.close()
    assert len(_parts(tmp_path)) == 1
    assert manifest.read()["sha256"].to_pylist() == manifest.read(["sha256", *KEY])["sha256"].to_pylist() == ["", "ab"]
    assert manifest.read()["night_s"].to_pylist() == [None, 2.0]
