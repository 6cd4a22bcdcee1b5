"""Dense networks: define, train, compress, run."""

from qcore.nn.layers import Dense
from qcore.nn.sequential import Sequential
from qcore.nn.training.optimizers import SGD, Adam
from qcore.nn.training.regularizers import L1, GroupLasso

__all__ = ["L1", "SGD", "Adam", "Dense", "GroupLasso", "Sequential"]
