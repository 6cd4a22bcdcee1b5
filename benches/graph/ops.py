"""The table of ops that docs/graph.md shows: python -m benches.graph.ops."""

from __future__ import annotations

from qcore import _core
from qcore.frameworks.onnx import table
from qcore.frameworks.onnx.op import same


def main() -> None:
    runs_as_it_is = same().read  # other ops are read as what they are made of
    core = set(_core.Graph.ops())
    print("| family | ops |\n| --- | --- |")
    for family in table.FAMILIES:
        name = family.__name__.partition(".ops.")[2].replace(".", ": ")
        runs = sorted(
            name.replace("com.microsoft::", "com.microsoft.")
            for name, op in family.OPS.items()
            if name in core or op.read is not runs_as_it_is
        )
        if runs:
            print(f"| {name} | {', '.join(runs)} |")


if __name__ == "__main__":
    main()
