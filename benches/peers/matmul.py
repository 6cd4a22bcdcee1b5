"""Int8 matrix products: torch's ``_int_mm``, ONNX Runtime, MKL, NumKong and NumPy's float32."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from benches.peers.rows import Row
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core

SHAPES = (
    (64, 64, 64), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (8, 1024, 4096),
    (32, 1024, 1024), (128, 384, 1536), (64, 784, 128), (1, 1024, 1024), (1, 4096, 4096),
)  # fmt: skip


def rows(seconds: float) -> Iterator[Row]:
    """Yield rows for packed and plain operands, and for ONNX Runtime's s8 by s8."""
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a = rng.integers(-128, 128, (m, k), np.int8)
        b = rng.integers(-128, 128, (k, n), np.int8)
        packed, case = qc.pack(b), f"{m} x {k} x {n}"
        calls = {
            "qcore packed": partial(qc.matmul_integer, a, packed),
            "qcore": partial(qc.matmul_integer, a, b),
            "NumPy float32": partial(np.matmul, a.astype(np.float32), b.astype(np.float32)),
            **_torch(a, b),
            **_onnxruntime(a, b),
            **_mkl(a, b),
            **_numkong(a, b),
        }
        wanted = a.astype(np.int64) @ b.astype(np.int64)
        assert np.array_equal(calls["qcore packed"](), wanted)
        times = best_times(calls, seconds)
        work = 2.0 * m * k * n
        torch, constant = times["torch"], times["ORT u8s8, constant B"]
        yield Row("s8 x s8", case, times, times["ORT s8s8"] / times["qcore"], 10.0, work)
        if m >= 8:
            asked = 1.07 if m == k == n == 1024 else 1.10
            ratio = min(torch, constant) / times["qcore packed"]
            yield Row("packed", case, times, ratio, asked, work)
            asked = 0.97 if m == k == n == 1024 else 1.0
            yield Row("not packed", case, times, torch / times["qcore"], asked, work)
            exact = min(times["ORT u8u8, constant B"], times["NumKong"], torch)
            asked = 1.3 if _core.active_isa() == "avx2" else None
            yield Row("exact peers", case, times, exact / times["qcore packed"], asked, work)
        else:
            weights = np.ones(k * n // 4, np.int32)
            calls["reading alone"] = partial(_core.read_all, weights)
            for caches, warm in (("cold", False), ("warm", True)):
                times = best_times(calls, seconds, warm=warm)
                yield from _one_row(f"{case}, {caches}", times, work, warm=warm)


def _one_row(case: str, times: dict[str, float], work: float, *, warm: bool) -> Iterator[Row]:
    """Yield one row's ratios: to the best peer, packed and not, and to a loop that only reads."""
    own = ("qcore", "qcore packed", "reading alone")
    best = min(time for name, time in times.items() if name not in own)
    asked = None if warm else 3.0
    yield Row("GEMV, packed", case, times, best / times["qcore packed"], asked, work)
    plain = min(times["torch"], times["NumPy float32"])
    yield Row("GEMV, not packed", case, times, plain / times["qcore"], None, work)
    for name in own[:2]:
        share = times["reading alone"] / times[name]
        found = {name: times[name], "reading alone": times["reading alone"]}
        yield Row("GEMV, share of reading", f"{case}, {name}", found, share, None, work)


def _torch(a: Any, b: Any) -> dict[str, Callable[[], Any]]:
    import torch

    left, right = torch.from_numpy(a), torch.from_numpy(b)
    return {"torch": partial(torch._int_mm, left, right)}


def _onnxruntime(a: Any, b: Any) -> dict[str, Callable[[], Any]]:
    signed = integer_session(a.dtype, b, constant=False)
    constant = integer_session(np.uint8, b, constant=True)
    unsigned = integer_session(np.uint8, b.view(np.uint8), constant=True)
    return {
        "ORT u8u8, constant B": partial(unsigned.run, None, {"a": a.view(np.uint8)}),
        "ORT s8s8": partial(signed.run, None, {"a": a, "b": b}),
        "ORT u8s8, constant B": partial(constant.run, None, {"a": a.view(np.uint8)}),
    }


def integer_session(a_type: Any, b: Any, *, constant: bool) -> Any:
    """Return a session of one MatMulInteger, one thread."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    kinds = {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8}
    k, n = b.shape
    inputs = [helper.make_tensor_value_info("a", kinds[np.dtype(a_type)], ["m", k])]
    if not constant:
        inputs.append(helper.make_tensor_value_info("b", kinds[b.dtype], [k, n]))
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "product", inputs,
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["m", n])],
        [numpy_helper.from_array(b, "b")] if constant else [],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options)


#: What NumKong may not use, so that it runs on what qcore runs on.
_BEYOND = {"avx2": ("alder", "skylake", "icelake", "genoa", "turin", "sapphire", "sapphireamx")}


def _numkong(a: Any, b: Any) -> dict[str, Callable[[], Any]]:
    """NumKong's exact s8 by s8 product with a packed B, on instructions that qcore has in force."""
    import numkong

    for capability in _BEYOND.get(_core.active_isa(), ()):
        numkong.disable_capability(capability)
    packed = numkong.dots_pack(np.ascontiguousarray(b.T))
    return {"NumKong": partial(numkong.dots_packed, a, packed)}


def _mkl(a: Any, b: Any) -> dict[str, Callable[[], Any]]:
    """MKL's u8 by s8 product, through its C interface."""
    try:
        mkl = ctypes.CDLL("libmkl_rt.so.3")
    except OSError:
        return {}
    mkl.MKL_Set_Num_Threads(1)
    (m, k), n = a.shape, b.shape[1]
    left, out = a.view(np.uint8), np.empty((m, n), np.int32)
    zero = ctypes.c_int32(0)
    row_major, plain, fixed = 101, 111, 173  # CblasRowMajor, CblasNoTrans, CblasFixOffset

    def call() -> Any:
        mkl.cblas_gemm_s8u8s32(
            row_major, plain, plain, fixed, m, n, k, ctypes.c_float(1.0),
            left.ctypes.data_as(ctypes.c_void_p), k, ctypes.c_byte(0),
            b.ctypes.data_as(ctypes.c_void_p), n, ctypes.c_byte(0), ctypes.c_float(0.0),
            out.ctypes.data_as(ctypes.c_void_p), n, ctypes.byref(zero),
        )  # fmt: skip
        return out

    return {"MKL": call}
