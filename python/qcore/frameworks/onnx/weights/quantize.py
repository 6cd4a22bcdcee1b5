"""Weights quantized in place in any ONNX graph; all else stays as it is.

A float constant that a MatMul, Gemm, Conv, ConvTranspose, Gather, LSTM, GRU or RNN reads, directly
or through nodes that only move it, becomes codes behind a DequantizeLinear, with a scale for each
output; one of another type than float32 with a Cast behind that. A MatMul with 4-bit groups becomes
ONNX Runtime's MatMulNBits; other groups are a DequantizeLinear's blocks. A weight that the graph
itself quantizes becomes the codes that it makes. Constants are read, and written, one at a time;
those of a large model go to a file of their own beside the graph, as ONNX has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qcore._arguments.validation import check_path
from qcore._display.progress import EpochProgress, Progress
from qcore._display.table import Report
from qcore._runtime.extras import require
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.source import TensorInfo
from qcore.frameworks.onnx.model.codes import attributes_of
from qcore.frameworks.onnx.model.constants import array_of, kind_of_tensor, nbytes_of, shape_of
from qcore.frameworks.onnx.model.metadata import RECIPE, WEIGHT_NAME, write_text
from qcore.frameworks.onnx.model.opset import opset_of, raise_opset, require_domain
from qcore.frameworks.onnx.model.scopes import scan, tensors_in
from qcore.frameworks.onnx.model.uses import Weight, find_weights
from qcore.frameworks.onnx.read.load import load_model
from qcore.frameworks.onnx.weights.code_types import (
    CodeType,
    code_type,
    stored_codes,
    written_types,
)
from qcore.frameworks.onnx.weights.edit import FLOAT, GraphEdit, encoded, names_in
from qcore.frameworks.onnx.weights.store import DryStore, Store

__all__ = ["GraphPlan", "plan_graph", "quantize_graph"]

_BLOCKS = (16, 32, 64, 128, 256)  # of MatMulNBits
_OPSET_FOR_CODES = 10
_UINT8, _INT8 = 2, 3
#: A protobuf message holds at most 2 GB; well below it, constants move to a file of their own.
EXTERNAL_FROM = 1 << 30


class GraphPlan(NamedTuple):
    """What `quantize_graph` would write: a row for each weight, and the bytes of all files."""

    rows: list[dict[str, Any]]
    nbytes: int


def quantize_graph(
    path: str | PathLike[str],
    output: str | PathLike[str],
    quantizer: Quantizer,
    *,
    external_from: int = EXTERNAL_FROM,
    recipe: str | None = None,
    progress: Progress = False,
) -> Report:
    """Quantize the weights of an ONNX graph.

    Parameters
    ----------
    path, output : path
        The model, with its external data if it has some; and the file to write. Constants of more
        than `external_from` bytes in all, or those of a model that had a data file, go to
        ``output + ".data"``. The opset is raised where codes need it.
    quantizer : Quantizer
        The recipe: bits 8, or 4. ``axis=None`` gives one scale for a tensor, anything else one for
        each output.
    recipe : str, optional
        A text to keep under ``metadata_props["qcore.recipe"]``.
    progress : bool, "auto" or callable
        A bar over the weights, as in `Sequential.fit`.

    Returns
    -------
    Report
        A row for each weight and, with the reason under ``kept``, for each float of two axes and
        more that stays as it is.

    Raises
    ------
    ImportError
        If the onnx package is not there: ``pip install 'qcore-cpu[onnx]'``.
    FormatError
        If the file is not ONNX.
    ValueError
        If the recipe is none that ONNX can express, if a weight has a NaN, or if there is nothing
        to do; says why.
    """
    source, target = check_path(path), check_path(output, "output")
    job = _Quantization(load_model(source), source, quantizer, recipe, external_from)
    return job.run(target, progress)


def plan_graph(
    path: str | PathLike[str],
    quantizer: Quantizer,
    *,
    output: str | PathLike[str] = "model.onnx",
    external_from: int = EXTERNAL_FROM,
    recipe: str | None = None,
) -> GraphPlan:
    """Say what `quantize_graph` would write, without reading a weight."""
    source = Path(path)
    job = _Quantization(load_model(source), source, quantizer, recipe, external_from)
    nbytes = job.plan(Path(output))
    return GraphPlan(job.rows, nbytes)


class _Quantization(GraphEdit):
    """One graph on its way."""

    def __init__(
        self,
        model: Any,
        source: Path,
        quantizer: Quantizer,
        recipe: str | None,
        external_from: int,
    ) -> None:
        onnx = require("onnx", "quantizing ONNX")
        if len(model.functions):
            # Weights that a function gets are those of the nodes in it.
            model = onnx.inliner.inline_local_functions(model)
        if recipe is not None:
            write_text(model, RECIPE, recipe)
        super().__init__(model, source)
        self.quantizer = quantizer
        tensors = list(tensors_in(model.graph))
        total = sum(nbytes_of(t) for t in tensors if _is_numbers(t))
        self.external = any(t.data_location == 1 for t in tensors) or total >= external_from

    def run(self, target: Path, progress: Progress) -> Report:
        """Write the model; returns what became of its tensors."""
        self.store = Store(target, self.source, external=self.external)
        try:
            self._change(progress)
            self.store.keep(self.model.graph)
            self.store.commit(self.model)
        finally:
            self.store.discard()
        totals = {c: sum(row[c] for row in self.rows) for c in ("float bytes", "bytes")}
        return Report("compressed", self.rows, {"tensor": "all"} | totals)

    def plan(self, target: Path) -> int:
        """Return how many bytes `run` would write, by a run without values."""
        self.dry = True
        self.store = DryStore(target, external=self.external)
        self._change(False)
        self.store.keep(self.model.graph)
        return self.store.nbytes(self.model)

    def _change(self, progress: Progress) -> None:
        weights, kept = self._find()
        self._check_recipe(weights)
        least = max((self._opset_for(weight) for weight in weights.values()), default=0)
        refused = ""
        before = opset_of(self.model)
        try:
            raise_opset(self.model, least)
        except ValueError as error:
            refused = str(error)
        if opset_of(self.model) != before or refused:
            weights, kept = self._find()
        self.names = names_in(self.model.graph)
        with EpochProgress(progress, len(weights), self.source.name, unit="weights") as shown:
            for done, (key, weight) in enumerate(weights.items()):
                shown.update(done, key)
                reason = self._take(key, weight, refused)
                if reason is not None:
                    kept[key] = weight, reason
        if not self.rows:
            why = "; ".join(f"{key}: {reason}" for key, (_, reason) in list(kept.items())[:5])
            raise ValueError(
                f"'{self.source}' has no weight that can be quantized, so nothing was written"
                + (f" ({why})" if why else "")
            )
        for key, (weight, reason) in kept.items():
            tensor = weight.constant.tensor
            self.rows.append(self._row(key, tensor) | {"bytes": nbytes_of(tensor), "kept": reason})

    def _find(self) -> tuple[dict[str, Weight], dict[str, tuple[Weight, str]]]:
        """Return the weights that the recipe takes and, with the reason, the floats that stay."""
        scopes = scan(self.model.graph)
        weights, others = find_weights(scopes)
        by_key = {c.key: c for scope in scopes for c in scope.constants.values()}
        self.quantizer.fit({key: _info(weight) for key, weight in weights.items()})
        kept = {
            key: (Weight(by_key[key], 0, only_matmul=False), reason)
            for key, reason in others.items()
        }
        for key in list(weights):
            if key not in self.quantizer.bits_:
                kept[key] = weights.pop(key), "ignore names it"
        return weights, kept

    def _check_recipe(self, weights: Iterable[str]) -> None:
        for key in weights:
            options = self.quantizer.tensor_options(key)
            if code_type(options) is None:
                raise ValueError(f"tensor {key!r}: {written_types()}")

    def _opset_for(self, weight: Weight) -> int:
        """Return the opset that the codes of a weight need."""
        options = self.quantizer.tensor_options(weight.constant.key)
        if weight.quantizer is not None or self._as_blocks(weight, options):
            return 0
        found = code_type(options)
        return 0 if found is None else found.opset

    def _as_blocks(self, weight: Weight, options: dict[str, Any]) -> bool:
        """Whether the products of a weight become MatMulNBits."""
        symmetric = options.get("symmetric") is not False
        symmetric = symmetric and options.get("scheme", "affine") == "affine"
        return bool(weight.only_matmul and symmetric and options["bits"] == 4
                    and options["group_size"] in _BLOCKS)  # fmt: skip

    # one weight --------------------------------------------------------------------------------
    def _take(self, key: str, weight: Weight, refused: str) -> str | None:
        """Quantize a weight; returns why it stays as it is, where it does."""
        options = dict(self.quantizer.tensor_options(key))
        own = SCHEMES[options.get("scheme", "affine")].group_size
        options["group_size"] = own or options["group_size"]
        if weight.quantizer is not None:
            return self._take_quantized(key, weight)
        if self._as_blocks(weight, options):
            return self._take_blocks(key, weight, options)
        shape = shape_of(weight.constant.tensor)
        if options["group_size"] is not None and len(shape) != 2:
            return f"groups of {options['group_size']} lie in the rows of matrices"
        if refused and self._opset_for(weight) > opset_of(self.model):
            wide = options["bits"] == 8 and options.get("scheme", "affine") == "affine"
            if not wide or options["group_size"] is not None:
                return refused
            options["axis"] = None  # one scale, which opsets from 10 have
            if opset_of(self.model) < _OPSET_FOR_CODES:
                return refused
        return self._take_codes(key, weight, options)

    def _take_codes(self, key: str, weight: Weight, options: dict[str, Any]) -> str | None:
        """Put codes and a DequantizeLinear in the place of a constant."""
        constant, shape = weight.constant, shape_of(weight.constant.tensor)
        group, axis = options["group_size"], weight.axis
        attributes: dict[str, int] = {}
        if group is not None:
            along = 1 - axis
            attributes = {"axis": along, "block_size": min(group, shape[along])}
            scale_shape = list(shape)
            scale_shape[along] = -(-shape[along] // group)
        else:
            options["axis"] = None if options["axis"] is None else axis
            scale_shape = [] if options["axis"] is None else [shape[axis]]
            attributes = {} if options["axis"] is None else {"axis": axis}
        codes = scale = zero = None
        if not self.dry:
            array = self._array(weight)
            turned = group is not None and axis == 1  # groups lie along the last axis
            q = encoded(key, np.ascontiguousarray(array.T) if turned else array, options)
            if isinstance(q, str):
                return q
            self._note(key, weight, array.T if turned else array, q)
            values, steps, zeros = stored_codes(q), q.scale.astype(np.float32), q.zero_point
            if turned:
                values, steps, zeros = values.T, steps.T, zeros.T
            codes, scale = values, steps.reshape(scale_shape)
            if q.zero_point.any():
                zero = zeros.astype(q.values.dtype).reshape(scale_shape)
        kind = (code_type(options) or CodeType(_INT8, 0)).number
        inputs = [
            self.store.tensor(self._new(f"{constant.name}_codes"), kind, shape, codes),
            self.store.tensor(self._new(f"{constant.name}_scale"), FLOAT, scale_shape, scale),
        ]
        if zero is not None or (self.dry and options.get("symmetric") is False):
            name = self._new(f"{constant.name}_zero_point")
            inputs.append(self.store.tensor(name, kind, scale_shape, zero))
        if self.dry:
            self._note_planned(key, weight, options, inputs)
        self._replace(weight, inputs, attributes)
        return None

    def _take_quantized(self, key: str, weight: Weight) -> str | None:
        """Put the codes of a weight that the graph quantizes in its place."""
        node, constant = weight.quantizer, weight.constant
        scope, options = constant.uses[0].scope, attributes_of(node)
        found = [scope.constant(name) if name else None for name in [*node.input, ""][1:3]]
        scale, zero = found
        named_zero = len(node.input) > 2 and node.input[2]
        if scale is None or (named_zero and zero is None) or scope is not constant.scope:
            return "the graph quantizes it by a scale that is no constant"
        kind = _UINT8 if zero is None else zero.tensor.data_type
        kind = int(options.get("output_dtype", 0) or kind)
        steps = array_of(scale.tensor, self.source).astype(np.float32)
        if kind not in (_UINT8, _INT8) or options.get("block_size", 0):
            return "the graph quantizes it to other codes than those of 8 bits"
        shape = shape_of(constant.tensor)
        values = None
        if not self.dry:
            zeros = 0 if zero is None else array_of(zero.tensor, self.source).astype(np.int32)
            layout: dict[str, Any] = {
                "scale": steps.reshape(-1) if steps.size > 1 else steps.item()
            }
            layout["axis"] = int(options.get("axis", 1)) if steps.size > 1 else None
            layout["zero_point"] = zeros if np.size(zeros) > 1 else int(np.reshape(zeros, ()))
            array = self._array(weight)
            q = quantize(array, bits=8, signed=kind == _INT8, narrow_range=False, **layout)
            self._note(key, weight, array, q)
            values = q.values
        codes = self.store.tensor(node.output[0], kind, shape, values)
        codes.doc_string = WEIGHT_NAME + key
        if self.dry:
            self._note_planned(key, weight, {"bits": 8}, [codes])
        rest = [other for other in scope.graph.node if other.output[:1] != node.output[:1]]
        del scope.graph.node[:]
        scope.graph.node.extend(rest)
        self._put(scope, constant, [], [codes])
        return None

    def _take_blocks(self, key: str, weight: Weight, options: dict[str, Any]) -> str | None:
        """Turn each MatMul with this weight (K, N) into a MatMulNBits."""
        constant, group = weight.constant, options["group_size"]
        inner, outer = shape_of(constant.tensor)
        blocks = -(-inner // group)
        packed = scales = None
        if not self.dry:
            array = self._array(weight).T
            half = constant.tensor.data_type == 10
            how = options | {"axis": None} | ({"scale_dtype": np.float16} if half else {})
            q = encoded(key, np.ascontiguousarray(array), how)
            if isinstance(q, str):
                return q
            if half and q.scale_dtype != np.float16:
                return "its scales are out of the range of float16, its type"
            self._note(key, weight, array, q)
            codes = np.full((outer, blocks * group), 8, np.uint8)
            codes[:, :inner] = q.values + 8
            packed = (codes[:, 0::2] | codes[:, 1::2] << 4).reshape(outer, blocks, group // 2)
            scales = q.scale.reshape(-1)
        shape = (outer, blocks, group // 2)
        kind = constant.tensor.data_type if constant.tensor.data_type in (1, 10) else FLOAT
        parts = [
            self.store.tensor(self._new(f"{constant.name}_packed"), _UINT8, shape, packed),
            self.store.tensor(
                self._new(f"{constant.name}_scales"), kind, (outer * blocks,), scales
            ),
        ]
        parts[0].doc_string = WEIGHT_NAME + key
        if self.dry:
            self._note_planned(key, weight, options, parts)
        for use in constant.uses:
            node = use.node
            node.op_type, node.domain = "MatMulNBits", "com.microsoft"
            first = node.input[0]
            del node.input[:], node.attribute[:]
            node.input.extend([first, *(part.name for part in parts)])
            numbers = {"K": inner, "N": outer, "bits": 4, "block_size": group}
            node.attribute.extend(self.helper.make_attribute(k, v) for k, v in numbers.items())
        require_domain(self.model, "com.microsoft")
        self._put(constant.scope, constant, [], parts)
        return None


def _info(weight: Weight) -> TensorInfo:
    kind = kind_of_tensor(weight.constant.tensor)
    return TensorInfo(shape_of(weight.constant.tensor), np.dtype(kind.loaded))


def _is_numbers(tensor: Any) -> bool:
    try:
        kind_of_tensor(tensor)
    except ValueError:
        return False
    return True
