"""PNG: its chunks, samples and animation."""
