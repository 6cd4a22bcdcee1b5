"""Other projects' files of tensors."""
