"""Numbers in few bits: quantize, dequantize and what chooses the parameters."""
