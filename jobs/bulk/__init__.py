"""What the jobs over many files share."""
