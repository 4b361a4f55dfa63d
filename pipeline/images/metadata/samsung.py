"""What Samsung's phones put behind a JPEG, and into a box of HEIC: named pieces, and a directory at the end.

The directory is `SEFH`, version, number of entries, then for each: two zero bytes, type, distance back from `SEFH`,
length; then the length of all this and `SEFT`. A piece is two zero bytes, type, length of its name, name, content. All
numbers are little-endian (found in files, and described in the documentation of ExifTool).
"""

import struct
from typing import NamedTuple

from pipeline.images.metadata import xmp
from pipeline.images.pixels import add_note

END = b"SEFT"
# Pieces that describe how the photo was taken, and hold for its new pixels too
KEPT = frozenset(
    b"Image_UTC_Data MCC_Data Camera_Capture_Mode_Info Camera_Scene_Info Color_Display_P3 Burst_Shot_Info "
    b"Front_Cam_Selfie_Info".split()
)
CLAIMS = (b"MotionPhoto_", b"DualShot_", b"SingeShot_", b"SingleShot_")  # about a film or a depth map that goes


class Piece(NamedTuple):
    kind: int
    name: bytes
    block: bytes


def pieces(data: bytes) -> tuple[int, list[Piece]] | None:
    """Return where the pieces at the end of `data` begin, and the pieces; None if there are none."""
    if not data.endswith(END) or len(data) < 20:
        return None
    directory = len(data) - 8 - struct.unpack_from("<I", data, len(data) - 8)[0]
    if directory < 0 or data[directory : directory + 4] != b"SEFH":
        return None
    count = struct.unpack_from("<I", data, directory + 8)[0]
    if 12 + 12 * count > len(data) - 8 - directory:
        return None
    found, first = [], directory
    for entry in range(directory + 12, directory + 12 + 12 * count, 12):
        kind, back, length = struct.unpack_from("<xxHII", data, entry)
        if back > directory or not 8 <= length <= back:
            return None
        block = data[directory - back : directory - back + length]
        name_bytes = struct.unpack_from("<I", block, 4)[0]
        found.append(Piece(kind, block[8 : 8 + name_bytes], block))
        first = min(first, directory - back)
    return first, found


def kept(found: list[Piece], notes: list[str]) -> bytes:
    """Encode the pieces that still hold; empty if there are none. The others are noted."""
    others = []
    for piece in found:
        if piece.name == b"MotionPhoto_Data":
            add_note(notes, xmp.FILM_DROPPED)
        elif b"DepthMap" in piece.name:
            add_note(notes, xmp.DEPTH_DROPPED)
        elif piece.name not in KEPT and not piece.name.startswith(CLAIMS):
            others.append(piece.name.decode("latin-1"))
    if others:
        notes.append(f"Samsung's data dropped: {', '.join(others)}")
    still = [piece for piece in found if piece.name in KEPT]
    if not still:
        return b""
    back = sum(len(piece.block) for piece in still)
    directory = struct.pack("<4sII", b"SEFH", 107, len(still))
    for piece in still:
        directory += struct.pack("<xxHII", piece.kind, back, len(piece.block))
        back -= len(piece.block)
    return b"".join(piece.block for piece in still) + directory + struct.pack("<I", len(directory)) + END
