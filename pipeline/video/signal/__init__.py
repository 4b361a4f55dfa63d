"""Colour coding of frames (matrix, range, transfer function), and their side data."""
