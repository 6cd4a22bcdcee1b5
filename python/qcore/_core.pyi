"""The compiled extension: private, behind the public functions of `qcore`."""

import builtins
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

_T = TypeVar("_T")

__version__: str
build_profile: str

# entropy ---------------------------------------------------------------------------------------
# shape=(rows, columns, levels, zero, stride)
def entropy_encode(
    codes: NDArray[np.uint8], shape: tuple[int, int, int, int, int]
) -> NDArray[np.uint8]: ...
def entropy_check(
    bytes: int,  # noqa: A002
    shape: tuple[int, int, int, int, int],
) -> None: ...
def entropy_costs(
    codes: NDArray[np.uint8],
    shape: tuple[int, int, int, int, int],
    zero_bits: NDArray[np.float32],
    full_bits: NDArray[np.float32],
) -> None: ...
def entropy_decode(
    bytes: NDArray[np.uint8],  # noqa: A002
    shape: tuple[int, int, int, int, int],
    out: NDArray[np.uint8],
) -> None: ...
def entropy_decode_sparse(
    bytes: NDArray[np.uint8],  # noqa: A002
    shape: tuple[int, int, int, int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]: ...
def entropy_encode_integers(values: NDArray[np.int32]) -> NDArray[np.uint8]: ...
def entropy_decode_integers(
    bytes: NDArray[np.uint8],  # noqa: A002
    out: NDArray[np.int32],
) -> None: ...

# files -----------------------------------------------------------------------------------------
@final
class TensorFile:
    def __new__(
        cls,
        path: str | PathLike[str],
        max_tensors: int | None = None,
        max_name_bytes: int | None = None,
    ) -> TensorFile: ...
    def names(self) -> list[str]: ...
    def texts(self) -> dict[str, str]: ...
    def info(self, name: str) -> tuple[str, list[int], int]: ...
    def read_into(self, name: str, out: NDArray[np.uint8]) -> None: ...
    def read_range(self, name: str, offset: int, out: NDArray[np.uint8]) -> None: ...

@final
class DraftFolder:
    def __new__(cls, parent: str | PathLike[str]) -> DraftFolder: ...
    @property
    def path(self) -> Path: ...
    def close(self) -> None: ...

@final
class RegularFile:
    def __new__(cls, path: str | PathLike[str]) -> RegularFile: ...
    @property
    def nbytes(self) -> int: ...
    def read_at(self, offset: int, out: NDArray[np.uint8]) -> None: ...

@final
class AtomicFile:
    def __new__(cls, path: str | PathLike[str]) -> AtomicFile: ...
    @property
    def temporary_path(self) -> Path: ...
    def write_at(self, offset: int, data: NDArray[np.uint8]) -> None: ...
    def set_len(self, len: int) -> None: ...  # noqa: A002
    def commit(self) -> None: ...
    def discard(self) -> None: ...

def plan_tensor_file(
    entries: Sequence[tuple[str, str, Sequence[int]]], texts: dict[str, str]
) -> tuple[bytes, list[int]]: ...
def remove_drafts() -> None: ...
def tensor_file_nbytes(
    entries: Sequence[tuple[str, str, Sequence[int], NDArray[np.uint8]]], texts: dict[str, str]
) -> int: ...
def write_tensor_file(
    path: str | PathLike[str],
    entries: Sequence[tuple[str, str, Sequence[int], NDArray[np.uint8]]],
    texts: dict[str, str],
) -> None: ...

# runtime ---------------------------------------------------------------------------------------
def active_isa() -> str: ...
def at_most(threads: int, call: Callable[[], _T]) -> _T: ...
def available_isas() -> list[str]: ...
def unverified_isas() -> list[str]: ...
def kernel_id() -> str: ...
def num_threads() -> int: ...
def move_all(values: NDArray[np.int32], out: NDArray[np.int8]) -> None: ...
def read_all(values: NDArray[np.int32]) -> int: ...
def peak_rate() -> float: ...
def product_limits() -> list[int]: ...
def set_num_threads(num_threads: int) -> None: ...
def work_alone(leave: Callable[[], bool] | None = None) -> None: ...

# prune -----------------------------------------------------------------------------------------
def keep_largest(
    arrays: Sequence[NDArray[Any]], count: int, masks: Sequence[NDArray[np.bool_]]
) -> None: ...
def keep_n_of_m(
    weights: NDArray[Any], row: int, n: int, m: int, mask: NDArray[np.bool_]
) -> None: ...

# quant -----------------------------------------------------------------------------------------
# axis=(channels, inner) | groups=(row, group) | neither: one scale for all.
def quantize(
    x: NDArray[Any],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    low: int,
    high: int,
    out: NDArray[Any],
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> tuple[int, int]: ...
def quantize_minifloat(
    x: NDArray[np.float32],
    format: tuple[int, int, int],  # noqa: A002
    groups: tuple[int, int],
    scale: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> int: ...
def quantize_groups(
    x: NDArray[np.float32],
    groups: tuple[int, int],
    greatest: float,
    half: bool,
    out: NDArray[np.int8],
) -> NDArray[np.float32] | None: ...
def quantize_plain(
    x: object,
    bits: object,
    signed: object,
    symmetric: object,
    narrow_range: object,
    scale: object,
    zero_point: object,
    out: object | None,
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int32], int, bool] | None: ...
def dequantize(
    codes: NDArray[Any],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    out: NDArray[Any],
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> None: ...
def quantize_alone(x: NDArray[np.float32], scale: float, rounds: int) -> float: ...
def dequantize_plain(
    codes: object, scale: object, zero_point: object, out: object | None
) -> NDArray[np.float32] | None: ...
def fake_quantize(
    x: NDArray[np.float32],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    low: int,
    high: int,
    out: NDArray[np.float32],
    inside: NDArray[np.float32] | None = None,
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> None: ...
def fake_quantize_rows(x: NDArray[np.float32], row: int, out: NDArray[np.float32]) -> None: ...
def ranges(
    x: NDArray[Any],
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint64], NDArray[np.uint64]]: ...
def floor_quantize(
    x: NDArray[Any], scale: float, offset: float, low: int, high: int, out: NDArray[Any]
) -> tuple[int, int]: ...
def floor_dequantize(
    codes: NDArray[Any], scale: float, offset: float, shift: float, out: NDArray[Any]
) -> None: ...
def stochastic_quantize(
    x: NDArray[Any],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    low: int,
    high: int,
    seed: int,
    out: NDArray[Any],
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> tuple[int, int]: ...
def kmeans(
    values: NDArray[np.float32], k: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float32]: ...
def assign(
    values: NDArray[np.float32], levels: NDArray[np.float32], out: NDArray[np.uint8]
) -> None: ...
def pack_bits(codes: NDArray[np.uint8], row: int, bits: int) -> NDArray[np.uint8]: ...
def unpack_bits(
    packed: NDArray[np.uint8], count: int, row: int, bits: int, signed: bool
) -> NDArray[np.uint8]: ...

@final
class Histogram:
    def __new__(cls) -> Histogram: ...
    @staticmethod
    def from_bins(
        bins: NDArray[np.uint32],
        counts: NDArray[np.uint64],
        ends: tuple[float, float],
        odd: tuple[int, int],
    ) -> Histogram: ...
    def update(self, x: NDArray[Any]) -> None: ...
    def merge(self, other: Histogram) -> None: ...
    def bins(
        self,
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64], tuple[float, float], tuple[int, int]]: ...
    def range(
        self,
        method: str,
        percent: float,
        min: int,  # noqa: A002
        max: int,  # noqa: A002
        symmetric: bool,
    ) -> tuple[float, float]: ...

def observe(
    x: NDArray[Any],
    method: str,
    percent: float,
    min: int,  # noqa: A002
    max: int,  # noqa: A002
    symmetric: bool,
    axis: tuple[int, int] | None = None,
    groups: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def planes_sizes(
    bytes: int,  # noqa: A002
    width: int,
) -> tuple[int, int]: ...
def planes_encode(
    bytes: NDArray[np.uint8],  # noqa: A002
    width: int,
) -> NDArray[np.uint8]: ...
def planes_decode(coded: NDArray[np.uint8], width: int, out: NDArray[np.uint8]) -> None: ...
def ggml_types() -> list[tuple[str, int, int, int, bool]]: ...
def ggml_encode(
    kind: str,
    x: NDArray[np.float32],
    importance: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None: ...
def ggml_decode(
    kind: str,
    blocks: NDArray[np.uint8],
    out: NDArray[np.float32],
) -> None: ...
def gptq(
    weights: NDArray[np.float64],
    factor: NDArray[np.float64],
    order: NDArray[np.int64],
    scale: NDArray[np.float64],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    pruned: NDArray[np.bool_],
    group: int,
    out: NDArray[np.int32],
) -> None: ...
def descend(
    product: NDArray[np.float64],
    hessian: NDArray[np.float64],
    scale: NDArray[np.float64],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    pruned: NDArray[np.bool_],
    group: int,
    rounds: int,
    refit: bool,
    out_scale: NDArray[np.float64],
    codes: NDArray[np.int32],
) -> None: ...

# gemm ------------------------------------------------------------------------------------------
@final
class PackedMatrix:
    __array_ufunc__: None
    def __new__(cls, b: NDArray[Any]) -> PackedMatrix: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def matmul_alone(a: NDArray[Any], b: NDArray[Any] | PackedMatrix, rounds: int) -> float: ...
def matmul_integer_plain(
    a: object, b: object, a_zero_point: object, b_zero_point: object, target: object
) -> NDArray[np.int32] | None: ...
def matmul_integer(
    a: NDArray[Any],
    b: NDArray[Any] | PackedMatrix,
    a_zero_point: NDArray[np.int32],
    b_zero_point: NDArray[np.int32],
    out: NDArray[Any],
) -> None: ...

# weights ---------------------------------------------------------------------------------------
@final
class PackedWeights:
    @staticmethod
    def integer(codes: NDArray[np.int8], scale: NDArray[np.float32]) -> PackedWeights: ...
    @staticmethod
    def int4(codes: NDArray[np.int8], scale: NDArray[np.float32], group: int) -> PackedWeights: ...
    @staticmethod
    def float(weight: NDArray[np.float32]) -> PackedWeights: ...
    @staticmethod
    def csr(csr: Csr, scale: NDArray[np.float32] | None, rows: int) -> PackedWeights: ...
    @staticmethod
    def n_of_m(matrix: NofM, scale: NDArray[np.float32] | None, rows: int) -> PackedWeights: ...
    @staticmethod
    def blocks(matrix: Blocks, scale: NDArray[np.float32] | None, rows: int) -> PackedWeights: ...
    @staticmethod
    def codes(
        codes: NDArray[Any],
        scale: NDArray[np.float32],
        zero_point: NDArray[np.int32],
        group: int | None,
    ) -> PackedWeights: ...
    @staticmethod
    def codebook(
        codes: NDArray[np.uint8], levels: NDArray[np.float32], count: int, axis: int | None
    ) -> PackedWeights: ...
    @staticmethod
    def scaled_codebook(
        codes: NDArray[np.uint8],
        levels: NDArray[np.float32],
        scale: NDArray[np.float32],
        group: int,
    ) -> PackedWeights: ...
    def linear(
        self,
        x: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        activation: str,
        out: NDArray[np.float32],
    ) -> None: ...
    def alone(self, x: NDArray[np.float32], rounds: int) -> builtins.float: ...
    def linear_plain(
        self, x: object, bias: object, activation: object, target: object | None
    ) -> NDArray[np.float32] | None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def is_integer(self) -> bool: ...
    @property
    def kernel(self) -> str: ...
    @property
    def nbytes(self) -> int: ...

def finish_rows(
    x: NDArray[np.float32], cols: int, bias: NDArray[np.float32] | None, activation: str
) -> None: ...

# sparse ----------------------------------------------------------------------------------------
@final
class NofM:
    @staticmethod
    def from_dense(dense: NDArray[Any], n: int, m: int) -> NofM: ...
    @staticmethod
    def from_codes(
        data: NDArray[Any], codes: NDArray[np.uint64], n: int, m: int, rows: int, cols: int
    ) -> NofM: ...
    def to_dense(self, out: NDArray[Any]) -> None: ...
    def to_csr(self) -> Csr: ...
    def multiply(self, x: NDArray[Any], x_zero: int, left: bool, out: NDArray[Any]) -> None: ...
    def equals(self, other: NofM) -> bool: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def pattern(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def data(self) -> NDArray[Any]: ...
    @property
    def places(self) -> NDArray[np.uint8]: ...
    @property
    def codes(self) -> NDArray[np.uint64]: ...

@final
class Blocks:
    def __new__(
        cls,
        data: NDArray[Any],
        indices: NDArray[np.int64],
        indptr: NDArray[np.int64],
        block: tuple[int, int],
        rows: int,
        cols: int,
    ) -> Blocks: ...
    @staticmethod
    def from_dense(dense: NDArray[Any], height: int, width: int) -> Blocks: ...
    def to_dense(self, out: NDArray[Any]) -> None: ...
    def to_csr(self) -> Csr: ...
    def transpose(self) -> Blocks: ...
    def multiply(self, x: NDArray[Any], x_zero: int, left: bool, out: NDArray[Any]) -> None: ...
    def equals(self, other: Blocks) -> bool: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def block(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def nnz(self) -> int: ...
    @property
    def data(self) -> NDArray[Any]: ...
    @property
    def indices(self) -> NDArray[Any]: ...
    @property
    def indptr(self) -> NDArray[np.int64]: ...

@final
class Csr:
    def __new__(
        cls, data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], rows: int, cols: int
    ) -> Csr: ...
    @staticmethod
    def from_coordinates(
        data: NDArray[Any], row: NDArray[np.int64], col: NDArray[np.int64], rows: int, cols: int
    ) -> Csr: ...
    @staticmethod
    def from_dense(dense: NDArray[Any], mask: NDArray[np.bool_] | None) -> Csr: ...
    def to_dense(self, out: NDArray[Any]) -> None: ...
    def transpose(self) -> Csr: ...
    def rows_in(self, start: int, stop: int) -> Csr: ...
    def multiply(self, x: NDArray[Any], x_zero: int, left: bool, out: NDArray[Any]) -> None: ...
    def equals(self, other: Csr) -> bool: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nnz(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def data(self) -> NDArray[Any]: ...
    @property
    def indices(self) -> NDArray[Any]: ...
    @property
    def indptr(self) -> NDArray[Any]: ...

# train -----------------------------------------------------------------------------------------
def adam_step(
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    mask: NDArray[np.float32] | None = None,
) -> None: ...
def sgd_step(
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    velocity: NDArray[np.float32],
    learning_rate: float,
    momentum: float,
    mask: NDArray[np.float32] | None = None,
) -> None: ...
def multiply_derivative(
    delta: NDArray[np.float32],
    output: NDArray[np.float32],
    activation: str,
    inside: NDArray[np.float32] | None = None,
) -> None: ...
def softmax_loss(
    logits: NDArray[np.float32],
    target: NDArray[np.float32],
    cols: int,
    temperature: float,
    weight: float,
    delta: NDArray[np.float32],
) -> float: ...

# network ---------------------------------------------------------------------------------------
@final
class ProgramBuilder:
    def __new__(cls) -> ProgramBuilder: ...
    def float(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        activation: str,
    ) -> None: ...
    def packed(
        self,
        weights: PackedWeights,
        bias: NDArray[np.float32],
        activation: str,
        source: tuple[builtins.float, int, bool] | None,
    ) -> None: ...
    def build(self) -> Program: ...

@final
class Program:
    @property
    def outputs(self) -> int: ...
    @property
    def kernels(self) -> list[str]: ...
    def run(self, x: NDArray[np.float32], logits: bool, out: NDArray[np.float32]) -> None: ...

# graph -----------------------------------------------------------------------------------------
# The text and the ops: rust/qcore-graph/src/lib.rs.
@final
class Graph:
    def __new__(
        cls, spec: str, tensors: Sequence[NDArray[Any]], operands: Sequence[PackedWeights] = ...
    ) -> Graph: ...
    @staticmethod
    def ops() -> list[str]: ...
    def run(
        self, inputs: dict[str, NDArray[Any]], values: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]: ...
    def infer(self) -> str: ...
    def session(self, shapes: dict[str, int], threads: int | None = None) -> Session: ...
    def kernels(self, inputs: dict[str, NDArray[Any]]) -> list[tuple[str, str]]: ...

@final
class Session:
    @property
    def arena_bytes(self) -> int: ...
    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...
    def run_as_given(self, inputs: object) -> dict[str, NDArray[Any]] | None: ...
    def times(
        self, inputs: dict[str, NDArray[Any]], runs: int
    ) -> list[tuple[str, str, int, int]]: ...
