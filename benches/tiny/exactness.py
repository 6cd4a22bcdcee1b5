"""How many integers of the five int8 networks differ from those of LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import qcore as qc

NETWORKS = ("resnet8", "dscnn_kws", "mobilenetv1_vww", "autoencoder", "wakeword")
INPUTS = 100


def inputs(shape: tuple[int, ...], count: int, seed: int = 0) -> list[np.ndarray]:
    """Return int8 inputs: noise, and what changes slowly, as pictures and sounds do."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        if index % 2:
            steps = rng.integers(-6, 7, shape)
            found.append(np.clip(np.cumsum(steps, axis=1), -128, 127).astype(np.int8))
        else:
            found.append(rng.integers(-128, 128, shape).astype(np.int8))
    return found


def reference(path: Path):
    """Return LiteRT's interpreter on its reference kernels, all tensors preserved."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True, num_threads=1,
    )  # fmt: skip
    made.allocate_tensors()
    return made


def compared(net: qc.Graph, interpreter, x: np.ndarray):
    """Yield (tensor, our codes, those of LiteRT) for every value that is one of its tensors."""
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    tensors = {one["name"]: one for one in interpreter.get_tensor_details()}
    pairs = []
    for name in net.producers:
        known = name.removesuffix(":channels first").removesuffix(":real")
        if known in tensors and tensors[known]["dtype"] == np.int8:
            pairs.append((name, known))
    values = net.run({net.inputs[0].name: x}, [name for name, _ in pairs])
    for name, known in pairs:
        value = values[name]
        if name.endswith(":channels first"):
            value = value.transpose(0, 2, 3, 1)
        if value.dtype != np.int8:
            params = net.codes[name]
            value = np.rint(value / params.scale) + params.zero_point
        yield known, value.astype(np.int64), interpreter.get_tensor(tensors[known]["index"])


def rows(data: Path) -> None:
    print(f"Integers that differ from LiteRT's reference kernels, {INPUTS} inputs\n")
    print("| network | exact | tensors | integers | differ | share | largest |")
    print("|---|---|---|---|---|---|---|")
    for name in NETWORKS:
        path = data / "tiny" / f"{name}_int8.tflite"
        interpreter = reference(path)
        shape = tuple(interpreter.get_input_details()[0]["shape"])
        for exact in ("tflite", None):
            net = qc.from_tflite(path, exact=exact)
            tensors, total, differ, largest = set(), 0, 0, 0
            for x in inputs(shape, INPUTS):
                for tensor, found, wanted in compared(net, interpreter, x):
                    off = np.abs(found - wanted)
                    tensors.add(tensor)
                    total += off.size
                    differ += int(np.count_nonzero(off))
                    largest = max(largest, int(off.max(initial=0)))
            share = f"{differ / total:.3%}"
            print(
                f"| {name} | {exact} | {len(tensors)} | {total} | {differ} | {share} | {largest} |",
                flush=True,
            )
