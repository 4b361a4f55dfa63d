"""What a network is trained on: which files, and the small images made of them."""
