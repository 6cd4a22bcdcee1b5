"""The house: imports point down only, those for types and those inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import qcore

#: The floors from the bottom up, as CONTRIBUTING.md draws them. A room, or a module that is a room
#: of its own, imports from its own floor and from those below.
FLOORS = [
    ["_*", "errors"],
    ["arrays"],
    ["files"],
    ["graph"],
    ["chain"],
    ["training"],
    ["estimators"],
    ["frameworks.onnx.model"],
    ["frameworks.onnx.op", "frameworks.onnx.ops"],
    ["frameworks.onnx.table"],
    ["frameworks.onnx.write"],
    ["saving"],
    ["nn"],
    ["frameworks"],
    ["loading"],
    ["deep_compression"],
    ["streaming"],
    ["shrinking"],
    ["sklearn"],
    ["compression"],
    ["recipes"],
    [""],  # qcore itself, whose names are all public ones
    ["bench"],
    ["report"],
    ["demo"],
    ["experiments"],
    ["cli"],
    ["__main__"],
]

HOME = Path(qcore.__file__).parent


def name_of(path: Path) -> str:
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(HOME.rglob("*.py"))}


def floor_of(module: str) -> int:
    """Return the floor of a module; the longest name that fits decides."""
    found = (-1, -1)
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            fits = (
                module == room
                or (bool(room) and module.startswith(f"{room}."))
                or (room.endswith("*") and module.startswith(room[:-1]))
            )
            if fits and len(room) > found[1]:
                found = (floor, len(room))
    assert found[0] >= 0, f"{module} is in no room of FLOORS"
    return found[0]


def imports_of(module: str) -> set[str]:
    """Return the modules of ours that a module's text names, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.partition(".")[0] != "qcore" or name.startswith("qcore._core"):
                continue
            inside = name.removeprefix("qcore").removeprefix(".")
            while inside not in MODULES:
                inside = inside.rpartition(".")[0]
            found.add(inside)
    return found


def test_imports_point_down() -> None:
    up = []
    for module in MODULES:
        if not module:
            continue  # the front door: it names what is public in every room, and imports it late
        up += [
            f"{module} -> {other}"
            for other in sorted(imports_of(module))
            if floor_of(other) > floor_of(module)
        ]
    assert not up


def test_every_room_is_drawn() -> None:
    picture = (HOME.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {room for floor in FLOORS for room in floor if room and "." not in room} - {
        "_*",
        "__main__",
    }
    assert not sorted(room for room in rooms - {"_*", "__main__"} if room not in picture)
