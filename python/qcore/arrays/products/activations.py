"""The activations: one table of what each is called, here and elsewhere, and what it lets through.

The extension computes each by its name; a new one is a line here and one in the kernels' table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["ACTIVATIONS", "DENSE", "NUMBERS", "Activation", "names_in"]


@dataclass(frozen=True)
class Activation:
    """What an activation is called, and what it does to a factor and to 0.

    Attributes
    ----------
    name : str
    onnx : str
        The op in ONNX.
    attributes : mapping
        Of that op.
    torch, sklearn : str
        The name of the module, and of the option; "" where there is none.
    number : int or None
        What stands for it in packed files, for ever; None: no dense layer has it.
    scales : bool
        Whether a positive factor of the input comes through unchanged.
    keeps_zero : bool
        Whether 0 gives 0.
    """

    name: str
    onnx: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    torch: str = ""
    sklearn: str = ""
    number: int | None = None
    scales: bool = False
    keeps_zero: bool = False


_ALL = (
    Activation("linear", sklearn="identity", number=0, scales=True, keeps_zero=True),
    Activation(
        "relu", "Relu", torch="ReLU", sklearn="relu", number=1, scales=True, keeps_zero=True
    ),
    Activation("sigmoid", "Sigmoid", torch="Sigmoid", sklearn="logistic", number=2),
    Activation("softmax", "Softmax", torch="Softmax", sklearn="softmax", number=3),
    Activation("tanh", "Tanh", torch="Tanh", sklearn="tanh", number=4, keeps_zero=True),
    Activation("clip", "Clip"),
    Activation("elu", "Elu", keeps_zero=True),
    Activation("gelu", "Gelu", keeps_zero=True),
    Activation("gelu_tanh", "Gelu", {"approximate": "tanh"}, keeps_zero=True),
    Activation("hard_sigmoid", "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    Activation("hard_swish", "HardSwish", keeps_zero=True),
    Activation("leaky_relu", "LeakyRelu", scales=True, keeps_zero=True),
    Activation("relu6", "Clip", keeps_zero=True),
    Activation("silu", "Silu", keeps_zero=True),
)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({one.name: one for one in _ALL})

#: By what packed files say.
NUMBERS: Mapping[int, str] = MappingProxyType(
    {one.number: one.name for one in _ALL if one.number is not None}
)

#: What dense layers have; softmax acts on a row, the rest on each element.
DENSE = tuple(NUMBERS[number] for number in sorted(NUMBERS))


def names_in(other: str) -> dict[str, str]:
    """Return our names by those of another project: "onnx", "torch" or "sklearn"; of dense layers.

    Examples
    --------
    >>> names_in("torch")["ReLU"]
    'relu'
    """
    return {getattr(one, other): one.name for one in _ALL
            if one.number is not None and getattr(one, other)}  # fmt: skip
