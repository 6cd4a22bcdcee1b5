"""What is saved comes back bit for bit, and takes as little as it can."""

import doctest
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc
from qcore.files.qcore_format.sparse_layout import LAYOUTS, decode_positions, encode_positions
from qcore.saving import stored_nbytes

FLOAT_NETWORK_BYTES = 407_080  # 784-128-10 in float32
DTYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]
SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100
)


def assert_same(found, expected):
    """Compare to the bit, type and shape included."""
    assert type(found) is type(expected)
    if isinstance(expected, qc.QTensor):
        for name in qc.QTensor.__slots__:
            if name == "_cache":
                continue
            ours, theirs = getattr(found, name), getattr(expected, name)
            if isinstance(theirs, np.ndarray):
                assert_same(ours, theirs)
            elif isinstance(theirs, tuple):
                for one, other in zip(ours, theirs, strict=True):
                    assert type(one) is type(other)
                    assert np.array_equal(one, other), name
            else:
                assert type(ours) is type(theirs)
                assert ours == theirs, name
        return
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert found.shape == expected.shape
    assert found.tobytes() == expected.astype(found.dtype).tobytes()


def assert_round_trip(path, tensors):
    qc.save(path, tensors)
    assert path.stat().st_size == stored_nbytes(tensors)
    for load in (qc.load, qc.load_tensors):
        found = load(path)
        assert found.keys() == tensors.keys()
        for name, expected in tensors.items():
            assert_same(found[name], expected)


def sparse(rng, shape, density, dtype=np.float32):
    w = rng.standard_normal(shape).astype(dtype)
    w[rng.random(shape) >= density] = 0
    return w


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    raw = draw(hnp.arrays(np.uint8, (*shape, dtype.itemsize)))  # any bits: payloads of NaNs too
    if dtype.kind == "b":
        raw %= 2
    array = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    if draw(st.booleans()):
        array = array.astype(dtype.newbyteorder(">"))
    if draw(st.booleans()):
        array = array.T
    return np.repeat(array, 2, axis=0)[::2] if array.ndim and draw(st.booleans()) else array


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)


@given(tensors=st.dictionaries(names, arrays(), max_size=5))
@SETTINGS
def test_dicts_of_arrays(tmp_path, tensors):
    assert_round_trip(tmp_path / "a.safetensors", tensors)


@given(
    tensors=st.dictionaries(st.text(":ats", max_size=6), st.integers(0, 2), min_size=1, max_size=6)
)
@SETTINGS
def test_names_never_meet_the_names_of_parts(tmp_path, tensors):
    rng = np.random.default_rng(0)
    kinds = [np.zeros(3000), qc.quantize(rng.standard_normal((4, 5)), axis=0), np.arange(3)]
    assert_round_trip(tmp_path / "a", {name: kinds[kind] for name, kind in tensors.items()})


def test_the_names_of_parts_may_be_taken(tmp_path):
    q = qc.quantize(sparse(np.random.default_rng(0), (30, 40), 0.1), axis=0)
    taken = np.arange(3)
    tensors = {"w": q, "w:scale": taken, "w:at": taken, "w::zero": taken, "w:": q, "": q}
    assert_round_trip(tmp_path / "a", tensors)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.1, 0.3, 0.7, 1.0])
def test_sparse_floats(tmp_path, dtype, density):
    w = sparse(np.random.default_rng(1), (97, 83), density, dtype)
    w[3, :3] = -0.0, np.nan, np.inf  # a minus zero is no zero
    assert_round_trip(tmp_path / "a", {"w": w})
    assert stored_nbytes({"w": w}) < w.nbytes * (density + 0.07) + 350


SCHEMES = {
    "int8": {},
    "int8_axis": {"axis": 0},
    "int8_groups": {"group_size": 32},
    "uint8": {"signed": False, "symmetric": False},
    "uint8_axis": {"signed": False, "symmetric": False, "axis": 1},
    "uint8_groups": {"signed": False, "symmetric": False, "group_size": 7},
    "floor": {"scale": 0.01, "offset": 0.1, "rounding": "floor", "bits": 16},
    "floor_small": {"offset": -1.0, "scale": 0.5, "rounding": "floor", "bits": 5},
    "kmeans": {"scheme": "kmeans", "levels": 16},
    "kmeans_axis": {"scheme": "kmeans", "levels": 3, "axis": 0},
}


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(tmp_path, scheme, density):
    w = sparse(np.random.default_rng(2), (61, 53), density)
    q = qc.quantize(w, **SCHEMES[scheme])
    assert_round_trip(tmp_path / "a", {"q": q, "bias": w[0]})
    # Never more than the codes as they are, with a header.
    assert stored_nbytes({"q": q}) <= q.nbytes + 600
    qc.save(tmp_path / "single", q)
    assert_same(qc.load(tmp_path / "single"), q)


