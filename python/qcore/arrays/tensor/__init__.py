"""Quantized tensors: quantize, dequantize, and what they give."""
