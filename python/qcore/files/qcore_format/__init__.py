"""The one format of our own: safetensors with a description."""
