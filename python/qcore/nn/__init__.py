"""Dense networks: define, train, compress, run."""

from qcore.nn.layers import Dense
from qcore.nn.optimizers import SGD, Adam
from qcore.nn.sequential import Sequential

__all__ = ["SGD", "Adam", "Dense", "Sequential"]
