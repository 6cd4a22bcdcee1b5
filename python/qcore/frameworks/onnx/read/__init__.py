"""ONNX in: a model as a network, or as the tensors in it."""
