"""A PyTorch module, run once: which of its parts act, in which order, on what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Step", "output_of", "run_once"]

_ROWS = 4


class Step(NamedTuple):
    """One part of a module at work.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
        As it was when it ran: a weight that is made of others is that of this run.
    before, after : ndarray or None
        What it was given and what it gave; None where that is no array of floats.
    """

    name: str
    module: Any
    before: Any
    after: Any


def run_once(module: Any, sample: Any, take: Any) -> tuple[Any, Any, int]:
    """Run a module in evaluation on a sample, and hand each part that acts to `take`.

    Parameters
    ----------
    module : torch.nn.Module
        It comes back in the mode that it was in.
    sample : array_like or None
        None: random rows, as wide as the first part with weights asks for.
    take : callable
        Gets the `Step` of each part, in order, while the module runs.

    Returns
    -------
    sample, output : ndarray or None
    steps : int

    Raises
    ------
    ValueError
        If it cannot be run.
    """
    import torch

    leaves = list(_leaves(module, ""))
    given = sample is not None
    if not given and not any(_width(part) for _, part in leaves):
        for name, part in leaves:  # says what it does that no dense layer does
            take(Step(name, part, None, None))
    if not given:
        rows = _sample(torch, module, leaves)
    else:
        rows = sample if isinstance(sample, torch.Tensor) else torch.as_tensor(np.asarray(sample))
    rows = _placed(module, rows)
    count = 0
    failed: list[BaseException] = []

    def watch(name: str) -> Any:
        def hook(part: Any, inputs: Any, output: Any) -> None:
            nonlocal count
            count += 1
            try:
                first = inputs[0] if inputs else None
                take(Step(name, part, _array(torch, first), _array(torch, output)))
            except ValueError as error:
                failed.append(error)
                raise

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in leaves]
    try:
        with _evaluating(module), torch.no_grad():
            output = module(rows)
    except Exception as error:
        if failed:
            raise failed[0] from None
        hint = "" if given else "; give sample=, some rows as it takes them"
        text = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the module cannot be run on a sample of shape {tuple(rows.shape)}: {text}{hint}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return _array(torch, rows), _array(torch, output), count


def output_of(module: Any, rows: Any) -> Any:
    """Return what a module gives for rows, in evaluation; None where it cannot be run on them."""
    import torch

    try:
        with _evaluating(module), torch.no_grad():
            return _array(torch, module(_placed(module, torch.as_tensor(rows))))
    except Exception:  # it may raise anything, and these rows are none that anyone gave
        return None


def _leaves(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts that act: those without parts of their own, and those that PyTorch knows."""
    children = [
        (inner, child) for inner, child in module.named_children() if inner != "parametrizations"
    ]
    if not children or "quantized" in type(module).__module__:
        yield name, module
        return
    for inner, child in children:
        yield from _leaves(child, f"{name}.{inner}" if name else inner)


def _sample(torch: Any, module: Any, leaves: list[tuple[str, Any]]) -> Any:
    """Return random rows of a width that the module takes: one of those that its parts name."""
    widths = dict.fromkeys(width for _, part in leaves if (width := _width(part)))
    if not widths:
        raise ValueError("there is no layer with weights")
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(_ROWS, width, generator=generator) for width in widths]
    for rows in samples:
        try:
            with _evaluating(module), torch.no_grad():
                module(_placed(module, rows))
        except Exception:  # noqa: S112 - it may raise anything; the next width may be it
            continue
        return rows
    return samples[0]  # running it tells why not


def _placed(module: Any, rows: Any) -> Any:
    """Return rows on the device and of the type of a module's weights."""
    where = next(iter(module.parameters()), None)
    if where is None:
        return rows
    return rows.to(where.device, where.dtype if where.is_floating_point() else None)


def _width(part: Any) -> int:
    """Return how many values a part takes; 0 where it does not say it."""
    width = getattr(part, "in_features", None) or getattr(part, "num_features", None)
    return width if isinstance(width, int) and width > 0 else 0


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _array(torch: Any, value: Any) -> Any:
    """Return a copy of a tensor as float32."""
    if not isinstance(value, torch.Tensor):
        return None
    tensor = value.detach()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    return tensor.float().cpu().numpy().copy()
