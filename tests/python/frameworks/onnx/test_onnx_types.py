"""Every type of ONNX's numbers, to the bits of the onnx package and of ml_dtypes."""

import numpy as np
import pytest

import qcore as qc
from qcore.frameworks.onnx.model.constants import array_of, nbytes_of
from qcore.frameworks.onnx.read.tensors import GraphTensors
from qcore.frameworks.onnx.weights.quantize import quantize_graph

onnx = pytest.importorskip("onnx")
helper = onnx.helper

#: Types of integers below 8 bits and of small floats: bits, and what ml_dtypes calls them.
SMALL = {
    "UINT4": (4, "uint4"), "INT4": (4, "int4"), "UINT2": (2, "uint2"), "INT2": (2, "int2"),
    "FLOAT4E2M1": (4, "float4_e2m1fn"), "FLOAT6E2M3": (6, "float6_e2m3fn"),
    "FLOAT6E3M2": (6, "float6_e3m2fn"), "FLOAT8E4M3FN": (8, "float8_e4m3fn"),
    "FLOAT8E4M3FNUZ": (8, "float8_e4m3fnuz"), "FLOAT8E5M2": (8, "float8_e5m2"),
    "FLOAT8E5M2FNUZ": (8, "float8_e5m2fnuz"), "FLOAT8E8M0": (8, "float8_e8m0fnu"),
}  # fmt: skip
PLAIN = {
    "FLOAT": "f4", "UINT8": "u1", "INT8": "i1", "UINT16": "u2", "INT16": "i2", "INT32": "i4",
    "INT64": "i8", "BOOL": "?", "FLOAT16": "f2", "DOUBLE": "f8", "UINT32": "u4", "UINT64": "u8",
    "COMPLEX64": "c8", "COMPLEX128": "c16",
}  # fmt: skip


def number(name):
    found = getattr(onnx.TensorProto, name, None)
    if found is None:
        pytest.skip(f"this onnx has no {name}")
    return found


def stream(codes, bits):
    """Codes as ONNX stores them: one little-endian stream of bits."""
    flat = np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(flat.reshape(-1), bitorder="little").tobytes()


@pytest.mark.parametrize("shape", [(3, 5), (1,), (0, 4), (7, 64)])
@pytest.mark.parametrize("name", SMALL)
def test_every_code_is_read(name, shape, record_property):
    record_property("reads", f"ONNX/{name}")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits, kind = SMALL[name]
    codes = np.resize(np.arange(2**bits, dtype=np.uint8), shape)
    tensor = onnx.TensorProto(name="a", data_type=number(name), dims=shape)
    tensor.raw_data = stream(codes, bits)
    assert nbytes_of(tensor) == len(tensor.raw_data)
    if name.startswith("F"):
        want = codes.view(np.dtype(getattr(ml_dtypes, kind))).astype(np.float32)
    else:
        want = codes.astype(np.int16) - (codes >= 2 ** (bits - 1)) * (2**bits * (kind[0] == "i"))
    found = array_of(tensor)
    np.testing.assert_array_equal(found, want)
    real = ~np.isnan(found.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found)[real], np.signbit(want)[real])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor).astype(np.float32), found)


@pytest.mark.parametrize("name", PLAIN)
def test_every_plain_type_is_read(name, record_property):
    record_property("reads", f"ONNX/{name}")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, 16 * 9, dtype=np.uint8).view(PLAIN[name]).reshape(3, -1)
    values = values > 0 if PLAIN[name] == "?" else values
    found = array_of(onnx.numpy_helper.from_array(values, "a"))
    assert found.tobytes() == values.tobytes()
    assert found.dtype == values.dtype


def test_bfloat16_is_read(record_property):
    record_property("reads", "ONNX/BFLOAT16")
    halves = np.arange(0, 65536, 7, dtype=np.uint16)
    tensor = onnx.TensorProto(name="a", data_type=number("BFLOAT16"), dims=halves.shape)
    tensor.raw_data = halves.tobytes()
    want = (halves.astype(np.uint32) << 16).view(np.float32)
    found = array_of(tensor)
    kept = ~np.isnan(want)
    np.testing.assert_array_equal(found[kept], want[kept])
    assert np.isnan(found[~kept]).all()


