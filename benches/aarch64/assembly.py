"""Functions and loops of the assembly that rustc writes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

TARGET = "aarch64-unknown-linux-gnu"
BRANCH = re.compile(r"(b\.\w+|b|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+|\d+b)$")


def compile_kernels() -> Path:
    """Compile the crate of the kernels for AArch64, and return its assembly."""
    command = ["cargo", "rustc", "--quiet", "--release", "--package", "qcore-kernels", "--lib"]
    command += ["--target", TARGET, "--", "--emit", "asm", "-C", "symbol-mangling-version=v0"]
    command += ["-A", "warnings"]
    subprocess.run(command, check=True)  # noqa: S603
    folder = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / TARGET / "release" / "deps"
    return max(folder.glob("qcore_kernels-*.s"), key=lambda path: path.stat().st_mtime)


def functions(path: Path) -> dict[str, list[str]]:
    """Return the lines of each function by its mangled name."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in path.read_text("utf-8").splitlines():
        if start := re.match(r"(_R\w+):", line):
            lines = found.setdefault(start[1], [])
        elif line.startswith(".Lfunc_end"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return found


def loops(lines: list[str]) -> list[list[str]]:
    """Return the innermost loops of a function: from a label to a branch back to it."""
    labels: dict[str, int] = {}
    code: list[str] = []
    spans: list[tuple[int, int]] = []
    for line in lines:
        text = line.split("//")[0].strip()
        if label := re.match(r"(\.L\w+|\d+):$", text):
            labels[label[1]] = len(code)
            continue
        if not text or text.startswith("."):
            continue
        code.append(re.sub(r"\s+", "\t", text, count=1))
        if branch := BRANCH.match(text):
            first = labels.get(branch[2].removesuffix("b") if branch[2][0] != "." else branch[2])
            if first is not None:
                spans.append((first, len(code)))
    inner = [
        span
        for span in spans
        if not any(other != span and span[0] <= other[0] and other[1] <= span[1] for other in spans)
    ]
    return [code[first:last] for first, last in inner]
