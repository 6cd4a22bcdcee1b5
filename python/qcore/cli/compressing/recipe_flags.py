"""The flags of ``qcore compress`` that make up a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qcore.arrays.layerwise.algorithms import ARRAY_ALGORITHMS, NETWORK_ALGORITHMS
from qcore.arrays.pruning.criteria import CRITERIA
from qcore.arrays.schemes.table import CHOICES
from qcore.estimators.pruner.choice import untrained_options
from qcore.estimators.quantizer.choice import OBSERVER_CHOICES
from qcore.recipes.recipe import Recipe

if TYPE_CHECKING:
    from qcore.files.source import TensorSource

__all__ = ["SECTIONS", "given_flags", "recipe_from_flags", "recipe_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_NONE = "none"
_GGUF_GROUP = 32
_TARGETS = ("target_bytes", "target_ratio", "min_score")


class _ByPattern(click.ParamType):  # type: ignore[type-arg]
    """A number for every tensor, or ``PATTERN=NUMBER`` for those that a pattern names."""

    name = "number"

    def __init__(self, number: Callable[[str], float]) -> None:
        self.number = number

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, float | None]:
        """Return the pattern, where there is one, and the number."""
        if isinstance(value, tuple):
            return value
        pattern, equals, text = str(value).rpartition("=")
        if text == _NONE and not equals:
            return None, None
        try:
            number = self.number(text)
        except ValueError:
            self.fail(f"'{value}' is neither a number nor PATTERN=NUMBER", param, ctx)
        return (pattern if equals else None), number


def _axis(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None or value == _NONE:
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"'{value}' is neither a number nor none") from None


# In the order of --help. Each name is that of the parameter in its table of the recipe.
_OPTIONS = (
    click.option(
        "--bits", type=_ByPattern(int), multiple=True, metavar="N|PATTERN=N",
        help="Width of a weight's code; several by pattern: --bits fc1=4 --bits '*=8'. "
        "none: weights stay floats.  [default: 8]",
    ),
    click.option("--scheme", type=click.Choice(CHOICES),
                 help="What codes stand for.  [default: affine]"),
    click.option("--levels", type=click.IntRange(2), help="Size of a codebook (--scheme kmeans)."),
    click.option("--group-size", type=click.IntRange(1),
                 help="One scale for so many weights in a row.  [default: one for each output; 32 "
                 "in GGUF]"),
    click.option("--axis", callback=_axis, metavar="N|none",
                 help="The axis of a weight that is its outputs; none: one scale a tensor.  "
                 "[default: 0]"),
    click.option("--scale-dtype", type=click.Choice(["float32", "float16"]),
                 help="Type of the scales.  [default: float32; float16 for groups]"),
    click.option("--observer", type=click.Choice(OBSERVER_CHOICES),
                 help="How ranges are found.  [default: auto]"),
    click.option("--percentile", type=click.FloatRange(50, 100),
                 help="Of the observer of that name.  [default: 99.99]"),
    click.option("--algorithm", multiple=True,
                 type=click.Choice([*ARRAY_ALGORITHMS, *NETWORK_ALGORITHMS, _NONE]),
                 help="What improves on rounding, with --data (hqq: without); may be repeated.  "
                 "[default: what the width asks for]"),
    click.option("--ignore", multiple=True, metavar="PATTERN",
                 help="Tensors to leave as they are; may be repeated.  [default: *bias]"),
    click.option(
        "--sparsity", type=_ByPattern(float), multiple=True, metavar="SHARE|PATTERN=SHARE",
        help="The share of weights that becomes 0, as 0.8.",
    ),
    click.option("--pattern", help="What zeros form: unstructured, 2:4, 4x1, rows, columns, "
                 "neurons.  [default: unstructured]"),
    click.option("--criterion", type=click.Choice(list(CRITERIA)),
                 help="What a weight is judged by.  [default: magnitude]"),
    click.option("--scope", type=click.Choice(["global", "layer", "sensitivity"]),
                 help="Rank all weights together, or those of each tensor.  [default: global; by "
                 "layer where a pattern asks for it]"),
    click.option("--activations", type=click.Choice(["static", "dynamic", _NONE]),
                 help="How a network's activations become integers.  [default: static with --data, "
                 "else dynamic]"),
    click.option("--attention", type=click.Choice(["auto", "int8", "float32"]),
                 help="How attentions of a graph multiply; auto: int8 where that loses little on "
                 "--data.  [default: auto]"),
    click.option("--layout", type=click.Choice(["out_in", "in_out"]),
                 help="The arrays are a network's: weights as torch (out_in) or scikit-learn and "
                 "Keras (in_out) lay them, and biases, in the order of the layers."),
    click.option("--activation", help="Of that network's hidden layers.  [default: relu]"),
    click.option("--output-activation", help="Of its last layer.  [default: softmax]"),
    click.option("--target-bytes", type=click.IntRange(1),
                 help="Train the network until its file weighs no more; with --data and --labels."),
    click.option("--target-ratio", type=click.FloatRange(1),
                 help="The same: so many times smaller than 4 bytes a weight."),
    click.option("--min-score", type=click.FloatRange(0, 1),
                 help="Train it to the smallest file that keeps this score on held-out data."),
    click.option("--epochs", type=click.IntRange(1),
                 help="Passes over the data, of that training.  [default: 30]"),
)  # fmt: skip


#: The headings of --help, each with the first flag that stands under it.
SECTIONS = {
    "bits": "Quantize and cluster",
    "sparsity": "Prune",
    "activations": "Network",
    "target_bytes": "Train to a target",
    "recipe_path": "Recipe",
    "data": "Data",
    "report": "Output",
}


def recipe_options(command: Command) -> Command:
    """Add the flags that make up a recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_flags(flags: Mapping[str, Any]) -> list[str]:
    """Return the flags that were given, as they are typed."""
    return [
        f"--{name.replace('_', '-')}" for name, value in flags.items() if value not in (None, ())
    ]


