"""Calls that cannot be right end in an error that says so, and odd ones that can be right work."""

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value

F = np.float32
X = np.random.default_rng(0).normal(size=(30, 6)).astype(F)
Y = np.arange(30) % 3
ALLOWED = (TypeError, ValueError, OverflowError, MemoryError, OSError, ImportError)


def network():
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(8, 6)).astype(F), rng.normal(size=(3, 8)).astype(F)]
    return qc.nn.Sequential.from_arrays(weights, [np.zeros(8, F), np.ones(3, F)], layout="out_in")


def misaligned(values):
    """Return an array of these values at an odd address."""
    raw = np.zeros(values.nbytes + 1, np.uint8)
    view = raw[1:].view(values.dtype) if values.itemsize == 1 else None
    if view is None:
        view = np.frombuffer(raw.data, values.dtype, values.size, offset=1)
    view = view.reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


NO_SCALES = (
    "0.5", b"0.5", True, None, 1j, np.array(2j), np.array("1"), np.datetime64("2024"), [None], {},
    0.0, -1.0, np.nan, np.inf, 1e39, object(),
)  # fmt: skip


# An object's repr is where it lies, which is another place in each process that runs tests.
@pytest.mark.parametrize("scale", NO_SCALES, ids=lambda value: repr(value).split(" at ")[0])
def test_a_scale_is_a_number_above_0(scale):
    refused = pytest.raises((TypeError, ValueError))
    csr = qc.CsrMatrix.from_dense(np.ones((3, 6), np.int8))
    with refused:
        qc.linear(X, csr, scale=scale)
    with refused:
        qc.QTensor.from_parts(np.ones((2, 3), np.int8), scale)
    with refused:
        qc.QParams(scale, 0)
    if scale is None:
        return
    for options in ({}, {"rounding": "floor"}, {"scheme": "power_of_two"}):
        with refused:
            qc.quantize(X, scale=scale, **options)
    if not isinstance(scale, float) or scale != 0:  # a sign of zeros has the magnitude 0
        with refused:
            qc.quantize(X, scale=scale, bits=1)


NO_PARTS = {
    "a fraction": {"zero_point": 1.7}, "a wide integer": {"zero_point": np.array(2**32)},
    "a text": {"zero_point": "1"}, "truth": {"zero_point": True}, "bits as float": {"bits": 8.0},
    "no such width": {"bits": 12}, "a width of 260": {"row_bits": np.array([260, 4]), "axis": 0},
    "a width below 0": {"row_bits": np.array([-252, 4]), "axis": 0},
    "a fraction of a bit": {"row_bits": [4.5, 4], "axis": 0}, "signed text": {"signed": "yes"},
    "clipped text": {"clipped": "1"}, "clipped below 0": {"clipped": -1},
    "an offset of text": {"scheme": "floor", "offset": "1"},
    "levels of text": {"scheme": "kmeans", "levels": ["1", "2"]},
}  # fmt: skip


@pytest.mark.parametrize("parts", NO_PARTS.values(), ids=NO_PARTS)
def test_parts_that_are_none(parts):
    values = np.ones((2, 3), np.int16 if parts.get("bits") == 12 else np.int8)
    values = values.astype(np.uint8) if parts.get("scheme") == "kmeans" else values
    scale = [1.0, 1.0] if "axis" in parts else 1.0
    with pytest.raises((TypeError, ValueError)):
        qc.QTensor.from_parts(values, scale, **parts)


NO_PARAMS = {
    "no scale": (0.0, 0), "text": ("1", 0), "a wide zero point": (1.0, 300),
    "another shape": (np.ones(3, F), np.zeros(2, np.int32)),
}  # fmt: skip


@pytest.mark.parametrize("params", NO_PARAMS.values(), ids=NO_PARAMS)
def test_parameters_built_by_hand_are_checked(params):
    with pytest.raises((TypeError, ValueError)):
        qc.QParams(*params)


@pytest.mark.parametrize(
    "options",
    [{"bits": 99}, {"bits": "8"}, {"axis": -1}, {"group_size": -3}, {"axis": 0, "group_size": 2},
     {"signed": 1}, {"scale_dtype": "int8"}],
    ids=repr,
)  # fmt: skip
def test_options_of_parameters_are_checked(options):
    with pytest.raises((TypeError, ValueError)):
        qc.QParams(np.ones(4, F), np.zeros(4, np.int32), **options)


