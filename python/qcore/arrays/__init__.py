"""Functions over arrays, which know nothing of networks."""
