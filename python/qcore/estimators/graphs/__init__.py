"""How estimators see a graph: its weights as matrices, and what flows into them."""
