"""Weights quantized in place in any ONNX graph, which is not read as a network for that."""
