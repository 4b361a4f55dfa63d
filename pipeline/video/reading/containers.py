"""Video containers, identified by file name extension."""

import posixpath

from pipeline.errors import UsageError

CONTAINERS = {  # extension -> FFmpeg's muxer
    ".3gp": "3gp",
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}
REPLACED = {  # only read -> written instead. MP4 holds the audio and times of MPG, Matroska the audio of all others
    ".avi": ".mkv",
    ".flv": ".mkv",
    ".mpeg": ".mp4",
    ".mpg": ".mp4",
    ".ogv": ".mkv",
    ".wmv": ".mkv",
}
AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}  # of files without video


def is_video(name: str) -> bool:
    """Return whether a file of this name is taken for a video."""
    return _extension(name) in CONTAINERS | REPLACED


def extension_by_content(head: bytes) -> str:
    """Return the extension of a video by its first bytes, or "": of the containers that phones and cameras write."""
    if head[4:8] == b"ftyp" and head[8:12] not in AUDIO_BRANDS:
        return ".mov" if head[8:12] == b"qt  " else ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML
        return ".mkv"
    return ".avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else ""


def written_name(name: str, container: str | None = None) -> str:
    """Return the file's name with the extension of its output. `container`: a requested extension, such as `.mkv`."""
    extension = _extension(name)
    if container is None and extension in CONTAINERS:
        return name
    return posixpath.splitext(name)[0] + (container or REPLACED.get(extension, ".mkv"))


def written_as_it_is(name: str, destination: str) -> str:
    """Return where a copy of a file goes: the destination if that has the same extension, else beside it."""
    if _extension(name) == _extension(destination):
        return destination
    return posixpath.join(posixpath.dirname(destination), posixpath.basename(name))


def muxer_of(name: str) -> str:
    """Return FFmpeg's muxer for a file of this name. Raises UsageError if such files are not written."""
    extension = _extension(name)
    if extension not in CONTAINERS:
        raise UsageError(
            f"{name}: cannot write {extension or 'a file without an extension'}; use one of {', '.join(CONTAINERS)}"
        )
    return CONTAINERS[extension]


def _extension(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
