"""Errors, each with a stable code that users can search for in a manifest.

    NightliftError
     +-- UsageError              usage            flags or places that make no sense together
     +-- StorageError            storage          a place could not be read or written
     |    +-- NotFound           not_found        nothing is there
     |    +-- AccessDenied       access_denied    credentials missing or wrong
     |    |    +-- Expired       expired          credentials that were right have expired
     |    +-- Unreachable        unreachable      no answer from the endpoint, or only that it is busy or broken
     |    +-- NoRoom             no_room          a full disk, or a quota
     |    +-- Changed            changed          no longer what was listed
     |    +-- InTheWay           in_the_way       a file that nightlift did not write is where an output would go
     |    +-- ManifestError      manifest         the manifest could not be read or written
     +-- ClusterError            cluster          Ray could not continue
     +-- Stopped                 stopped          a job stopped early, as every further file would have failed
     +-- Busy                    busy             another run writes to this destination
     +-- Diverged                diverged         the training loss is no longer a number
     +-- MediaError              media            a file that cannot be enhanced
          +-- EmptyFile          empty            0 bytes
          +-- NotMedia           not_media        not of any known format, whatever its name says
          +-- Damaged            damaged          truncated or corrupt
          +-- TooLarge           too_large        more pixels than --max-pixels
          +-- Unsupported        unsupported      a known format with a feature that we cannot handle
          |    +-- NoVideo       no_video         no video in it that can be decoded
          |         +-- SoundOnly                  sound, perhaps with a cover image: skipped
          +-- MissingExtra       missing_extra    an optional package is not installed, or does not load

A message says which file, what was found, and what to do.

Codes of rows that do not come from one of these errors:

    copied            done      a file of another kind, as it was: --others copy
    already_bright    skipped   --skip-bright
    is_hdr            skipped   --skip-hdr
    not_a_photo       skipped   not named like a photo; in training, nor like a video
    not_a_video       skipped   not named like a video, or a text, sound or music by its first bytes
    paired            skipped   --raw-pairs: the raw file or the JPEG of the same shot is enhanced
    not_followed      skipped   a link out of the source or to a folder, a pipe, a device
    unreadable        failed    a folder or link that could not be read when the source was listed
    bad_name          failed    a name that is not UTF-8
    unsafe_name       failed    a path with '.' or '..' in it
    collision         failed    its output is taken by another file
    worker_died       failed    workers died on it: a crash, a failed GPU, lack of memory, stuck in C code
    timed_out         failed    it took longer than --time-limit allows
    out_of_memory     failed    a step ran out of memory
    internal          failed    an unexpected error: please report it
"""

import math
import os
import re
from typing import ClassVar


class NightliftError(Exception):
    code: ClassVar[str] = "internal"


class UsageError(NightliftError):
    code = "usage"


class StorageError(NightliftError):
    code = "storage"


class NotFound(StorageError):
    code = "not_found"


class AccessDenied(StorageError):
    code = "access_denied"


class Expired(AccessDenied):
    code = "expired"


class Unreachable(StorageError):
    code = "unreachable"


class NoRoom(StorageError):
    code = "no_room"


class Changed(StorageError):
    code = "changed"


class InTheWay(StorageError):
    code = "in_the_way"


class ManifestError(StorageError):
    code = "manifest"


class ClusterError(NightliftError):
    code = "cluster"


class Stopped(NightliftError):
    code = "stopped"


class Busy(NightliftError):
    code = "busy"


class Diverged(NightliftError):
    code = "diverged"


class MediaError(NightliftError):
    code = "media"


class EmptyFile(MediaError):
    code = "empty"


class NotMedia(MediaError):
    code = "not_media"


class Damaged(MediaError):
    code = "damaged"


class TooLarge(MediaError):
    code = "too_large"


class Unsupported(MediaError):
    code = "unsupported"


class NoVideo(Unsupported):
    code = "no_video"


class SoundOnly(NoVideo):
    pass


class MissingExtra(MediaError):
    code = "missing_extra"


# Messages of libraries that do not raise MemoryError: libavif and CUDA; libheif, except for sizes above its security
# limit; torch; oneDNN; libjpeg
WANT_OF_MEMORY = re.compile(
    "out of memory|memory allocation(?! error: security limit)|can't allocate memory"
    "|could not create a (memory|primitive)|insufficient memory",
    re.IGNORECASE,
)


def is_want_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or WANT_OF_MEMORY.search(str(error)) is not None


def is_of_the_file(code: str) -> bool:
    """Return whether a failure lies in the file itself, so that trying again would not help."""
    kinds = [MediaError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return code in {kind.code for kind in kinds}


IMPORT_ERROR = re.compile(r"^(?:Import|ModuleNotFound)Error: (.+)")  # the last line of a traceback
NODE = re.compile(r"\bip=([^\s,)]+)")  # in Ray's messages


def failed_import(error: BaseException) -> ClusterError | None:
    """Return the error to raise where a worker could not import something, as no other worker could; else None.

    `error`: Ray's, which passes on only the text of what is raised while the code of a task is unpickled.
    """
    text = str(error).strip()
    found, node = IMPORT_ERROR.match(text.rpartition("\n")[2]), NODE.search(text)
    if found is None:
        return None
    place = f" on {node[1]}" if node else ""
    return ClusterError(f"workers cannot start{place} ({found[1]}); install the same packages on every node")


def spelled_out(name: str) -> str:
    """Return a name with the bytes that are not UTF-8 written as escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 photo`, `1,204 photos`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def decimal(number: float) -> str:
    """Return a positive number with two digits that count, and at least two decimals: `1,234.50`, `0.12`, `0.0034`."""
    digits = 2 if number >= 0.1 or not number else 1 - math.floor(math.log10(number))
    return f"{number:,.{digits}f}"


def printable(text: str) -> str:
    """Escape what is not printable, so that the text is one line, moves no cursor and reverses no letters."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
