"""Files of tensors: what is read and written, format by format."""
