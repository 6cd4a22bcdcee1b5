"""Groups of 32 on weights with outlier rows, against rounding in ONNX Runtime and torch.

The libraries round themselves, where they are installed; a title says where their rule stands in.
"""

import numpy as np
from common import cosine, table

import qcore as qc

GROUP = 32


def rows(bench):
    """Cosine of the layer output on held-out inputs, at the same bytes: float16 scales for all."""
    lines = []
    titles, peers = zip(*(_ort(), _torch(), _torchao()), strict=True)
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
        tensors = [
            *(peer(weight) for peer in peers),
            qc.quantize(weight, bits=4, group_size=GROUP).dequantize(),
            qc.quantize(
                weight, bits=4, group_size=GROUP, stats=stats,
                algorithm=("clip_search", "gptq", "coordinate_descent"),
            ).dequantize(),
        ]  # fmt: skip
        exact = x[1000:] @ weight.T
        lines.append([seed, *(f"{cosine(x[1000:] @ w.T, exact):.6f}" for w in tensors)])
    table("Cosine of the output of 256x512 weights with outlier rows and columns, int4, groups of "
          "32 with float16 scales",
          ["seed", *titles, "qcore, rounded", "qcore, fitted"], lines)  # fmt: skip


def _ort():
    """ONNX Runtime's quantizer of MatMulNBits."""
    try:
        import onnxruntime
        from onnxruntime.capi._pybind_state import quantize_matmul_4bits
    except ImportError:
        return "ORT's rule (not installed)", lambda weight: _round(weight, _greatest(weight) / -8.0)

    def peer(weight):
        outputs, inputs = weight.shape
        groups = inputs // GROUP
        packed = np.zeros((outputs, groups, GROUP // 2), np.uint8)
        scale = np.zeros(outputs * groups, np.float32)
        zero = np.zeros((outputs, (groups + 1) // 2), np.uint8)
        source = np.ascontiguousarray(weight.T)
        quantize_matmul_4bits(packed, source, scale, zero, GROUP, outputs, inputs, True)
        codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(outputs, groups, GROUP)
        real = scale.astype(np.float16).astype(np.float32).reshape(outputs, groups, 1)
        return ((codes.astype(np.float32) - 8) * real).reshape(weight.shape)

    return f"ONNX Runtime {onnxruntime.__version__}", peer


def _torch():
    """PyTorch's symmetric observer and rounding."""
    try:
        import torch
        from torch.ao.quantization import PerChannelMinMaxObserver
    except ImportError:
        return "torch's rule (not installed)", lambda weight: _round(weight, _size(weight) / 7.5)

    def peer(weight):
        blocks = torch.from_numpy(weight).reshape(-1, GROUP)
        observer = PerChannelMinMaxObserver(
            ch_axis=0, dtype=torch.qint8, quant_min=-8, quant_max=7,
            qscheme=torch.per_channel_symmetric,
        )  # fmt: skip
        observer(blocks)
        scale, zero = observer.calculate_qparams()
        scale = scale.half().float()
        real = torch.fake_quantize_per_channel_affine(blocks, scale, zero.int(), 0, -8, 7)
        return real.reshape(weight.shape).numpy()

    return f"torch {torch.__version__.split('+')[0]}", peer


def _torchao():
    """torchao's symmetric groups."""
    try:
        import torch
        import torchao
        from torchao.quantization import quant_primitives as primitives
    except ImportError:
        return "torchao's rule (not installed)", lambda weight: _round(weight, _size(weight) / 7.5)

    def peer(weight):
        block, source = (1, GROUP), torch.from_numpy(weight)
        ends = {"quant_min": -8, "quant_max": 7}
        scale, zero = primitives.choose_qparams_affine(
            source, primitives.MappingType.SYMMETRIC, block, torch.int8, **ends,
            scale_dtype=torch.float16,
        )  # fmt: skip
        scale = scale.float()
        codes = primitives.quantize_affine(source, block, scale, zero, torch.int8, **ends)
        real = primitives.dequantize_affine(codes, block, scale, zero, torch.int8, **ends)
        return real.float().numpy()

    return f"torchao {torchao.__version__.split('+')[0]}", peer


def _blocks(weight):
    return weight.reshape(len(weight), -1, GROUP)


def _size(weight):
    """Return the greatest magnitude of each group."""
    return np.abs(_blocks(weight)).max(axis=2, keepdims=True)


def _greatest(weight):
    """Return the value of greatest magnitude of each group, with its sign."""
    blocks = _blocks(weight)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    return np.take_along_axis(blocks, at, axis=2)


def _round(weight, scale):
    scale = scale.astype(np.float16).astype(np.float32)
    return (np.clip(np.rint(_blocks(weight) / scale), -8, 7) * scale).reshape(weight.shape)
