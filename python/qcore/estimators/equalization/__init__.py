"""Moves scale between layers before they are quantized."""
