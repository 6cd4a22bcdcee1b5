"""Graphs that are run on samples and timed: here, or in ONNX Runtime where one is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.arrays import as_array
from qcore._runtime.extras import require
from qcore.bench.latency import measure_runs
from qcore.chain.labels import are_labels, label_codes
from qcore.errors import UnsupportedError
from qcore.report.compare.chance import difference_error, is_tie, share_error
from qcore.report.compare.tensors import Outputs, decibel
from qcore.report.compare.variants import Variant

__all__ = ["Answers", "Running", "answers_of", "compare_answers", "run_beside", "time_beside"]

Arrays = Mapping[str, NDArray[Any]]
# Samples that run at once, where a graph leaves the batch open.
_BATCH = 32
_SECONDS = 0.6


class Running(NamedTuple):
    """A graph that can be run.

    Attributes
    ----------
    name : str
    engine : str
        What runs it: "qcore" or "ONNX Runtime".
    inputs : dict of str to (str, tuple)
        NumPy's dtype and the shape of each, in which a text or None is an open size.
    run : callable
        Takes arrays by the names of the inputs, gives arrays by the names of the outputs.
    classes : ndarray or None
        The labels that its outputs stand for.
    """

    name: str
    engine: str
    inputs: Mapping[str, tuple[str, tuple[Any, ...]]]
    run: Any
    classes: NDArray[Any] | None = None

    @property
    def batch(self) -> int | None:
        """How many samples it takes at a time; None where that is open."""
        sizes = {shape[0] for _, shape in self.inputs.values() if shape}
        (first,) = sizes if len(sizes) == 1 else (None,)
        return first if isinstance(first, int) else None


class Answers(NamedTuple):
    """What two graphs and those beside them gave for the same samples.

    Attributes
    ----------
    samples : int
    outputs : list of dict of str to ndarray
        Of each graph.
    """

    samples: int
    outputs: Sequence[Arrays]


def run_beside(models: Mapping[str, Any]) -> list[Running]:
    """Make graphs ready to run, all of them by one engine, since answers and times are compared.

    Parameters
    ----------
    models : mapping of str to (Sequential, Graph or Path)
        By name. A path is an ONNX file, which ONNX Runtime runs unless all of them are ours.

    Raises
    ------
    UnsupportedError
        If one is not ours and ONNX Runtime cannot run them either.
    """
    from qcore.loading import load

    found = []
    try:
        for name, model in models.items():
            found.append(_ours(name, load(model) if isinstance(model, Path) else model))
    except (UnsupportedError, ValueError, TypeError) as error:
        if not all(isinstance(model, Path) for model in models.values()):
            raise
        try:
            return [_theirs(name, path) for name, path in models.items()]
        except ImportError as missing:
            raise UnsupportedError(f"{error}; and {missing}") from missing
    return found


def _ours(name: str, graph: Any) -> Running:
    if hasattr(graph, "layers"):
        return Running(
            name, "qcore", {"X": ("float32", (None, graph.layers[0].in_features))},
            lambda given: {"output": graph.predict_proba(given["X"])}, graph.classes_,
        )  # fmt: skip
    inputs = {value.name: (value.dtype, tuple(value.shape or ())) for value in graph.inputs}
    return Running(name, "qcore", inputs, graph.run, graph.classes_)


def _theirs(name: str, path: Path) -> Running:
    runtime = require("onnxruntime", "running a graph with ops that qcore has not")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(
            str(path.resolve()), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of the classes of its extension, which have no base of their own
        raise UnsupportedError(f"ONNX Runtime does not open '{path}': {error}") from error
    inputs = {
        value.name: (_numpy_type(value.type), tuple(value.shape)) for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]

    def run(given: Arrays) -> Arrays:
        try:
            return dict(zip(names, session.run(names, dict(given)), strict=True))
        except Exception as error:
            raise ValueError(f"ONNX Runtime does not run '{path}': {error}") from error

    return Running(name, "ONNX Runtime", inputs, run)


def _numpy_type(text: str) -> str:
    """Return NumPy's name of ONNX Runtime's ``tensor(float)``."""
    inner = text.partition("(")[2].rstrip(")")
    return {"float": "float32", "double": "float64", "string": "str"}.get(inner, inner)


def answers_of(running: Sequence[Running], X: Any) -> Answers:
    """Run graphs on samples.

    Parameters
    ----------
    running : sequence of Running
        Of the same inputs.
    X : array_like, or mapping of str to array_like
        Samples for the one input, or for each by name; the first axis counts them.

    Raises
    ------
    ValueError
        If samples do not fit the inputs.
    """
    found = []
    count = 1
    for one in running:
        fed = _fed(one, X)
        count = max((len(array) for array in fed.values() if array.ndim), default=1)
        found.append(_joined([one.run(piece) for piece in _pieces(fed, one.batch, count)]))
    return Answers(count, found)


def _fed(running: Running, X: Any) -> dict[str, NDArray[Any]]:
    inputs = running.inputs
    if not isinstance(X, Mapping):
        if len(inputs) != 1:
            raise ValueError(
                f"{running.name} has the inputs {', '.join(inputs)}; give samples for each, as .npz"
            )
        X = {next(iter(inputs)): X}
    missing = [name for name in inputs if name not in X]
    if missing:
        raise ValueError(f"there are no samples for the input {missing[0]!r} of {running.name}")
    return {name: _as_input(as_array(X[name]), *inputs[name], name) for name in inputs}


def _as_input(array: NDArray[Any], dtype: str, shape: tuple[Any, ...], name: str) -> NDArray[Any]:
    """Return samples in the type and rank of an input: rows as images, and images as rows."""
    if dtype != "str":
        array = array.astype(dtype)
    sizes = shape[1:]
    fixed = bool(sizes) and all(isinstance(size, int) for size in sizes)
    other = array.ndim > 1 and array.ndim != len(shape)
    if fixed and other and np.prod(array.shape[1:]) == np.prod(sizes):
        array = array.reshape(len(array), *sizes)
    if shape and array.ndim != len(shape):
        raise ValueError(
            f"samples have {array.ndim} axes; input {name!r} has {len(shape)}: "
            f"({', '.join(str(size) for size in shape)})"
        )
    return array


def _pieces(fed: Arrays, batch: int | None, count: int) -> Iterator[Arrays]:
    """Yield the samples some at a time; all at once where some input does not count them."""
    step = batch or _BATCH
    if step >= count or not _counts_samples(fed, count):
        yield fed
        return
    if batch is not None and count % batch:
        raise ValueError(f"there are {count} samples; the graph takes {batch} at a time")
    for start in range(0, count, step):
        yield {name: array[start : start + step] for name, array in fed.items()}


def _counts_samples(fed: Arrays, count: int) -> bool:
    """Whether the first axis of every input goes over the samples."""
    return all(array.ndim > 0 and len(array) == count for array in fed.values())


def _joined(pieces: list[Arrays]) -> Arrays:
    if len(pieces) == 1:
        return pieces[0]
    return {
        name: np.concatenate([np.atleast_1d(piece[name]) for piece in pieces]) for name in pieces[0]
    }


def compare_answers(answers: Answers, running: Sequence[Running], y: Any = None) -> Outputs:
    """Compare the first two graphs' answers: all float outputs together, and scores by labels."""
    one, other = answers.outputs[:2]
    signal = noise = worst = 0.0
    for (name, before), after in zip(one.items(), other.values(), strict=True):
        if before.shape != after.shape:
            raise ValueError(
                f"output {name!r} has shape {before.shape} before and {after.shape} after"
            )
        if before.dtype.kind != "f":
            continue
        x, difference = before.astype(np.float64), after.astype(np.float64) - before
        finite = np.isfinite(x)  # masked logits are minus infinity
        signal += float(np.sum(x[finite] ** 2))
        noise += float(np.sum(difference[finite] ** 2))
        worst = max(worst, float(np.abs(difference[finite]).max(initial=0.0)))
    scores = _scores(answers, running, y)
    agree = _agreement(one, other, labelled=scores is not None)
    return Outputs(
        samples=answers.samples, sqnr_db=decibel(signal, noise), max_abs=worst, agreement=agree,
        score_name="accuracy", before=None if scores is None else float(scores[0].mean()),
        after=None if scores is None else float(scores[1].mean()), engine=running[0].engine,
    )  # fmt: skip


