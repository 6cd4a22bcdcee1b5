"""The layouts of compressed-tensors: what others read, and what is read of theirs."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore.streaming.compress import compress_file


def weights(shape=(40, 72), seed=0):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape).astype(np.float32)
    return {"fc.weight": w, "fc.bias": w[:, 0].copy(), "embed": rng.integers(0, 9, (3, 4))}


def config_of(path):
    return json.loads((path.parent / "config.json").read_text())["quantization_config"]


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("axis", [None, 0, "group"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_what_is_saved_is_loaded(tmp_path, bits, signed, axis):
    tensors = weights()
    layout = {"group_size": 8} if axis == "group" else {"axis": axis}
    q = qc.quantize(tensors["fc.weight"], bits=bits, symmetric=signed, signed=signed, **layout)
    path = tmp_path / "model.safetensors"
    qc.save(path, tensors | {"fc.weight": q}, file_format="compressed-tensors")
    found = qc.load(path)
    assert found.keys() == tensors.keys()
    assert found["fc.weight"].bits == bits
    assert same(found["fc.weight"], q)
    assert same(found["embed"], tensors["embed"])
    kind = "int-quantized" if bits == 8 else "pack-quantized"
    assert config_of(path)["format"] == kind
    assert config_of(path)["ignore"] == ["embed"]


def test_the_layout_is_as_published(tmp_path):
    """Bytes worked out by hand from the layout's definition."""
    path = tmp_path / "model.safetensors"
    q = qc.QTensor.from_parts(np.int8([[-8, -1, 0, 7, 1]]), np.float32([0.5]), axis=0, bits=4)
    qc.save(path, {"a.weight": q}, file_format="compressed-tensors")
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    begin, end = header["a.weight_packed"]["data_offsets"]
    data = raw[8 + int.from_bytes(raw[:8], "little") :]
    assert header["a.weight_packed"]["shape"] == [1, 1]
    assert data[begin:end].hex() == "70f80900"
    assert header["a.weight_scale"]["shape"] == [1, 1]
    assert header["a.weight_shape"]["dtype"] == "I64"
    assert header["__metadata__"] == {"format": "pt"}


@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 40),
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    grouped=st.booleans(),
    tile_bytes=st.integers(1, 9000),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
def test_a_stream_writes_the_bytes_of_memory(
    tmp_path, rows, columns, bits, symmetric, grouped, tile_bytes
):
    tensors = weights((rows, columns), rows)
    quantizer = qc.Quantizer(
        bits, symmetric=symmetric, group_size=columns if grouped else None, ignore=("*bias",)
    )
    qc.save(tmp_path / "source", tensors)
    (tmp_path / "config.json").unlink(missing_ok=True)
    compress_file(
        tmp_path / "source", tmp_path / "a", quantizer,
        file_format="compressed-tensors", tile_bytes=tile_bytes,
    )  # fmt: skip
    config = (tmp_path / "config.json").read_bytes()
    small = quantizer.fit_transform(qc.load_tensors(tmp_path / "source"))
    qc.save(tmp_path / "b", small, file_format="compressed-tensors")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "config.json").read_bytes() == config


def test_the_rest_of_a_configuration_stays(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 64}')
    q = qc.quantize(weights()["fc.weight"], bits=4, group_size=8)
    qc.save(tmp_path / "model.safetensors", {"fc.weight": q}, file_format="compressed-tensors")
    whole = json.loads((tmp_path / "config.json").read_text())
    assert whole["hidden_size"] == 64
    group = whole["quantization_config"]["config_groups"]["group_0"]
    assert group["targets"] == ["Linear"]
    assert group["weights"]["group_size"] == 8
    (tmp_path / "config.json").write_text('{"quantization_config": null}')
    qc.save(tmp_path / "model.safetensors", {"fc.weight": q}, file_format="compressed-tensors")
    assert config_of(tmp_path / "model.safetensors")["format"] == "pack-quantized"
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(qc.FormatError, match="is no configuration"):
        qc.save(tmp_path / "model.safetensors", {"fc.weight": q}, file_format="compressed-tensors")


def test_several_widths_are_several_groups(tmp_path):
    w = weights()["fc.weight"]
    tensors = {
        "a.weight": qc.quantize(w, bits=8, axis=0), "b.weight": qc.quantize(w, bits=3, axis=0),
    }  # fmt: skip
    path = tmp_path / "model.safetensors"
    qc.save(path, tensors, file_format="compressed-tensors")
    found = qc.load(path)
    assert [found[name].bits for name in tensors] == [8, 3]
    assert all(same(found[name], tensors[name]) for name in tensors)
    groups = config_of(path)["config_groups"].values()
    assert [group["targets"] for group in groups] == [["a"], ["b"]]


