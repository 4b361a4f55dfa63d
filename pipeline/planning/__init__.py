"""What is to be done: inputs listed, outputs named, and what the manifest says of earlier runs."""
