"""Metadata blocks: EXIF and other directories, XMP."""
