"""Other libraries on the same values: the same codes to the bit where they define the same."""

import numpy as np
import pytest

import qcore as qc


def values(seed=0, shape=(64, 96)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 3


def ties(scale, codes=range(-128, 128)):
    """Values that lie half-way between two codes, as nearly as float32 has them."""
    return ((np.array(codes, np.float64) + 0.5) * scale).astype(np.float32)


def run(nodes, inputs, outputs, opset=21):
    """Return what ONNX Runtime makes of a graph."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **node[3]) for node in nodes], "g",
        [helper.make_tensor_value_info(k, kinds(v.dtype), v.shape) for k, v in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString())
    return session.run(list(outputs), inputs)


def test_onnx_runtime_makes_the_same_dynamic_codes():
    onnx = pytest.importorskip("onnx")
    kinds = onnx.TensorProto
    for seed in range(20):
        x = values(seed) + np.float32(seed % 3)
        codes, scale, zero = run(
            [("DynamicQuantizeLinear", ["x"], ["y", "s", "z"], {})], {"x": x},
            {"y": kinds.UINT8, "s": kinds.FLOAT, "z": kinds.UINT8},
        )  # fmt: skip
        q = qc.quantize(x, signed=False, symmetric=False)
        assert (float(q.scale), int(q.zero_point)) == (float(scale), int(zero))
        np.testing.assert_array_equal(q.values, codes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_onnx_runtime_rounds_and_saturates_the_same(dtype):
    onnx = pytest.importorskip("onnx")
    for scale in (0.1, 0.037, 1 / 3, 2.0**-5):
        step = np.float32(scale)
        x = np.concatenate([values().ravel() * 40, ties(scale), [1e30, -1e30]]).astype(np.float32)
        zero = np.array(3, dtype)
        (codes,) = run(
            [("QuantizeLinear", ["x", "s", "z"], ["y"], {})],
            {"x": x, "s": np.array(step), "z": zero},
            {"y": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))},
        )
        q = qc.quantize(
            x, bits=8 * zero.itemsize, signed=zero.dtype.kind == "i", scale=step, zero_point=3
        )
        np.testing.assert_array_equal(q.values, codes)


def test_onnx_runtime_makes_the_same_codes_of_groups():
    onnx = pytest.importorskip("onnx")
    x = values()
    q = qc.quantize(x, group_size=32)
    (codes,) = run(
        [("QuantizeLinear", ["x", "s"], ["y"], {"axis": 1, "block_size": 32,
                                               "output_dtype": onnx.TensorProto.INT8})],
        {"x": x, "s": q.scale}, {"y": onnx.TensorProto.INT8},
    )  # fmt: skip
    np.testing.assert_array_equal(q.values, codes.clip(-127, 127))


def test_torch_makes_the_same_values_of_powers_of_two():
    torch = pytest.importorskip("torch")
    for scale in (2.0**-5, 2.0**-3, 1.0):
        x = np.concatenate([values().ravel(), ties(scale)])
        found = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, 0, -128, 127)
        np.testing.assert_array_equal(qc.quantize(x, scale=scale).dequantize(), found.numpy())


def test_torch_differs_at_ties_only_because_it_multiplies_by_the_reciprocal():
    torch = pytest.importorskip("torch")
    differ = 0
    for scale in (0.1, 0.037, 1 / 3, 0.7):
        step = np.float32(scale)
        x = np.concatenate([values().ravel(), ties(scale)])
        found = torch.fake_quantize_per_tensor_affine(
            torch.from_numpy(x), float(step), 0, -128, 127
        ).numpy()
        ours, theirs = qc.quantize(x, scale=step).values, np.rint(found / step)
        off = ours != theirs
        exact = x[off].astype(np.float64) / np.float64(step)
        assert (np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 1e-4).all()
        # Ours is what the division gives, as ONNX QuantizeLinear has it.
        np.testing.assert_array_equal(ours, np.clip(np.rint(x / step), -128, 127))
        differ += int(off.sum())
    assert 0 < differ < 200


@pytest.mark.parametrize("scheme", ["fp8_e4m3", "fp8_e5m2"])
def test_torch_has_the_same_small_floats(scheme):
    torch = pytest.importorskip("torch")
    kind = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[scheme]
    x = np.concatenate([values().ravel(), values(1).ravel() * 1e-3])
    x[:2] = 448.0, -448.0
    found = torch.from_numpy(x).to(kind).float().numpy()
    levels = qc.quantize(np.array([1.0], np.float32), scheme=scheme).levels
    nearest = np.array(sorted(set(levels.tolist())), np.float32)
    assert np.isin(found, nearest).all()
    q = qc.quantize(x, scheme=scheme, scale=1.0)
    np.testing.assert_array_equal(q.dequantize(), found)
