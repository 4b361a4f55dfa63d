"""Media in, media out."""
