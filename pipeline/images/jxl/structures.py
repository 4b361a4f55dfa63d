"""Structures of the C interface of libjxl (jxl/codestream_header.h, color_encoding.h, types.h), field by field."""

from ctypes import Structure, c_double, c_float, c_int, c_int32, c_size_t, c_uint8, c_uint32


class BasicInfo(Structure):
    """The facts of an image. Width and height are those before turning when encoded, and upright when decoded."""

    _fields_ = (
        ("have_container", c_int),
        ("width", c_uint32),
        ("height", c_uint32),
        ("bits", c_uint32),
        ("exponent_bits", c_uint32),
        ("intensity_target", c_float),
        ("min_nits", c_float),
        ("relative_to_max_display", c_int),
        ("linear_below", c_float),
        ("uses_original_profile", c_int),
        ("have_preview", c_int),
        ("have_animation", c_int),
        ("orientation", c_int),
        ("color_channels", c_uint32),
        ("extra_channels", c_uint32),
        ("alpha_bits", c_uint32),
        ("alpha_exponent_bits", c_uint32),
        ("alpha_premultiplied", c_int),
        ("preview_width", c_uint32),
        ("preview_height", c_uint32),
        ("ticks_numerator", c_uint32),  # ticks per second
        ("ticks_denominator", c_uint32),
        ("loops", c_uint32),
        ("have_timecodes", c_int),
        ("intrinsic_width", c_uint32),
        ("intrinsic_height", c_uint32),
        ("padding", c_uint8 * 100),
    )


class ExtraChannel(Structure):
    """The facts of a channel beside colour."""

    _fields_ = (
        ("kind", c_int),
        ("bits", c_uint32),
        ("exponent_bits", c_uint32),
        ("shift", c_uint32),
        ("name_length", c_uint32),
        ("alpha_premultiplied", c_int),
        ("spot_color", c_float * 4),
        ("filter_channel", c_uint32),
    )


class FrameHeader(Structure):
    """The facts of a frame."""

    _fields_ = (
        ("duration", c_uint32),  # in ticks
        ("timecode", c_uint32),
        ("name_length", c_uint32),
        ("is_last", c_int),
        ("have_crop", c_int),
        ("crop_x", c_int32),
        ("crop_y", c_int32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("blend_mode", c_int),
        ("blend_source", c_uint32),
        ("blend_alpha", c_uint32),
        ("blend_clamp", c_int),
        ("save_as_reference", c_uint32),
    )


class ColorEncoding(Structure):
    """A colour space by code numbers, which are those of ITU-T H.273 but for Display P3."""

    _fields_ = (
        ("space", c_int),
        ("white_point", c_int),
        ("white_point_xy", c_double * 2),
        ("primaries", c_int),
        ("primaries_xy", c_double * 6),
        ("transfer", c_int),
        ("gamma", c_double),
        ("intent", c_int),
    )


class PixelFormat(Structure):
    """How samples lie in memory: channels interleaved, native byte order."""

    _fields_ = (("channels", c_uint32), ("data_type", c_int), ("byte_order", c_int), ("align", c_size_t))
