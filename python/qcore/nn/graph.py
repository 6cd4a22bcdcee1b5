"""The graph that is loaded, run and saved."""

from __future__ import annotations

from os import PathLike
from typing import Any

from qcore.frameworks.onnx.write.graph import write_graph
from qcore.graph.graph import BaseGraph
from qcore.saving.checkpoint import save

__all__ = ["Graph"]


class Graph(BaseGraph):  # noqa: D101 - documented where it is built
    __doc__ = BaseGraph.__doc__

    def save(self, path: str | PathLike[str]) -> None:
        """Write the graph to a safetensors file of format 2, or to ONNX; see `qcore.save`."""
        save(path, self)

    def to_onnx(self, path: str | PathLike[str] | None = None) -> Any:
        """Return the graph as an ONNX model of opset 21.

        Inputs and outputs keep their names, layouts and types. What was fused is written as the
        steps that it is in ONNX.

        Parameters
        ----------
        path : path, optional
            The file to write, atomically.

        Returns
        -------
        onnx.ModelProto
        """
        return write_graph(self, path)
