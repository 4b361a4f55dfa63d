"""Files broken as they break in the wild, and worse. The same dice give the same file."""

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

ENDS_BYTES = 400  # at the start and at the end of a file: there lies what the rest is read by
PNG = b"\x89PNG\r\n\x1a\n"

Change = Callable[[bytearray, Random, Sequence[bytes]], None]


def mutated(content: bytes, others: Sequence[bytes], dice: Random) -> bytes:
    """`others`: files whose parts may come to lie in this one."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        if changed:
            dice.choice(CHANGES)(changed, dice, others)
    if changed.startswith(PNG) and dice.random() < 0.7:  # else most end at a checksum
        repair_checksums(changed)
    return bytes(changed)


def repair_checksums(png: bytearray) -> None:
    at = len(PNG)
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            return
        struct.pack_into(">I", png, end, zlib.crc32(png[at + 4 : end]))
        at = end + 4


def _flip_bits(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    for _ in range(dice.choice((1, 1, 4, 20))):
        content[_place(content, dice)] ^= 1 << dice.randrange(8)


def _set_bytes(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    at, value = _place(content, dice), dice.choice((0, 255, dice.randrange(256)))
    for place in range(at, min(at + dice.choice((1, 2, 4, 16, 200)), len(content))):
        content[place] = value


def _cut_short(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    del content[_place(content, dice) :]


def _delete(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    del content[_part(content, dice)]


def _repeat(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    part = content[_part(content, dice)]
    at = _place(content, dice)
    content[at:at] = part * dice.choice((1, 1, 2, 50))


def _swap(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    one, another = sorted((_part(content, dice), _part(content, dice)), key=lambda part: part.start)
    if one.stop <= another.start:
        content[one.start : another.stop] = (
            content[another] + content[one.stop : another.start] + content[one.start : one.stop]
        )


def _lie(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    """A number of 16, 32 or 64 bits that is as large, as small or as near as can be."""
    form = dice.choice((">H", "<H", ">I", "<I", ">I", "<I", ">Q", "<Q"))
    size = struct.calcsize(form)
    most = (1 << 8 * size) - 1
    at = _place(content, dice)
    if at + size > len(content):
        return
    (value,) = struct.unpack_from(form, content, at)
    lies = (0, 1, most, most - 1, most >> 1, (most >> 1) + 1, value + 1, value - 1, value * 2, value // 2, len(content))
    struct.pack_into(form, content, at, dice.choice(lies) & most)


def _behind_another_head(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    head = dice.choice(others)
    content[: dice.randrange(min(2 * ENDS_BYTES, len(content)))] = head[: dice.randrange(2 * ENDS_BYTES)]


def _part_of_another(content: bytearray, dice: Random, others: Sequence[bytes]) -> None:
    other = bytearray(dice.choice(others))
    at = _place(content, dice)
    content[at:at] = other[_part(other, dice)]


CHANGES: tuple[Change, ...] = (
    _flip_bits, _flip_bits, _set_bytes, _cut_short, _delete, _repeat, _swap, _lie, _lie, _lie, _behind_another_head,
    _part_of_another,
)  # fmt: skip


def _place(content: bytearray, dice: Random) -> int:
    drawn = dice.random()
    if drawn < 0.4:
        return dice.randrange(min(ENDS_BYTES, len(content)))
    if drawn < 0.6:
        return dice.randrange(max(0, len(content) - ENDS_BYTES), len(content))
    return dice.randrange(len(content))


def _part(content: bytearray, dice: Random) -> slice:
    at = _place(content, dice)
    return slice(at, min(at + dice.choice((1, 2, 4, 8, 12, 64, 1000)), len(content)))
