"""compressed-tensors' float formats, written for its library and read of it; every format name."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qcore as qc
from qcore.cli import main
from qcore.files.formats import open_tensors

SAMPLES = Path(__file__).parents[1] / "samples" / "others"
#: Scheme to format name.
WRITTEN = {
    "fp8_e4m3": "float-quantized", "mxfp8_e4m3": "mxfp8-quantized", "nvfp4": "nvfp4-pack-quantized",
    "mxfp6_e2m3": "mxfp6-pack-quantized", "mxfp4": "mxfp4-pack-quantized",
}  # fmt: skip


def weight(shape=(48, 96), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def config_of(path):
    return json.loads((path.parent / "config.json").read_text())["quantization_config"]


def close(a, b, scheme):
    """To the bit but for NVFP4, whose second scale is stored as one over what it is."""
    bound = 2.0**-22 if scheme == "nvfp4" else 0
    return np.allclose(np.asarray(a), np.asarray(b), rtol=bound, atol=0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("scheme", WRITTEN)
def test_what_is_written_is_read(tmp_path, scheme, streamed):
    tensors = {"fc.weight": weight(), "out.weight": weight((5, 21), 1), "fc.bias": weight((48,))}
    path = tmp_path / "model.safetensors"
    axis = {"axis": 0} if scheme == "fp8_e4m3" else {}
    q = qc.quantize(tensors["fc.weight"], scheme=scheme, **axis)
    if streamed:
        qc.save(tmp_path / "in.safetensors", tensors)
        options = {"scheme": scheme, "file_format": "compressed-tensors", "ignore": ("out*",)}
        qc.compress(tmp_path / "in.safetensors", output=path, **options)
    else:
        qc.save(path, tensors | {"fc.weight": q}, file_format="compressed-tensors")
    config = config_of(path)
    assert config["format"] == config["config_groups"]["group_0"]["format"] == WRITTEN[scheme]
    assert config["ignore"] == ["out"]
    assert config["config_groups"]["group_0"]["weights"]["type"] == "float"
    found = qc.load(path)
    assert close(found["fc.weight"], q, scheme)
    np.testing.assert_array_equal(found["out.weight"], tensors["out.weight"])


@pytest.mark.parametrize("scheme", WRITTEN)
def test_their_library_decodes_what_is_written(tmp_path, scheme, record_property):
    record_property("writes", f"compressed-tensors/{WRITTEN[scheme]}")
    pytest.importorskip("compressed_tensors")
    torch = pytest.importorskip("torch")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    q = qc.quantize(weight(), scheme=scheme, **({"axis": 0} if scheme == "fp8_e4m3" else {}))
    path = tmp_path / "model.safetensors"
    qc.save(path, {"fc.weight": q}, file_format="compressed-tensors")
    config = QuantizationConfig.model_validate(config_of(path))
    state = {name.removeprefix("fc."): value for name, value in load_file(path).items()}
    decoder = BaseCompressor.get_value_from_registry(config.format)
    found = decoder.decompress(state, config.config_groups["group_0"])["weight"]
    # Codes of 4 and 6 bits are decoded there in bfloat16; scales of a power of two lose nothing.
    bound = 2.0**-7 if scheme == "nvfp4" else 1e-6
    assert found.dtype in (torch.bfloat16, torch.float32)
    assert np.allclose(found.float().numpy(), np.asarray(q), rtol=bound, atol=0)


def scheme_of(name):
    """A scheme of the library for each of its formats that its compressors know."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    torch = pytest.importorskip("torch")
    group = {"strategy": "group", "group_size": 32}
    weights = {
        "dense": None,
        "naive-quantized": {"num_bits": 8, "type": "int", "strategy": "channel"},
        "int-quantized": {"num_bits": 8, "type": "int", "strategy": "tensor"},
        "float-quantized": {"num_bits": 8, "type": "float", "strategy": "channel"},
        "pack-quantized": {"num_bits": 4, "type": "int", **group},
        "mxfp4-pack-quantized": {"num_bits": 4, "type": "float", **group},
        "mxfp6-pack-quantized": {"num_bits": 6, "type": "float", **group},
        "mxfp8-quantized": {"num_bits": 8, "type": "float", **group},
        "nvfp4-pack-quantized": {
            "num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16,
        },
    }[name]  # fmt: skip
    if name.startswith("mx"):
        weights |= {"scale_dtype": torch.uint8, "zp_dtype": torch.uint8}
    args = None if weights is None else QuantizationArgs(**weights)
    return QuantizationScheme(targets=["Linear"], weights=args)


