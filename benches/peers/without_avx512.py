"""A copy of the installed ONNX Runtime that finds no AVX-512, to be compared with on AVX2.

    python -m benches.peers.without_avx512 FOLDER
    PYTHONPATH=FOLDER QCORE_ISA=avx2 python -m benches.peers.sequences minilm

ONNX Runtime has no option for its instruction set. Before it uses AVX-512 it asks the CPU, by
``xgetbv``, whether the operating system keeps the 512-bit registers. In the copy that instruction
is another of as many bytes, after which the answer is "SSE and AVX, no more": what a CPU without
AVX-512 says. AVX-VNNI has no state to be asked for, so the test of its bit is changed, too. All
that then runs is ONNX Runtime's own code for AVX2. A machine that has no AVX-512 needs no copy.
"""

from __future__ import annotations

import argparse
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

__all__ = ["in_force", "limited"]

#: Written beside the copy: how a run knows that it is in force.
MARK = "without_avx512"
CPUID, XGETBV = b"\x0f\xa2", b"\x0f\x01\xd0"
#: ``mov al, 7; nop``: the low byte of the answer says x87, SSE and AVX.
NO_AVX512 = b"\xb0\x07\x90"
#: Who asks for the state has just asked for the features: bytes from one to the other, at most.
NEAR = 64
#: ``mov eax, 7; mov ecx, 1; cpuid; test al, 16``: whether there is AVX-VNNI.
AVX_VNNI = bytes.fromhex("b807000000b9010000000fa2a810")


def limited(code: bytes) -> tuple[bytes, int]:
    """Return machine code that finds no AVX-512 and no AVX-VNNI, and how many places changed.

    >>> limited(b"\\x0f\\xa2\\x31\\xc9\\x0f\\x01\\xd0")
    (b'\\x0f\\xa21\\xc9\\xb0\\x07\\x90', 1)
    >>> limited(b"no question asked: \\x0f\\x01\\xd0")[1]
    0
    """
    changed, count = bytearray(code), 0
    for found in re.finditer(re.escape(XGETBV), code):
        at = found.start()
        # The same bytes are parts of other instructions elsewhere.
        if CPUID in code[max(0, at - NEAR) : at]:
            changed[at : at + len(XGETBV)] = NO_AVX512
            count += 1
    for found in re.finditer(re.escape(AVX_VNNI), code):
        changed[found.end() - 1] = 0
        count += 1
    return bytes(changed), count


def in_force() -> bool:
    """Return whether the ONNX Runtime that would be imported is such a copy."""
    spec = find_spec("onnxruntime")
    return spec is not None and spec.origin is not None and _mark(Path(spec.origin).parent).exists()


def _mark(package: Path) -> Path:
    return package / MARK


def main() -> None:
    """Make the copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the copy goes")
    folder = parser.parse_args().folder
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install onnxruntime")
    package = folder / "onnxruntime"
    shutil.copytree(Path(spec.origin).parent, package, dirs_exist_ok=True)
    library = next(iter(sorted(package.glob("capi/onnxruntime_pybind11_state*"))), None)
    if library is None:
        raise SystemExit(f"{package} has no library of its own")
    code, count = limited(library.read_bytes())
    if count < 2:
        raise SystemExit(f"{library.name} asks in {count} known places; 2 or more are expected")
    library.write_bytes(code)
    _mark(package).write_text("", "utf-8")
    print(f"{package}: {count} questions answered as without AVX-512")


if __name__ == "__main__":
    main()
