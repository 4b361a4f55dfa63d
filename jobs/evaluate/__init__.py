"""`nightlift evaluate`: networks scored side by side."""
