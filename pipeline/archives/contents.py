"""What is in an archive, from its headers alone: of a remote file only a few parts are fetched."""

import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from lzma import LZMAError

from pipeline.archives.members import members_of_tar, members_of_zip
from pipeline.archives.recognition import PACKED_TAR, PARQUET, TAR, ZIP, Archive
from pipeline.archives.tables import table_of
from pipeline.errors import Damaged, plural
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import LOCAL, protocol_of

MEMBERS, REMOTE_MEMBERS = 20_000, 32  # of a tar, whose headers are all over it
PART_BYTES = 1 << 16  # fetched at least, of a remote file
MOST_COLUMNS = 8  # shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What is in an archive."""

    images: int = 0
    videos: int = 0
    rows: int = 0
    """Rows of a table; 0 for other archives."""
    precision: str = ""
    """What stands before the counts if only a part was looked at: `about ` or `at least `."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What each column of a table holds, in words; of a tar or zip, what files with each extension are."""
    column: str = ""
    """Column with the images; "" if none is known."""
    inside: str = ""
    """Field of that column with their bytes, where it is a struct."""
    has_samples: bool = True
    """Whether Ray Data can tell the samples apart: in a tar, files of one sample stand side by side."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {what}" for name, what in islice(self.columns.items(), MOST_COLUMNS))
        more = f", and {len(self.columns) - MOST_COLUMNS} more" if len(self.columns) > MOST_COLUMNS else ""
        counts = ((self.images, "image"), (self.videos, "video"), (self.rows, "row"))
        found = " and ".join(f"{self.precision}{plural(count, noun)}" for count, noun in counts if count)
        return f"{found or 'no images or videos'}{f' ({kinds}{more})' if kinds else ''}"


def contents_of(storage: Storage, file: Listed, kind: Archive) -> Contents | None:
    """Read what is in an archive; None if nightlift cannot look into its kind. Raises Damaged, StorageError."""
    if kind not in (TAR, PACKED_TAR, ZIP, PARQUET) or file.url.lower().endswith(".zst"):
        return None
    is_local = protocol_of(file.url) == LOCAL
    most = MEMBERS if is_local else REMOTE_MEMBERS
    with storage.open(file.url, part_bytes=None if is_local else PART_BYTES) as opened:
        try:
            if kind is PARQUET:
                return Contents(**table_of(opened))
            members = members_of_zip(opened) if kind is ZIP else members_of_tar(opened, most)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, LZMAError, zlib.error, ValueError) as error:
            raise Damaged(f"no {kind.noun}, or damaged ({error}); copy the file again or leave it out") from error
    return Contents(
        images=members.images,
        videos=members.videos,
        precision=members.precision,
        columns=members.described(),
        column=members.column,
        has_samples=members.has_samples,
    )
