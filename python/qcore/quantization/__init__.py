"""Numbers in few bits: quantize, dequantize and what chooses the parameters."""

# Whoever comes by a tensor, from a file or a pickle, can decode it: the schemes fill its table.
from qcore.quantization import schemes

__all__ = ["schemes"]
