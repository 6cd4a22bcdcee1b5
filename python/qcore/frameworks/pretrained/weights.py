"""The tensors of a pretrained model by the names that its architecture has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.source import TensorSource

__all__ = ["Weights"]

_SHOWN = 8
# Positions that older libraries saved beside the weights.
_BUFFERS = (r".*\bposition_ids", r".*\bembeddings\.token_type_ids")


class Weights:
    """Takes tensors out of a checkpoint, and knows what was not there and what is left.

    Parameters
    ----------
    source : TensorSource
    where : str
        What errors call it.
    prefix : str
        Of the encoder's tensors in checkpoints that have a head, such as "bert.".
    """

    def __init__(self, source: TensorSource, where: str, prefix: str) -> None:
        self._source = source
        self._where = where
        self._names = {_current(name): name for name in source}
        self._prefix = prefix if any(name.startswith(prefix) for name in self._names) else ""
        self._taken: set[str] = set()
        self._missing: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, name: str, *, head: bool = False) -> str:
        """Return the name in the checkpoint; a head's have no prefix."""
        return name if head else self._prefix + name

    def has(self, name: str, *, head: bool = False) -> bool:
        """Whether there is such a tensor."""
        return self.name_of(name, head=head) in self._names

    def shape(self, name: str, *, head: bool = False) -> tuple[int, ...] | None:
        """Return the shape of a tensor, None if it is not there."""
        found = self._names.get(self.name_of(name, head=head))
        return None if found is None else tuple(self._source.info(found).shape)

    def take(self, name: str, shape: tuple[int, ...], *, head: bool = False) -> Any:
        """Return a float tensor of this shape: an array, or the codes that stand for it.

        What is missing is noted for `check`, and is zeros that take no memory.

        Raises
        ------
        FormatError
            If it has another shape or is of integers.
        """
        full = self.name_of(name, head=head)
        stored = self._names.get(full)
        if stored is None:
            self._missing.append(full)
            return np.broadcast_to(np.float32(0), shape)
        info = self._source.info(stored)
        if tuple(info.shape) != shape:
            raise FormatError(
                f"{self._where}: tensor {stored!r} has shape {tuple(info.shape)}; its config.json "
                f"makes it {shape}"
            )
        self._taken.add(full)
        tensor: NDArray[Any] | Any = self._source[stored]
        if isinstance(tensor, np.ndarray) and tensor.dtype.kind not in "fV":
            raise FormatError(
                f"{self._where}: tensor {stored!r} is {tensor.dtype}; weights are floats"
            )
        if isinstance(tensor, (np.ndarray, QTensor)):
            return tensor
        return tensor.to_dense()

    def check(self, left_out: Iterable[str]) -> None:
        """Refuse a checkpoint with tensors missing, or some that nothing here takes.

        Parameters
        ----------
        left_out : iterable of str
            Beginnings of names that are known and not needed.

        Raises
        ------
        FormatError
            Names the tensors.
        """
        if self._missing:
            raise FormatError(f"{self._where} has no tensor {_listed(self._missing)}")
        known = (*left_out,)
        surplus = [
            stored
            for name, stored in self._names.items()
            if name not in self._taken
            and not name.removeprefix(self._prefix).startswith(known)
            and not any(re.fullmatch(pattern, name) for pattern in _BUFFERS)
        ]
        if surplus:
            raise FormatError(
                f"{self._where} has {_listed(surplus)}, of which its config.json says nothing"
            )


def _current(name: str) -> str:
    """Return a name as libraries write it today; those of the first years had gamma and beta."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
