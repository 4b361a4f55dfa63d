"""Contents of a video file, and its decoded frames."""
