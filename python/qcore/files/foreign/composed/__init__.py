"""Weights of other makers that lie in several tensors: found by their names, read as one."""
