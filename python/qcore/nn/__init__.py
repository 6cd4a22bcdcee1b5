"""Dense networks: define, train, compress, run."""

from qcore.chain.layers import Dense
from qcore.nn.sequential import Sequential
from qcore.training.optimizers import SGD, Adam
from qcore.training.regularizers import L1, GroupLasso

__all__ = ["L1", "SGD", "Adam", "Dense", "GroupLasso", "Sequential"]
