"""From decoded frames to enhanced ones: over time without flicker."""
