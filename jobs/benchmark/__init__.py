"""What `nightlift benchmark` measures, a file for each part of it."""