def recipe_from_flags(
    flags: Mapping[str, Any],
    *,
    is_network: bool,
    has_samples: bool,
    ranges: Mapping[str, Any],
    gguf: TensorSource | None = None,
) -> Recipe:
    """Return the recipe that flags ask for, with what "auto" means here written out.

    `gguf` are the tensors, where they are to become a GGUF file: affine codes of that are in groups
    of 32, and rows of other lengths stay floats.
    """
    target = {name: flags[name] for name in _TARGETS if flags[name] is not None}
    if target or flags["epochs"] is not None:
        return Recipe(_network(flags), compress=_training(flags, target), needs_samples=True)
    ignore = list(flags["ignore"]) or ["*bias"]
    if gguf is not None and flags["group_size"] is None and flags["scheme"] in (None, "affine"):
        flags = dict(flags) | {"group_size": _GGUF_GROUP}
        if flags["sparsity"] is not None or flags["pattern"] is not None:
            # What is pruned is not streamed: there, rows of other lengths stay as they are.
            shapes = {name: gguf.info(name).shape for name in gguf}
            ignore += [name for name, s in shapes.items() if len(s) > 1 and s[-1] % _GGUF_GROUP]
    prune = _pruning(flags, ignore, samples=is_network and has_samples)
    quantize = _quantization(flags, ignore)
    if quantize is not None and not is_network:
        if flags["attention"] is not None:
            raise click.UsageError("--attention is for networks; the model is arrays")
        quantize["activations"] = None  # arrays have none
    elif quantize is not None and quantize.get("activations", "auto") == "auto":
        integers = quantize.get("scheme", "affine") == "affine" and "group_size" not in quantize
        mode = "static" if has_samples or ranges else "dynamic"
        quantize["activations"] = mode if integers and quantize["bits"] != 16 else None
    if prune is None and quantize is None:
        raise click.UsageError("--bits none without --sparsity: there is nothing to do")
    return Recipe(_network(flags), prune, quantize, ranges=ranges, needs_samples=has_samples)


def _training(flags: Mapping[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    if not target:
        raise click.UsageError("--epochs needs --target-bytes, --target-ratio or --min-score")
    known = {*_TARGETS, "epochs", "layout", "activation", "output_activation"}
    others = given_flags({name: value for name, value in flags.items() if name not in known})
    if others or len(target) > 1:
        other = others[0] if others else given_flags(target)[1]
        raise click.UsageError(f"{given_flags(target)[0]} and {other} exclude each other")
    return target | ({} if flags["epochs"] is None else {"epochs": flags["epochs"]})


def _network(flags: Mapping[str, Any]) -> dict[str, Any] | None:
    if flags["layout"] is None:
        for name in ("activation", "output_activation"):
            if flags[name] is not None:
                raise click.UsageError(f"{given_flags({name: 1})[0]} needs --layout")
        return None
    names = {"layout": "layout", "activation": "activation", "output": "output_activation"}
    return {key: flags[flag] for key, flag in names.items() if flags[flag] is not None}


def _pruning(
    flags: Mapping[str, Any], ignore: list[str], *, samples: bool
) -> dict[str, Any] | None:
    names = ("pattern", "criterion", "scope")
    params: dict[str, Any] = {name: flags[name] for name in names if flags[name] is not None}
    if not flags["sparsity"] and ":" not in params.get("pattern", ""):
        if params:
            raise click.UsageError(f"{given_flags(params)[0]} needs --sparsity")
        return None
    if flags["sparsity"]:
        params["sparsity"] = _by_pattern(flags["sparsity"], "--sparsity")
    pattern, by_name = (
        params.get("pattern", "unstructured"),
        isinstance(params.get("sparsity"), dict),
    )
    chosen = untrained_options(pattern, samples=samples, by_name=by_name)
    if params.get("criterion", chosen["criterion"]) != chosen["criterion"]:
        chosen = untrained_options(pattern, samples=False, by_name=by_name)
    return chosen | params | {"ignore": ignore, "random_state": 0}


def _quantization(flags: Mapping[str, Any], ignore: list[str]) -> dict[str, Any] | None:
    bits = _by_pattern(flags["bits"], "--bits") if flags["bits"] else 8
    names = ("scheme", "levels", "group_size", "axis", "scale_dtype", "observer", "percentile",
             "activations", "attention")  # fmt: skip
    params: dict[str, Any] = {name: flags[name] for name in names if flags[name] is not None}
    if bits is None:
        if params:
            raise click.UsageError(f"{given_flags(params)[0]} and --bits none exclude each other")
        return None
    if params.get("scheme") == "kmeans" and not flags["bits"]:
        params.setdefault("levels", 16)
    if flags["algorithm"]:
        params["algorithm"] = tuple(name for name in flags["algorithm"] if name != _NONE)
    for name in ("axis", "activations"):
        if params.get(name) == _NONE:
            params[name] = None
    return {"bits": bits} | params | {"ignore": ignore}


def _by_pattern(values: Any, flag: str) -> Any:
    """Return the one number, or a dict by pattern; a number without one is for the rest."""
    plain = [number for pattern, number in values if pattern is None]
    named = {pattern: number for pattern, number in values if pattern is not None}
    if len(plain) > 1:
        raise click.UsageError(f"{flag} is given twice without a pattern")
    if not named:
        return plain[0]
    if plain and plain[0] is None:
        raise click.UsageError(f"{flag} none does not go with patterns")
    return named | ({"*": plain[0]} if plain else {})
