"""What the bytes of a file tell, where FFmpeg and PyAV do not."""
