"""The definitions, in plain NumPy: slow, and right."""

import numpy as np


def spread(values, shape, axis, group_size=None):
    """Give each element of an array its scale (or zero point)."""
    values = np.asarray(values)
    if group_size is not None:
        return np.repeat(values, group_size, axis=-1)[..., : shape[-1]]
    if axis is None:
        return np.broadcast_to(values, shape)
    ones = [1] * len(shape)
    ones[axis] = -1
    return np.broadcast_to(values.reshape(ones), shape)


def quantize(x, scale, zero_point, low, high):
    """QuantizeLinear: codes, and how many saturated."""
    real = np.float64 if x.dtype == np.float64 else np.float32
    with np.errstate(over="ignore"):
        levels = np.rint(x.astype(real) / scale.astype(real)).astype(np.float64) + zero_point
    codes = np.clip(levels, low, high)
    return codes.astype(np.int64), int(np.count_nonzero(codes != levels))
