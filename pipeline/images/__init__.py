"""Image files in, image files out: bytes -> pixels and metadata -> bytes. Pure functions; no network, no Ray.

formats.py   what can be read and written, and how to tell
decode.py    bytes -> Photo            encode.py    Photo -> bytes
photo.py     what travels between      pixels.py    Pillow's images <-> frames
jpeg.py png.py webp.py tiff.py bmp.py gif.py avif.py heif.py pnm.py    one format each: read and write
exif.py xmp.py ifd.py    metadata      color.py  cicp.py    colour spaces
"""

from pipeline.images.decode import decode
from pipeline.images.encode import encode
from pipeline.images.formats import FORMATS, Format, format_of
from pipeline.images.photo import Coding, Frame, Metadata, Photo

__all__ = ["FORMATS", "Coding", "Format", "Frame", "Metadata", "Photo", "decode", "encode", "format_of"]
