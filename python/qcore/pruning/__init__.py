"""Weights that need not be there: what to prune, how, and when in training."""
