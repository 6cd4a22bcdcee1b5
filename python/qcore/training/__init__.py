"""Training: plain, quantization-aware, pruned on a schedule, taught by another network."""
