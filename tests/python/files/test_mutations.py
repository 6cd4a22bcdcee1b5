"""Small valid files of every format, mutated: they load, or end in an error that says why.

A few mutations of each in the test suite; many, for hours if need be, by::

    python tests/python/files/test_mutations.py --rounds 100000 --seed 1 [--only onnx]
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

import qcore as qc
from qcore.cli.models import open_model
from qcore.files.idx import read_idx

F = np.float32
ALLOWED = (qc.FormatError, OSError)
#: What a file that is read rightly may be too much for: a recipe that does not fit, a graph that is
#: no chain, a tensor that no quantizer takes. Errors from the inside are never of this kind.
MEANT = (ValueError, OverflowError, MemoryError, NotImplementedError)
ROUNDS = 40
MARLIN = Path(__file__).parents[1] / "samples" / "others" / "marlin_24.safetensors"


def network(mode="static", **options):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(8, 6)).astype(F), rng.normal(size=(3, 8)).astype(F)]
    net = qc.nn.Sequential.from_arrays(weights, [np.ones(8, F), np.ones(3, F)], layout="out_in")
    x = rng.normal(size=(20, 6)).astype(F)
    return qc.Quantizer(activations=mode, algorithm=(), **options).fit_transform(net, x)


def tensors():
    rng = np.random.default_rng(1)
    w = rng.normal(size=(8, 64)).astype(F)
    w[rng.random(w.shape) < 0.95] = 0
    dense = rng.normal(size=(4, 32)).astype(F)
    return {
        "sparse": w, "codes": qc.quantize(w, axis=0),
        "int4": qc.quantize(dense, bits=4, group_size=8),
        "nf4": qc.quantize(dense, scheme="nf4", group_size=32),
        "mxfp6": qc.quantize(dense, scheme="mxfp6_e3m2"),
        "nvfp4": qc.quantize(dense, scheme="nvfp4"),
        "kmeans": qc.quantize(dense, scheme="kmeans", levels=5),
        "floor": qc.quantize(dense, rounding="floor"), "csr": qc.CsrMatrix.from_dense(w),
        "bsr": qc.BsrMatrix.from_dense(w, "4x1"), "ints": np.arange(5),
        "empty": np.zeros((0, 3), F),
        "nm": qc.NmMatrix.from_dense(qc.prune(dense, pattern="2:4")),
    }  # fmt: skip


def hqq(rng):
    """Return a weight as HQQ stores it: two codes of 4 bits in a byte."""
    scale = rng.random((8, 1)).astype(F)
    return {
        "fc.W_q": rng.integers(0, 256, (4, 16), dtype=np.uint8), "fc.scale": scale,
        "fc.zero": scale * 9, "fc.axis": np.array(1, np.int32), "fc.shape": np.array([8, 16]),
        "fc.packing": np.frombuffer(b"4bit_u8", np.uint8), "fc.nbits": np.array(4, np.int32),
    }  # fmt: skip


def write_files(folder):
    """Write a small file of each format; returns their names."""
    rng = np.random.default_rng(2)
    dense = {"fc.weight": rng.normal(size=(4, 32)).astype(F), "fc.bias": np.ones(4, F)}
    recipe = qc.Recipe.from_toml('[quantize]\nbits = {"fc1" = 4, "*" = 8}\nignore = ["*bias"]\n')
    (folder / "recipe.toml").write_text(recipe.to_toml())
    qc.save(folder / "tensors.safetensors", tensors())
    qc.save(folder / "network.safetensors", network(), recipe=recipe.to_toml())
    qc.save(folder / "mixed.safetensors", network("dynamic", bits=3))
    packed = network(None, scheme="kmeans", levels=4)
    packed.packed = True
    qc.save(folder / "packed.safetensors", packed)
    coded = {"fc.weight": qc.quantize(dense["fc.weight"], bits=4, group_size=8)}
    (folder / "ct").mkdir()
    qc.save(folder / "ct" / "model.safetensors", coded, file_format="compressed-tensors")
    wide = rng.normal(size=(16, 96)).astype(F)
    qc.save(
        folder / "lossless.safetensors", {"w": wide, "h": wide.astype(np.float16)}, lossless=True
    )
    (folder / "floats").mkdir()
    floats = {
        f"{scheme}.weight": qc.quantize(wide, scheme=scheme)
        for scheme in ("mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "nvfp4", "fp8_e4m3")
    }
    qc.save(folder / "floats" / "m.safetensors", floats, file_format="compressed-tensors")
    (folder / "marlin.safetensors").write_bytes(MARLIN.read_bytes())
    save_file(hqq(rng), folder / "hqq.safetensors")
    grouped = qc.quantize(dense["fc.weight"], group_size=32, scale_dtype="float16")
    qc.save(folder / "a.gguf", {"w": grouped, "b": dense["fc.bias"]})
    np.savez_compressed(folder / "a.npz", **dense)
    np.save(folder / "a.npy", dense["fc.weight"])
    network().to_onnx(folder / "static.onnx")
    network("dynamic").to_onnx(folder / "dynamic.onnx")
    network(None, bits=4).to_onnx(folder / "weights.onnx")
    qc.save(folder / "s.safetensors.index.json", dense, shard_bytes=200)
    (folder / "a.idx").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)]))
    (folder / "a.idx.gz").write_bytes(gzip.compress((folder / "a.idx").read_bytes()))
    return [
        "tensors.safetensors", "network.safetensors", "mixed.safetensors", "packed.safetensors",
        "ct/model.safetensors", "ct/config.json", "a.gguf", "a.npz", "a.npy", "static.onnx",
        "dynamic.onnx", "weights.onnx", "s.safetensors.index.json", "a.idx", "a.idx.gz",
        "recipe.toml", "lossless.safetensors", "floats/m.safetensors", "marlin.safetensors",
        "hqq.safetensors",
    ]  # fmt: skip


# mutations ---------------------------------------------------------------------------------------
NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1, 1.5, 1e308)
VALUES = (*NUMBERS, None, True, "", "x", "affine", [], [1], [[1]], {}, {"a": 1}, float("inf"))


def mutate_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not data:
            break
        most = len(data) if rng.random() < 0.5 else min(200, len(data))
        at, kind = rng.randrange(most), rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 16))]
        elif kind == 3:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 8))))
        elif kind == 4:
            data[at : at + 8] = (rng.choice(NUMBERS[:12]) % 2**64).to_bytes(8, "little")
        else:
            del data[at:]
    return bytes(data)


def mutate_json(value, rng):
    """Change one member of a JSON value, somewhere in it."""
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.9:
        return json.dumps(mutate_json(json.loads(value), rng))
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        kind = rng.random()
        new = dict(value)
        if kind < 0.1:
            del new[key]
        elif kind < 0.2:
            new[rng.choice(("at", "shape", "bits", "x", "axis", "format"))] = rng.choice(VALUES)
        else:
            new[key] = mutate_json(value[key], rng)
        return new
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], mutate_json(value[at], rng), *value[at + 1 :]]
    return rng.choice(VALUES)


def mutate_safetensors(data, rng):
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(mutate_json(json.loads(data[8 : 8 + length]), rng)).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def mutate_onnx(data, rng):
    """Change one part of a model: a field of any message in it."""
    if rng.random() < 0.2:
        return mutate_bytes(data, rng)
    model = onnx.ModelProto.FromString(data)
    message = model.graph
    while True:
        fields = [(field, value) for field, value in message.ListFields() if field.name != "name"]
        if not fields:
            break
        field, value = rng.choice(fields)
        if not isinstance(value, (str, bytes, int, float)) and field.type == field.TYPE_MESSAGE:
            many = hasattr(value, "__len__")
            if many and rng.random() < 0.3:
                del value[rng.randrange(len(value))]
                break
            message = rng.choice(value) if many else value
            continue
        number, text = field.cpp_type != field.CPPTYPE_STRING, field.type == field.TYPE_STRING
        names = [name for node in model.graph.node for name in (*node.input, *node.output)]
        new = rng.choice((*names, "", "Add")) if text else mutate_bytes(b"\0" * 4, rng)
        new = rng.choice((0, 1, 2, 3, 7, 8, 22, -1, 2**31 - 1)) if number else new
        try:
            if hasattr(value, "append"):
                if rng.random() < 0.3 or not len(value):
                    value.append(new)
                elif rng.random() < 0.5:
                    del value[rng.randrange(len(value))]
                else:
                    value[rng.randrange(len(value))] = new
            else:
                setattr(message, field.name, new)
        except (TypeError, ValueError):
            pass
        break
    return model.SerializeToString()


def mutate_text(data, rng):
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    if rng.random() < 0.7 and "=" in lines[at]:
        key = lines[at].split("=")[0]
        values = ('"x"', "-1", "1.5", "[]", '["a", 1]', "{a = 1}", "true", "1e400", "99", '"none"')
        lines[at] = f"{key}= {rng.choice(values)}"
        return "\n".join(lines).encode()
    return mutate_bytes(data, rng)


def mutated(name, data, rng):
    if name.endswith(".safetensors"):
        return mutate_safetensors(data, rng)
    if name.endswith(".onnx"):
        return mutate_onnx(data, rng)
    if name.endswith(".json"):
        return json.dumps(mutate_json(json.loads(data), rng)).encode()
    return mutate_text(data, rng) if name.endswith(".toml") else mutate_bytes(data, rng)


# openings ----------------------------------------------------------------------------------------
def look(path):
    """Do what ``qcore inspect`` does."""
    from qcore.cli.inspect import _row

    source = open_model(path)
    for name in list(source)[:50]:
        _row(source, name, header=True)
        _row(source, name, header=False)


def shrink(path):
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".onnx":
            from qcore.frameworks.onnx.weights.quantize import quantize_graph

            quantize_graph(path, Path(folder) / "small.onnx", qc.Quantizer())
        else:
            qc.compress(path, output=Path(folder) / "small.safetensors")


def apply(path):
    recipe = qc.Recipe.load(path)
    recipe.apply({"fc1.weight": np.ones((4, 8), F), "fc1.bias": np.ones(4, F)})
    recipe.to_toml()


def openings(name):
    if ".idx" in name:
        return (read_idx,)
    if name.endswith(".toml"):
        return (apply,)
    return (qc.load, qc.load_tensors, look, shrink)


def faults_of(name, path):
    """Return the errors from the inside that opening a file in every way gives."""
    target = path.with_name("model.safetensors") if name == "ct/config.json" else path
    faults = []
    for opening in openings(name):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                opening(target)
        except (*ALLOWED, *MEANT):
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            inner = traceback.extract_tb(error.__traceback__)[-1]
            faults.append(f"{opening.__name__}: {error!r} at {inner.filename}:{inner.lineno}")
    return faults


def rounds(folder, name, count, seed):
    """Yield what goes wrong in so many mutations of a file."""
    path = folder / name
    data = path.read_bytes()
    for number in range(count):
        rng = random.Random(f"{name} {seed} {number}")  # noqa: S311
        path.write_bytes(mutated(name, data, rng))
        for fault in faults_of(name, path):
            yield f"{name}, seed {seed}, round {number}: {fault}"
    path.write_bytes(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


NAMES = [
    "tensors.safetensors", "network.safetensors", "mixed.safetensors", "packed.safetensors",
    "ct/model.safetensors", "ct/config.json", "a.gguf", "a.npz", "a.npy", "static.onnx",
    "dynamic.onnx", "weights.onnx", "s.safetensors.index.json", "a.idx", "a.idx.gz", "recipe.toml",
    "lossless.safetensors", "floats/m.safetensors", "marlin.safetensors", "hqq.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_end_in_errors_of_ours(files, name):
    assert not faults_of(name, files / name), "the file itself is fine"
    assert not list(rounds(files, name, ROUNDS, seed=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        for name in NAMES:
            if arguments.only not in name:
                continue
            for fault in rounds(Path(folder), name, arguments.rounds, arguments.seed):
                place = fault.rpartition(" at ")[2]
                if place not in found:
                    found.add(place)
                    sys.stdout.write(f"{fault}\n")
            sys.stdout.write(f"{name}: done\n")
            sys.stdout.flush()
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
