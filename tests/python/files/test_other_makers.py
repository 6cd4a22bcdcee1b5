"""Files of other makers: read as what they stand for, or refused by name with what to do."""

import json
import struct
import zipfile

import numpy as np
import pytest

import qcore as qc


def write(path, tensors):
    """Write a safetensors file of (type, shape, bytes)."""
    header, data = {}, b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data + raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def floats(array):
    return ("F32", list(array.shape), array.astype("<f4").tobytes())


SCALES = {
    "one": np.full(1, 0.25),
    "rows": np.array([[0.5], [2.0], [4.0]] * 100),
    "vector": np.array([0.5, 2.0, 4.0] * 100),
    "blocks": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
}


@pytest.mark.parametrize("ending", ["_scale", "_scale_inv"])
@pytest.mark.parametrize("way", SCALES)
def test_eight_bit_floats_are_multiplied_by_their_scales(tmp_path, way, ending):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((300, 200)).astype(ml_dtypes.float8_e4m3fn)
    scale = SCALES[way].astype(np.float32)
    expected = codes.astype(np.float32) * (
        np.repeat(np.repeat(scale, 128, 0), 128, 1)[:300, :200]
        if way == "blocks"
        else scale.reshape(-1, 1)
    )
    path = write(
        tmp_path / "m.safetensors",
        {
            "l.weight": ("F8_E4M3", [300, 200], codes.tobytes()),
            f"l.weight{ending}": floats(scale),
            "l.bias": floats(np.ones(300)),
        },
    )
    found = qc.load_tensors(path)
    assert list(found) == ["l.weight", "l.bias"]
    np.testing.assert_array_equal(found["l.weight"], expected)
    qc.compress(path, output=tmp_path / "small.safetensors")
    small = qc.load_tensors(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(small["l.weight"].values, qc.quantize(expected, axis=0).values)
    qc.compress(path, output=tmp_path / "kept.safetensors", ignore=["l.*"])
    kept = qc.load_tensors(tmp_path / "kept.safetensors")
    np.testing.assert_array_equal(kept["l.weight"], expected)


def test_scales_that_do_not_fit_are_refused(tmp_path):
    raw = bytes(60)
    for scale, words in ((np.ones((4, 5)), "'l.weight_scale'"), (np.ones((3, 3, 3)), "l.weight")):
        path = write(
            tmp_path / "m.safetensors",
            {"l.weight": ("F8_E4M3", [6, 10], raw), "l.weight_scale": floats(scale)},
        )
        with pytest.raises(qc.FormatError, match=words):
            qc.load_tensors(path)
    path = write(
        tmp_path / "m.safetensors",
        {"l.weight": ("F8_E4M3", [6, 10], raw), "l.scale": floats(np.ones(1))},
    )
    with pytest.raises(qc.FormatError, match=r"beside them 'l\.scale'"):
        qc.load_tensors(path)


LAYOUTS = {
    "GPTQ": ["l.qweight", "l.qzeros", "l.scales", "l.g_idx"],
    "AWQ": ["l.qweight", "l.qzeros", "l.scales"],
    "actorder": ["l.weight_packed", "l.weight_scale", "l.weight_shape", "l.weight_g_idx"],
    "NVFP4": ["l.weight", "l.weight_scale", "l.weight_scale_2"],
    "MXFP4": ["l.w_blocks", "l.w_scales"],
    "bitsandbytes": ["l.weight", "l.weight.absmax", "l.weight.quant_map"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_are_not_read_are_named(tmp_path, layout):
    path = write(
        tmp_path / "m.safetensors",
        {name: ("I32", [2, 2], bytes(16)) for name in [*LAYOUTS[layout], "norm.weight"]},
    )
    for call in (qc.load, qc.load_tensors, lambda p: qc.compress(p, output=tmp_path / "o.gguf")):
        with pytest.raises(qc.FormatError, match=layout) as error:
            call(path)
        assert "corrupt" not in str(error.value)
    assert not (tmp_path / "o.gguf").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.pt", b"\x80\x02}q\x00.", "from_torch"),
        ("model.bin", b"anything", "from_torch"),
        ("clf.joblib", b"\x80\x04\x95", "from_sklearn"),
        ("clf.pkl", b"\x80\x04\x95", "from_sklearn"),
        ("net.keras", b"PK\3\4", "from_keras"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "from_keras"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "TFLite"),
        ("without_a_suffix", b"\x1c\0\0\0TFL3", "TFLite"),
        ("model.safetensors", b"GGUF\3\0\0\0", "ends in .gguf"),
        ("model.safetensors", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00", "pickle"),
    ],
)
def test_other_files_are_named_as_what_they_are(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content + bytes(64))
    with pytest.raises(qc.FormatError, match=words) as error:
        qc.load_tensors(tmp_path / name)
    assert "corrupt" not in str(error.value)


def test_torchscript_is_told_from_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/code/__torch__.py", "def forward(self): ...")
        archive.writestr("net/constants.pkl", "")
    with pytest.raises(qc.FormatError, match="TorchScript"):
        qc.load_tensors(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (struct.pack(">IQQ", 3, 0, 0), "big-endian.*gguf_convert_endian"),
        (struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"w"
         + struct.pack("<IQQIQ", 2, 256, 2, 15, 0), "blocks of Q8_K.*no file"),
    ],
)  # fmt: skip
def test_gguf_that_is_not_read_is_named(tmp_path, head, words):
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + head + bytes(1024))
    with pytest.raises(qc.FormatError, match=words) as error:
        qc.load(tmp_path / "m.gguf")
    assert "corrupt" not in str(error.value)


@pytest.mark.parametrize("way", ["stream", "command with pruning"])
def test_gguf_keeps_its_metadata(tmp_path, way):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_context_length(128)
    writer.add_file_type(0)
    writer.add_token_list(["a", "b", "c"])
    writer.add_custom_alignment(256)
    w = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    writer.add_tensor("w", w)
    writer.add_tensor("norm", np.ones(5, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if way == "stream":
        qc.compress(tmp_path / "m.gguf", output=tmp_path / "q.gguf")
    else:
        from click.testing import CliRunner

        from qcore.cli import main

        words = ["compress", str(tmp_path / "m.gguf"), "-o", str(tmp_path / "q.gguf")]
        assert CliRunner().invoke(main, [*words, "--sparsity", "0.1"]).exit_code == 0
    back = gguf.GGUFReader(tmp_path / "q.gguf")
    fields = {key: field.contents() for key, field in back.fields.items()}
    assert fields["general.architecture"] == "llama"
    assert fields["llama.context_length"] == 128
    assert fields["tokenizer.ggml.tokens"] == ["a", "b", "c"]
    assert fields["general.file_type"] == 7  # mostly Q8_0
    assert back.alignment == 256
    [stored] = [tensor for tensor in back.tensors if tensor.name == "w"]
    assert stored.tensor_type == gguf.GGMLQuantizationType.Q8_0
    real = gguf.dequantize(stored.data, stored.tensor_type)
    np.testing.assert_array_equal(real, np.asarray(qc.load(tmp_path / "q.gguf")["w"]))
    if way == "stream":
        assert np.abs(real - w).max() < 0.02
