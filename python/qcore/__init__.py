"""Makes trained networks small and fast on CPUs, from NumPy, and proves what it cost."""

from qcore._runtime.imports import imported

TYPE_CHECKING = False  # not that of typing, for whose import the command line would wait

if TYPE_CHECKING:
    from qcore import nn, sklearn
    from qcore._core import __version__
    from qcore._display.table import Report
    from qcore._runtime.threads import num_threads, set_num_threads
    from qcore.arrays.params.input_stats import InputStats
    from qcore.arrays.params.observer import Observer
    from qcore.arrays.params.qparams import QParams, choose_qparams
    from qcore.arrays.products.blocks import BsrMatrix
    from qcore.arrays.products.integer import PackedMatrix, matmul_integer, pack
    from qcore.arrays.products.linear import linear
    from qcore.arrays.products.n_of_m import NmMatrix
    from qcore.arrays.products.sparse import CsrMatrix
    from qcore.arrays.pruning.functions import prune
    from qcore.arrays.pruning.low_rank import LowRank, factorize
    from qcore.arrays.pruning.schedules import (
        ConstantSparsity,
        PolynomialDecay,
        Regrowth,
        Rewinding,
    )
    from qcore.arrays.tensor.functions import dequantize, fake_quantize, quantize
    from qcore.arrays.tensor.tensor import QTensor
    from qcore.compression import compress
    from qcore.errors import (
        AccuracyWarning,
        ArgumentError,
        FormatError,
        LimitError,
        UnsupportedError,
    )
    from qcore.estimators.calibration.drift import DriftMonitor
    from qcore.estimators.pruner.compact import compact
    from qcore.estimators.pruner.pruner import Pruner
    from qcore.estimators.quantizer.quantizer import Quantizer
    from qcore.frameworks.keras import from_keras
    from qcore.frameworks.onnx.read.load import from_onnx
    from qcore.frameworks.pretrained.folder import from_pretrained_folder
    from qcore.frameworks.sklearn import from_sklearn
    from qcore.frameworks.tflite.read import from_tflite
    from qcore.frameworks.torch import from_torch
    from qcore.graph.network import Network
    from qcore.loading import load, load_tensors
    from qcore.nn.graph import Graph
    from qcore.recipes.recipe import Recipe
    from qcore.report.compare.comparison import compare
    from qcore.saving.checkpoint import save
    from qcore.streaming.decompress import decompress

__all__ = [
    "AccuracyWarning",
    "ArgumentError",
    "BsrMatrix",
    "ConstantSparsity",
    "CsrMatrix",
    "DriftMonitor",
    "FormatError",
    "Graph",
    "InputStats",
    "LimitError",
    "LowRank",
    "Network",
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
    "UnsupportedError",
    "__version__",
    "choose_qparams",
    "compact",
    "compare",
    "compress",
    "decompress",
    "dequantize",
    "factorize",
    "fake_quantize",
    "from_keras",
    "from_onnx",
    "from_pretrained_folder",
    "from_sklearn",
    "from_tflite",
    "from_torch",
    "linear",
    "load",
    "load_tensors",
    "matmul_integer",
    "nn",
    "num_threads",
    "pack",
    "prune",
    "quantize",
    "save",
    "set_num_threads",
    "sklearn",
]

# Where each public name lives. It is imported when it is first used: `import qcore` and the command
# line start at once, and nobody waits for what they do not need.
_HOMES = {
    "AccuracyWarning": "qcore.errors",
    "ArgumentError": "qcore.errors",
    "BsrMatrix": "qcore.arrays.products.blocks",
    "ConstantSparsity": "qcore.arrays.pruning.schedules",
    "CsrMatrix": "qcore.arrays.products.sparse",
    "DriftMonitor": "qcore.estimators.calibration.drift",
    "FormatError": "qcore.errors",
    "Graph": "qcore.nn.graph",
    "LimitError": "qcore.errors",
    "InputStats": "qcore.arrays.params.input_stats",
    "LowRank": "qcore.arrays.pruning.low_rank",
    "Network": "qcore.graph.network",
    "NmMatrix": "qcore.arrays.products.n_of_m",
    "Observer": "qcore.arrays.params.observer",
    "PackedMatrix": "qcore.arrays.products.integer",
    "PolynomialDecay": "qcore.arrays.pruning.schedules",
    "Pruner": "qcore.estimators.pruner.pruner",
    "QParams": "qcore.arrays.params.qparams",
    "QTensor": "qcore.arrays.tensor.tensor",
    "Quantizer": "qcore.estimators.quantizer.quantizer",
    "Recipe": "qcore.recipes.recipe",
    "Regrowth": "qcore.arrays.pruning.schedules",
    "Report": "qcore._display.table",
    "Rewinding": "qcore.arrays.pruning.schedules",
    "UnsupportedError": "qcore.errors",
    "__version__": "qcore._core",
    "choose_qparams": "qcore.arrays.params.qparams",
    "compact": "qcore.estimators.pruner.compact",
    "compare": "qcore.report.compare.comparison",
    "compress": "qcore.compression",
    "decompress": "qcore.streaming.decompress",
    "dequantize": "qcore.arrays.tensor.functions",
    "factorize": "qcore.arrays.pruning.low_rank",
    "fake_quantize": "qcore.arrays.tensor.functions",
    "from_keras": "qcore.frameworks.keras",
    "from_onnx": "qcore.frameworks.onnx.read.load",
    "from_pretrained_folder": "qcore.frameworks.pretrained.folder",
    "from_sklearn": "qcore.frameworks.sklearn",
    "from_tflite": "qcore.frameworks.tflite.read",
    "from_torch": "qcore.frameworks.torch",
    "linear": "qcore.arrays.products.linear",
    "load": "qcore.loading",
    "load_tensors": "qcore.loading",
    "matmul_integer": "qcore.arrays.products.integer",
    "nn": "qcore.nn",
    "num_threads": "qcore._runtime.threads",
    "pack": "qcore.arrays.products.integer",
    "prune": "qcore.arrays.pruning.functions",
    "quantize": "qcore.arrays.tensor.functions",
    "save": "qcore.saving.checkpoint",
    "set_num_threads": "qcore._runtime.threads",
    "sklearn": "qcore.sklearn",
}

if not TYPE_CHECKING:  # a type checker sees the imports above

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'qcore' has no attribute {name!r}")
        module = imported(home)
        value = module if home == f"qcore.{name}" else getattr(module, name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted(__all__)
