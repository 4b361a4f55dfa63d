"""Training data: which files a network is trained on, and the small images made of them."""
