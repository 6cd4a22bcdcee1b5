"""Which formats are read and written: ``python -m benches.formats``.

Runs the tests that say which format they show, and counts those that passed: "read" where a test
compares what is loaded with the reference's values, bit for bit where the reference computes in
float32; "written" where the reference reads it again. What a reference knows comes from it: the
``gguf`` package, the ``compressed-tensors`` package, ``onnx``; a format whose test was skipped, for
a package that is not installed, is not counted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2] / "tests" / "python"
TESTS = (
    "files/test_gguf_blocks.py", "files/test_composed.py", "files/test_compressed_floats.py",
    "files/test_compressed_tensors.py", "files/test_hqq_files.py",
    "frameworks/onnx/test_onnx_types.py",
)  # fmt: skip
#: Codes of formats that several tests show, each a part of it.
Found = dict[str, dict[str, set[str]]]


def shown(report: Path) -> Found:
    """Return what passed, by family and whether it is read or written; what failed is not in it."""
    found: Found = defaultdict(lambda: defaultdict(set))
    failed = set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        bad = any(case.find(tag) is not None for tag in ("failure", "error"))
        skipped = case.find("skipped") is not None
        for entry in case.iter("property"):
            family, _, name = entry.get("value", "").partition("/")
            if bad:
                failed.add((family, entry.get("name", ""), name))
            elif not skipped:
                found[family][entry.get("name", "")].add(name)
    for family, way, name in failed:
        found[family][way].discard(name)
    return found


def known() -> dict[str, set[str]]:
    """Return what the references know, of those that are installed."""
    found: dict[str, set[str]] = {}
    try:
        import gguf

        plain = {"F32", "F16", "BF16"}
        found["GGUF"] = {kind.name for kind in gguf.quants._type_traits} - plain
    except ImportError:
        pass
    try:
        from compressed_tensors.config import CompressionFormat

        found["compressed-tensors"] = {kind.value for kind in CompressionFormat}
    except ImportError:
        pass
    try:
        from onnx import TensorProto

        found["ONNX"] = set(TensorProto.DataType.keys()) - {"UNDEFINED", "STRING"}
        found["ONNX"] |= {f"MatMulNBits of {bits} bits" for bits in (2, 4, 8)}
    except ImportError:
        pass
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1"]
        words += [f"--junitxml={report}", *(str(ROOT / name) for name in TESTS)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
        found = shown(report)
    wanted = known()
    print("family | known | read | written | which are written | missing")
    for family, ways in sorted(found.items()):
        read, written = ways["reads"], ways["writes"]
        every = wanted.get(family, read | written)
        missing = ", ".join(sorted(every - read)) or "none"
        row = [family, len(every), len(read & every), len(written & every)]
        print(" | ".join(map(str, [*row, ", ".join(sorted(written)) or "none", missing])))
    print(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