def test_parameters_have_to_fit_the_array():
    for params in (
        5, "x", None, qc.QParams(np.ones(4, F), np.zeros(4, np.int32), axis=9),
        qc.QParams(np.ones(5, F), np.zeros(5, np.int32), axis=0),
        qc.QParams(np.ones((4, 3), F), np.zeros((4, 3), np.int32), group_size=5),
    ):  # fmt: skip
        if params is not None:
            with pytest.raises((TypeError, ValueError)):
                qc.fake_quantize(np.ones((4, 6), F), params)


def test_nobody_makes_a_part_writable():
    made = [
        qc.quantize(X), qc.quantize(X, scale=0.5), qc.quantize(X, axis=0),
        qc.quantize(X, group_size=4), qc.quantize(X, scheme="kmeans", levels=4),
        qc.quantize(X, bits=1), qc.QTensor.from_parts(np.ones((2, 3), np.int8), 0.5),
        qc.quantize(X, bits=4, group_size=2, symmetric=False), qc.quantize(X).T,
    ]  # fmt: skip
    for q in made:
        before = q.dequantize()
        for part in (q.values, q.scale, q.zero_point, q.levels):
            if part is None:
                continue
            for attempt in (part, part[...], part.reshape(-1)):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    attempt.setflags(write=True)
        np.testing.assert_array_equal(q.dequantize(), before)
    shared = qc.quantize(X, scale=0.25)
    with pytest.raises(ValueError, match="WRITEABLE"):
        shared.scale.flags.writeable = True
    assert qc.quantize(X, scale=0.25).scale == F(0.25)
    buffer = np.empty(X.shape, np.int8)
    assert qc.quantize(X, scale=0.5, out=buffer).values is buffer


def test_sparse_structures_stay_inside():
    ones = np.ones((1, 2, 2), F)
    with pytest.raises(ValueError, match=r"data\[0\] has a value past the edge"):
        qc.BsrMatrix(ones, [1], [0, 1], shape=(2, 3))
    with pytest.raises(ValueError, match="past the edge"):
        qc.BsrMatrix(ones, [0], [0, 1], shape=(1, 2))
    with pytest.raises(ValueError, match="past column 0"):
        qc.NmMatrix.from_codes(np.ones(2, F), np.array([3], np.uint64), "2:4", shape=(1, 1))
    edge = np.float32([[1, 2, 0], [3, 4, 5]])
    for pattern in ("2x2", "4x1", "1x4"):
        np.testing.assert_array_equal(qc.BsrMatrix.from_dense(edge, pattern).to_dense(), edge)
    for wrong in (np.array([0, 2**63], object).astype(float), np.array([0, 2**63 + 2**40], "u8")):
        with pytest.raises(ValueError, match="beyond int64"):
            qc.CsrMatrix(np.ones(2, F), wrong, np.array([0, 1, 2]), shape=(2, 2))


def test_training_refuses_what_cannot_train():
    for make in (
        lambda: qc.nn.SGD(momentum=5), lambda: qc.nn.SGD(momentum="x"),
        lambda: qc.nn.Adam(epsilon=-1), lambda: qc.nn.Adam(epsilon=np.nan),
        lambda: qc.nn.Adam(beta1=1.0), lambda: qc.nn.Adam(beta2=-0.1),
        lambda: network().fit(X, Y, prune=5), lambda: network().fit(X, Y, hints=5),
        lambda: network().fit(X, Y, optimizer=qc.nn.SGD),
        lambda: network().fit(X, Y, quantize=5), lambda: network().fit(X, Y, regularize=5),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            make()
    new = qc.nn.Sequential([qc.nn.Dense(6, 3, "softmax")])
    with pytest.raises(ValueError, match="0 to 2, or 3 different ones"):
        new.fit(X, np.full(30, -1), epochs=1)


def test_options_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match="pattern is 'z'"):
        qc.compress(network(), pattern="z")
    with pytest.raises(ValueError, match="needs sparsity"):
        qc.compress(network(), pattern="4x1")
    with pytest.raises(TypeError, match="schedule is int"):
        qc.Pruner(0.5, schedule=5).fit_transform(network())
    with pytest.raises(ValueError, match="not one tensor"):
        qc.compare({"a": np.ones((2, 2), F)}, {"a": np.ones((3, 3), F)})
    with pytest.raises(ValueError, match="activation is 'gelu'"):
        qc.linear(np.ones((0, 6), F), np.ones((3, 6), F), activation="gelu")
    with pytest.raises(TypeError, match="a_zero_point"):
        qc.matmul_integer(np.ones((2, 3), np.int8), np.ones((3, 4), np.int8), True)
    with pytest.raises(TypeError, match="float64"):
        network().with_weights({"fc1.weight": np.ones((8, 6))})


