"""The light-enhancement curve: the readable reference, and what it acts on."""
