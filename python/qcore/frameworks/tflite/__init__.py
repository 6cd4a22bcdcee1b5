"""TFLite: float graphs in."""
