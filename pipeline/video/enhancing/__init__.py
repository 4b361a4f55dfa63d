"""Enhancement of decoded frames, without flicker over time."""
