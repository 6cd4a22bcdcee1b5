"""Files: save and load, safetensors, idx."""
