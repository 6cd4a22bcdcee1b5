"""Plain GPTQ with bias correction, in NumPy alone: the yardstick of the rows.

Per channel, scale = absmax / (2^(b-1) - 1), damping 0.01 of the mean diagonal, columns in the order
of falling diagonals, float inputs of the float network; static 8-bit activations as qcore has them.
Frantar et al., "GPTQ", ICLR 2023.
"""

import numpy as np

import qcore as qc


def quantize_matrix(weight, inputs, bits):
    """Return codes and scales of a matrix (out, in)."""
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(weight).max(axis=1) / top, 1e-12).astype(np.float32)
    x = inputs.astype(np.float64)
    hessian = x.T @ x / len(x)
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    order = np.argsort(-np.diag(hessian), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T
    left, codes = weight[:, order].astype(np.float64), np.empty(weight.shape)
    for start in range(0, len(order), 64):
        stop = min(start + 64, len(order))
        errors = np.empty((len(weight), stop - start))
        for j in range(start, stop):
            codes[:, j] = np.clip(np.rint(left[:, j] / scale), -top, top)
            error = (left[:, j] - codes[:, j] * scale) / upper[j, j]
            left[:, j + 1 : stop] -= np.outer(error, upper[j, j + 1 : stop])
            errors[:, j - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    found = np.empty_like(codes)
    found[:, order] = codes
    return found.astype(np.int8), scale


def quantize_network(net, samples, bits):
    """Return the network with plain GPTQ weights, corrected biases and 8-bit activations."""
    calibrated = qc.Quantizer(8, algorithm=()).fit_transform(net, samples)
    value, new = samples, {}
    for layer in net.layers:
        codes, scale = quantize_matrix(layer.weight, value, bits)
        q = qc.QTensor.from_parts(codes, scale, axis=0, bits=bits, narrow_range=True)
        off = value.astype(np.float64).mean(axis=0) @ (layer.weight - q.dequantize()).T
        new |= {f"{layer.name}.weight": q, f"{layer.name}.bias": layer.bias + off}
        value = layer.forward(value)
    return calibrated.with_weights({k: np.float32(v) if "bias" in k else v for k, v in new.items()})
