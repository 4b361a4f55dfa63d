"""Encoding of segments, and joining them into one file."""
