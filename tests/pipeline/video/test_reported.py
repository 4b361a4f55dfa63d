"""Small files in which something was lost, or told wrongly, once."""

from pathlib import Path

import pytest

from tests.support.clips import packets, times
from tests.support.enhanced import done


@pytest.fixture
def reported(shared: Path) -> Path:
    return shared / "data" / "dev" / "video" / "reports"


def test_a_whole_file_that_begins_late_is_not_called_damaged(reported: Path) -> None:
    outcome, written = done("a.mkv", (reported / "late_start.mkv").read_bytes())
    assert outcome.notes == []
    assert times(written) == times(reported / "late_start.mkv")


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_copied_video_without_decoding_times_keeps_its_times(reported: Path, name: str) -> None:
    content = (reported / "two_videos.mkv").read_bytes()
    outcome, written = done("a.mkv", content, name)
    assert outcome.notes == ["video stream 1 is copied as it is; only one video stream is enhanced"]
    before, after = (packets(each, "video")[1] for each in (content, written))
    assert [at for at, _ in after] == [at for at, _ in before]
