"""Files have one purpose, and fewer than 400 lines; no file is an exception."""

from __future__ import annotations

from pathlib import Path

MOST = 400
ROOT = Path(__file__).parents[2]
KINDS = (".py", ".rs")  # a stub is as long as what it describes
# Generated, or not ours.
SKIPPED = {"target", ".venv", "node_modules", "__pycache__"}


def sources() -> list[Path]:
    found = []
    for room in ("benches", "docs", "examples", "python", "rust", "tests"):
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in KINDS and not SKIPPED & set(path.relative_to(ROOT).parts):
                found.append(path)
    return found


def test_no_file_is_long() -> None:
    paths = sources()
    assert len(paths) > 500  # the whole house was seen
    lines = {str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in paths}
    long = {name: count for name, count in lines.items() if count >= MOST}
    assert not long
