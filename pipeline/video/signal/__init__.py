"""What samples mean: matrix, range, transfer function, and side data of frames."""
