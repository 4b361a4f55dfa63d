"""Reading and writing of JPEG: pixels, application segments, and what lies behind the image."""
