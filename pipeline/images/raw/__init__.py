"""Camera raw files: their recognition, their metadata, and their pixels."""
