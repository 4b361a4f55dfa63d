"""What cameras put into MP4 and MOV for themselves stays, bit for bit, where what reads it looks for it."""

import json
import struct
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.video.structure.facts import private_boxes
from tests.support.clips import Sound, clip, streets, times
from tests.support.enhanced import done

MAGIC = b"8db42d694ccc418790edff439fe026bf"


def trailer() -> bytes:
    """What Insta360's cameras append: a record of what a gyroscope measured, its header behind it, then the footer."""
    measured = b"".join(struct.pack("<Q6d", 20 * number, 1, 2, 3, 0.5, 0.25, number) for number in range(3))
    record = measured + struct.pack("<HI", 0x300, len(measured))
    return record + bytes(32) + struct.pack("<II", len(record) + 72, 3) + MAGIC


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def told(path: Path) -> dict[str, object]:
    """What ExifTool reads of the gyroscope."""
    command = ["exiftool", "-ee", "-j", "-G", "-AngularVelocity", "-Accelerometer", str(path)]
    (found,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {name: value for name, value in found.items() if name != "SourceFile"}


@pytest.mark.parametrize("is_boxed", [False, True])
def test_what_a_360_camera_appends_stays_at_the_end(is_boxed: bool, tmp_path: Path) -> None:
    behind = box(b"inst", trailer()) if is_boxed else trailer()
    content = clip(streets(8), "mp4", extras=Sound(seconds=0.3)) + behind
    source = tmp_path / "a.insv"
    source.write_bytes(content)
    outcome, written = done("a.insv", content)
    assert outcome.notes == []
    assert written.read_bytes().endswith(behind)
    assert told(written) == told(source) != {}
    assert times(written) == times(content)


def test_a_container_that_cannot_hold_it_is_named_so() -> None:
    outcome, _ = done("a.insv", clip(streets(8)) + trailer(), "a.mkv")
    assert outcome.notes == ["boxes of the camera are lost: what follows the last box"]


@pytest.mark.parametrize("kind", [b"free", b"skip", b"frea", b"sefd", b"uuid", b"udta"])
def test_boxes_beside_the_index_stay(kind: bytes) -> None:
    held = box(kind, b"GPS 48.1 N 11.5 E, speed 3.1" * 3)
    content = clip(streets(8)) + held + box(b"free", bytes(100)) + b"SEFH, and what is found from the end"
    outcome, written = done("a.mp4", content)
    assert outcome.notes == []
    assert written.read_bytes().endswith(held + b"SEFH, and what is found from the end")


@pytest.mark.parametrize("behind", [b"", bytes(3000), box(b"free", bytes(50)), box(b"mdat", b"more")])
def test_blank_ends_and_what_muxers_write_count_for_nothing(behind: bytes) -> None:
    content = clip(streets(8)) + behind
    assert private_boxes(BytesIO(content)) == []
    assert done("a.mp4", content, "a.mkv")[0].notes == []


def test_a_file_that_was_cut_short_has_no_trailer() -> None:
    content = clip(streets(24), extras=Sound(options={"movflags": "empty_moov+frag_keyframe"}))
    assert private_boxes(BytesIO(content[: len(content) * 2 // 3])) == []
