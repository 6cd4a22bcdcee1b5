"""Makes trained networks small and fast on CPUs, from NumPy, and proves what it cost."""

from qcore._core import __version__
from qcore.errors import FormatError

__all__ = ["FormatError", "__version__"]
