"""TIFF: its directories, strips and pages."""
