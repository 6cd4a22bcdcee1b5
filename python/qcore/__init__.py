"""Makes trained networks small and fast on CPUs, from NumPy, and proves what it cost."""

from qcore import nn
from qcore._core import __version__
from qcore.compression import compress
from qcore.errors import FormatError
from qcore.files.checkpoint import load, load_tensors, save
from qcore.pruning.functions import prune
from qcore.pruning.pruner import Pruner
from qcore.pruning.schedules import ConstantSparsity, PolynomialDecay
from qcore.quantization.functions import dequantize, fake_quantize, quantize
from qcore.quantization.qparams import QParams, choose_qparams
from qcore.quantization.quantizer import Quantizer
from qcore.quantization.tensor import QTensor
from qcore.report import Report

__all__ = [
    "ConstantSparsity",
    "FormatError",
    "PolynomialDecay",
    "Pruner",
    "QParams",
    "QTensor",
    "Quantizer",
    "Report",
    "__version__",
    "choose_qparams",
    "compress",
    "dequantize",
    "fake_quantize",
    "load",
    "load_tensors",
    "nn",
    "prune",
    "quantize",
    "save",
]
