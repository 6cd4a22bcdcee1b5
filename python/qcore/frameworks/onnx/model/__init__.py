"""An ONNX model as it lies in a file: its constants, its names, and what both ways need of them."""
