"""ONNX: dense networks in and out, and weights quantized in place in any graph."""
