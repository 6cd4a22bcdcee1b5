"""Quantizer: every tensor of a model, by rules."""