def _agreement(one: Arrays, other: Arrays, *, labelled: bool) -> float | None:
    """Return the share of equal labels: where labels were given, or outputs are probabilities."""
    found = [next(iter(arrays.values())) for arrays in (one, other)]
    if len(one) != 1 or found[0].dtype.kind != "f" or found[0].ndim < 2:
        return None
    first, second = (array.reshape(-1, array.shape[-1]) for array in found)
    sums = first.sum(axis=1, dtype=np.float64)
    shares = first.shape[1] > 1 and first.min(initial=0) >= 0 and np.allclose(sums, 1, atol=1e-2)
    if not labelled and not shares:
        return None
    return float(np.mean(_places(first) == _places(second)))


def time_beside(
    answers: Answers | None,
    running: Sequence[Running],
    sizes: Sequence[int],
    X: Any = None,
    y: Any = None,
) -> list[Variant]:
    """Time one run of each graph in turns, and score those that labels were given for.

    Without samples, inputs are drawn where their sizes are fixed but for the first; where they are
    not, nothing is timed.
    """
    fed = [_one_sample(one, X) for one in running]
    times: Mapping[str, float] = {}
    if all(one is not None for one in fed):
        calls = {one.name: partial(one.run, own) for one, own in zip(running, fed, strict=True)}
        times = {
            name: float(np.median(taken)) for name, taken in measure_runs(calls, _SECONDS).items()
        }
    scores = None if answers is None else _scores(answers, running, y)
    found = []
    for place, (one, size) in enumerate(zip(running, sizes, strict=True)):
        variant = Variant(one.name, size, batch1_us=times.get(one.name))
        if scores is not None:
            score = float(scores[place].mean())
            ties = tuple(
                running[i].name for i, right in enumerate(scores)
                if i != place and is_tie(
                    score - float(right.mean()), difference_error(scores[place], right)
                )
            )  # fmt: skip
            error = share_error(score, answers.samples) if answers is not None else None
            variant = variant._replace(score=score, error=error, ties=ties)
        found.append(variant)
    return found


