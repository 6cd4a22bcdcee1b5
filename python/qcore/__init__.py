"""Makes trained networks small and fast on CPUs, from NumPy, and proves what it cost."""

from importlib import import_module

TYPE_CHECKING = False  # not that of typing, for whose import the command line would wait

if TYPE_CHECKING:
    from qcore import nn, sklearn
    from qcore._core import __version__
    from qcore.compression import compress
    from qcore.compute.blocks import BsrMatrix
    from qcore.compute.integer import PackedMatrix, matmul_integer, pack
    from qcore.compute.linear import linear
    from qcore.compute.n_of_m import NmMatrix
    from qcore.compute.sparse import CsrMatrix
    from qcore.errors import FormatError
    from qcore.files.checkpoint import load, load_tensors, save
    from qcore.frameworks.keras import from_keras
    from qcore.frameworks.onnx.load import from_onnx
    from qcore.frameworks.sklearn import from_sklearn
    from qcore.frameworks.torch import from_torch
    from qcore.pruning.compact import compact
    from qcore.pruning.functions import prune
    from qcore.pruning.low_rank import LowRank, factorize
    from qcore.pruning.pruner import Pruner
    from qcore.pruning.schedules import (
        ConstantSparsity,
        PolynomialDecay,
        Regrowth,
        Rewinding,
    )
    from qcore.quantization.drift import DriftMonitor
    from qcore.quantization.functions import dequantize, fake_quantize, quantize
    from qcore.quantization.input_stats import InputStats
    from qcore.quantization.observer import Observer
    from qcore.quantization.qparams import QParams, choose_qparams
    from qcore.quantization.quantizer import Quantizer
    from qcore.quantization.tensor import QTensor
    from qcore.recipes.recipe import Recipe
    from qcore.report import Report
    from qcore.report.comparison import compare

__all__ = [
    "BsrMatrix",
    "ConstantSparsity",
    "CsrMatrix",
    "DriftMonitor",
    "FormatError",
    "InputStats",
    "LowRank",
    "NmMatrix",
    "Observer",
    "PackedMatrix",
    "PolynomialDecay",
    "Pruner",
    "QParams",
    "QTensor",
    "Quantizer",
    "Recipe",
    "Regrowth",
    "Report",
    "Rewinding",
    "__version__",
    "choose_qparams",
    "compact",
    "compare",
    "compress",
    "dequantize",
    "factorize",
    "fake_quantize",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "linear",
    "load",
    "load_tensors",
    "matmul_integer",
    "nn",
    "pack",
    "prune",
    "quantize",
    "save",
    "sklearn",
]

# Where each public name lives. It is imported when it is first used: `import qcore` and the command
# line start at once, and nobody waits for what they do not need.
_HOMES = {
    "BsrMatrix": "qcore.compute.blocks",
    "ConstantSparsity": "qcore.pruning.schedules",
    "CsrMatrix": "qcore.compute.sparse",
    "DriftMonitor": "qcore.quantization.drift",
    "FormatError": "qcore.errors",
    "InputStats": "qcore.quantization.input_stats",
    "LowRank": "qcore.pruning.low_rank",
    "NmMatrix": "qcore.compute.n_of_m",
    "Observer": "qcore.quantization.observer",
    "PackedMatrix": "qcore.compute.integer",
    "PolynomialDecay": "qcore.pruning.schedules",
    "Pruner": "qcore.pruning.pruner",
    "QParams": "qcore.quantization.qparams",
    "QTensor": "qcore.quantization.tensor",
    "Quantizer": "qcore.quantization.quantizer",
    "Recipe": "qcore.recipes.recipe",
    "Regrowth": "qcore.pruning.schedules",
    "Report": "qcore.report",
    "Rewinding": "qcore.pruning.schedules",
    "__version__": "qcore._core",
    "choose_qparams": "qcore.quantization.qparams",
    "compact": "qcore.pruning.compact",
    "compare": "qcore.report.comparison",
    "compress": "qcore.compression",
    "dequantize": "qcore.quantization.functions",
    "factorize": "qcore.pruning.low_rank",
    "fake_quantize": "qcore.quantization.functions",
    "from_keras": "qcore.frameworks.keras",
    "from_onnx": "qcore.frameworks.onnx.load",
    "from_sklearn": "qcore.frameworks.sklearn",
    "from_torch": "qcore.frameworks.torch",
    "linear": "qcore.compute.linear",
    "load": "qcore.files.checkpoint",
    "load_tensors": "qcore.files.checkpoint",
    "matmul_integer": "qcore.compute.integer",
    "nn": "qcore.nn",
    "pack": "qcore.compute.integer",
    "prune": "qcore.pruning.functions",
    "quantize": "qcore.quantization.functions",
    "save": "qcore.files.checkpoint",
    "sklearn": "qcore.sklearn",
}

if not TYPE_CHECKING:  # a type checker sees the imports above

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'qcore' has no attribute {name!r}")
        module = import_module(home)
        value = module if home == f"qcore.{name}" else getattr(module, name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *_HOMES})
