"""Pruner: the weights of a model that can go, at once or on a schedule."""