def test_shards(tmp_path):
    q = qc.quantize(weights()["fc.weight"], bits=4, axis=0)
    qc.save(tmp_path / "model-1.safetensors", {"a.weight": q}, file_format="compressed-tensors")
    qc.save(tmp_path / "model-2.safetensors", {"b.weight": q}, file_format="compressed-tensors")
    found = qc.load(tmp_path)
    assert sorted(found) == ["a.weight", "b.weight"]
    assert same(found["b.weight"], q)


def test_what_the_layouts_cannot_hold(tmp_path):
    w = weights()["fc.weight"]
    path = tmp_path / "model.safetensors"
    for name, q, reason in (
        ("fc.weight", qc.quantize(w, scheme="nf4"), "are affine"),
        ("fc.weight", qc.quantize(w, axis=1), "for rows"),
        ("fc.weight", qc.quantize(w, group_size=50), "divide the rows"),
    ):
        with pytest.raises(ValueError, match=f"tensor '{name}' is .*{reason}"):
            qc.save(path, {name: q}, file_format="compressed-tensors")
    with pytest.raises(TypeError, match="holds a dict"):
        qc.save(path, w, file_format="compressed-tensors")
    with pytest.raises(ValueError, match="it must be one of 'qcore'"):
        qc.save(path, {"w": w}, file_format="safetensors")
    with pytest.raises(ValueError, match=r"only GGUF files end in"):
        qc.save(path, {"w": w}, file_format="gguf")
    assert not path.exists()


@pytest.mark.parametrize("broken", ["shape", "words", "order", "scale", "vector"])
def test_broken_weights_are_refused(tmp_path, broken):
    path = tmp_path / "model.safetensors"
    parts = {
        "fc.weight_packed": np.zeros((2, 1), np.int32),
        "fc.weight_scale": np.ones((2, 1), np.float32),
        "fc.weight_shape": np.array([2, 8]),
    }
    parts |= {
        "shape": {"fc.weight_shape": np.array([2, 8, 1])},
        "words": {"fc.weight_packed": np.zeros((2, 9), np.int32)},
        "order": {"fc.weight_g_idx": np.full(8, 3, np.int32)},
        "scale": {"fc.weight_scale": np.ones((3, 1), np.float32)},
        "vector": {"fc.weight": np.ones(8, np.int8), "fc.weight_scale": np.ones((2, 2), "f4")},
    }[broken]
    from safetensors.numpy import save_file

    save_file(parts, path)
    with pytest.raises(qc.FormatError, match=r"tensor 'fc.weight'|corrupt|another order"):
        qc.load(path)


@pytest.mark.parametrize("group_size", [None, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_their_library_decodes_alike(tmp_path, bits, symmetric, group_size, record_property):
    name = "int-quantized" if bits == 8 else "pack-quantized"
    record_property("writes", f"compressed-tensors/{name}")
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    layout = {"axis": 0} if group_size is None else {"group_size": group_size}
    q = qc.quantize(weights()["fc.weight"], bits=bits, symmetric=symmetric, **layout)
    path = tmp_path / "model.safetensors"
    qc.save(path, {"fc.weight": q}, file_format="compressed-tensors")
    config = QuantizationConfig.model_validate(config_of(path))
    scheme = config.config_groups["group_0"]
    state = {name.removeprefix("fc."): value for name, value in load_file(path).items()}
    found = BaseCompressor.get_value_from_registry(config.format).decompress(state, scheme)
    # It computes in the type of the scales.
    bound = 2.0**-10 if q.scale_dtype == np.float16 else 1e-6
    assert np.allclose(found["weight"].float().numpy(), np.asarray(q), rtol=bound, atol=0)


def test_codes_that_have_no_place_stay_wide_and_say_so(tmp_path):
    rng = np.random.default_rng(0)
    tensors = weights() | {
        "conv.weight": rng.standard_normal((6, 5, 4)).astype(np.float32),
        "position": rng.standard_normal((6, 8)).astype(np.float32),
    }
    qc.save(tmp_path / "in.safetensors", tensors)
    done = compress_file(
        tmp_path / "in.safetensors", tmp_path / "out.safetensors", qc.Quantizer(8),
        file_format="compressed-tensors",
    )  # fmt: skip
    kept = {row["tensor"]: row["kept"] for row in done.report_.rows if "kept" in row}
    assert kept.keys() == {"conv.weight", "position"}
    assert "3 axes" in kept["conv.weight"]
    assert "'.weight'" in kept["position"]
    found = qc.load(tmp_path / "out.safetensors")
    for name in kept:
        assert same(found[name], tensors[name])
    assert isinstance(found["fc.weight"], qc.QTensor)
    assert set(config_of(tmp_path / "out.safetensors")["ignore"]) == {"embed", "position"}
    codes = {"conv.weight": qc.quantize(tensors["conv.weight"])}
    with pytest.warns(UserWarning, match=r"'conv.weight' is stored as float32: it has 3 axes"):
        qc.save(tmp_path / "codes.safetensors", codes, file_format="compressed-tensors")
    assert same(qc.load(tmp_path / "codes.safetensors")["conv.weight"], codes["conv.weight"])
