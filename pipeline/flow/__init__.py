"""The Ray Data graphs, and what keeps them going when workers die. Nothing else in `pipeline` loads Ray."""
