"""The steps without a cluster: exactly one outcome for each record, whatever happens."""

import io
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.images import ImagesConfig
from model import DEFAULT_WEIGHTS, Architecture, Checkpoint, Look, build, load
from pipeline.errors import UsageError
from pipeline.images import decode
from pipeline.images.photo import Samples
from pipeline.luma import mean_luma
from pipeline.photos import EncodeAndWrite, Enhance, PhotoSettings, PhotoSteps, PhotoWork, ReadAndDecode
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from tests.support import gain_maps, media

CHECKPOINT = Checkpoint(network=build(Architecture(map_channels=1)), estimate_size=256)


def _png(level: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 30), (level, level, level)).save(sink, "png")
    return sink.getvalue()


def _record(folder: Path, name: str, content: bytes, destination: str = "") -> Record:
    path = folder / name
    path.write_bytes(content)
    target = str(folder / "out" / (destination or name))
    return Record(source=str(path), version=Storage().version(str(path)), size_bytes=len(content), destination=target)


def _run(record: Record, settings: PhotoSettings = PhotoSettings()) -> Outcome:
    return PhotoSteps.of(Storage(), settings, CHECKPOINT)(PhotoWork.of(record)).outcome


def test_a_photo_that_is_written_is_let_go(tmp_path: Path) -> None:
    """Its outcome waits for those of the other photos of its block."""
    work = PhotoWork.of(_record(tmp_path, "a.png", _png(20)))
    assert PhotoSteps.of(Storage(), PhotoSettings(), CHECKPOINT)(work).photo is None


def test_a_photo_is_done_and_its_row_says_all(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.png", _png(20))
    outcome = _run(record)
    written = Path(record.destination).read_bytes()
    assert (outcome.outcome, outcome.code, outcome.message) == ("done", "", "")
    assert (outcome.width_px, outcome.height_px, outcome.frames) == (40, 30, 1)
    assert (outcome.bytes_in, outcome.bytes_out) == (record.size_bytes, len(written))
    assert outcome.luma_before == pytest.approx(20 / 255)
    assert outcome.luma_after == pytest.approx(mean_luma(decode(written, max_pixels=10_000).frames[0].pixels))
    assert all(getattr(outcome, f"seconds_{step}") > 0 for step in ("read", "decode", "enhance", "encode", "write"))


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty"), (b"hello, I am text", "not_media"), (_png(20)[:-30], "damaged")],
)
def test_a_bad_file_fails_with_its_code_and_name_and_writes_nothing(tmp_path: Path, content: bytes, code: str) -> None:
    record = _record(tmp_path, "bad.png", content)
    outcome = _run(record)
    assert (outcome.outcome, outcome.code) == ("failed", code)
    assert outcome.message.startswith("bad.png: ")
    assert not Path(record.destination).exists()


def test_a_photo_that_grows_after_it_was_listed_is_not_done(tmp_path: Path) -> None:
    """Read to its end, it may be half of what it becomes."""
    record = _record(tmp_path, "a.png", _png(20))
    with Path(record.source).open("ab") as file:
        file.write(b"\0")
    outcome = _run(record)
    assert (outcome.outcome, outcome.code) == ("failed", "changed")
    assert not Path(record.destination).exists()


def test_a_file_that_vanished_fails(tmp_path: Path) -> None:
    record = _record(tmp_path, "gone.png", b"-")
    Path(record.source).unlink()
    assert _run(record).code == "not_found"


def test_too_many_pixels(tmp_path: Path) -> None:
    outcome = _run(_record(tmp_path, "big.png", _png(20)), PhotoSettings(max_pixels=1000))
    assert (outcome.outcome, outcome.code) == ("failed", "too_large")
    assert "--max-pixels" in outcome.message


def test_what_nobody_foresaw_is_an_outcome_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.photos.decode", lambda *_, **__: 1 / 0)
    outcome = _run(_record(tmp_path, "a.png", _png(20)))
    assert (outcome.outcome, outcome.code) == ("failed", "internal")
    assert "ZeroDivisionError" in outcome.message


