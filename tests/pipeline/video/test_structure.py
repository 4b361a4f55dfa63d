"""What is found in the bytes of files: boxes of MP4, elements of Matroska."""

from io import BytesIO

import pytest

from pipeline.errors import Unsupported
from pipeline.video.structure import ebml
from pipeline.video.structure.encryption import check_encryption
from tests.support.clips import Sound, clip, streets


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_encryption_is_found_in_the_header(container: str) -> None:
    content = clip(streets(4), container, extras=Sound(["eng"], chapters=container != "mpegts"))
    check_encryption(BytesIO(content))
    changed = content.replace(b"avc1", b"encv").replace(bytes([0x9C, 0x81, 0]), b"\x50\x35\x80")  # FlagLacing
    if container == "mpegts":
        check_encryption(BytesIO(changed))
    else:
        with pytest.raises(Unsupported, match="it is encrypted"):
            check_encryption(BytesIO(changed))


def test_broken_elements_end_the_search() -> None:
    content = clip(streets(4), "matroska")
    for size in range(0, 400, 7):
        assert all(0 <= at <= end <= size for _, (_, _, at, end) in ebml.tree(BytesIO(content[:size])))
