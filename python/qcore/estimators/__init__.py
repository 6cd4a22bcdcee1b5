"""What is fitted to a model: quantizers, pruners, calibration."""
