"""The Ray Data graphs, and the code that keeps them going when workers die. Nothing else in `pipeline` loads Ray."""
