"""Package of `nightlift verify`, which compares the outputs of a job with its manifest."""