def test_a_destination_that_cannot_be_written_is_an_outcome(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.png", _png(20))
    (tmp_path / "out").write_bytes(b"a file where a folder should be")
    assert _run(record).code == "storage"


@pytest.mark.parametrize("level", [20, 200])
def test_skip_bright_leaves_bright_photos_out(tmp_path: Path, level: int) -> None:
    record = _record(tmp_path, "a.png", _png(level))
    outcome = _run(record, PhotoSettings(skip_bright="leave"))
    assert (outcome.outcome, outcome.code) == (("skipped", "already_bright") if level == 200 else ("done", ""))
    assert Path(record.destination).exists() == (level == 20)


def test_skip_bright_copies_byte_for_byte_or_into_the_asked_format(tmp_path: Path) -> None:
    same = _record(tmp_path, "a.png", _png(200))
    other = replace(same, destination=str(tmp_path / "out" / "a.bmp"))
    for record in (same, other):
        outcome = _run(record, PhotoSettings(skip_bright="copy"))
        assert (outcome.outcome, outcome.code) == ("skipped", "already_bright")
        assert outcome.bytes_out > 0
    assert Path(same.destination).read_bytes() == _png(200)
    assert (np.asarray(Image.open(other.destination)) == 200).all()


def test_heic_is_asked_for_only_where_it_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ImagesConfig(src="in", dst="out", format="heic").format_name == "heif"
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UsageError, match=r'^--format heic: to write it, install .*: pip install "nightlift\[heif\]"$'):
        ImagesConfig(src="in", dst="out", format="heic").format_name  # noqa: B018


@pytest.mark.parametrize("skip", [True, False])
def test_skip_hdr_leaves_photos_with_gain_maps_out(tmp_path: Path, skip: bool) -> None:
    coded = [media.jpeg(media.night(size, size)) for size in (64, 32)]
    with_map = gain_maps.ultra_hdr(*coded, xmp=gain_maps.hdrgm(0, 2))
    outcome = _run(_record(tmp_path, "a.jpg", with_map), PhotoSettings(skip_hdr=skip, skip_bright="copy"))
    assert (outcome.outcome, outcome.code, outcome.notes) == (("skipped", "is_hdr", []) if skip else ("done", "", []))
    assert outcome.message == (
        "a.jpg: it is made for HDR screens, and --skip-hdr leaves such photos out" if skip else ""
    )
    other = _run(_record(tmp_path, "b.jpg", coded[0]), PhotoSettings(skip_hdr=skip))
    assert other.outcome == "done"


def test_a_wrong_extension_is_noted_and_the_name_decides_what_is_written(tmp_path: Path) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(sink, "bmp")
    record = _record(tmp_path, "a.png", sink.getvalue())
    assert any("bmp" in note for note in _run(record).notes)
    with Image.open(record.destination) as written:
        assert written.format == "PNG"


def test_settled_photos_pass_the_later_steps_untouched(tmp_path: Path) -> None:
    settings = PhotoSettings()
    records = (_record(tmp_path, "bad.png", b""), _record(tmp_path, "a.png", _png(20)))
    works = [ReadAndDecode(Storage(), settings)(PhotoWork.of(record)) for record in records]
    works = [Enhance(CHECKPOINT, settings, "cpu")(work) for work in works]
    works = [EncodeAndWrite(Storage(), settings)(work) for work in works]
    assert [work.outcome.outcome for work in works] == ["failed", "done"]


def test_denoise_leaves_alpha_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 60, (30, 40, 4), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(sink, "png")
    record = _record(tmp_path, "a.png", sink.getvalue())
    assert _run(record, PhotoSettings(look=Look(denoise=2))).outcome == "done"
    with Image.open(record.destination) as written:
        assert (np.asarray(written)[..., 3] == pixels[..., 3]).all()


@pytest.mark.parametrize("wrong", [-1.0, 2.5, float("nan")])
def test_a_denoise_out_of_range_is_wrong_usage(wrong: float) -> None:
    with pytest.raises(UsageError, match=f"--denoise is {wrong}; it must be auto, or between 0 and 2"):
        ImagesConfig(src=".", dst="out", denoise=wrong).photo_settings(CHECKPOINT)


def test_fingerprint_changes_with_all_that_decides_the_output() -> None:
    other = Checkpoint(network=build(Architecture()), estimate_size=256)
    settings = [
        PhotoSettings(),
        PhotoSettings(look=Look(strength=0.5)),
        PhotoSettings(look=Look(denoise=0.5)),
        PhotoSettings(look=Look(denoise=1.0)),
        PhotoSettings(quality=80),
        PhotoSettings(estimate_size=None),
        PhotoSettings(skip_bright="copy"),
        PhotoSettings(skip_hdr=True),
    ]
    assert len({each.fingerprint(CHECKPOINT) for each in settings} | {PhotoSettings().fingerprint(other)}) == 9
    assert PhotoSettings().fingerprint(CHECKPOINT) == PhotoSettings().fingerprint(CHECKPOINT)


