"""Pairs of a camera raw file and the camera's own JPEG or HEIC of the same shot, of which one may be left out."""

import posixpath
from collections.abc import Callable, Iterable
from typing import Literal

from pipeline.images import format_of

PAIRED = "paired"  # code of a file that is left out for its twin
RawPairs = Literal["both", "raw", "jpeg"]
OF_CAMERAS = frozenset(("jpeg", "heif"))


def twin_in(names: Callable[[], Iterable[str]], kept: RawPairs) -> Callable[[str], str]:
    """Return a function that says why a file is left out for its twin; "" if it is not.

    Twins lie in one folder and differ only in their extension; case is ignored. `names`: returns the paths of all
    files, whenever it is called.
    """
    if kept == "both":
        return lambda name: ""
    stems = {_stem(name) for name in names() if _side(name) == kept}

    def reason(name: str) -> str:
        side = _side(name)
        if side in ("", kept) or _stem(name) not in stems:
            return ""
        return f"--raw-pairs {kept}: of a camera raw file and a JPEG of one name, only the {_noun(kept)} is enhanced"

    return reason


def _side(name: str) -> str:
    found = format_of(name)
    if found is None:
        return ""
    return "raw" if found.name == "raw" else "jpeg" if found.name in OF_CAMERAS else ""


def _noun(side: str) -> str:
    return "raw file" if side == "raw" else "JPEG"


def _stem(name: str) -> int:
    """Return a hash of the name without extension and case: there may be millions."""
    return hash(posixpath.splitext(name)[0].casefold())
