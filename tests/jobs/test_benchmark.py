"""`nightlift benchmark`: that it measures what it says, in every part; not how fast."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.benchmark.codecs import round_trip
from jobs.benchmark.measurement import Row, Section, side_by_side
from jobs.benchmark.media import night_clip, night_jpeg
from jobs.cli import main
from pipeline.images import decode
from tests.support.counts import in_full_alone
from tests.support.media import jpeg, landscape, saved

PARTS = {
    "photos": {"generated photo", "small photos"},
    "memory": {"peak memory"},
    "inside": {"the curve at full size", "the network"},
    "videos": {"generated video"},
    "training": {"a step of training"},
    "ray": {"Ray"},
}


@in_full_alone
@pytest.mark.slow
def test_every_part_measures_and_what_is_printed_is_in_the_json(tmp_path: Path, capsys) -> None:
    out = tmp_path / "all.json"
    assert main(["benchmark", "--quick", "--json", str(out), "--workers", "2"]) == 0
    printed, told = capsys.readouterr().out, json.loads(out.read_text())
    titles = {section["title"].split(" (")[0] for section in told["sections"]}
    assert titles == set().union(*PARTS.values())
    for section in told["sections"]:
        assert section["title"] in printed
        for row in section["rows"]:
            assert row["value"] > 0
            assert row["name"] in printed
    assert told["machine"]["torch"].startswith("2.")


def test_one_part_alone(capsys) -> None:
    assert main(["benchmark", "--quick", "--only", "inside"]) == 0
    printed = capsys.readouterr().out
    assert all(title in printed for title in PARTS["inside"])
    assert "small photos" not in printed


@pytest.mark.slow
def test_your_own_files_are_measured_and_all_of_them_estimated(tmp_path: Path, capsys) -> None:
    source, out = tmp_path / "in", tmp_path / "own.json"
    source.mkdir()
    for seed in range(5):
        (source / f"{seed}.jpg").write_bytes(night_jpeg(120 + 40 * seed, 90, seed))
    (source / "broken.jpg").write_bytes(b"no photo")
    night_clip(source / "clip.mp4", 96, 64, 12)
    assert main(["benchmark", str(source), "--quick", "--json", str(out)]) == 0
    told, printed = json.loads(out.read_text()), capsys.readouterr()
    measured = [section["title"].split()[:2] for section in told["sections"]]
    assert len([title for title in measured if title[0] == "photo"]) in (2, 3)
    assert ["video", "clip.mp4"] in measured
    assert len(told["estimates"]) == 2
    assert "photos to do: 6 (" in told["estimates"][0]
    assert "videos to do: 1 (" in told["estimates"][1]
    assert told["estimates"][0] in printed.out
    assert sorted(path.name for path in source.iterdir()) == [*(f"{n}.jpg" for n in range(5)), "broken.jpg", "clip.mp4"]


def test_wrong_usage_is_one_line(tmp_path: Path, capsys) -> None:
    for arguments, told in (
        (["nowhere"], "nothing is there"),
        ([str(tmp_path)], "no files found"),
        ([str(tmp_path), "--only", "ray"], "--only"),
        (["--workers", "0"], "--workers is 0"),
        (["--json", "/dev/null/where.json", "--only", "inside"], "is a file, not a folder"),
        (["--json", str(tmp_path / "photo.jpg"), "--only", "inside"], "must end in .json"),
    ):
        assert main(["benchmark", "--quick", *arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert told in lines[-1]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"quality": 71, "subsampling": "4:2:0"}, {"quality": 95, "subsampling": "4:4:4"}])
def test_the_codec_alone_writes_what_it_read(mode: str, options: dict[str, object]) -> None:
    data = jpeg(Image.fromarray(landscape(200, 100)).convert(mode), **options)
    again = round_trip(data, data)()
    assert isinstance(again, bytes)
    before, after = (decode(each, max_pixels=1 << 20).coding for each in (data, again))
    assert before == after


def test_a_file_that_the_short_way_finds_fault_with_goes_the_long_one() -> None:
    data = jpeg(landscape(200, 100))
    faulty = data[:-2] + bytes(8) + data[-2:]
    coded, _ = round_trip(faulty, faulty)()  # type: ignore[misc]
    assert decode(coded, max_pixels=1 << 20).format == "jpeg"


def test_other_formats_go_through_our_own_codec() -> None:
    data = saved(landscape(40, 30), "png")
    coded, _ = round_trip(data, data)()  # type: ignore[misc]
    assert decode(coded, max_pixels=1 << 20).format == "png"


def test_functions_are_timed_in_turns() -> None:
    called: list[str] = []
    seconds = side_by_side({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert called == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}


def test_numbers_are_shown_with_the_digits_that_count() -> None:
    section = Section("speed", [Row("whole", 1234.5, "ms"), Row("of the codec", 1.6789, "times")])
    assert str(section).splitlines() == [
        "speed",
        "  whole             1,234 ms",
        "  of the codec       1.68 times",
    ]


def test_made_photos_are_dark_and_differ_by_seed(tmp_path: Path) -> None:
    photos = [decode(night_jpeg(320, 200, seed), max_pixels=1 << 20).frames[0].pixels for seed in (0, 0, 1)]
    assert (photos[0] == photos[1]).all()
    assert (photos[0] != photos[2]).any()
    assert photos[0].mean() < 60
