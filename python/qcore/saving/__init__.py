"""Save: networks, dicts of tensors, single tensors, in one file or several."""

from qcore.saving.checkpoint import save, stored_nbytes

__all__ = ["save", "stored_nbytes"]