@given(
    bits=st.sampled_from([*range(1, 9), 16]),
    signed=st.booleans(),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    zero=st.integers(0, 1),
    seed=st.integers(0, 99),
)
@SETTINGS
def test_codes_of_every_width(tmp_path, bits, signed, shape, density, zero, seed):
    rng = np.random.default_rng(seed)
    low = -(2 ** (bits - 1)) if signed else 0
    dtype = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    codes = rng.integers(low, low + 2**bits, shape).astype(dtype)
    zero_point = low + zero
    codes = np.where(rng.random(shape) < density, codes, np.array(zero_point, dtype))
    q = qc.QTensor.from_parts(codes, 0.5, zero_point, bits=bits, signed=signed, clipped=seed)
    assert_round_trip(tmp_path / "a", {"q": q})


def test_an_axis_counted_from_the_back(tmp_path):
    q = qc.QTensor.from_parts(np.int8([[1, 2], [3, 4]]), [0.5, 0.25], axis=-1)
    assert q.axis == 1
    assert_round_trip(tmp_path / "a", {"q": q})


@pytest.mark.parametrize("obj", [np.arange(6).reshape(2, 3), np.float32(2.5), np.zeros((0, 4))])
def test_a_single_array(tmp_path, obj):
    qc.save(tmp_path / "a", obj)
    assert_same(qc.load(tmp_path / "a"), np.asarray(obj))
    assert list(qc.load_tensors(tmp_path / "a")) == ["tensor"]


# networks ----------------------------------------------------------------------------------------
def digit_network(density=1.0, seed=0):
    rng = np.random.default_rng(seed)
    weights = [sparse(rng, (128, 784), density), sparse(rng, (10, 128), density)]
    biases = [rng.standard_normal(n).astype(np.float32) for n in (128, 10)]
    return qc.nn.Sequential.from_arrays(weights, biases, layout="out_in")


def quantized(net, **options):
    weights = net.named_weights()
    codes = {k: qc.quantize(v, **options) for k, v in weights.items() if k.endswith("weight")}
    return net.with_weights(codes)


