"""Image quality, measured against a reference and without one."""
