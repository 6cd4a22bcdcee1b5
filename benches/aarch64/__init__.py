"""What the inner loops of the ARM kernels can reach, computed from their instructions."""
