"""Elements in XMP: found whatever surrounds them, and in packets that were made to be searched for ever."""

import pytest

from pipeline.images.metadata.elements import MOST_UNENDED, Elements

THUMBNAILS = Elements(r"\w+:Thumbnails")


@pytest.mark.parametrize(
    ("packet", "left"),
    [
        (
            b"<a><x:Thumbnails>one</x:Thumbnails>|<x:Thumbnails/>|<x:Thumbnails k='/>'>two</x:Thumbnails ></a>",
            b"<a>||</a>",
        ),
        (b"<a x:Thumbnails='one' b='two'/>", b"<a b='two'/>"),
        (b"<x:ThumbnailsMore>one</x:ThumbnailsMore>", b"<x:ThumbnailsMore>one</x:ThumbnailsMore>"),
        (b"<x:Thumbnails>no end <y:Thumbnails>one</y:Thumbnails>", b"<x:Thumbnails>no end "),
        (b"<x:Thumbnails", b"<x:Thumbnails"),
    ],
)
def test_elements_and_attributes_are_removed(packet: bytes, left: bytes) -> None:
    assert THUMBNAILS.removed(packet) == left
    assert THUMBNAILS.are_in(packet) == (packet != left)


def test_after_many_tags_without_an_end_the_rest_is_passed_over() -> None:
    for count in (MOST_UNENDED - 1, MOST_UNENDED):
        packet = b"<x:Thumbnails>" * count + b"<y:Thumbnails>one</y:Thumbnails>"
        assert THUMBNAILS.are_in(packet) == (count < MOST_UNENDED)
    assert len(list(THUMBNAILS.found(b"<x:Thumbnails>" * 1_000_000))) == 0
