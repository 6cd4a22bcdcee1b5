"""What ``qcore bench`` measures: the kernels on this machine, beside NumPy's float32."""
