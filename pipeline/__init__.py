"""Media in, media out: files are read, enhanced and written. Only `pipeline.flow` loads Ray."""
