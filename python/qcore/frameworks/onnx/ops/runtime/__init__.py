"""The ops of ONNX Runtime's own domain."""
