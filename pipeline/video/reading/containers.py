"""Video containers, identified by file name extension."""

import posixpath

from pipeline.errors import UsageError

CONTAINERS = {  # extension -> FFmpeg's muxer
    ".360": "mp4",
    ".3g2": "3g2",
    ".3gp": "3gp",
    ".insv": "mp4",
    ".lrf": "mp4",
    ".lrv": "mp4",
    ".m2t": "mpegts",
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mk3d": "matroska",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mqv": "mov",
    ".mts": "mpegts",
    ".qt": "mov",
    ".tod": "mpegts",
    ".tp": "mpegts",
    ".trp": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}

# Extensions that are only read, by what is written instead.
# MP4 holds the sound and the exact times of program streams; streams without a container have nothing but video.
TO_MP4 = (
    *(".mpg", ".mpeg", ".mpe", ".m2p", ".mod", ".f4v", ".ismv"),
    *(".264", ".h264", ".avc", ".265", ".h265", ".hevc", ".mjpeg", ".mjpg", ".m1v", ".m2v", ".mp2v", ".mpv", ".mp4v"),
    *(".vc1", ".y4m", ".ivf", ".obu", ".av1"),
)
TO_MOV = (".mxf", ".gxf", ".dv", ".dif")  # MOV holds PCM, timecodes and exact times
TO_MKV = (  # Matroska holds the sound of all these, and the subtitles of DVDs
    *(".avi", ".divx", ".xvid", ".amv", ".flv", ".nut", ".ogg", ".ogm", ".ogv", ".rm", ".rmvb", ".vob", ".vro", ".evo"),
    *(".asf", ".dvr-ms", ".wm", ".wmv", ".wtv", ".ave", ".dav", ".sec"),
)
REPLACED = {
    extension: written
    for written, extensions in {".mp4": TO_MP4, ".mov": TO_MOV, ".mkv": TO_MKV}.items()
    for extension in extensions
}
SHARED = frozenset(  # with programs, sound, music, spreadsheets, keys: the content decides
    ".360 .asf .avc .ave .dif .dv .evo .lrf .mod .mpe .mpv .mts .obu .ogg .ogm "  # noqa: SIM905
    ".qt .rm .sec .tod .tp .trp .ts .vob .wm".split()
)
SOUND = frozenset(  # names of sound and subtitles in the containers of videos
    ".3ga .aax .aaxc .m4a .m4b .m4p .m4r .mka .mks .oga .opus .spx .weba .wma".split()  # noqa: SIM905
)


def is_video(name: str) -> bool:
    """Return whether a file of this name is taken for a video."""
    return _extension(name) in CONTAINERS | REPLACED


def written_name(name: str, container: str | None = None) -> str:
    """Return the file's name with the extension of its output. `container`: a requested extension, such as `.mkv`."""
    extension = _extension(name)
    if container is None and extension in CONTAINERS:
        return name
    return posixpath.splitext(name)[0] + (container or REPLACED.get(extension, ".mkv"))


def change_of(name: str, written: str) -> list[str]:
    """Return a note if a video of this name comes out in another container, since its own is only read."""
    before, after = _extension(name), _extension(written)
    return [f"{before} is written as {after}"] if before in REPLACED and before != after else []


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
