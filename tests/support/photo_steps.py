"""Photos that go through the steps of judging and enhancing, in memory."""

from functools import cache
from unittest import mock

from model import DEFAULT_WEIGHTS, Look, load
from pipeline.images import Photo
from pipeline.photos import Enhance, PhotoSettings, PhotoWork, ReadAndDecode
from pipeline.records import Record
from pipeline.storage.storage import Storage


@cache
def _enhance(look: Look) -> Enhance:
    return Enhance(load(DEFAULT_WEIGHTS["plus"]), PhotoSettings(look=look, estimate_size=128), "cpu")


def enhanced(photo: Photo, look: Look = Look()) -> PhotoWork:
    """A photo with the luma that was measured and what has become of it, by the default network."""
    work = PhotoWork.of(Record(source="photo.png", version="", size_bytes=0, destination="out.png"))
    storage = mock.Mock(spec=Storage, read=lambda source: b"-")
    with mock.patch("pipeline.photos.decode", lambda data, **limits: photo):
        work = _enhance(look)(ReadAndDecode(storage, PhotoSettings())(work))
    assert not work.outcome.code, work.outcome.message
    return work
