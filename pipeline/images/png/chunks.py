"""PNG chunks (W3C PNG, third edition, section 5) and the texts in them."""

import struct
import zlib
from typing import NamedTuple

from pipeline.errors import Damaged

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 1 << 24  # decompressed; anything larger is taken for a decompression bomb


class Chunk(NamedTuple):
    type: bytes
    payload: bytes


def split(data: bytes) -> list[Chunk]:
    """Return all chunks before IEND, without broken ancillary ones (section 5.4). Raises Damaged for other faults."""
    found: list[Chunk] = []
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        payload = data[at + 8 : at + 8 + length]
        if kind == b"IEND":
            break
        if len(payload) < length or at + 12 + length > len(data):
            raise Damaged(f"it ends inside a chunk {kind.decode('latin-1')!a}; copy the file again")
        if zlib.crc32(payload, zlib.crc32(kind)) == struct.unpack_from(">I", data, at + 8 + length)[0]:
            found.append(Chunk(kind, payload))
        elif not kind[0] & 32:  # critical
            raise Damaged(f"the checksum of its chunk {kind.decode('latin-1')!a} is wrong; copy the file again")
        at += 12 + length
    if not found or found[0].type != b"IHDR" or len(found[0].payload) != 13:
        raise Damaged("its header is missing or broken; copy the file again")
    return found


def packed(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(payload, zlib.crc32(kind)))


class Text(NamedTuple):
    keyword: bytes
    text: bytes


def text(kind: bytes, payload: bytes) -> Text | None:
    """Return keyword and decompressed text of a tEXt, zTXt or iTXt chunk; None if it is broken or too large."""
    keyword, separator, rest = payload.partition(b"\x00")
    if not separator:
        return None
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        compressed, parts = rest[:1] == b"\x01", rest[2:].split(b"\x00", 2)
        if len(parts) < 3:
            return None
        rest = parts[2]
    if compressed:
        inflater = zlib.decompressobj()
        try:
            rest = inflater.decompress(rest, MAX_TEXT_BYTES)
        except zlib.error:
            return None
        if not inflater.eof:
            return None
    return Text(keyword, rest)


def itxt(keyword: bytes, content: bytes) -> bytes:
    """Build the payload of an uncompressed iTXt chunk without a language."""
    return keyword + b"\x00\x00\x00\x00\x00" + content


def raw_profile(content: bytes) -> bytes | None:
    """Decode an ImageMagick `Raw profile type ...` text: name, length, hexadecimal digits in lines. None if broken."""
    parts = content.split(None, 2)
    if len(parts) < 3:
        return None
    try:
        return bytes.fromhex(parts[2].decode("ascii"))
    except ValueError:
        return None
