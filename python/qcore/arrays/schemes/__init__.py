"""The kinds of code, one file each, in one table."""

# Whoever comes by a tensor, from a file or a pickle, can decode it: the table is filled at import.
from qcore.arrays.schemes import table

__all__ = ["table"]
