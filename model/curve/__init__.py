"""The light-enhancement curve: the readable reference, and the values that it acts on."""
