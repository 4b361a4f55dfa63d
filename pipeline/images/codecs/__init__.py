"""File formats that one module reads and writes each."""