THEIRS = (
    "dense", "naive-quantized", "int-quantized", "float-quantized", "pack-quantized",
    "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized", "nvfp4-pack-quantized",
)  # fmt: skip


def written_by_them(name, path, shape=(64, 96)):
    """A file of the library's own compressor, and what its decompressor makes of it."""
    pytest.importorskip("compressed_tensors")
    torch = pytest.importorskip("torch")
    from compressed_tensors.compressors import BaseCompressor
    from safetensors.torch import save_file

    scheme = scheme_of(name)
    w = torch.tensor(weight(shape, 3))
    top = {"int4": 7, "int8": 127, "float4": 6, "float6": 7.5, "float8": 448}
    state = {"weight": w}
    if scheme.weights is not None:
        a = scheme.weights
        most = w.abs()
        if a.group_size:
            most = most.reshape(len(w), -1, a.group_size).amax(-1)
        elif a.strategy == "channel":
            most = most.amax(1, keepdim=True)
        else:
            most = most.amax().reshape(1)
        scale = most / top[f"{a.type}{a.num_bits}".replace("QuantizationType.", "").lower()]
        if name.startswith("mx"):
            scale = torch.exp2(torch.floor(torch.log2(scale)))
        if name.startswith("nv"):
            state["weight_global_scale"] = (6 * 448 / w.abs().amax()).reshape(1)
            scale = (scale * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
        state["weight_scale"] = scale
    coder = BaseCompressor.get_value_from_registry(name)
    stored = coder.compress(state, scheme)
    save_file({f"fc.{key}": value.contiguous() for key, value in stored.items()}, path)
    return coder.decompress(stored, scheme)["weight"].float().numpy()


@pytest.mark.parametrize("name", THEIRS)
def test_files_of_their_library_are_read(tmp_path, name, record_property):
    record_property("reads", f"compressed-tensors/{name}")
    path = tmp_path / "model.safetensors"
    want = written_by_them(name, path)
    found = np.asarray(qc.load(path)["fc.weight"])
    # What it decodes in bfloat16 is rounded to it; ours is exact.
    bound = 2.0**-7 if name.startswith("nv") else 0
    assert found.shape == want.shape
    assert np.allclose(found, want, rtol=bound, atol=0)


def test_mixed_precision_is_several_groups(tmp_path, record_property):
    record_property("reads", "compressed-tensors/mixed-precision")
    record_property("writes", "compressed-tensors/mixed-precision")
    tensors = {
        "a.weight": qc.quantize(weight(), scheme="mxfp4"),
        "b.weight": qc.quantize(weight(seed=1), axis=0),
        "c.weight": weight(seed=2),
        "d.weight": qc.quantize(weight(seed=3), scheme="fp8_e4m3", axis=0),
    }
    path = tmp_path / "model.safetensors"
    qc.save(path, tensors, file_format="compressed-tensors")
    config = config_of(path)
    assert config["format"] == "mixed-precision"
    groups = config["config_groups"].values()
    formats = ["mxfp4-pack-quantized", "int-quantized", "float-quantized"]
    assert [group["format"] for group in groups] == formats
    assert [group["targets"] for group in groups] == [["a"], ["b"], ["d"]]
    assert config["ignore"] == ["c"]
    found = qc.load(path)
    for name, value in tensors.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value))
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationConfig

    assert QuantizationConfig.model_validate(config).format == "mixed-precision"


def test_blocks_of_128_by_128(tmp_path):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (200, 300)).astype(np.int8)
    scale = rng.random((2, 3)).astype(np.float32) + 0.1
    path = tmp_path / "model.safetensors"
    save_file({"fc.weight": codes, "fc.weight_scale": scale}, path)
    group = {"num_bits": 8, "type": "int", "strategy": "block", "block_structure": [128, 128]}
    config = {"quant_method": "compressed-tensors", "format": "naive-quantized"}
    config["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": group}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    spread = np.repeat(np.repeat(scale, 128, axis=0), 128, axis=1)[:200, :300]
    np.testing.assert_array_equal(np.asarray(qc.load(path)["fc.weight"]), codes * spread)


