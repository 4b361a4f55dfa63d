"""Joins or starts Ray for a job, ships our packages to it, and watches until its workers work."""
