"""One fixed set of networks gives the same bytes on every instruction set, for ever.

Weights and samples come from SHAKE-256, not from a generator that a new NumPy may change. Results
are integers, or what one multiplication and one addition make of them, so they have no right to
differ anywhere; a hash that changes is a change of the numbers, to be explained or undone.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

import qcore as qc

pytestmark = pytest.mark.numerics

ROWS = 37  # past the tiles of every kernel, and no multiple of them


def raw(name, *shape):
    count = int(np.prod(shape))
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(count), np.uint8).reshape(shape)


def codes(name, *shape, bits=8, zeros=0):
    """Return signed codes, of which `zeros` of 256 are 0."""
    found = (raw(name, *shape).view(np.int8) >> (8 - bits)).copy()
    found[raw(f"{name}.zeros", *shape) < zeros] = 0
    return found


def floats(name, *shape):
    """Return multiples of 1/32 from -4 to 4."""
    return raw(name, *shape).view(np.int8).astype(np.float32) / np.float32(32)


def weight(name, outputs, inputs, *, bits=8, zeros=0, keep=None):
    values = codes(name, outputs, inputs, bits=bits, zeros=zeros)
    if keep is not None:
        values = np.where(keep, values, np.int8(0))
    steps = np.float32(2.0**-bits) * (1 + raw(f"{name}.steps", outputs).astype(np.float32) / 977)
    return qc.QTensor.from_parts(values, steps, axis=0, bits=bits)


def network(name, widths, *, source="static", activation="relu", **options):
    layers = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        last = place + 2 == len(widths)
        layer = qc.nn.Dense.from_weights(
            weight(f"{name}.{place}", outputs, inputs, **options),
            floats(f"{name}.{place}.bias", outputs),
            layout="out_in",
            activation="linear" if last else activation,
        )
        zero = 0 if place and activation == "relu" else 131
        static = qc.QParams(np.float32(0.043), zero, signed=False, symmetric=False)
        layer.input_qparams = "dynamic" if source == "dynamic" else static
        layers.append(layer)
    return qc.nn.Sequential(layers)


def two_of_four(outputs, inputs):
    first = raw("first", outputs, inputs // 4) % 4  # of a group; the other one is the next
    other = (first + 1) % 4
    place = np.arange(4)
    return ((place == first[..., None]) | (place == other[..., None])).reshape(outputs, inputs)


def blocks(outputs, inputs):
    stored = raw("blocks", -(-outputs // 4), inputs) < 60
    return np.repeat(stored, 4, axis=0)[:outputs]


WIDTHS = (150, 68, 33, 10)
NETWORKS = {
    "static": lambda: network("a", WIDTHS),
    "static, linear between layers": lambda: network("b", WIDTHS, activation="linear"),
    "static, 4 bits": lambda: network("c", WIDTHS, bits=4),
    "static, 2 bits": lambda: network("d", WIDTHS, bits=2),
    "static, one output": lambda: network("e", (9, 1)),
    "static, csr": lambda: network("f", (150, 68), zeros=245),
    "static, half of them 0": lambda: network("g", (152, 68), keep=two_of_four(68, 152)),
    "static, blocks": lambda: network("h", (150, 68), keep=blocks(68, 150)),
    "dynamic": lambda: network("i", WIDTHS, source="dynamic"),
    "dynamic, 4 bits": lambda: network("j", WIDTHS, source="dynamic", bits=4),
    "dynamic, csr": lambda: network("k", (150, 68), source="dynamic", zeros=245),
}


def products():
    a, b = raw("left", ROWS, 301), codes("right", 301, 45)
    s = qc.CsrMatrix.from_dense(codes("sparse", 45, 301, zeros=240))
    yield qc.matmul_integer(a, b, a_zero_point=7)
    yield qc.matmul_integer(a.view(np.int8), b.view(np.uint8), b_zero_point=200)
    yield qc.matmul_integer(a, qc.pack(b), out_dtype=np.int64)
    yield s.dot(np.ascontiguousarray(a.T), x_zero_point=7)
    yield a @ s.T
    n = qc.NmMatrix.from_dense(np.where(two_of_four(44, 300), codes("n:m", 44, 300), np.int8(0)))
    yield n.dot(np.ascontiguousarray(a[:, :300].T), x_zero_point=7)
    b = qc.BsrMatrix.from_dense(np.where(blocks(44, 300), codes("bsr", 44, 300), np.int8(0)), "4x1")
    yield b.dot(np.ascontiguousarray(a[:, :300].T))
    for options in ({}, {"signed": False, "symmetric": False}, {"bits": 4, "group_size": 7},
                    {"axis": 0, "bits": 3}, {"rounding": "floor"}, {"bits": 1}):  # fmt: skip
        q = qc.quantize(floats("values", ROWS, 61) * np.float32(0.37), **options)
        yield q.values
        yield q.scale
        yield q.dequantize()


def digest(arrays):
    total = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        total.update(f"{little.dtype.str} {little.shape}".encode() + little.tobytes())
    return total.hexdigest()


def results(name):
    if name == "products":
        return products()
    net = NETWORKS[name]()
    x = floats(f"samples of {name}", ROWS, net.layers[0].in_features)
    return (net.predict_logits(x[:rows]) for rows in (1, 2, 5, ROWS))


HASHES = {
    "static":
        "8fbf56a52b98e66a8a2bdb0e351fa810e96abab653734085a114d2a98b1b74e0",
    "static, linear between layers":
        "3b370c38ee0e6bb18f2e7cd32a88e31049b69e48aa07646a5181838c2b07a597",
    "static, 4 bits":
        "efd779722df1538ca0d42ca9b48b8aa45b00c03083c773918e1407d076f0ddb8",
    "static, 2 bits":
        "6b13cb3fada9011be0f6d1b62697ffbef3689f3b966049602619e9f5f987089f",
    "static, one output":
        "6f0329170f27dabaf1d88885cd16dde081b02240f8fdca83dbb2c0e5fd0cacc2",
    "static, csr":
        "148f660f3fcd28c910609f4b250cd5200c0532ea8448def320a059552d8b215d",
    "static, half of them 0":
        "a49ad43955a7524c4e281220ac463aa0f4d5e5e3477a1966397e438eb098d07e",
    "static, blocks":
        "287aad1a6d131c0201f9c9350c26b85d3e52bdbca660806f47f872929f23831d",
    "dynamic":
        "7d0ee1923f56a83406ec36a5ec4f4bb70d17944c66a7cc426ead9f257e08e4a9",
    "dynamic, 4 bits":
        "0b6a35e4854f684ea7c581abb7aff410a4d40a2f43da7d4319d1364c93bcf185",
    "dynamic, csr":
        "97a218b774b291e51dd21dab80b26ac40443f5593a53bc330ac3dd6bf12b7dd7",
    "products":
        "7eb00213144a536d508e59811e3c03c8bf111307a4a88bbaedfb8a51983c058b",
}  # fmt: skip


@pytest.mark.parametrize("name", [*NETWORKS, "products"])
def test_results_are_the_same_bytes(name):
    assert digest(results(name)) == HASHES[name]


FORMS = {"csr": "sparse int8", "blocks": "block int8", "4 bits": "dense int"}


def test_networks_run_in_the_forms_that_their_names_say():
    for name, make in NETWORKS.items():
        wanted = FORMS.get(name.rpartition(", ")[2], "dense int8")
        assert all(wanted in kernel for kernel in make().kernels), name
