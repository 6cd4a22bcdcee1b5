"""Groups of 32 on weights with outlier rows, against rounding in ONNX Runtime and torch."""

import numpy as np
from common import cosine, table

import qcore as qc


def rows(bench):
    """Cosine of the layer output on held-out inputs, at the same bytes."""
    lines = []
    for seed in range(bench.seeds):
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((256, 512)).astype(np.float32)
        weight[rng.choice(256, 8, replace=False)] *= 20
        weight[:, rng.choice(512, 8, replace=False)] *= 8
        mix = rng.standard_normal((64, 512))
        x = (rng.standard_normal((4000, 64)) @ mix + rng.standard_normal((4000, 512))).astype(
            np.float32
        )
        stats = qc.InputStats().update(x[:1000])
        tensors = {
            "ORT rule": _block_rounding(weight, 8.0),
            "torch rule": _block_rounding(weight, 7.5),
            "qcore, rounded": qc.quantize(weight, bits=4, group_size=32).dequantize(),
            "qcore, fitted": qc.quantize(
                weight, bits=4, group_size=32, stats=stats,
                algorithm=("clip_search", "gptq", "coordinate_descent"),
            ).dequantize(),
        }  # fmt: skip
        exact = x[1000:] @ weight.T
        lines.append([seed, *(f"{cosine(x[1000:] @ w.T, exact):.6f}" for w in tensors.values())])
    table("Cosine of the output of 256x512 weights with outlier rows and columns, int4, groups of "
          "32 with float16 scales",
          ["seed", "ORT's rule", "torch's rule", "qcore, rounded", "qcore, fitted"],
          lines)  # fmt: skip


def _block_rounding(weight, divisor):
    """Round to nearest as MatMulNBits' quantizer (absmax / -8) or torchao (absmax / 7.5) do."""
    blocks = weight.reshape(len(weight), -1, 32)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    top = np.take_along_axis(blocks, at, axis=2)
    scale = top / -8.0 if divisor == 8.0 else np.abs(top) / divisor
    scale = scale.astype(np.float16).astype(np.float32)
    return (np.clip(np.rint(blocks / scale), -8, 7) * scale).reshape(weight.shape)
