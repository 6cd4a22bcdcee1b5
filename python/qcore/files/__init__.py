"""Files: save and load, tensors of safetensors and NumPy files, idx files."""

from qcore.files.checkpoint import load, load_tensors, save, stored_nbytes

__all__ = ["load", "load_tensors", "save", "stored_nbytes"]
