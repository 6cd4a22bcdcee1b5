"""Quantized tensors: quantize, dequantize, and what they give."""

# Whoever makes or decodes a tensor finds every scheme in the table: this fills it.
import qcore.arrays.schemes.table  # noqa: F401
