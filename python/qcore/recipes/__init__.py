"""Recipes: what was done to a model, as a text that does it again."""
