"""Recognition of archives and tables by their names."""

import posixpath
import re
from dataclasses import dataclass

from pipeline.images import format_of
from pipeline.storage.urls import redacted
from pipeline.video import is_video

LANCE_FOLDER = ".lance/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A kind of files that hold many images."""

    noun: str
    ending: re.Pattern[str]
    """Of the names of its files."""
    read: str = ""
    """Call of `ray.data` that reads it; "": there is none."""
    write: str = ""
    """Methods of a dataset that write the same kind."""
    unpack: str = ""
    """Command that writes its files to the current folder."""


def _ending(pattern: str) -> re.Pattern[str]:
    return re.compile(rf".\.(?:{pattern})$", re.IGNORECASE)


TAR = Archive(
    noun="tar",
    ending=_ending("tar"),
    read="read_webdataset({place}, decoder=None, file_extensions=['tar'])",
    # which takes no numbers
    write="drop_columns(['nightlift_luma_before', 'nightlift_luma_after']).write_webdataset({place}, encoder=None)",
    unpack="tar -xf FILE",
)
PACKED_TAR = Archive(noun="compressed tar", ending=_ending(r"tar\.\w+|tgz|tbz2?|txz"), unpack="tar -xf FILE")
ZIP = Archive(noun="zip", ending=_ending("zip|cbz"), unpack="unzip FILE")
PARQUET = Archive(
    noun="Parquet file",
    ending=_ending("parquet|parq"),
    read="read_parquet({place}, file_extensions=['parquet', 'parq'])",
    write="write_parquet({place})",
)
LANCE = Archive(  # a folder
    noun="Lance dataset", ending=_ending("lance"), read="read_lance({place})", write="write_lance({place})"
)
ARCHIVES = (
    *(TAR, PACKED_TAR, ZIP, PARQUET, LANCE),
    Archive(
        noun="TFRecord file",
        ending=_ending(r"tfrecords?(-\d+-of-\d+)?"),
        read="read_tfrecords({place})",
        write="write_tfrecords({place})",
    ),
    Archive(noun="7z or rar", ending=_ending("7z|rar"), unpack="7z x FILE"),
    Archive(noun="Arrow file", ending=_ending("arrow|feather")),
    Archive(noun="HDF5 file", ending=_ending("h5|hdf5")),
)


def archive_of(path: str) -> Archive | None:
    """Return the kind of archive that a path or URL names, or that it is a part of; None if there is none."""
    name = posixpath.basename(whole(path).rstrip("/"))
    return next((kind for kind in ARCHIVES if kind.ending.search(name)), None)


def whole(path: str) -> str:
    """Return the path of the Lance dataset that a file is a part of; else the path, without what may be secret."""
    before, found, _ = redacted(path).partition(LANCE_FOLDER)
    is_media = format_of(path) is not None or is_video(path)
    return redacted(path) if is_media or not found else f"{before}{found}".rstrip("/")
