"""A network as named tensors and a description of its layers.

``layers`` of the file's text has, for each layer, ``activation``, its ``name`` where it is not the
default one, and ``input``: "dynamic", or the parameters of its integer input. ``classes`` has the
kind of the labels and the labels. Where columns of the input are normalized, ``normalization.mean``
and ``normalization.scale`` are tensors beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import integer_array, positive_array
from qcore.arrays.params.qparams import QParams, code_range
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.chain import Chain
from qcore.chain.layers import Dense
from qcore.chain.normalization import Normalization
from qcore.files.limits import USUAL
from qcore.files.qcore_format.parts import Description, field
from qcore.saving.packed import PACKED, is_packable, pack_layers, unpack_layers

Network = TypeVar("Network", bound=Chain)

__all__ = [
    "decode_classes", "decode_input", "decode_network", "encode_classes", "encode_input",
    "encode_network",
]  # fmt: skip

# The parameters of activations that are not written: asymmetric uint8.
_USUAL_INPUT: Description = {
    "bits": 8, "signed": False, "symmetric": False, "narrow": False, "axis": None, "group": None,
}  # fmt: skip
#: The tensors of what is done to the columns of the input, of networks that have that.
NORMALIZATION = ("normalization.mean", "normalization.scale")
_LAYER_KEYS = {"activation", "input", "name"}


def encode_network(network: Chain) -> tuple[dict[str, Any], Description]:
    """Return a network's tensors by name, and what else there is to it."""
    if network.packed and is_packable(network):
        return _encode_packed(network)
    about: Description = {
        "layers": [_encode_layer(layer, place) for place, layer in enumerate(network.layers, 1)]
    }
    if network.classes_ is not None:
        about["classes"] = encode_classes(network.classes_)
    if network.one_versus_rest:
        about["one_versus_rest"] = True
    return network.named_weights() | _encode_normalization(network), about


def _encode_packed(network: Chain) -> tuple[dict[str, Any], Description]:
    """Return the layers as one tensor; names and classes are written where they are not usual."""
    about: Description = {}
    names = [layer.name for layer in network.layers]
    if names != [_usual_name(place) for place in range(1, len(names) + 1)]:
        about["names"] = names
    classes = network.classes_
    usual = np.arange(max(network.layers[-1].out_features, 2))
    if classes is None or classes.dtype != usual.dtype or not np.array_equal(classes, usual):
        about["classes"] = None if classes is None else encode_classes(classes)
    if network.one_versus_rest:
        about["one_versus_rest"] = True
    return {PACKED: pack_layers(network)} | _encode_normalization(network), about


def decode_network(
    tensors: Mapping[str, NDArray[Any] | QTensor | SparseMatrix],
    about: Description,
    kind: type[Network],
) -> Network:
    """Put a network together, of a kind of chain.

    Raises
    ------
    ValueError, TypeError
        If tensors and description do not fit together.
    """
    if "layers" not in about and PACKED in tensors:
        return _decode_packed(tensors, about, kind)
    layers = field(about, "layers", list)
    if not layers:
        raise ValueError("it is a network and describes no layers")
    network = kind(
        (_decode_layer(tensors, layer, place) for place, layer in enumerate(layers, 1)),
        normalization=_decode_normalization(tensors),
    )
    if "classes" in about:
        network.classes_ = decode_classes(field(about, "classes", dict))
    network.one_versus_rest = about.get("one_versus_rest") is True
    return network


def _decode_packed(
    tensors: Mapping[str, NDArray[Any] | QTensor | SparseMatrix],
    about: Description,
    kind: type[Network],
) -> Network:
    payload = tensors[PACKED]
    if not isinstance(payload, np.ndarray):
        raise ValueError("its packed layers are no bytes")
    layers = unpack_layers(payload, getattr(tensors, "limits", USUAL))
    names = field(about, "names", list)
    if names is not None:
        if len(names) != len(layers) or not all(type(name) is str for name in names):
            raise ValueError(f"it names the layers {names!r} and has {len(layers)}")
        for place, (layer, name) in enumerate(zip(layers, names, strict=True), 1):
            layer._given_name = None if name == _usual_name(place) else name
    network = kind(layers, normalization=_decode_normalization(tensors))
    network.classes_ = np.arange(max(network.layers[-1].out_features, 2))
    if "classes" in about:
        known = about["classes"] is not None
        network.classes_ = decode_classes(field(about, "classes", dict)) if known else None
    network.one_versus_rest = about.get("one_versus_rest") is True
    network.packed = True
    return network


def _encode_normalization(network: Chain) -> dict[str, NDArray[Any]]:
    if network.normalization is None:
        return {}
    return dict(zip(NORMALIZATION, network.normalization.stored(), strict=True))


def _decode_normalization(
    tensors: Mapping[str, NDArray[Any] | QTensor | SparseMatrix],
) -> Normalization | None:
    found = [tensors[name] for name in NORMALIZATION if name in tensors]
    if not found:
        return None
    if len(found) != len(NORMALIZATION) or not all(isinstance(x, np.ndarray) for x in found):
        raise ValueError(f"its normalization needs the plain tensors {' and '.join(NORMALIZATION)}")
    return Normalization(*found)  # type: ignore[arg-type]


