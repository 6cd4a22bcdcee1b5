"""What sentence-transformers puts behind an encoder: pooling, dense layers, a length of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from qcore.errors import FormatError, UnsupportedError
from qcore.files.formats import open_tensors
from qcore.files.limits import Limits
from qcore.frameworks.pretrained.builder import FLOAT, Builder, Encoded
from qcore.frameworks.pretrained.config import read_json

__all__ = ["POOLINGS", "Module", "modules_of", "pooled", "unit_length"]

#: How hidden states of tokens become one vector; several lie next to each other.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len")
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}
_OTHERS = ("pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")
_SIZES = ("embedding_dimension", "include_prompt", "word_embedding_dimension")
_FUNCTIONS = {"Identity": "", "Tanh": "Tanh", "ReLU": "Relu", "GELU": "Gelu"}
_FAR_BELOW = -1e9  # what a masked token has in a maximum
_LEAST_COUNT, _LEAST_LENGTH = 1e-9, 1e-12


@dataclass(frozen=True)
class Module:
    """A step of a sentence-transformers model: what it is, and where its files are."""

    kind: str
    folder: Path


def modules_of(folder: Path) -> tuple[Path, list[Module]]:
    """Return where the encoder of a folder is, and the steps behind it.

    Raises
    ------
    FormatError
        If ``modules.json`` is corrupt, or names a folder that is not inside.
    UnsupportedError
        If the first step is no encoder.
    """
    path = folder / "modules.json"
    if not path.exists():
        return folder, []
    listed = read_json(path)
    found = []
    try:
        for entry in listed:
            inside = PurePosixPath(entry["path"])
            if inside.is_absolute() or ".." in inside.parts:
                raise FormatError(f"'{path}' names {entry['path']!r}, which is not inside")
            found.append(Module(entry["type"].rpartition(".")[2], folder / inside))
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"'{path}' is no list of modules") from error
    if not found or found[0].kind != "Transformer":
        kind = found[0].kind if found else "no module"
        raise UnsupportedError(f"'{path}' begins with {kind}; qcore has Transformer")
    for module in found[1:]:
        if module.kind not in ("Pooling", "Dense", "Normalize", "Dropout"):
            raise UnsupportedError(
                f"'{path}' has the module {module.kind}; qcore has Pooling, Dense and Normalize, "
                "and with pooling=None gives the encoder alone"
            )
    return found[0].folder, found[1:]


def _modes(path: Path) -> list[str]:
    """Return the poolings that a configuration asks for, in the order in which they lie."""
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise FormatError(f"'{path}' is {type(entries).__name__}; it must be a JSON object")
    if isinstance(entries.get("pooling_mode"), (str, list)):
        named = entries["pooling_mode"]
        found = [named] if isinstance(named, str) else list(named)
    else:
        found = [mode for key, mode in _MODES.items() if entries.get(key)]
        found += [key for key in _OTHERS if entries.get(key)]
    known = {*_MODES, *_OTHERS, *_SIZES, "pooling_mode"}
    unknown = [key for key in entries if key not in known]
    wrong = unknown + [mode for mode in found if mode not in POOLINGS]
    if wrong or not found:
        raise UnsupportedError(
            f"'{path}' asks for {', '.join(map(str, wrong)) or 'no pooling'}; qcore has "
            f"{', '.join(POOLINGS)}"
        )
    return found


def pooled(builder: Builder, encoded: Encoded, mode: str) -> str:
    """Emit one vector for each text: (batch, hidden)."""
    if mode == "cls":
        return builder.first_token(encoded.hidden)
    if not encoded.mask:
        return builder.add("ReduceMean", [encoded.hidden, builder.ints([1])], keepdims=0)
    floats = builder.add("Cast", [encoded.mask], to=FLOAT)
    wide = builder.add("Unsqueeze", [floats, builder.ints([2])])
    if mode == "max":
        none = builder.add("Equal", [wide, builder.number(0)])
        kept = builder.add("Where", [none, builder.number(_FAR_BELOW), encoded.hidden])
        return builder.add("ReduceMax", [kept, builder.ints([1])], keepdims=0)
    kept = builder.add("Mul", [encoded.hidden, wide])
    total = builder.add("ReduceSum", [kept, builder.ints([1])], keepdims=0)
    count = builder.add("ReduceSum", [wide, builder.ints([1])], keepdims=0)
    count = builder.add("Max", [count, builder.number(_LEAST_COUNT)])
    if mode == "mean_sqrt_len":
        count = builder.add("Sqrt", [count])
    return builder.add("Div", [total, count])


def unit_length(builder: Builder, x: str) -> str:
    """Emit vectors over their lengths."""
    length = builder.add("ReduceL2", [x, builder.ints([-1])], keepdims=1)
    return builder.add("Div", [x, builder.add("Max", [length, builder.number(_LEAST_LENGTH)])])


def emit_modules(builder: Builder, encoded: Encoded, modules: list[Module], limits: Limits) -> str:
    """Emit the steps behind an encoder; return the embedding of each text."""
    x, width = "", encoded.width
    for module in modules:
        if module.kind == "Pooling":
            modes = _modes(module.folder / "config.json")
            parts = [pooled(builder, encoded, mode) for mode in modes]
            x = builder.add("Concat", parts, axis=-1) if len(parts) > 1 else parts[0]
            width = encoded.width * len(parts)
        elif module.kind == "Normalize" and x:
            x = unit_length(builder, x)
        elif module.kind == "Dense" and x:
            x, width = _dense(builder, x, module.folder, width, limits)
        elif module.kind != "Dropout":
            raise UnsupportedError(f"'{module.folder}' is {module.kind} before any Pooling")
    if not x:
        raise UnsupportedError(f"the modules behind the encoder have no Pooling: {modules}")
    return x


def _dense(builder: Builder, x: str, folder: Path, width: int, limits: Limits) -> tuple[str, int]:
    """Emit a dense layer, which has its own folder; return it and its width."""
    path = folder / "config.json"
    entries: Any = read_json(path)
    if not isinstance(entries, dict):
        raise FormatError(f"'{path}' is {type(entries).__name__}; it must be a JSON object")
    name = str(entries.get("activation_function", "")).rpartition(".")[2]
    if name not in _FUNCTIONS:
        raise UnsupportedError(
            f"'{path}': activation_function is {name!r}; qcore has {', '.join(_FUNCTIONS)}"
        )
    source = open_tensors(folder, limits)
    missing = [part for part in ("linear.weight",) if part not in source]
    surplus = [part for part in source if part not in ("linear.weight", "linear.bias")]
    if missing or surplus:
        raise FormatError(f"'{folder}' must have linear.weight and linear.bias, has {list(source)}")
    weight = np.asarray(source["linear.weight"], np.float32)
    if weight.ndim != 2 or weight.shape[1] != width:
        raise FormatError(f"'{folder}': linear.weight has shape {weight.shape}, not (n, {width})")
    stem = folder.name
    builder.add_constant(f"{stem}.linear.weight", weight.T)
    x = builder.add("MatMul", [x, f"{stem}.linear.weight"])
    if "linear.bias" in source:
        builder.add_constant(f"{stem}.linear.bias", np.asarray(source["linear.bias"], np.float32))
        x = builder.add("Add", [x, f"{stem}.linear.bias"])
    function = _FUNCTIONS[name]
    return (builder.add(function, [x]) if function else x), weight.shape[0]
