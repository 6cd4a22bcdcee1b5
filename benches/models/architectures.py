"""Networks of many architectures as PyTorch exports them: do they run, equal, on integers?

    python -m benches.models.architectures [--exporter dynamo] [NAME ...]

Each is a small network of transformers with random weights, exported by ``torch.onnx``, loaded, run
beside ONNX Runtime, compressed by ``qc.compress(net, X)``, and run again. Needs torch,
transformers, onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers
from benches.models.configs import ARCHITECTURES, Architecture

import qcore as qc

HEADS = (
    "architecture", "nodes", "steps", "attention", "float", "smaller", "int8", "wide", "says"
)  # fmt: skip
BATCH, TOKENS = 4, 12


class Plain(torch.nn.Module):
    """A model of transformers with inputs by place and one output."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Any) -> Any:
        """Return the first of the outputs that people read."""
        found = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        for name in ("logits", "last_hidden_state", "predicted_depth"):
            if getattr(found, name, None) is not None:
                return getattr(found, name)
        return found[0]


def inputs_of(kind: str) -> dict[str, Any]:
    """Return inputs of a kind, samples first."""
    ids = torch.randint(3, 100, (BATCH, TOKENS))
    if kind == "text":
        mask = torch.ones_like(ids)
        mask[-1, TOKENS // 2 :] = 0
        return {"input_ids": ids, "attention_mask": mask}
    if kind == "two texts":
        return {"input_ids": ids, "decoder_input_ids": ids[:, : TOKENS // 2]}
    if kind.startswith("image"):
        side = int(kind.split()[1])
        return {"pixel_values": torch.randn(BATCH, 3, side, side)}
    return {
        "tokens": {"input_ids": ids}, "sound": {"input_values": torch.randn(1, 3200)},
        "spectrum": {"input_values": torch.randn(1, 64, 32)},
    }[kind]  # fmt: skip


def exported(one: Architecture, exporter: str) -> tuple[bytes, dict[str, Any]]:
    """Return a model file of an architecture, and inputs for it."""
    torch.manual_seed(0)
    cls = getattr(transformers, one.model)
    config = cls.config_class(**one.sizes)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    inputs = inputs_of(one.inputs)
    model = Plain(_normalized(cls(config), inputs), list(inputs))
    file, feeds = io.BytesIO(), tuple(inputs.values())
    samples = [0] if len(feeds[0]) > 1 else []
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        if exporter == "dynamo":
            open_ = tuple(dict.fromkeys(samples, torch.export.Dim.DYNAMIC) for _ in feeds)
            program = torch.onnx.export(
                model, feeds, dynamo=True, input_names=list(inputs), dynamic_shapes=(open_,),
                verbose=False,
            )  # fmt: skip
            program.save(file)
        else:
            torch.onnx.export(
                model, feeds, file, dynamo=False, opset_version=17, input_names=list(inputs),
                dynamic_axes={name: dict.fromkeys(samples, "batch") for name in inputs},
            )  # fmt: skip
    return file.getvalue(), {name: array.numpy() for name, array in inputs.items()}


def _normalized(model: Any, inputs: dict[str, Any]) -> Any:
    """Return a model whose batch normalizations know what comes to them: else little is left."""
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    if norms:
        with torch.no_grad():
            model.train()(**inputs)
    return model.eval()


def row_of(name: str, exporter: str) -> dict[str, str]:
    """Return what became of one architecture."""
    row = {"architecture": name}
    try:
        data, X = exported(ARCHITECTURES[name], exporter)
    except Exception as error:  # whatever the exporter says
        return row | {"says": f"not exported: {type(error).__name__}"}
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    X = {value.name: X[value.name] for value in session.get_inputs()}
    exact = session.run(None, X)[0]
    try:
        net = qc.from_onnx(onnx.load_from_string(data))
    except (NotImplementedError, ValueError) as error:
        return row | {"says": str(error)[:120]}
    most, spread = float(np.abs(exact).max()), float(exact.std())
    found = next(iter(net.run(X).values()))
    steps = Counter(kernel for _, kernel in net.kernels(X))
    row |= {"nodes": str(len(net)), "steps": str(sum(steps.values()))}
    row["attention"] = f"{steps['attention']} of {steps['attention'] + steps['softmax']}"
    row["float"] = f"{np.abs(found - exact).max() / most:.0e}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small = qc.compress(net, X)
    coded = next(iter(small.run(X).values()))
    row["smaller"] = f"{net.nbytes / small.nbytes:.2f}×"
    row["int8"] = f"{np.sqrt(np.mean((coded - exact) ** 2)) / spread:.1%}"
    row["wide"] = str(len(small.report_.totals.get("left wide", ())) or "")
    row["says"] = "; ".join(str(one.message).partition(":")[0] for one in told)
    return row


def main() -> None:
    """Print a line for each architecture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print("| " + " | ".join(HEADS) + " |")
    print("| --- |" + " ---: |" * (len(HEADS) - 2) + " --- |")
    for name in asked.names or ARCHITECTURES:
        row = row_of(name, asked.exporter)
        print("| " + " | ".join(row.get(head, "") for head in HEADS) + " |", flush=True)


if __name__ == "__main__":
    main()
