"""Camera raw files and JPEG XL through the photo job, without Ray."""

import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.images import decode
from pipeline.images.jxl import libjxl
from tests.support import media, raw_files
from tests.support.outputs import rows_of, tree


def _fill(folder: Path) -> Path:
    folder.mkdir()
    scene = media.night()
    preview = media.jpeg(scene, quality=95)
    (folder / "IMG_1.DNG").write_bytes(raw_files.dng(raw_files.linear(scene), jpeg=preview))
    (folder / "IMG_1.JPG").write_bytes(preview)
    (folder / "IMG_2.jxl").write_bytes(imagecodecs.jpegxl_encode(scene, lossless=True))
    return folder


def _job(source: Path, out: Path, *flags: str) -> list[str]:
    return ["images", str(source), str(out), "--denoise", "0", *flags]


def _outcomes(out: Path) -> dict[str, str]:
    return {Path(str(row["source"])).name: str(row["code"] or row["outcome"]) for row in rows_of(out)}


def _mean(path: Path) -> float:
    (frame,) = decode(path.read_bytes(), max_pixels=1_000_000).frames
    return float(frame.pixels.mean() / np.iinfo(frame.pixels.dtype).max)


def test_raw_becomes_a_brighter_tiff_of_16_bits_and_jpeg_xl_stays_lossless(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in"), tmp_path / "out"
    assert main(_job(source, out)) == 0
    assert tree(out).keys() == {"IMG_1.tif", "IMG_1.JPG", "IMG_2.jxl"}
    developed = decode((out / "IMG_1.tif").read_bytes(), max_pixels=1_000_000)
    assert developed.frames[0].pixels.dtype == np.uint16
    assert abs(_mean(out / "IMG_1.tif") - _mean(out / "IMG_1.JPG")) < 0.02
    assert _mean(out / "IMG_1.tif") > 1.5 * _mean(source / "IMG_1.JPG")
    again = decode((out / "IMG_2.jxl").read_bytes(), max_pixels=1_000_000)
    assert again.coding.lossless and _mean(out / "IMG_2.jxl") > 1.5 * _mean(source / "IMG_2.jxl")
    row = next(row for row in rows_of(out) if str(row["source"]).endswith(".DNG"))
    assert row["notes"] == ["maker note dropped: it is valid only inside the raw file"]


def test_previews_are_jpegs_and_pairs_are_one_if_asked(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in"), tmp_path / "out"
    pair = _job(source, out, "--raw", "preview", "--raw-pairs", "jpeg")
    assert main(pair) == 0
    assert _outcomes(out) == {"IMG_1.DNG": "paired", "IMG_1.JPG": "done", "IMG_2.jxl": "done"}
    assert main(pair) == 0
    assert len(rows_of(out)) == 3  # nothing was new
    assert main(_job(source, out, "--raw", "preview")) == 0
    assert _outcomes(out)["IMG_1.DNG"] == "done"
    with Image.open(out / "IMG_1.DNG.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (96, 64))
    assert main(pair) == 0
    assert len(rows_of(out)) == 4


def test_all_become_jpeg_xl_if_asked(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in"), tmp_path / "out"
    assert main(_job(source, out, "--format", "jxl")) == 0
    assert tree(out).keys() == {"IMG_1.DNG.jxl", "IMG_1.JPG.jxl", "IMG_2.jxl"}
    assert imagecodecs.jpegxl_decode((out / "IMG_1.DNG.jxl").read_bytes()).dtype == np.uint16


def test_jpeg_xl_that_cannot_be_written_here_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    libjxl.library.cache_clear()
    assert main(_job(_fill(tmp_path / "in"), tmp_path / "out", "--format", "jxl")) == 2
    assert 'pip install "nightlift[jxl]"' in capsys.readouterr().err
    libjxl.library.cache_clear()


def test_what_is_left_out_for_its_twin_is_not_copied_as_another_file(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in"), tmp_path / "out"
    (source / "IMG_1.xmp").write_bytes(b"<x:xmpmeta/>")
    (source / "IMG_2.jxl").rename(source / "IMG_2")
    (source / "IMG_3").write_bytes((source / "IMG_1.JPG").read_bytes())
    (source / "IMG_3.DNG").write_bytes((source / "IMG_1.DNG").read_bytes())
    for pairs, expected in (("jpeg", {"IMG_1.JPG", "IMG_3"}), ("raw", {"IMG_1.tif", "IMG_3.tif"})):
        job = _job(source, out / pairs, "--raw-pairs", pairs, "--others", "copy")
        assert main(job) == 0
        assert tree(out / pairs).keys() == {*expected, "IMG_1.xmp", "IMG_2"}
        rows = len(rows_of(out / pairs))
        assert main(job) == 0
        assert len(rows_of(out / pairs)) == rows == 6


def test_another_way_to_read_raw_files_redoes_raw_files_only(tmp_path: Path) -> None:
    source, out = _fill(tmp_path / "in"), tmp_path / "out"
    (source / "IMG_2.jxl").unlink()
    for flags in ((), ("--format", "png")):
        assert main(_job(source, out, *flags)) == 0
        rows = len(rows_of(out))
        assert main(_job(source, out, "--raw", "preview", *flags)) == 0
        assert [Path(str(row["source"])).name for row in rows_of(out)[rows:]] == ["IMG_1.DNG"]
        assert main(_job(source, out, "--raw", "preview", *flags)) == 0
        assert len(rows_of(out)) == rows + 1


def test_the_preview_of_a_raw_file_named_like_a_tiff_becomes_a_jpeg(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    scene = media.night()
    (source / "a.tif").write_bytes(raw_files.dng(raw_files.linear(scene), jpeg=media.jpeg(scene)))
    (source / "scan.tif").write_bytes(media.saved(scene, "TIFF"))
    for expected in (2, 2):
        assert main(_job(source, out, "--raw", "preview")) == 0
        assert len(rows_of(out)) == expected
    assert {name: Image.open(out / name).format for name in tree(out)} == {"a.jpg": "JPEG", "scan.tif": "TIFF"}
    assert main(_job(source / "a.tif", tmp_path / "alone", "--raw", "preview")) == 0
    assert tree(tmp_path / "alone").keys() == {"a.jpg"}
    assert main(_job(source, tmp_path / "developed")) == 0
    assert tree(tmp_path / "developed").keys() == {"a.tif", "scan.tif"}


def test_a_bright_photo_that_was_copied_is_skipped_in_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jpg").write_bytes(media.jpeg(media.night()))
    (source / "b.jpg").write_bytes(media.jpeg(np.full((48, 64, 3), 200, np.uint8)))
    bright = _job(source, out, "--skip-bright", "copy")
    assert main(bright) == 0
    assert "photos: 1 done, 1 skipped in" in capsys.readouterr().out
    assert main(bright) == 0
    assert "by earlier runs: 1 done, 1 skipped" in capsys.readouterr().out
