"""Measurements of `nightlift benchmark`, one file for each part."""
