"""ONNX out: a chain or a graph as a model that computes what qcore computes."""
