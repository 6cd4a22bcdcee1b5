"""Deep Compression: gradual pruning, shared weights, entropy coding, to a size or a score."""
