"""qcore beside its peers: torch, ONNX Runtime, MKL and NumPy, interleaved in one process."""
