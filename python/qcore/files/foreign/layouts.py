"""Layouts of quantized weights that are not read: known by the names of their tensors.

Those that are read (`qcore.files.foreign.composed`) are gone from the names before this looks at
them: what is left of one here is a part without its others. Read as they lie, codes would pass for
weights and scales for tensors to be quantized: such a file is refused by the name of its layout,
with what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from qcore.errors import FormatError

__all__ = ["check_layout"]

_DEQUANTIZE = (
    "take the model it was made from, or load this one where it was made and save its weights as "
    "floats"
)
# What ends a tensor's name, what a layout is called; the first line that fits counts.
_LAYOUTS = (
    (r"\.weight_g_idx", "compressed-tensors with groups in another order (g_idx, actorder)"),
    (r"\.weight_global_scale|\.weight_scale_2", "NVFP4 (two levels of scales)"),
    (r"_blocks", "MXFP4 (blocks and scales)"),
    (r"\.absmax|\.quant_map|\.quant_state\.\w+", "bitsandbytes' 4 bits"),
    (r"\.SCB", "bitsandbytes' int8"),
    (r"\.g_idx", "GPTQ (qweight, qzeros, scales, g_idx)"),
    (r"\.qweight", "GPTQ or AWQ (qweight, qzeros, scales)"),
    (r"\.B|\.workspace", "Marlin"),
    (r"\.scale_packed", "Marlin's 2:4 (marlin-24)"),
    (r"\._data", "quanto"),
    (r"\.W_q|\.zero_q|\.scale_q", "HQQ (whose scales may be quantized too)"),
    (r"\._weight_(?:qdata|packed_weight|int_data|scale_and_zero)", "torchao"),
    (r"\.weight_(?:qdata|int_data|tensor_impl)(?:_\w+)?", "torchao"),
)
# Each needs a second tensor of the same stem, without which the name may be anybody's.
_COMPANIONS = {
    "MXFP4 (blocks and scales)": ("_scales",),
    "Marlin": (".s",),
    "quanto": ("._scale",),
    "HQQ (whose scales may be quantized too)": (".scale", ".meta", ".zero_q", ".scale_q", ".W_q"),
    "GPTQ or AWQ (qweight, qzeros, scales)": (".scales",),
    "GPTQ (qweight, qzeros, scales, g_idx)": (".qweight",),
    "bitsandbytes' int8": (".weight",),
}


def check_layout(names: Iterable[str], path: Path) -> None:
    """Refuse a checkpoint whose tensors are the parts of a layout that is not read.

    Raises
    ------
    FormatError
        Names the layout and a tensor of it.
    """
    known = set(names)
    for ending, layout in _LAYOUTS:
        pattern = re.compile(f"(.*?)(?:{ending})")
        for name in known:
            found = pattern.fullmatch(name)
            if found is None:
                continue
            stem = found.group(1)
            companions = _COMPANIONS.get(layout)
            if companions and not any(stem + other in known for other in companions):
                continue
            raise FormatError(
                f"'{path}' has weights in the layout of {layout}, as tensor {name!r} tells, which "
                f"is not read; {_DEQUANTIZE}"
            )
