"""`nightlift preview`: before and after in the browser."""
