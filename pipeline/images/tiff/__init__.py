"""TIFF: layout.py says how a page is stored, samples.py unpacks it, frames.py makes colours of samples."""