def _one_sample(running: Running, X: Any) -> Arrays | None:
    """Return what one run is timed on: the first samples, or values that are drawn."""
    if X is not None:
        fed = _fed(running, X)
        count = max((len(array) for array in fed.values() if array.ndim), default=1)
        if not _counts_samples(fed, count):
            return fed
        return {name: array[: running.batch or 1] for name, array in fed.items()}
    rng = np.random.default_rng(0)
    drawn: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in running.inputs.items():
        if not dtype.startswith("float") or any(not isinstance(size, int) for size in shape[1:]):
            return None
        sizes = [size if isinstance(size, int) else 1 for size in shape]
        drawn[name] = rng.random(sizes, np.float32).astype(dtype)
    return drawn


def _rows(outputs: Arrays) -> NDArray[Any] | None:
    """Return the one output as rows, a sample each."""
    arrays = list(outputs.values())
    if len(arrays) != 1 or arrays[0].ndim == 0 or arrays[0].dtype.kind != "f":
        return None
    return arrays[0].reshape(len(arrays[0]), -1)


def _places(rows: NDArray[Any]) -> NDArray[np.intp]:
    """Return the place of the likeliest class; of one output, a probability's half decides."""
    if rows.shape[1] > 1:
        return np.asarray(rows.argmax(axis=1), np.intp)
    half = 0.5 if rows.min(initial=0) >= 0 and rows.max(initial=0) <= 1 else 0.0
    return np.asarray(rows[:, 0] > half, np.intp)


def _scores(
    answers: Answers, running: Sequence[Running], y: Any
) -> list[NDArray[np.float64]] | None:
    """Return how right each graph is on each sample; None without labels for one output."""
    if y is None:
        return None
    wanted, found = as_array(y), []
    for one, outputs in zip(running, answers.outputs, strict=True):
        rows = _rows(outputs)
        if rows is None or not are_labels(wanted, rows.shape[1], "softmax", one.classes):
            raise ValueError("labels are for graphs with one output of floats, one label a sample")
        if len(rows) != len(wanted):
            raise ValueError(f"the graph gives {len(rows)} rows for {len(wanted)} labels")
        codes = label_codes(wanted, rows.shape[1], one.classes)
        found.append(np.asarray(_places(rows) == codes, np.float64))
    return found
