"""Reading and writing of image files: bytes -> pixels and metadata -> bytes. Pure functions; no network, no Ray.

formats.py   supported formats            recognition.py   formats by content
decode.py    bytes -> Photo               encode.py    Photo -> bytes
photo.py     Photo and its parts          pixels.py    Pillow images <-> frames
codecs/      one format each              jpeg/ png/ tiff/ jxl/ raw/   formats of several modules
metadata/    EXIF, XMP and other blocks   color/      colour spaces, HDR
isobmff/     containers HEIF, AVIF        gain_map/   brightness for HDR screens
seen/        what of a photo counts       extras.py   optional packages
"""

from pipeline.images.decode import decode
from pipeline.images.encode import encode
from pipeline.images.formats import FORMATS, Format, format_of
from pipeline.images.photo import Coding, Frame, Metadata, Photo
from pipeline.images.recognition import format_by_content

__all__ = [
    "FORMATS",
    "Coding",
    "Format",
    "Frame",
    "Metadata",
    "Photo",
    "decode",
    "encode",
    "format_by_content",
    "format_of",
]
