"""Packages that qcore can use and does not need: imported when used, missed in one sentence."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]

# What each extra of pyproject.toml brings, by the name that is imported.
EXTRAS = {
    "dask.distributed": "dask",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "sklearn": "sklearn",
    "tflite": "tflite",
}


def require(name: str, purpose: str) -> Any:
    """Import a package that belongs to an extra.

    Parameters
    ----------
    name : str
        The module, one of `EXTRAS`.
    purpose : str
        What it is needed for; the sentence starts with it.

    Raises
    ------
    ImportError
        If it is not there: says what to install.

    Examples
    --------
    >>> require("sklearn", "from_sklearn").__name__
    'sklearn'
    """
    try:
        return import_module(name)
    except ImportError as error:
        package, extra = name.partition(".")[0], EXTRAS[name]
        raise ImportError(
            f"{purpose} needs {package}, which cannot be imported ({error}): "
            f"pip install 'qcore-cpu[{extra}]'"
        ) from error
