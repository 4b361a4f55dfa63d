"""Lists of paths as a source: `@FILE`, or `-` for standard input."""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.storage.urls import LOCAL, SCHEME, WEB, absolute, is_inside, local_path, protocol_of, redacted

STDIN = "-"
A_LIST = "text in UTF-8 with a path or URL on each line, or with a NUL byte after each as from find -print0"
STARTS = "/./"  # names of outputs start behind it, as in `rsync --relative`
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")  # all but what is in text and colours
LOOKED_AT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PathList:
    """A list of paths and URLs that a user gave. Kept as the bytes that were read: there may be millions."""

    name: str
    """What messages call it."""
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, source: str) -> "PathList":
        """Read the list that a user named as SRC. Raises UsageError where it is unreadable, empty or no list."""
        name = "standard input" if source == STDIN else source
        try:
            content = sys.stdin.buffer.read() if source == STDIN else Path(source[1:]).expanduser().read_bytes()
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: there is no standard input
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise UsageError(
                f"{name}: cannot be read as a list of paths ({reason}); for a file or folder of that name write "
                f"./{source}"
            ) from error
        content = content.removeprefix(codecs.BOM_UTF8)
        if _is_binary(content[:LOOKED_AT_BYTES]):
            raise UsageError(f"{name}: not a list of paths, which is {A_LIST}; for the file itself leave out the @")
        paths = cls(name, content)
        if next(iter(paths), None) is None:
            raise UsageError(f"{name}: the list is empty; give {A_LIST}")
        return paths

    def __iter__(self) -> Iterator[str]:
        """Yield the paths and URLs as they are listed, without blank lines."""
        by_nul = b"\0" in self.content
        for found in re.finditer(rb"[^\0]+" if by_nul else rb"[^\n]+", self.content):
            line = found[0] if by_nul else found[0].removesuffix(b"\r")
            if line.strip():
                yield os.fsdecode(line)

    def places(self) -> Iterator[tuple[str, str]]:
        """Yield each place as an absolute path or URL, and its part that does not go into names of outputs.

        That is the current directory for a relative path, what is before `/./`, and else nothing but `/` or `s3://`.
        Raises UsageError for an incomplete URL.
        """
        here = os.getcwd()  # noqa: PTH109
        for line in self:
            if protocol_of(line) == LOCAL:
                yield _on_disk(local_path(line), here)
                continue
            try:
                yield _elsewhere(line)
            except UsageError as error:
                raise UsageError(f"{self.name}: {error}") from error


Source = str | PathList
"""A place as a user typed it, or a list of places."""


def is_list(source: str) -> bool:
    return source == STDIN or source.startswith("@")


def source_of(text: str) -> Source:
    """Return the source that a user typed; a list is read, once. Raises UsageError."""
    return PathList.read(text) if is_list(text) else text


def name_of(source: Source) -> str:
    """Return what messages call a source."""
    return source.name if isinstance(source, PathList) else redacted(source)


def places_of(source: Source) -> Iterable[str]:
    """Return the places that a source names, as they were typed."""
    return source if isinstance(source, PathList) else (source,)


def _on_disk(text: str, here: str) -> tuple[str, str]:
    before, marked, _ = f"{text}/".partition(STARTS)
    path = os.path.abspath(text)  # noqa: PTH100
    start = os.path.abspath(before or "/") if marked else here if not text.startswith("/") else "/"  # noqa: PTH100
    return path, start if path == start or is_inside(path, start) else "/"


def _elsewhere(url: str) -> tuple[str, str]:
    scheme = SCHEME.match(url)
    assert scheme is not None
    before, marked, after = url[scheme.end() :].partition(STARTS)
    place = absolute(f"{scheme[0]}{before}/{after}" if marked else url)
    start = before if marked else ""
    return place, f"{protocol_of(url)}://{start}" if protocol_of(url) in WEB else start


def _is_binary(head: bytes) -> bool:
    if head.startswith(UTF_16) or b"\0\0" in head:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # it may end within a character
    except UnicodeDecodeError:
        return CONTROL.search(head) is not None
    return False
