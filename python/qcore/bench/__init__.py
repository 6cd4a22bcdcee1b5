"""How fast the kernels are on this machine, beside NumPy's float32, and what predictions take."""
