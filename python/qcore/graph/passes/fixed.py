"""Inputs and sizes that are the same at every run, as constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike

from qcore.graph.graph import G
from qcore.graph.passes import folded, prepared
from qcore.graph.running.inputs import check_inputs
from qcore.graph.value import Dim, Value

__all__ = ["with_fixed"]


def with_fixed(
    graph: G,
    inputs: Mapping[str, ArrayLike],
    shapes: Mapping[str, int | Sequence[Dim]] | None = None,
) -> G:
    """Return a graph with some inputs as constants and some dims as sizes; see `Graph.fixed`.

    Raises
    ------
    TypeError, ValueError
        As `Graph.run`, for an input that there is not or that does not fit; for a name that is
        neither a dim nor an input, or a shape that the input's does not allow.
    """
    for name, given in (("inputs", inputs), ("shapes", {} if shapes is None else shapes)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{name} is {type(given).__name__}; it must be a mapping by names")
    known = {value.name: value for value in graph.inputs}
    for name in inputs:
        if name not in known:
            raise ValueError(f"there is no input {name!r}; the inputs are {_listed(known)}")
    found = check_inputs([known[name] for name in inputs], inputs)
    left = [value for value in graph.inputs if value.name not in found]
    fixed = graph.changed(
        inputs=_sized(left, dict(shapes or {})), constants={**graph.constants, **found}
    )
    made = folded(fixed) if graph.codes else prepared(fixed)
    return made.changed(outputs=[made.values[value.name] for value in made.outputs])


def _sized(values: list[Value], shapes: dict[str, int | Sequence[Dim]]) -> list[Value]:
    """Return inputs with the sizes that are given by the names of dims, or of inputs."""
    names = {value.name for value in values}
    dims = {dim for value in values for dim in value.shape or () if isinstance(dim, str)}
    for name, given in shapes.items():
        if name not in names and name not in dims:
            raise ValueError(
                f"shapes names {name!r}; the inputs are {_listed(sorted(names))}, their named dims "
                f"{_listed(sorted(dims))}"
            )
        if isinstance(given, int) == (name in names and name not in dims):
            kind = "a tuple of sizes" if name in names else "a size"
            raise ValueError(f"shapes[{name!r}] is {given!r}; it must be {kind}")
    found = []
    for value in values:
        shape = shapes.get(value.name, value.shape)
        if shape is not None and not isinstance(shape, int):
            sizes = tuple(shapes.get(dim, dim) if isinstance(dim, str) else dim for dim in shape)
            _check(value, sizes)
            value = Value(value.name, value.dtype, sizes)  # type: ignore[arg-type]
        found.append(value)
    return found


def _check(value: Value, sizes: tuple[object, ...]) -> None:
    old = value.shape
    fits = old is None or (
        len(old) == len(sizes)
        and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(old, sizes, strict=True)
        )
    )
    if not fits:
        raise ValueError(f"shapes[{value.name!r}] is {sizes}; the input's shape is {old}")


def _listed(names: object) -> str:
    return ", ".join(map(repr, names)) or "none"  # type: ignore[call-overload]
