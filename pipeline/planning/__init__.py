"""Planning of a run: listing inputs, naming outputs, and reading and writing the manifest."""
