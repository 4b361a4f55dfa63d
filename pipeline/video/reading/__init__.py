"""What a video file holds, and its decoded frames."""