def _decoded(folder: Path, name: str, width: int, height: int) -> PhotoWork:
    sink = io.BytesIO()
    noise = np.random.default_rng(width).integers(0, 60, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(sink, "png")
    return ReadAndDecode(Storage(), SMALL)(PhotoWork.of(_record(folder, name, sink.getvalue())))


def _roughness(pixels: Samples) -> float:
    """Return the deviation of luma within squares of 8 pixels, in levels."""
    squares = (pixels @ np.array([0.3, 0.59, 0.11])).reshape(len(pixels) // 8, 8, -1, 8)
    return float((squares - squares.mean((1, 3), keepdims=True)).std())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("png", {}),
        ("jpeg", {"quality": 100, "subsampling": 0}),
        ("jpeg", {"quality": 95}),
        ("jpeg", {"quality": 85}),
        ("jpeg", {"quality": 75}),
        ("webp", {"quality": 80}),
        ("webp", {"lossless": True}),
        ("avif", {"quality": 75}),
        ("tiff", {"compression": "jpeg", "quality": 75}),
    ],
)
def test_dark_noise_that_a_codec_reduced_to_specks_is_not_lifted(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """In some blocks nothing is left of it, so that it cannot be measured; alone, the curve makes 4 levels of it."""
    y, x = np.mgrid[:96, :128] / 96
    noise = np.random.default_rng(0).normal(0, 1.2, (96, 128, 3))
    dark = (np.stack((6 + 5 * x, 7 + 5 * y, 9 + 3 * x), -1) + noise).clip(0, 255).round().astype(np.uint8)
    work = PhotoWork.of(_record(tmp_path, f"a.{name}", media.saved(dark, name, **options)))
    enhance = Enhance(load(DEFAULT_WEIGHTS["dce"]), PhotoSettings(), "cpu")
    photo = enhance(ReadAndDecode(Storage(), PhotoSettings())(work)).photo
    assert photo is not None
    assert photo.frames[0].pixels.mean() > 3 * dark.mean()
    assert _roughness(photo.frames[0].pixels) < 0.8


SMALL = PhotoSettings(estimate_size=32, precision="fp32")


def test_photos_of_one_shape_are_estimated_together_and_enhanced_as_alone(tmp_path: Path) -> None:
    """Each gets its share of the time; those that are settled or of many frames go their own way."""
    sizes = [(60, 40), (30, 30), (60, 40), (90, 60)]
    works = [_decoded(tmp_path, f"{index}.png", *size) for index, size in enumerate(sizes)]
    alone = [Enhance(CHECKPOINT, SMALL, "cpu")(work).photo for work in map(deepcopy, works)]
    failed = ReadAndDecode(Storage(), SMALL)(PhotoWork.of(_record(tmp_path, "bad.png", b"hello, I am text")))
    animated = deepcopy(works[1])
    assert animated.photo is not None
    animated.photo.frames.append(animated.photo.frames[0])
    animated.parts *= 2
    enhance, batches = Enhance(CHECKPOINT, SMALL, "cpu"), list[int]()
    enhance.enhancer.on_batch = lambda images, seconds: batches.append(images)
    enhance.estimate_together([failed, *works, animated])
    assert batches == [3, 1]  # 30x20 pixels are what three become
    assert [work.maps is None for work in (failed, *works, animated)] == [True, *[False] * 4, True]
    assert len({work.outcome.seconds_enhance for work in works} - {0.0}) == 1
    for work, expected in zip(works, alone, strict=True):
        share_s = work.outcome.seconds_enhance
        photo = enhance(work).photo
        assert photo is not None and expected is not None
        assert np.abs(photo.frames[0].pixels.astype(int) - expected.frames[0].pixels).max() <= 1
        assert work.maps is None
        assert work.outcome.seconds_enhance > share_s
    assert batches == [3, 1]
    assert enhance(animated).outcome.code == ""
    assert enhance(failed).outcome.code == "not_media"


def test_what_goes_wrong_together_is_the_outcome_of_its_own_photo(tmp_path: Path) -> None:
    works = [_decoded(tmp_path, f"{size}.png", size, size) for size in (20, 32, 24)]
    enhance = Enhance(CHECKPOINT, SMALL, "cpu")

    def short_of_memory(network: object, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].shape[-1] == 32:
            raise torch.OutOfMemoryError("CUDA out of memory")

    enhance.enhancer.network.register_forward_pre_hook(short_of_memory)
    enhance.estimate_together(works)
    outcomes = [enhance(work).outcome for work in works]
    assert [outcome.code for outcome in outcomes] == ["", "out_of_memory", ""]
    assert "--estimate-size" in outcomes[1].message
    assert works[0].photo is not None and works[1].photo is None
