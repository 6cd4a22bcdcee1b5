"""Networks as graphs: values, the nodes between them, weight slots, and how they run."""
