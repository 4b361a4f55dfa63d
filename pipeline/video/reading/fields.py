"""Detection of packets that show a frame of their own.

H.264 may code the two fields of a frame separately, and MPEG-TS gives each its own packet: the second one completes the
frame of the first. Headers are parsed by ITU-T H.264, 7.3, whose names are in the comments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

SLICES, SPS, EXTENDED = (1, 5), 7, 20  # types of NAL units
SVC = 0x80  # svc_extension_flag, behind the type
WITH_CHROMA_FORMAT = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244})  # profile_idc
SLICE_BYTES = 24  # enough of a slice to parse its header as far as needed
VP8_SHOWN = 0x10  # show_frame, RFC 6386, 9.1


@dataclass(frozen=True, slots=True)
class _Layout:
    """Layout of slice headers, as given by an SPS."""

    frame_num_bits: int
    plane_bits: int
    """Size of colour_plane_id."""
    may_be_fields: bool


@dataclass(frozen=True, slots=True)
class _Field:
    frame_num: int
    bottom: bool


class Shows:
    """Predicate for packets that show a frame of their own, to be called with each packet in decoding order.

    Packets outside the edit list, hidden frames of VP8, and the second field of a frame show none.
    """

    def __init__(self, context: VideoCodecContext) -> None:
        self.codec = context.codec.canonical_name
        extradata = context.extradata or b""
        self.length_bytes = 1 + (extradata[4] & 3) if extradata[:1] == b"\1" and len(extradata) > 8 else 0
        self.layout: _Layout | None = None
        self.waiting: _Field | None = None  # a first field, until the second one comes
        if self.codec == "h264" and self.length_bytes:
            self.layout = _layout(extradata[8:])
        elif self.codec == "h264":
            self._field(extradata)

    def __call__(self, packet: "Packet[Any]") -> bool:
        if not packet.size or packet.is_discard:
            return False
        if self.codec == "vp8":
            return bool(memoryview(packet)[0] & VP8_SHOWN)
        return self.codec != "h264" or not self._is_second(bytes(packet))

    def has_second_view(self, packet: "Packet[Any]") -> bool:
        """Return whether a packet also holds a slice of a second view: MVC, ITU-T H.264, 7.3.1 and annex H."""
        coded = bytes(packet) if self.codec == "h264" else b""
        return any(coded[unit] & 31 == EXTENDED and coded[unit + 1] < SVC for unit in self._units(coded[:-1]))

    def _is_second(self, coded: bytes) -> bool:
        first, field = self.waiting, self._field(coded)
        is_second = first is not None and field == _Field(first.frame_num, not first.bottom)
        self.waiting = None if is_second else field
        return is_second

    def _field(self, coded: bytes) -> _Field | None:
        """Return the field if it is all that a packet holds, else None."""
        fields = []
        for unit in self._units(coded):
            kind = coded[unit] & 31
            if kind == SPS:
                self.layout = _layout(coded[unit : unit + 1024])
            elif kind in SLICES:
                if self.layout is None or not self.layout.may_be_fields:
                    return None
                fields.append(_field(coded[unit : unit + SLICE_BYTES], self.layout))
        return fields[0] if fields and len(set(fields)) == 1 else None

    def _units(self, coded: bytes) -> Iterator[int]:
        """Yield the offset of each NAL unit: behind its length or its start code."""
        at = 0
        while self.length_bytes and at + self.length_bytes < len(coded):
            yield at + self.length_bytes
            at += self.length_bytes + int.from_bytes(coded[at : at + self.length_bytes])
        while not self.length_bytes and (at := coded.find(b"\0\0\1", at) + 3) > 2 and at < len(coded):
            yield at


class _Bits:
    """Reader of a NAL unit's bits. Beyond the end it reads ones."""

    def __init__(self, unit: bytes) -> None:
        content = unit[1:].replace(b"\0\0\3", b"\0\0")
        self.bits = "".join(f"{byte:08b}" for byte in content)
        self.at = 0

    def u(self, count: int) -> int:
        bits = self.bits[self.at : self.at + count].ljust(count, "1")
        self.at += count
        return int(bits or "0", 2)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _layout(sps: bytes) -> _Layout:
    bits = _Bits(sps)
    profile, plane_bits = bits.u(8), 0
    bits.u(16)  # constraint_set flags, level_idc
    bits.ue()  # seq_parameter_set_id
    if profile in WITH_CHROMA_FORMAT:
        chroma = bits.ue()  # chroma_format_idc
        plane_bits = 2 * bits.u(1) if chroma == 3 else 0  # separate_colour_plane_flag
        bits.ue(), bits.ue(), bits.u(1)  # bit_depth_luma_minus8, -chroma-, qpprime_y_zero_transform_bypass_flag
        if bits.u(1):  # seq_scaling_matrix_present_flag
            for number in range(8 if chroma != 3 else 12):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_num_bits = bits.ue() + 4  # log2_max_frame_num_minus4
    order = bits.ue()  # pic_order_cnt_type
    if order == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order == 1:
        bits.u(1), bits.se(), bits.se()  # delta_pic_order_always_zero_flag, offset_for_...
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue(), bits.u(1), bits.ue(), bits.ue()  # max_num_ref_frames, gaps_in_frame_num_value_allowed_flag, size
    return _Layout(frame_num_bits, plane_bits, not bits.u(1))  # frame_mbs_only_flag


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.se()) % 256
        last = scale or last


def _field(unit: bytes, layout: _Layout) -> _Field | None:
    bits = _Bits(unit)
    bits.ue(), bits.ue(), bits.ue()  # first_mb_in_slice, slice_type, pic_parameter_set_id
    bits.u(layout.plane_bits)
    number = bits.u(layout.frame_num_bits)
    return _Field(number, bool(bits.u(1))) if bits.u(1) else None  # bottom_field_flag if field_pic_flag
