"""Metadata blocks: EXIF and other directories, XMP, IPTC, what phones append, and the mark of an edit."""
