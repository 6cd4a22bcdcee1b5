"""Loop and Scan, which are written out where their trips are known (`graph.passes.loops`)."""

from __future__ import annotations

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps

__all__ = ["OPS"]

_SCAN = (
    "num_scan_inputs", "scan_input_axes", "scan_input_directions", "scan_output_axes",
    "scan_output_directions",
)  # fmt: skip


def _read(node: SourceNode, reader: Reader) -> None:
    proto = node.get("body")
    if not hasattr(proto, "node"):
        raise ValueError(f"node {node.name!r} ({node.op}) has no body")
    taken, first = len(node.inputs), 0
    if node.op == "Loop":
        taken, first = max(taken, 2), 1
    if node.op == "Scan" and not 1 <= int(node.get("num_scan_inputs", 0)) <= taken:
        raise ValueError(f"node {node.name!r} (Scan) takes nothing apart")
    given, made = len(proto.input), len(proto.output) - first
    if given != taken or made != len(node.outputs):
        raise ValueError(
            f"node {node.name!r} ({node.op}) has {taken} inputs and {len(node.outputs)} outputs, "
            f"its step {given} and {made}"
        )
    body = reader.body(proto)
    reader.place = node
    kept = {name: node.get(name) for name in _SCAN}
    reader.add(node.op, node.inputs, node.outputs, body=body, **kept)


OPS: dict[str, Op] = {
    "Loop": as_steps(_read, (0, None), None, "body"),
    "Scan": as_steps(_read, (1, None), None, "body", *_SCAN),
}
