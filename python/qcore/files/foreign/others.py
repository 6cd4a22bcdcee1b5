"""Files of other makers that are not read: named as what they are, with what to do."""

from __future__ import annotations

from pathlib import Path

from qcore.errors import FormatError
from qcore.files.paths import open_regular

__all__ = ["check_known"]

_TORCH = (
    "a PyTorch file, which is a pickle and is never loaded; load it in PyTorch "
    "(torch.load(..., weights_only=True)) and save it with safetensors.torch.save_file, or give "
    "the module to qcore.compress or qcore.from_torch"
)
_SCRIPT = (
    "a TorchScript archive, which is a pickle and code; load it in PyTorch (torch.jit.load), and "
    "save its state_dict() with safetensors.torch.save_file, or export the model to ONNX"
)
_PICKLE = (
    "a pickle, which is never loaded; load it where it was made (joblib.load, pickle.load) and "
    "give the model to qcore.compress or qcore.from_sklearn"
)
_KERAS = (
    "a Keras file; load it in Keras (keras.models.load_model) and give the model to "
    "qcore.compress or qcore.from_keras"
)
_HDF5 = (
    "an HDF5 file; if it is Keras', load it there (keras.models.load_model) and give the model to "
    "qcore.compress or qcore.from_keras, else save its arrays with numpy.savez"
)
_TFLITE = "a TFLite file, whose tensors are not read; qcore.load opens a float model as a network"
_BY_SUFFIX = {
    ".pt": _TORCH, ".pth": _TORCH, ".bin": _TORCH, ".ckpt": _TORCH, ".pt2": _TORCH,
    ".joblib": _PICKLE, ".pkl": _PICKLE, ".pickle": _PICKLE,
    ".keras": _KERAS, ".h5": _HDF5, ".hdf5": _HDF5, ".tflite": _TFLITE, ".lite": _TFLITE,
    ".pb": "a TensorFlow graph, which is not read; export the model to ONNX with tf2onnx",
    ".mlmodel": "a Core ML model, which is not read; export the model to ONNX where it was made",
    ".xml": "an OpenVINO model, which is not read; export the model to ONNX where it was made",
    ".msgpack": "a Flax file, which is not read; save its arrays as safetensors",
    ".engine": "a TensorRT engine, which is not read; take the ONNX file it was built from",
    ".ort": "ONNX Runtime's own format, which is not read; take the ONNX file it was made from",
    ".csv": "a table of text, which is not read; save it with numpy.save",
    ".gz": "compressed; unpack it first", ".zip": "an archive; unpack it first",
    ".tar": "an archive; unpack it first",
}  # fmt: skip
_SAFETENSORS = (".safetensors", ".qcore")


def check_known(path: Path) -> None:
    """Refuse a file that is known to be of another kind, by its first bytes or its name.

    Raises
    ------
    OSError
        If it cannot be read.
    FormatError
        If it is of such a kind.
    """
    file, _ = open_regular(path)
    with file:
        head = file.read(512)
        zipped = head[:4] == b"PK\x03\x04"
        script = zipped and (b"/code/" in head or b"constants.pkl" in head + _tail(path))
    kind = None
    if script and path.suffix not in (".keras", ".zip", ".npz"):
        kind = _SCRIPT
    elif path.suffix not in _SAFETENSORS:
        kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        kind = _by_bytes(head, zipped=zipped)
    if kind is not None:
        raise FormatError(f"'{path}' is {kind}")


def _tail(path: Path) -> bytes:
    """Return the end of a file, where an archive lists what it has."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 65536))
        return file.read()


def _by_bytes(head: bytes, *, zipped: bool) -> str | None:
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _HDF5
    if head[4:8] == b"TFL3":
        return _TFLITE
    # A safetensors header of so many bytes would have a brace behind its length.
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5") and head[8:9] != b"{":
        return _PICKLE
    if zipped:
        return _TORCH if b"data.pkl" in head else "an archive; unpack it first"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array; give it a name that ends in .npy"
    if head.startswith(b"GGUF"):
        return "a GGUF file; give it a name that ends in .gguf"
    return None
