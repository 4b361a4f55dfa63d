"""Files in tars and zips, by the archives' headers."""

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

from pipeline.images import format_of
from pipeline.video import is_video

BLOCK_BYTES = 512  # of a tar (POSIX.1-1988, ustar)
UNPACKED: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How compressed tars are unpacked, by their first bytes."""
END_BYTES = 22  # of the shortest zip (APPNOTE.TXT 4.3.16)
MOST_UNPACKED_BYTES = 1 << 26
MOST_SUFFIXES = 30  # of a WebDataset: where there are more, names have dots for other reasons


@dataclass(frozen=True, slots=True)
class Members:
    """Files in an archive, as far as it was looked at."""

    names: list[str]
    sizes: dict[str, list[int]]
    """Bytes of the files, by what follows the first dot of their names: a column of a WebDataset."""
    share: float = 1.0
    """Share of the archive that was looked at, in (0, 1]; 1 also if that is not known."""
    precision: str = ""
    """What stands before counts that are for a part of the archive: `about ` or `at least `."""

    @classmethod
    def of(cls, files: list[tuple[str, int]], share: float = 1.0, precision: str = "") -> "Members":
        """Build from names and bytes, in the order of the archive, without the notes of macOS on other files."""
        files = [(name, size) for name, size in files if not posixpath.basename(name).startswith("._")]
        sizes = dict[str, list[int]]()
        for name, size in files:
            sizes.setdefault(_key_and_suffix(name)[1], []).append(size)
        return cls([name for name, _ in files], sizes, share, precision)

    @property
    def images(self) -> int:
        """Return the number of images in the whole archive, estimated if only a part was looked at."""
        return round(sum(format_of(name) is not None for name in self.names) / self.share)

    @property
    def videos(self) -> int:
        return round(sum(is_video(name) for name in self.names) / self.share)

    @property
    def column(self) -> str:
        """Return the commonest suffix of images; "" if there are none."""
        counts = {suffix: len(sizes) for suffix, sizes in self.sizes.items() if format_of(f"a.{suffix}")}
        return max(counts, key=lambda suffix: counts[suffix], default="")

    @property
    def has_samples(self) -> bool:
        """Return whether the files of each sample, whose names are the same up to the first dot, stand side by side."""
        keys = [_key_and_suffix(name)[0] for name in self.names]
        begins = keys[:1] + [key for before, key in pairwise(keys) if key != before]
        return len(begins) == len({*begins}) and len(self.sizes) <= MOST_SUFFIXES

    def described(self) -> dict[str, str]:
        """Return words on the files of each extension, images and videos first."""
        by_extension = dict[str, list[int]]()
        for suffix, sizes in self.sizes.items():
            by_extension.setdefault(posixpath.splitext(f"a.{suffix}")[1], []).extend(sizes)
        ranked = sorted(by_extension.items(), key=lambda item: (not _is_media(item[0]), -len(item[1])))
        return {
            extension or "no extension": f"{len(sizes) / self.share:,.0f} of {size_of(sum(sizes) / len(sizes))}"
            for extension, sizes in ranked
        }


def members_of_tar(file: BinaryIO, most: int) -> Members:
    """Read the headers of up to `most` members. Raises what `tarfile` and decompressors raise."""
    head = file.read(BLOCK_BYTES)
    unpacked = next((unpacked for start, unpacked in UNPACKED.items() if head.startswith(start)), None)
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    opened = nullcontext(file) if unpacked is None else unpacked(file)
    with opened as content, tarfile.open(fileobj=content, mode="r:") as archive:
        files, is_whole = [], True
        for count, member in enumerate(archive, 1):
            if member.isreg():
                files.append((member.name, member.size))
            # of a compressed one, all before the next header would be unpacked
            if count == most or (unpacked and archive.offset > MOST_UNPACKED_BYTES):
                is_whole = False
                break
        if unpacked:
            return Members.of(files, precision="" if is_whole else "at least ")
        if not is_whole and archive.offset < size_bytes:
            return Members.of(files, archive.offset / size_bytes, "about ")
        file.seek(archive.offset)
        if file.read(BLOCK_BYTES).strip(b"\0"):  # where `tarfile` stops without a word
            raise tarfile.ReadError(f"the header at byte {archive.offset:,} is broken")
    return Members.of(files)


def members_of_zip(file: BinaryIO) -> Members:
    """Read the central directory, which stands at the end. Raises what `zipfile` raises."""
    if file.seek(0, os.SEEK_END) < END_BYTES:
        raise zipfile.BadZipFile("it is too short")
    with zipfile.ZipFile(file) as archive:
        return Members.of([(each.filename, each.file_size) for each in archive.infolist() if not each.is_dir()])


def size_of(size_bytes: float) -> str:
    """Return text like `85 kB` or `1.2 MB`."""
    if size_bytes < 1e3:
        return f"{size_bytes:.0f} bytes"
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.{size_bytes < 1e4:d}f} kB"


def _key_and_suffix(name: str) -> tuple[str, str]:
    folder, base = posixpath.split(name)
    key, _, suffix = base.partition(".")
    return posixpath.join(folder, key), suffix


def _is_media(extension: str) -> bool:
    return format_of(f"a{extension}") is not None or is_video(f"a{extension}")