def test_paths_and_options_of_files(tmp_path):
    tensors = {"a": np.ones(2)}
    for load in (qc.load, qc.load_tensors):
        with pytest.raises(FileNotFoundError):
            load("")
        for wrong in (5, b"abc", None, 1.5):
            with pytest.raises(TypeError, match="path is"):
                load(wrong)
        with pytest.raises(ValueError, match="zero byte"):
            load("a\0b")
    with pytest.raises(ValueError, match="zero byte"):
        qc.save(tmp_path / "a\0b", tensors)
    with pytest.raises(TypeError, match="recipe"):
        qc.save(tmp_path / "a", tensors, recipe=5)
    for wrong in ("a", 0, -1, 1.5, None):
        with pytest.raises((TypeError, ValueError), match="shard_bytes"):
            qc.save(tmp_path / "a", tensors, shard_bytes=wrong)
    assert not list(tmp_path.iterdir())
    for name in ("one", "other"):
        qc.save(tmp_path / f"{name}.safetensors", tensors)
    with pytest.raises(IsADirectoryError, match="not one checkpoint"):
        qc.load(tmp_path)


def test_odd_arrays_are_as_good_as_any():
    net = qc.compress(network(), X)
    np.testing.assert_array_equal(net.predict_proba(misaligned(X)), net.predict_proba(X))
    np.testing.assert_array_equal(net.predict_proba(X.astype(">f4")), net.predict_proba(X))
    bias = np.arange(3, dtype=F)
    for weight in (np.eye(3, dtype=F), qc.quantize(np.eye(3, dtype=F), axis=0)):
        wanted = qc.linear(np.ones((1, 3), F), weight, bias)
        out = bias.copy()
        qc.linear(np.ones((1, 3), F), weight, out, out=out.reshape(1, 3))
        np.testing.assert_array_equal(out, wanted[0])
    assert qc.compress({"w": [[1.0, 2.0]]})["w"].bits == 8
    wide = {"w": np.ones((2, 2), np.longdouble), "v": np.ones((2, 2), F)}
    small = qc.Quantizer().fit_transform(wide)
    assert small["w"].dtype == np.longdouble
    assert small["v"].bits == 8


# every public call, with what nobody should give it -----------------------------------------------
JUNK = (5, -1, 2**70, 0.5, np.nan, "x", b"abc", None, True, [], {}, object(), 1j, np.array("a"),
        np.ones((0, 3), F), np.array([None]), ("w", 1), {"a": 5})  # fmt: skip
Q = qc.quantize(np.eye(4, dtype=F), axis=0)
CSR = qc.CsrMatrix.from_dense(np.eye(4, dtype=F))
I8 = np.eye(4, dtype=np.int8)
ARRAYS = {"w": np.eye(4, dtype=F)}


def graph(nodes=None, **options):
    """Return a graph of one product, some of which is given."""
    given = {
        "inputs": [Value("x", "float32", ("n", 4))], "outputs": [Value("y", "float32")],
        "constants": {"w": np.eye(4, dtype=F)},
    }  # fmt: skip
    node = Node("m", "MatMul", ("x", "w"), ("y",))
    return qc.Graph([node] if nodes is None else nodes, **(given | options))


NODE = ("n", "Relu", ("x",), ("y",), {"axis": 1})
ROWS = np.ones((3, 4), F)

