"""Hadamard rotation: outliers are spread over all inputs before anything is rounded.

With R orthogonal, ``x @ w.T`` is ``(x @ R.T) @ (w @ R.T).T``. R is a Hadamard matrix over the root
of its order, its columns in random order and with random signs: every rotated value is a sum of all
values of its block with signs, so no step has to be wide for the sake of a few of them.

In a network the rotation of a layer's input is a layer of its own, without bias or activation. Its
weights are signs and one scale (or signs and zeros, where there are several blocks): 1 or 2 bits
each, so it is stored, exported and run like any other layer.

Ashkboos, Mohtashami, Croci, Li, Cameron, Jaggi, Alistarh, Hoefler and Hensman, "QuaRot:
Outlier-Free 4-Bit Inference in Rotated LLMs", NeurIPS 2024; Chee, Cai, Kuleshov and De Sa, "QuIP",
NeurIPS 2023. Hadamard matrices: Sylvester, 1867; Paley, "On orthogonal matrices", 1933.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import float_array
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.chain import Chain
from qcore.chain.layers import Dense
from qcore.errors import ArgumentError

__all__ = ["hadamard_matrix", "largest_order", "rotate", "rotated", "rotation"]

#: What seeds the order and the signs of the columns where nobody says: a rotation is not stored
#: with what was rotated by `rotate`.
SEED = 0


def rotate(x: ArrayLike, *, random_state: int = SEED) -> NDArray[np.float32]:
    """Rotate the vectors along the last axis: weights (out, in), or inputs (..., in), alike.

    Parameters
    ----------
    x : array_like of float, (..., n)
        The vectors.
    random_state : int, default 0
        The same one rotates alike.

    Returns
    -------
    ndarray of float32, (..., n)
        ``x @ rotation(n).dequantize().T``; products of rotated vectors are those of the vectors.
        For odd n the vectors are only permuted and signed.

    Examples
    --------
    >>> import numpy as np
    >>> from qcore.estimators.equalization.hadamard import rotate
    >>> w, x = np.array([[8, 0, 0, 0]], np.float32), np.array([[1, 2, 3, 4]], np.float32)
    >>> np.abs(rotate(w))
    array([[4., 4., 4., 4.]], dtype=float32)
    >>> rotate(x) @ rotate(w).T
    array([[8.]], dtype=float32)
    """
    values = float_array(x, "x").astype(np.float32)
    if not values.ndim or not values.shape[-1]:
        raise ValueError(f"x has shape {values.shape}; it must be (..., n) with n above 0")
    order, signs = _columns(values.shape[-1], random_state)
    matrix = hadamard_matrix(largest_order(values.shape[-1])).astype(np.float32)
    blocks = (values[..., order] * signs).reshape(*values.shape[:-1], -1, len(matrix))
    turned: NDArray[np.float32] = blocks @ matrix.T * np.float32(1 / np.sqrt(len(matrix)))
    return np.ascontiguousarray(turned.reshape(values.shape))


def rotation(n: int, *, random_state: int = SEED) -> QTensor:
    """Return the matrix of `rotate`, (n, n): signs of 1 bit, or of 2 bits with the zeros."""
    block = hadamard_matrix(largest_order(n))
    order, signs = _columns(n, random_state)
    matrix = np.empty((n, n), np.int8)
    matrix[:, order] = np.kron(np.eye(n // len(block), dtype=np.int8), block) * signs.astype(
        np.int8
    )
    scale = np.full(n, 1 / np.sqrt(len(block)), np.float32)
    if len(block) == n:
        return QTensor.from_parts(np.minimum(matrix, 0), scale, axis=0, bits=1, scheme="binary")
    return QTensor.from_parts(matrix, scale, axis=0, bits=2, narrow_range=True)


def rotated(net: Chain, names: Iterable[str], random_state: int = SEED) -> Chain:
    """Return a network that computes the same, in which these layers read rotated inputs.

    Before the layer "fc2" comes a new one, "fc2_rotation".
    """
    chosen = set(names)
    layers: list[Dense] = []
    for layer in net.layers:
        named = layer.copy()
        named._given_name = layer.name
        if layer.name in chosen:
            turn = rotation(layer.in_features, random_state=random_state)
            layers.append(Dense.from_weights(turn, layout="out_in", name=f"{layer.name}_rotation"))
            named.weight = rotate(layer.dense_weight(), random_state=random_state)
        layers.append(named)
    return net.with_layers(layers)


def largest_order(n: int) -> int:
    """Return the greatest order that divides n and of which `hadamard_matrix` has a matrix."""
    return max(order for order in range(1, n + 1) if n % order == 0 and _recipe(order) is not None)


def hadamard_matrix(order: int) -> NDArray[np.int8]:
    """Return a Hadamard matrix: entries 1 and -1, rows orthogonal.

    Known are 1, and 2**k times 2, q + 1 for primes q = 3 (mod 4), and 2 (q + 1) for primes
    q = 1 (mod 4).
    """
    recipe = _recipe(order)
    if recipe is None:
        raise ArgumentError(
            "order", f"order is {order}; no Hadamard matrix of that order is known here"
        )
    prime, matrix = recipe, np.ones((1, 1), np.int8)
    if prime:
        matrix = _paley(prime)
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _recipe(order: int) -> int | None:
    """Return the prime of Paley's construction, 0 for Sylvester's, or None."""
    if order & (order - 1) == 0:
        return 0
    while order % 4 == 0:
        if _is_prime(order - 1):
            return order - 1
        half = order // 2 - 1
        if half % 4 == 1 and _is_prime(half):
            return half
        order //= 2
    return None


def _paley(prime: int) -> NDArray[np.int8]:
    """Return Paley's matrix: of order q + 1 for q = 3 (mod 4), of 2 (q + 1) for q = 1."""
    squares = np.full(prime, -1, np.int8)
    squares[np.arange(prime, dtype=np.int64) ** 2 % prime] = 1
    squares[0] = 0
    places = np.arange(prime)
    jacobsthal = squares[(places[:, None] - places) % prime]
    core = np.ones((prime + 1, prime + 1), np.int8)
    core[0, 0] = 0
    core[1:, 1:] = jacobsthal
    if prime % 4 == 3:
        core[1:, 0] = -1
        return core + np.eye(prime + 1, dtype=np.int8)
    plus = np.array([[1, 1], [1, -1]], np.int8)
    diagonal = np.array([[1, -1], [-1, -1]], np.int8)
    return np.kron(core, plus) + np.kron(np.eye(prime + 1, dtype=np.int8), diagonal)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % i for i in range(2, isqrt(number) + 1))


def _columns(n: int, random_state: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the order of the columns, and their signs."""
    rng = np.random.default_rng(random_state)
    signs = rng.choice(np.array([-1.0, 1.0], np.float32), n)
    return rng.permutation(n), signs
