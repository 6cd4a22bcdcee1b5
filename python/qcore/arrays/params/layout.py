"""What shares a scale: a tensor, each index of an axis, or groups along the last axis."""

from __future__ import annotations

from qcore._arguments.validation import check_axis, check_int

__all__ = ["check_layout", "layout_of", "scale_shape"]


def check_layout(
    shape: tuple[int, ...], axis: object, group_size: object
) -> tuple[int | None, int | None]:
    """Return axis, counted from the front, and group size, of which at most one is given."""
    if group_size is not None:
        if axis is not None:
            raise ValueError("axis and group_size are both given; groups run along the last axis")
        if not shape:
            raise ValueError("group_size is given, but x has no axes")
        return None, check_int(group_size, "group_size", 1)
    return (None if axis is None else check_axis(axis, len(shape))), None


def layout_of(
    shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> dict[str, tuple[int, int]]:
    """Return how elements share scales, as the kernels want to hear it."""
    if group_size is not None:
        return {"groups": (shape[-1], group_size)}
    if axis is None:
        return {}
    inner = 1
    for length in shape[axis + 1 :]:
        inner *= length
    return {"axis": (shape[axis], inner)}


def scale_shape(
    shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> tuple[int, ...]:
    """Return the shape of the scales of an array of that shape."""
    if group_size is not None:
        return (*shape[:-1], -(-shape[-1] // group_size))
    return () if axis is None else (shape[axis],)