def marlin(rows, columns, groups, bits):
    """What `samples/others/marlin_24.safetensors` was made of, by compressed-tensors 0.9.2."""
    row, column = np.indices((rows, columns))
    top = (1 << bits - 1) - 1
    codes = (row * 7 + column * 3) % (2 * top + 1) - top
    first = (row + column // 4) % 4
    second = (first + 1 + (column // 4 + row // 3) % 3) % 4
    kept = (column % 4 == first) | (column % 4 == second)
    exponents = -(np.arange(rows)[:, None] * 3 + np.arange(groups) * 5) % 8
    scale = np.ldexp(1.0, exponents)
    return np.where(kept, codes, 0) * np.repeat(scale, columns // groups, axis=1)


def test_marlin_24_is_put_in_order_again(record_property):
    record_property("reads", "compressed-tensors/marlin-24")
    found = qc.load(SAMPLES / "marlin_24.safetensors")
    assert found.keys() == {"b4g4.weight", "b4g2.weight", "b8g1.weight"}
    for name, shape in {
        "b4g4": (64, 512, 4, 4),
        "b4g2": (128, 256, 2, 4),
        "b8g1": (64, 128, 1, 8),
    }.items():
        np.testing.assert_array_equal(found[f"{name}.weight"], marlin(*shape))


def test_marlin_24_whose_parts_do_not_fit_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    whole = load_file(SAMPLES / "marlin_24.safetensors")
    for part, change in {
        "b4g4.meta": lambda a: a[:-1], "b4g4.scale_packed": lambda a: a[:, :-1],
        "b4g4.weight_packed": lambda a: a[:, :-4],
    }.items():  # fmt: skip
        path = tmp_path / "broken.safetensors"
        save_file(whole | {part: np.ascontiguousarray(change(whole[part]))}, path)
        with pytest.raises(qc.FormatError, match=r"b4g4"):
            open_tensors(path)["b4g4.weight"]


def test_inspect_names_what_each_is_stored_as(tmp_path):
    tensors = {
        f"{scheme}.weight": qc.quantize(weight(), scheme=scheme)
        for scheme in ("mxfp4", "mxfp6_e2m3", "nvfp4", "mxfp8_e4m3")
    }
    tensors["f8.weight"] = qc.quantize(weight(), scheme="fp8_e4m3", axis=0)
    tensors["i8.weight"] = qc.quantize(weight(), axis=0)
    path = tmp_path / "model.safetensors"
    qc.save(path, tensors, file_format="compressed-tensors")
    run = CliRunner().invoke(main, ["inspect", str(path), "--json"])
    found = {row["tensor"]: (row["type"], row["bytes"]) for row in json.loads(run.output)["rows"]}
    assert found == {
        "mxfp4.weight": ("mxfp4", 2448), "mxfp6_e2m3.weight": ("mxfp6_e2m3", 3600),
        "nvfp4.weight": ("nvfp4", 2596), "mxfp8_e4m3.weight": ("mxfp8", 4752),
        "f8.weight": ("f8_e4m3 with scales", 4800), "i8.weight": ("int8 affine", 4800),
    }  # fmt: skip
    qc.save(tmp_path / "b.safetensors", {"w": weight()}, lossless=True)
    run = CliRunner().invoke(main, ["inspect", str(tmp_path / "b.safetensors"), "--json"])
    (row,) = json.loads(run.output)["rows"]
    assert row["type"] == "f32, coded"
    assert row["bytes"] < weight().nbytes
    run = CliRunner().invoke(main, ["inspect", str(SAMPLES / "marlin_24.safetensors")])
    assert "marlin-24, 4 bits" in run.output


def test_what_has_no_place_is_told(tmp_path):
    path = tmp_path / "model.safetensors"
    q = qc.quantize(weight(), scheme="mxfp8_e5m2")
    with pytest.raises(ValueError, match="fp8_e4m3, mxfp8_e4m3, mxfp6_e2m3, mxfp4, nvfp4"):
        qc.save(path, {"fc.weight": q}, file_format="compressed-tensors")
    q = qc.quantize(weight((4, 40)), scheme="mxfp4")
    with pytest.warns(UserWarning, match="which groups of 32 do not divide"):
        qc.save(path, {"fc.weight": q}, file_format="compressed-tensors")
    np.testing.assert_array_equal(qc.load(path)["fc.weight"], np.asarray(q))
