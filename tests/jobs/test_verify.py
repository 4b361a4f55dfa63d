"""`nightlift verify`: outputs as their manifest describes them."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from pipeline.storage.storage import Storage
from tests.support.media import jpeg, night

PHOTO = jpeg(night(32, 48))


def _photos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PHOTO)
    return folder


def _verified(place: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = main(["verify", str(place)])
    return status, capsys.readouterr().out.splitlines()


def test_outputs_that_are_missing_or_changed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _photos(tmp_path / "in", "a.jpg", "b.jpg", "deep/c.jpg", "d.jpg"), tmp_path / "out"
    (source / "broken.jpg").write_bytes(b"no photo")
    assert main(["images", str(source), str(out)]) == 1
    assert _verified(out, capsys) == (0, ["4 of 4 outputs as written"])
    (out / "a.jpg").unlink()
    content = bytearray((out / "b.jpg").read_bytes())
    content[-9] ^= 1
    (out / "b.jpg").write_bytes(content)
    os.truncate(out / "deep" / "c.jpg", 10)
    (out / "mine.txt").write_text("not nightlift's")
    status, lines = _verified(out, capsys)
    assert status == 1
    assert sorted(lines[:3]) == [
        f"changed: {out}/b.jpg (its content differs)",
        f"changed: {out}/deep/c.jpg (10 bytes instead of {len((out / 'd.jpg').read_bytes()):,})",
        f"missing: {out}/a.jpg",
    ]
    assert lines[3:5] == ["not listed in the manifest: 1 file", f"  {out}/mine.txt"]
    assert lines[5:] == ["1 of 4 outputs as written; 1 missing; 2 changed"]
    assert main(["images", str(source), str(out), "--fresh"]) == 1  # b is no longer ours to replace
    assert _verified(out, capsys)[0] == 1


def test_a_destination_that_was_moved_is_verified_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images", str(_photos(tmp_path / "in", "deep/a.jpg")), str(tmp_path / "out")]) == 0
    (tmp_path / "out").rename(tmp_path / "archive")
    assert _verified(tmp_path / "archive", capsys) == (0, ["1 of 1 output as written"])


def test_a_bucket_is_verified(tmp_path: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", str(_photos(tmp_path / "in", "a.jpg", "b.jpg")), f"{bucket}/out"]) == 0
    assert _verified(f"{bucket}/out", capsys) == (0, ["2 of 2 outputs as written"])
    Storage.from_environment([bucket], {}).remove([f"{bucket}/out/a.jpg"])
    status, lines = _verified(f"{bucket}/out", capsys)
    assert (status, lines[0]) == (1, f"missing: {bucket}/out/a.jpg")


def test_a_manifest_without_checksums_is_read_and_its_outputs_are_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = _photos(tmp_path / "in", "a.jpg"), tmp_path / "out"
    assert main(["images", str(source), str(out)]) == 0
    (part,) = (out / "_nightlift" / "manifest").iterdir()
    pq.write_table(pq.read_table(part).drop_columns("sha256"), part)
    _photos(source, "b.jpg")
    assert main(["images", str(source), str(out)]) == 0
    status, lines = _verified(out, capsys)
    assert status == 1
    assert lines == ["1 of 2 outputs as written; 1 not known to be as written: an earlier version recorded no SHA-256"]


@pytest.mark.parametrize("place", ["", "missing"])
def test_a_place_without_a_manifest_is_told(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", place]) == 2