def graph_of(path, node, constants, shape, opset=28):
    """Write a graph of one node that makes a weight, added to its input."""
    value = helper.make_tensor_value_info
    nodes = [node, helper.make_node("Add", ["x", node.output[0]], ["y"])]
    graph = helper.make_graph(nodes, "g", [value("x", 1, shape)], [value("y", 1, shape)], constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())


@pytest.mark.parametrize("scale_kind", ["FLOAT", "FLOAT16", "BFLOAT16", "FLOAT8E8M0"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", [n for n in SMALL if n != "FLOAT8E8M0"])
def test_blocks_lie_along_any_axis(name, axis, scale_kind, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(1)
    bits, kind = SMALL[name]
    shape, block = (4, 6, 8), 2
    grouped = [n // (block if i == axis % 3 else 1) for i, n in enumerate(shape)]
    top = 2**bits if bits < 8 else 120
    codes = rng.integers(0, top, shape).astype(np.uint8)
    values = codes.view(np.dtype(getattr(ml_dtypes, kind))) if bits == 8 else codes
    if bits < 8:
        values = codes.astype(np.int16)
        if kind[0] == "f":
            values = codes.view(np.dtype(getattr(ml_dtypes, kind)))
        elif kind[0] == "i":
            values = values - (values >= 2 ** (bits - 1)) * 2**bits
    powers = rng.integers(-3, 4, grouped)
    scale = np.exp2(powers).astype(np.float32)
    steps = onnx.TensorProto(name="s", data_type=number(scale_kind), dims=grouped)
    dtypes = {"FLOAT": np.float32, "FLOAT16": np.float16, "BFLOAT16": ml_dtypes.bfloat16,
              "FLOAT8E8M0": ml_dtypes.float8_e8m0fnu}  # fmt: skip
    steps.raw_data = scale.astype(dtypes[scale_kind]).tobytes()
    tensor = onnx.TensorProto(name="c", data_type=number(name), dims=shape)
    tensor.raw_data = stream(codes, bits)
    constants, inputs, middle = [tensor, steps], ["c", "s"], np.zeros(grouped, np.int16)
    if kind[0] != "f":
        zeros = rng.integers(0, top, grouped).astype(np.uint8)
        zero = onnx.TensorProto(name="z", data_type=number(name), dims=grouped)
        zero.raw_data = stream(zeros, bits)
        middle = zeros.astype(np.int16)
        middle = middle - (middle >= 2 ** (bits - 1)) * (2**bits * (kind[0] == "i"))
        constants, inputs = [*constants, zero], [*inputs, "z"]
    node = helper.make_node("DequantizeLinear", inputs, ["w"], axis=axis, block_size=block)
    graph_of(tmp_path / "a.onnx", node, constants, shape)
    spread = np.repeat(scale, block, axis=axis)
    want = (values.astype(np.float32) - np.repeat(middle, block, axis=axis)) * spread
    found = GraphTensors(tmp_path / "a.onnx")["w"]
    np.testing.assert_array_equal(np.asarray(found), want)


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("zeros", [None, "packed", "float"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_matmul_nbits_is_read(bits, zeros, order, tmp_path, record_property):
    record_property("reads", f"ONNX/MatMulNBits of {bits} bits")
    rng = np.random.default_rng(2)
    inner, outer, block = 80, 6, 32
    blocks = -(-inner // block)
    codes = rng.integers(0, 2**bits, (outer, blocks * block)).astype(np.uint8)
    packed = np.frombuffer(stream(codes, bits), np.uint8).reshape(outer, blocks, -1)
    scale = rng.random((outer, blocks)).astype(np.float32)
    constants = [onnx.numpy_helper.from_array(packed, "c"),
                 onnx.numpy_helper.from_array(scale.reshape(-1), "s")]  # fmt: skip
    middle = np.full((outer, blocks), 2.0 ** (bits - 1), np.float32)
    inputs = ["x", "c", "s", "", ""]
    if zeros == "packed":
        middle = rng.integers(0, 2**bits, (outer, blocks)).astype(np.uint8)
        rows = [np.frombuffer(stream(row, bits), np.uint8) for row in middle]
        constants.append(onnx.numpy_helper.from_array(np.concatenate(rows), "z"))
        inputs[3] = "z"
    elif zeros == "float":
        middle = rng.random((outer, blocks)).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(middle, "z"))
        inputs[3] = "z"
    places = np.arange(inner) // block
    if order:
        places = rng.permutation(np.arange(blocks * block) // block)[:inner]
        constants.append(onnx.numpy_helper.from_array(places.astype(np.int32), "g"))
        inputs[4] = "g"
    attributes = {"K": inner, "N": outer, "bits": bits, "block_size": block}
    node = helper.make_node("MatMulNBits", inputs, ["w"], domain="com.microsoft", **attributes)
    graph_of(tmp_path / "a.onnx", node, constants, (1, inner))
    want = (codes[:, :inner] - middle.astype(np.float32)[:, places]) * scale[:, places]
    (name,) = (n for n in GraphTensors(tmp_path / "a.onnx") if n != "x")
    np.testing.assert_array_equal(np.asarray(GraphTensors(tmp_path / "a.onnx")[name]), want.T)
    if order:
        constants[-1].CopyFrom(onnx.numpy_helper.from_array((places + 9).astype(np.int32), "g"))
        graph_of(tmp_path / "b.onnx", node, constants, (1, inner))
        with pytest.raises(qc.FormatError, match="g_idx beyond"):
            GraphTensors(tmp_path / "b.onnx")[name]


WRITTEN = {
    "INT2": {"bits": 2}, "UINT2": {"bits": 2, "symmetric": False}, "INT4": {"bits": 4},
    "INT8": {"bits": 8}, "FLOAT4E2M1": {"scheme": "mxfp4"}, "FLOAT6E2M3": {"scheme": "mxfp6_e2m3"},
    "FLOAT6E3M2": {"scheme": "mxfp6_e3m2"}, "FLOAT8E4M3FN": {"scheme": "fp8_e4m3"},
    "FLOAT8E5M2": {"scheme": "mxfp8_e5m2"},
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_what_the_reference_computes(name, tmp_path, record_property):
    """The onnx package's own evaluator decodes it to what `qcore.quantize` stands for."""
    record_property("writes", f"ONNX/{name}")
    number(name)
    rng = np.random.default_rng(3)
    w = rng.standard_normal((64, 48)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [value("x", 1, (2, 64))],
        [value("y", 1, (2, 48))], [onnx.numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    onnx.save(model, tmp_path / "a.onnx")
    options = {k: v for k, v in WRITTEN[name].items() if k != "bits"}
    quantizer = qc.Quantizer(WRITTEN[name].get("bits", 8), observer="minmax", **options)
    report = quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", quantizer)
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    axis = {} if options.get("scheme", "").startswith("mx") else {"axis": 0}
    q = qc.quantize(np.ascontiguousarray(w.T), **WRITTEN[name], **axis)
    found = GraphTensors(tmp_path / "b.onnx")["w"]
    np.testing.assert_array_equal(np.asarray(found), np.asarray(q).T)
    written = onnx.load(tmp_path / "b.onnx")
    kinds = {t.data_type for t in written.graph.initializer}
    assert number("INT2" if name == "UINT2" else name) in kinds
    assert report.rows[0]["bytes"] < w.nbytes
    x = rng.standard_normal((2, 64)).astype(np.float32)
    from onnx.reference import ReferenceEvaluator

    (y,) = ReferenceEvaluator(written).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ np.asarray(q).T, rtol=1e-5, atol=1e-4)
