"""The table of ops that docs/graph.md shows: python -m benches.graph.ops."""

from __future__ import annotations

from qcore import _core
from qcore.frameworks.onnx import table


def main() -> None:
    there = set(_core.Graph.ops()) | {"Constant", "Identity", "If", "Swish"}
    print("| family | ops |\n| --- | --- |")
    for family in table.FAMILIES:
        name = family.__name__.rpartition(".")[2]
        runs = sorted(op for op in family.OPS if op in there or op in ("Dropout", "Mean", "Sum"))
        if runs:
            print(f"| {name} | {', '.join(runs)} |")


if __name__ == "__main__":
    main()