def _encode_layer(layer: Dense, place: int) -> Description:
    description: Description = {"activation": layer.activation}
    if layer.name != _usual_name(place):
        description["name"] = layer.name
    if layer.input_qparams is not None:
        params = layer.input_qparams
        description["input"] = encode_input(params) if isinstance(params, QParams) else params
    return description


def _decode_layer(
    tensors: Mapping[str, NDArray[Any] | QTensor | SparseMatrix], description: object, place: int
) -> Dense:
    if type(description) is not dict or not description.keys() <= _LAYER_KEYS:
        raise ValueError(f"the description of layer {place} is {description!r}")
    name = field(description, "name", str)
    stem = name or _usual_name(place)
    weight, bias = tensors.get(f"{stem}.weight"), tensors.get(f"{stem}.bias")
    if isinstance(weight, SparseMatrix):
        weight = weight.to_dense()
    if weight is None or weight.ndim != 2 or not _is_single_or_codes(weight):
        raise ValueError(f"layer {stem} has no weight of two dimensions")
    outputs, inputs = weight.shape
    layer = Dense(
        inputs,
        outputs,
        field(description, "activation", str, "linear"),
        use_bias=bias is not None,
        name=name,
    )
    layer.weight = weight
    if bias is not None:
        if not isinstance(bias, np.ndarray) or bias.dtype != np.float32 or bias.shape != (outputs,):
            raise ValueError(f"the bias of layer {stem} is not ({outputs},) float32")
        layer.bias = bias
    layer.input_qparams = decode_input(description.get("input"))
    return layer


def _usual_name(place: int) -> str:
    """Return what a network calls a layer that was given no name."""
    return f"fc{place}"


def _is_single_or_codes(weight: object) -> bool:
    return not isinstance(weight, np.ndarray) or weight.dtype == np.float32


def encode_input(params: QParams) -> Description:
    """Return what a file says of a layer's integer input."""
    found: Description = {
        "bits": params.bits,
        "signed": params.signed,
        "symmetric": params.symmetric,
        "narrow": params.narrow_range,
        "axis": params.axis,
        "group": params.group_size,
    }
    description: Description = {"scale": _short_floats(params.scale)}
    if params.zero_point.any():
        description["zero"] = params.zero_point.tolist()
    return description | {key: v for key, v in found.items() if v != _USUAL_INPUT[key]}


def decode_input(description: object) -> QParams | str | None:
    """Return a layer's integer input from what a file says of it.

    Raises
    ------
    ValueError
        If that is nothing that `encode_input` says.
    """
    if description is None or description == "dynamic":
        return description
    if type(description) is not dict or not description.keys() <= {"scale", "zero", *_USUAL_INPUT}:
        raise ValueError(f"the parameters {description!r} of a layer's input are not known")
    full = _USUAL_INPUT | description
    try:
        scale = positive_array(description.get("scale", ""), "scale")
        zero_point = integer_array(description.get("zero", np.zeros(scale.shape, int)), "zero")
    except TypeError as error:
        raise ValueError(f"the parameters {description!r} of a layer's input: {error}") from error
    bits, signed = field(full, "bits", int), field(full, "signed", bool)
    if not 1 <= bits <= 16:
        raise ValueError(f"the codes of a layer's input have {bits} bits")
    low, high = code_range(bits, signed, False)
    if zero_point.shape != scale.shape:
        raise ValueError(f"the scale of a layer's input is {description.get('scale')!r}")
    if zero_point.dtype.kind != "i" or (zero_point < low).any() or (zero_point > high).any():
        raise ValueError(f"the zero point of a layer's input is {description.get('zero')!r}")
    return QParams(
        scale,
        zero_point.astype(np.int32),
        bits=bits,
        signed=signed,
        symmetric=field(full, "symmetric", bool),
        narrow_range=field(full, "narrow", bool),
        axis=None if full["axis"] is None else field(full, "axis", int),
        group_size=None if full["group"] is None else field(full, "group", int),
    )


def _short_floats(values: NDArray[np.float32]) -> Any:
    """Return float32 values as the shortest numbers that are read back to the same bits."""
    short = np.array([float(str(value)) for value in values.reshape(-1)]).reshape(values.shape)
    exact = short.astype(np.float32).tobytes() == values.tobytes()
    return (short if exact else values).tolist()


def encode_classes(classes: NDArray[Any]) -> Description:
    """Return what a file says of labels."""
    kind = classes.dtype.kind
    values = classes.tolist()
    if kind == "O" and all(type(value) is str for value in values):
        return {"object": values}
    if kind not in "biufU" or classes.ndim != 1:
        raise TypeError(f"the labels are {classes.dtype}; a file holds numbers and texts")
    return {"text" if kind == "U" else classes.dtype.name: values}


def decode_classes(description: Description) -> NDArray[Any]:
    """Return labels from what a file says of them; ValueError if that is none."""
    kinds = {"object": np.dtype(object), "text": np.dtype(str)}
    kinds |= {np.dtype(code).name: np.dtype(code) for code in "?bBhHiIlLqQefd"}
    kind, values = next(iter(description.items()), ("", None))
    if len(description) != 1 or kind not in kinds or type(values) is not list:
        raise ValueError(f"its labels are {description!r}")
    if kind in ("object", "text") and not all(type(value) is str for value in values):
        raise ValueError("its labels are not all texts")
    classes = np.array(values, kinds[kind])
    if classes.ndim != 1:
        raise ValueError("its labels are not in one row")
    return classes
