"""Reading and writing of image files: bytes -> pixels and metadata -> bytes. Pure functions; no network, no Ray.

formats.py   supported formats, and how they are recognised
decode.py    bytes -> Photo               encode.py    Photo -> bytes
photo.py     Photo and its parts          pixels.py    Pillow images <-> frames
jpeg.py png.py webp.py tiff.py bmp.py gif.py avif.py heif.py pnm.py    one format each
png_chunks.py png_pixels.py apng.py tiff_strips.py    parts of PNG and TIFF
exif.py xmp.py ifd.py    metadata         color.py cicp.py    colour spaces
"""

from pipeline.images.decode import decode
from pipeline.images.encode import encode
from pipeline.images.formats import FORMATS, Format, format_of
from pipeline.images.photo import Coding, Frame, Metadata, Photo

__all__ = ["FORMATS", "Coding", "Format", "Frame", "Metadata", "Photo", "decode", "encode", "format_of"]
