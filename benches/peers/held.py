"""Peers on a CPU with AVX2 only, where this one has more: as fair as `QCORE_ISA=avx2` is for us.

torch, MKL, OpenBLAS and NumPy go by variables. ONNX Runtime and pi-quant have none: copies of them
are imported whose library finds that the operating system keeps no state of AVX-512 (``xgetbv``
says so), and that the CPU has no leaf of features that came later (AVX-VNNI). `check` holds a copy
to what only such a kernel does.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

VARIABLES = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
#: Packages, and the file of each that looks at the CPU.
LIBRARIES = {
    "onnxruntime": "capi/onnxruntime_pybind11_state*.so",
    "piquant": "libpiquant.so",
}
#: xor ecx, ecx; at most two instructions; xgetbv: it becomes mov al, 6; nop, which is SSE and AVX.
STATE = re.compile(rb"(\x31\xc9.{0,6}?)\x0f\x01\xd0", re.DOTALL)
#: mov eax, 7; mov ecx, 1; cpuid: it asks for a leaf that no CPU has, whose features are none.
LATER = bytes.fromhex("b807000000b9010000000fa2")
NOTHING = bytes.fromhex("b807000000b97f0000000fa2")


def hold() -> None:
    """Hold all peers to AVX2; they must not be imported yet."""
    os.environ.update(VARIABLES)
    folder = Path(tempfile.gettempdir()) / f"qcore-held-{os.getuid()}"
    for package, library in LIBRARIES.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        source = Path(spec.origin).parent
        (found,) = source.glob(library)
        stamp = f"{found.stat().st_size:x}-{found.stat().st_mtime_ns:x}"
        target = folder / f"{package}-{stamp}" / package
        if not target.exists():
            part = target.with_name(f"{package}.part{os.getpid()}")
            _copy(source, part, found)
            part.rename(target)
        sys.path.insert(0, str(target.parent))


def _copy(source: Path, target: Path, library: Path) -> None:
    """Copy a package: links to all of it but the library."""
    for path in source.rglob("*"):
        if "__pycache__" in path.parts or path.is_dir():
            continue
        link = target / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        if path == library:
            code = STATE.sub(lambda found: found[1] + b"\xb0\x06\x90", path.read_bytes())
            link.write_bytes(code.replace(LATER, NOTHING))
        else:
            link.symlink_to(path)


def check() -> None:
    """Raise unless ONNX Runtime runs as on such a CPU: its u8 by s8 product saturates there."""
    import numpy as np
    from benches.peers.matmul import integer_session

    a, b = np.full((8, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    found = integer_session(np.uint8, b, constant=True).run(None, {"a": a})[0]
    if (found == 64 * 255 * 127).all():
        raise RuntimeError("ONNX Runtime runs on more than AVX2")
