"""Products of integers, floats and sparse matrices."""
