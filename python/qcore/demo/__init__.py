"""The digit experiment: one network, compressed in every way that qcore has, and measured."""
