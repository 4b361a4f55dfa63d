"""How good an image is: against a reference, and without one."""
