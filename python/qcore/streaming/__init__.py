"""Checkpoints larger than memory: read, compressed and written a tile at a time."""
