"""Dense networks: define, train, compress, run."""

from qcore.nn.layers import Dense
from qcore.nn.optimizers import SGD, Adam
from qcore.nn.regularizers import L1, GroupLasso
from qcore.nn.sequential import Sequential

__all__ = ["L1", "SGD", "Adam", "Dense", "GroupLasso", "Sequential"]
