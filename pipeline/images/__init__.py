"""Reading and writing of image files: bytes -> pixels and metadata -> bytes. Pure functions; no network, no Ray.

formats.py   supported formats, and how they are recognised
decode.py    bytes -> Photo               encode.py    Photo -> bytes
photo.py     Photo and its parts          pixels.py    Pillow images <-> frames
codecs/      one format each              png/ tiff/   formats of several modules
metadata/    EXIF, XMP                    color/       colour spaces
"""

from pipeline.images.decode import decode
from pipeline.images.encode import encode
from pipeline.images.formats import FORMATS, Format, format_by_content, format_of
from pipeline.images.photo import Coding, Frame, Metadata, Photo

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