def assert_same_network(found, expected):
    assert type(found) is qc.nn.Sequential
    assert len(found.layers) == len(expected.layers)
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        for name in ("name", "activation", "in_features", "out_features", "use_bias"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert_same(ours.weight, theirs.weight)
        if theirs.bias is None:
            assert ours.bias is None
        else:
            assert_same(ours.bias, theirs.bias)
        assert ours.input_qparams == theirs.input_qparams
        assert type(ours.input_qparams) is type(theirs.input_qparams)
        if isinstance(theirs.input_qparams, qc.QParams):
            assert_same(ours.input_qparams.scale, theirs.input_qparams.scale)
            assert_same(ours.input_qparams.zero_point, theirs.input_qparams.zero_point)


NETWORKS = {
    "float": lambda: digit_network(),
    "float_sparse": lambda: digit_network(0.1),
    "int8": lambda: quantized(digit_network(), axis=0),
    "int8_sparse": lambda: quantized(digit_network(0.1), axis=0),
    "codebook": lambda: quantized(digit_network(0.3), scheme="kmeans", levels=16),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("activations", ["float", "dynamic", "static"])
def test_networks(tmp_path, kind, activations):
    net = NETWORKS[kind]()
    rng = np.random.default_rng(3)
    for layer in net.layers:
        if activations == "dynamic":
            layer.input_qparams = "dynamic"
        elif activations == "static":
            x = rng.standard_normal(50).astype(np.float32) * 3
            layer.input_qparams = qc.choose_qparams(x, signed=False, symmetric=False)
    path = tmp_path / "net.safetensors"
    net.save(path)
    assert path.stat().st_size == stored_nbytes(net)
    found = qc.load(path)
    assert_same_network(found, net)
    found.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    for name, tensor in qc.load_tensors(path).items():
        assert_same(tensor, net.named_weights()[name])


def test_names_biases_and_activations(tmp_path):
    layers = [
        qc.nn.Dense(3, 4, "tanh", name="first"),
        qc.nn.Dense(4, 5, "sigmoid", use_bias=False),
        qc.nn.Dense(5, 5, "relu", name="fc9"),
        qc.nn.Dense(5, 2, "linear"),
    ]
    net = qc.nn.Sequential(layers)
    for layer in layers:
        layer.initialize(np.random.default_rng(0))
    layers[0].input_qparams = qc.choose_qparams(np.float32([-3, 2]), bits=8, signed=True)
    net.save(tmp_path / "a")
    assert_same_network(qc.load(tmp_path / "a"), net)


@given(bits=st.integers(0x00800000, 0x7F7FFFFF))
@settings(max_examples=300)
def test_the_scale_of_an_input_keeps_every_bit(bits):
    from qcore.saving.network import _short_floats

    scale = np.array(bits, np.uint32).view(np.float32)
    assert np.array(_short_floats(scale), np.float32).tobytes() == scale.tobytes()


@pytest.mark.parametrize(
    "classes",
    [
        np.arange(10),
        np.arange(10, dtype=np.uint8),
        np.array(list("abcdefghij")),
        np.array(["zero", "één"] * 5, object),
        np.linspace(0, 1, 10, dtype=np.float32),
        np.array([False, True]),
    ],
)
def test_labels(tmp_path, classes):
    net = digit_network()
    net.classes_ = classes
    net.save(tmp_path / "a")
    found = qc.load(tmp_path / "a").classes_
    assert found.dtype == classes.dtype
    assert found.tolist() == classes.tolist()


def test_labels_that_no_file_holds(tmp_path):
    net = digit_network()
    net.classes_ = np.array([b"a", (1, 2)], object)
    with pytest.raises(TypeError, match="labels are object"):
        net.save(tmp_path / "a")
    assert not any(tmp_path.iterdir())


def test_the_pruned_int8_digit_network_is_small(tmp_path):
    net = quantized(digit_network(0.1), axis=0)
    for layer in net.layers:
        layer.input_qparams = qc.choose_qparams(np.float32([0, 1]), signed=False, symmetric=False)
    net.classes_ = np.arange(10)
    net.save(tmp_path / "a")
    assert FLOAT_NETWORK_BYTES / (tmp_path / "a").stat().st_size > 20


def test_another_reader_can_be_written_from_the_page_about_the_format():
    page = Path(__file__).parents[3] / "docs" / "files.md"
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried > 5
    assert not failed


# positions ---------------------------------------------------------------------------------------
@given(mask=hnp.arrays(bool, st.integers(0, 2000), elements=st.booleans(), fill=st.booleans()))
@settings(deadline=None)
def test_positions_come_back(mask):
    layout, data = encode_positions(mask)
    np.testing.assert_array_equal(decode_positions(layout, data, mask.size), np.flatnonzero(mask))


@pytest.mark.parametrize(("step", "layout"), [(2, "bitmap"), (8, "gap4"), (40, "gap8")])
def test_each_layout_is_the_smallest_somewhere(step, layout):
    mask = np.arange(4000) % step == step - 1
    assert encode_positions(mask)[0] == layout
    for gap in (14, 15, 16, 29, 30, 31, 254, 255, 256, 509, 510, 511):
        mask = np.zeros(5000, bool)
        mask[gap :: gap + 1] = True
        found, data = encode_positions(mask)
        np.testing.assert_array_equal(decode_positions(found, data, 5000), np.flatnonzero(mask))


@given(layout=st.sampled_from(LAYOUTS), data=st.binary(max_size=40), size=st.integers(0, 400))
@settings(deadline=None)
def test_any_bytes_are_positions_or_an_error(layout, data, size):
    try:
        found = decode_positions(layout, np.frombuffer(data, np.uint8), size)
    except ValueError:
        return
    assert (np.diff(found) > 0).all()
    assert found.size == 0 or (found[0] >= 0 and found[-1] < size)


@pytest.mark.parametrize("how", ["qc.load(sys.argv[1])", "pickle.load(open(sys.argv[1], 'rb'))"])
def test_a_process_that_quantized_nothing_can_decode(tmp_path, how):
    q = qc.quantize(np.float32([1, -2]))
    if "pickle" in how:
        (tmp_path / "a").write_bytes(pickle.dumps(q))
    else:
        qc.save(tmp_path / "a", q)
    code = f"import pickle, sys, qcore as qc; print({how}.dequantize().tolist())"
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"{q.dequantize().tolist()}\n", done.stderr