CALLS = [
    (graph, (), ("nodes", "inputs", "outputs", "constants", "codes", "classes", "exact")),
    (Node, NODE, ()),
    (Value, ("x", "float32", ("n", 4)), ("codes",)),
    (graph().run, ({"x": ROWS},), ("values",)),
    (graph().session, ({"n": 3},), ()),
    (graph().session({"n": 3}).run, ({"x": ROWS},), ()),
    (graph().predict, (ROWS,), ()),
    (qc.compress, (graph(), ROWS), ("bits", "group_size", "sparsity", "pattern", "scheme")),
    (qc.decompress, ("none", "out"), ("dtype", "file_format")),
    (qc.load, ("none",), ("fallback", "max_bytes", "max_tensors", "max_name_bytes")),
    (qc.from_tflite, ("none",), ()),
    (qc.quantize, (X,), ("bits", "axis", "group_size", "scale", "zero_point", "offset", "rounding",
     "scheme", "levels", "observer", "percentile", "scale_dtype", "algorithm", "stats",
     "importance", "nan", "out", "symmetric", "narrow_range", "signed", "reconstruct")),
    (qc.dequantize, (Q,), ("dtype", "out")),
    (qc.fake_quantize, (X,), ("params", "bits", "axis", "group_size", "nan", "out")),
    (qc.choose_qparams, (X,), ("bits", "axis", "group_size", "observer", "percentile",
     "scale_dtype", "nan")),
    (qc.linear, (X, np.ones((3, 6), F)), ("bias", "activation", "activations", "scale", "out")),
    (qc.matmul_integer, (I8, I8), ("a_zero_point", "b_zero_point", "out", "out_dtype")),
    (qc.pack, (I8,), ()),
    (qc.prune, (np.eye(4, dtype=F),), ("sparsity", "pattern", "criterion", "stats")),
    (qc.factorize, (np.eye(4, dtype=F),), ("rank", "energy", "residual_bits", "group_size",
     "stats", "dtype")),
    (qc.CsrMatrix.from_dense, (np.eye(4, dtype=F),), ("where", "threshold")),
    (qc.CsrMatrix.from_qtensor, (Q,), ()),
    (qc.CsrMatrix.from_scipy, (None,), ()),
    (qc.BsrMatrix.from_dense, (np.eye(4, dtype=F), "2x2"), ()),
    (qc.BsrMatrix.from_qtensor, (Q, "2x2"), ()),
    (qc.BsrMatrix.from_scipy, (None,), ("pattern",)),
    (qc.NmMatrix.from_dense, (np.eye(4, dtype=F),), ("pattern",)),
    (qc.NmMatrix.from_qtensor, (Q,), ("pattern",)),
    (CSR.dot, (np.ones(4, F),), ("x_zero_point", "out_dtype")),
    (CSR.to_qtensor, (), ("scale", "axis")),
    (qc.compact, (network(),), ()),
    (qc.DriftMonitor, (network(),), ("tolerance", "least_use")),
    (qc.from_sklearn, (None,), ()),
    (qc.from_onnx, (None,), ()),
    (qc.compare, (ARRAYS, ARRAYS), ("X", "y")),
    (qc.compress, (ARRAYS,), ("X", "y", "output", "file_format", "bits", "group_size", "sparsity",
     "pattern", "activations", "scheme", "levels", "ignore", "target_bytes", "target_ratio",
     "min_score")),
    (qc.Recipe.from_toml, ("",), ()),
    (qc.Recipe.load, ("none",), ()),
    (qc.Observer, (), ("method", "bits", "percentile")),
    (qc.Observer().update, (X,), ("nan",)),
    (qc.Observer().merge, (qc.Observer(),), ()),
    (qc.InputStats().update, (X,), ("exact",)),
    (qc.InputStats().merge, (qc.InputStats(),), ()),
    (qc.Quantizer().fit, (ARRAYS,), ("X", "stats", "prune")),
    (qc.Pruner(0.5).fit, (ARRAYS,), ("X", "y", "stats", "gradients")),
    (qc.nn.Dense, (3, 4), ("activation", "use_bias", "name")),
    (qc.nn.Dense.from_weights, (np.eye(4, dtype=F),), ("bias", "layout", "activation", "name")),
    (qc.nn.Sequential, ([qc.nn.Dense(2, 3)],), ()),
    (network().with_weights, ({},), ()),
    (network().predict, (X,), ()),
    (network().score, (X, Y), ()),
    (network().set_precision, (8,), ()),
    (network().features, ("fc1",), ()),
    (qc.ConstantSparsity, (0.5, 0), ("end_step", "frequency")),
    (qc.PolynomialDecay, (), ("initial_sparsity", "final_sparsity", "begin_step", "end_step",
     "power", "frequency")),
]  # fmt: skip


def named(call):
    return getattr(call, "__qualname__", repr(call))


@pytest.mark.parametrize(("call", "given", "names"), CALLS, ids=[named(c[0]) for c in CALLS])
def test_junk_ends_in_an_error_of_ours_or_in_a_result(call, given, names):
    ways = [(place, None) for place in range(len(given))] + [(None, name) for name in names]
    leaks = []
    for place, name in ways:
        for junk in JUNK:
            arguments = [junk if at == place else value for at, value in enumerate(given)]
            try:
                call(*arguments, **({} if name is None else {name: junk}))
            except ALLOWED as error:
                inside = isinstance(error, TypeError) and (
                    "has no attribute" in str(error) or "object is not" in str(error)
                )
                if inside:
                    leaks.append(f"{name or place}={junk!r}: {error!r}")
            except BaseException as error:
                leaks.append(f"{name or place}={junk!r}: {error!r}")
    assert not leaks
