"""Colour spaces: profiles, code points, and conversion to sRGB."""
