"""Items and properties of still images in ISO base media files, read and written."""
