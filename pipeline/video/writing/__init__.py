"""Encoded segments, and the file that they are joined to."""
