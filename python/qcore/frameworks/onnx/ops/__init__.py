"""ONNX's ops, one family a file: how each is read from any opset, and written to opset 21."""
