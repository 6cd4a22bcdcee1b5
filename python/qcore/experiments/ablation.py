"""Every method beside what it competes with, and where it wins.

``python -m qcore.experiments.ablation --data DIR --work DIR`` prints a table for each question: in
each regime the best value is bold, and a method that is bold nowhere has no business here. With
``--validation`` it scores the validation images and leaves the test images unread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qcore as qc
from qcore.experiments.common import LENET, MLP, Row, Split, cached, network
from qcore.experiments.common import options as with_options
from qcore.nn.regularizers import L1, GroupLasso
from qcore.pruning.low_rank import ALGORITHM

__all__ = ["main"]

#: Samples, without labels but for the gradients of "taylor".
SAMPLES = 2048
#: Epochs of the network that is pruned without training, and of each training that prunes.
EPOCHS = 10

#: A method's value in each regime, for one seed.
Method = Callable[[int, str], float]


@with_options
def main(data: Path, work: Path, seeds: int, only: tuple[str, ...], validation: bool) -> None:
    """Print where each method wins, a table for each question."""
    bench = _Bench(Split.of(data), work, seeds, validation)
    tables: dict[str, Callable[[], list[Row]]] = {
        "criteria": bench.criteria,
        "neurons": bench.neurons,
        "one-pass": bench.one_pass,
        "schedules": bench.schedules,
        "regularizers": bench.regularizers,
        "distillation": bench.distillation,
        "factorize": bench.factorize,
    }
    for name, table in tables.items():
        if not only or name in only:
            print(f"\n{name}\n\n{Row.table(table())}", flush=True)


class _Bench:
    """The split, the seeds, and the tables."""

    def __init__(self, split: Split, work: Path, seeds: int, validation: bool) -> None:
        self.split, self.work, self.seeds = split, work, range(seeds)
        self.score = split.validation_errors if validation else split.test_errors
        self.X = split.digits.X_train[:SAMPLES]
        self.y = split.digits.y_train[:SAMPLES]

    # without training --------------------------------------------------------------------------
    def criteria(self) -> list[Row]:
        """Return accuracies of LeNet-300-100 pruned at once, by criterion and scope."""
        regimes: dict[str, dict[str, Any]] = {
            "50 %": {"sparsity": 0.5},
            "80 %": {"sparsity": 0.8},
            "90 %": {"sparsity": 0.9},
            "2:4": {"pattern": "2:4"},
        }
        methods = {
            "weights move": [("sparsegpt", "layer"), ("sparsegpt", "sensitivity")],
            "by layer": [(name, "layer") for name in ("random", "magnitude", "taylor", "wanda")],
            "over all": [
                (name, scope)
                for scope in ("global", "sensitivity")
                for name in ("random", "magnitude", "taylor", "wanda")
            ],
        }
        rows: list[Row] = []
        for group, members in methods.items():
            found = {
                f"{name}, {scope}": {
                    regime: self._pruned(LENET, criterion=name, scope=scope, **options)
                    for regime, options in regimes.items()
                    if scope == "layer" or "pattern" not in options
                }
                for name, scope in members
            }
            rows += _rows(f"accuracy %, {group}", found, regimes)
        return rows

    def neurons(self) -> list[Row]:
        """Return accuracies of LeNet-300-100 without so many of its hidden neurons."""
        regimes = {f"{share:.0%}": {"sparsity": share} for share in (0.25, 0.5, 0.75)}
        groups = {
            "weights alone": [
                (name, scope) for scope in ("layer", "global") for name in ("random", "l1", "l2")
            ],
            "with samples": [
                *(("taylor", scope) for scope in ("layer", "global", "sensitivity")),
                *((name, "sensitivity") for name in ("random", "l1", "l2")),
            ],
        }
        rows: list[Row] = []
        for group, members in groups.items():
            found = {
                f"{name}, {scope}": {
                    regime: self._pruned(
                        LENET, criterion=name, scope=scope, pattern="neurons", **options
                    )
                    for regime, options in regimes.items()
                }
                for name, scope in members
            }
            rows += _rows(f"accuracy %, {group}", found, regimes)
        return rows

    def _pruned(self, widths: Sequence[int], **options: Any) -> list[float]:
        nets = []
        for seed in self.seeds:
            pruner = qc.Pruner(random_state=seed, progress=False, **options)
            nets.append(pruner.fit_transform(self._dense(widths, seed), self.X, self.y))
        return [100 - error for error in self.score(nets)]

    def one_pass(self) -> list[Row]:
        """Return the error of the logits on images not seen, pruned and quantized, no labels."""
        shapes: dict[str, dict[str, Any]] = {
            "50 %": {"sparsity": 0.5},
            "80 %": {"sparsity": 0.8},
            "2:4": {"pattern": "2:4"},
        }
        regimes = {
            f"{name}, {bits} bits": options | {"bits": bits}
            for bits in (4, 3)
            for name, options in shapes.items()
        }
        found: dict[str, dict[str, list[float]]] = {"magnitude, then GPTQ": {}, "one pass": {}}
        for regime, options in regimes.items():
            pruning = {key: value for key, value in options.items() if key != "bits"}
            scope = "layer" if "pattern" in pruning else "global"
            two, one = [], []
            for seed in self.seeds:
                net = self._dense(LENET, seed)
                pruned = qc.Pruner(scope=scope, **pruning).fit_transform(net)
                quantizer = qc.Quantizer(options["bits"], activations=None, progress=False)
                two.append(self._lost(net, quantizer.fit_transform(pruned, self.X)))
                one.append(self._lost(net, qc.compress(net, self.X, activations=None, **options)))
            found["magnitude, then GPTQ"][regime] = two
            found["one pass"][regime] = one
        return _rows("error of the logits", found, regimes, "4f", least=True)

    def _lost(self, net: qc.nn.Sequential, small: qc.nn.Sequential) -> float:
        unseen = self.split.digits.X_test
        before = net.predict_logits(unseen).astype(np.float64)
        lost = (small.predict_logits(unseen) - before) ** 2
        return float(lost.mean() / np.mean(before**2))

    # while training ----------------------------------------------------------------------------
    def schedules(self) -> list[Row]:
        """Return accuracies of 784-128-10 by schedule, all of the same number of epochs."""
        regimes = {f"{share:.0%}": share for share in (0.9, 0.95, 0.98)}
        rows = []
        for group, methods in _schedules(self._steps).items():
            rows += self._trainings(regimes, methods, what=f"accuracy %, {group}")
        return rows

    def regularizers(self) -> list[Row]:
        """Return accuracies of networks with few neurons, or few weights, pruned as they train."""
        regimes = {f"{share:.0%} of the neurons": share for share in (0.5, 0.8, 0.9)}
        gradual: dict[str, Any] = {"pattern": "neurons", "scope": "global"}
        methods: dict[str, Callable[[float], dict[str, Any]]] = {
            "gradual": lambda share: {"prune": qc.Pruner(share, **gradual)},
            "gradual, group lasso": lambda share: {
                "prune": qc.Pruner(share, **gradual),
                "regularize": GroupLasso(_LASSO),
            },
        }
        rows = self._trainings(regimes, methods, LENET, "accuracy %, 784-300-100-10")
        weights: dict[str, Callable[[float], dict[str, Any]]] = {
            "gradual": lambda share: {"prune": qc.Pruner(share, scope="global")},
            "gradual, L1": lambda share: {
                "prune": qc.Pruner(share, scope="global"),
                "regularize": L1(_L1),
            },
        }
        shares = {f"{share:.0%} of the weights": share for share in (0.95, 0.98, 0.99)}
        few = self._trainings(shares, weights, MLP, "accuracy %, 784-128-10")
        return [
            Row(dict.fromkeys(["method", "measured", *regimes, *shares], "") | row.cells)
            for row in [*rows, *few]
        ]

    @property
    def _steps(self) -> int:
        return EPOCHS * -(-len(self.split.digits.X_train) // 64)

    def _trainings(
        self,
        regimes: Mapping[str, float],
        methods: Mapping[str, Callable[[float], dict[str, Any]]],
        widths: Sequence[int] = MLP,
        what: str = "accuracy %",
    ) -> list[Row]:
        found = {
            method: {
                regime: [
                    100 - error
                    for error in self.score(
                        self._trained(widths, seed, f"{method} {share}", **options(share))
                        for seed in self.seeds
                    )
                ]
                for regime, share in regimes.items()
            }
            for method, options in methods.items()
        }
        return _rows(what, found, regimes)

    def distillation(self) -> list[Row]:
        """Return accuracies of small students by what they are taught."""
        regimes = {f"784-{width}-10": width for width in (16, 32, 64)}
        wide = [self._dense((784, 512, 10), seed) for seed in range(3)]
        hints: dict[str, Any] = {"hints": {"fc1": wide[0].features("fc1")}, "hint_weight": 0.1}
        methods: dict[str, dict[str, Any]] = {
            "labels alone": {},
            "a teacher": {"teacher": wide[0]},
            "three teachers": {"teacher": wide},
            "a teacher, hints": {"teacher": wide[0], **hints},
            "labels, hints": hints,
        }
        found: dict[str, dict[str, list[float]]] = {}
        for method, options in methods.items():
            found[method] = {}
            for regime, width in regimes.items():
                widths = (784, width, 10)
                nets = (self._trained(widths, seed, method, **options) for seed in self.seeds)
                found[method][regime] = [100 - error for error in self.score(nets)]
        return _rows("accuracy %", found, regimes)

    # low rank ----------------------------------------------------------------------------------
    def factorize(self) -> list[Row]:
        """Return the error of the logits where each layer but the last is stored another way."""
        regimes = {f"{bits + 0.5} bits a weight": bits for bits in (2, 3, 4)}
        fitted: dict[str, Any] = {"algorithm": ALGORITHM}
        methods: dict[str, Callable[[Any, Any, int], Any]] = {
            "codes, groups of 32": lambda w, stats, bits: qc.quantize(
                w, bits=bits, group_size=32, observer="mse"
            ),
            "GPTQ, groups of 32": lambda w, stats, bits: qc.quantize(
                w, bits=bits, group_size=32, stats=stats, **fitted
            ),
            "low rank": lambda w, stats, bits: qc.factorize(
                w, rank=_rank(w, bits + 0.5), stats=stats, dtype=np.float16
            ),
            "low rank and codes": lambda w, stats, bits: qc.factorize(
                w, rank=_rank(w, 0.5), residual_bits=bits, dtype=np.float16
            ),
            "low rank and GPTQ": lambda w, stats, bits: qc.factorize(
                w, rank=_rank(w, 0.5), residual_bits=bits, stats=stats, dtype=np.float16
            ),
        }
        found: dict[str, dict[str, list[float]]] = {}
        for method, stored in methods.items():
            found[method] = {}
            for regime, bits in regimes.items():
                found[method][regime] = [
                    self._lost(net, self._stored(net, stored, bits))
                    for net in (self._dense(LENET, seed) for seed in self.seeds)
                ]
        return _rows("error of the logits", found, regimes, "4f", least=True)

    def _stored(self, net: qc.nn.Sequential, stored: Any, bits: int) -> qc.nn.Sequential:
        new, value = {}, self.X
        for layer in net.layers[:-1]:
            stats = qc.InputStats().update(value)
            name = f"{layer.name}.weight"
            new[name] = np.asarray(stored(layer.dense_weight(), stats, bits), np.float32)
            value = layer.forward(value)
        return net.with_weights(new)

    # the networks ------------------------------------------------------------------------------
    def _dense(self, widths: Sequence[int], seed: int) -> qc.nn.Sequential:
        return self._trained(widths, seed, "dense")

    def _trained(
        self, widths: Sequence[int], seed: int, method: str, **options: Any
    ) -> qc.nn.Sequential:
        digits = self.split.digits
        shape = "-".join(map(str, widths))
        kind = "".join(c if c.isalnum() or c == "." else "_" for c in method)
        return cached(
            self.work / f"ablation-{shape}-{kind}-{seed}.safetensors",
            lambda: network(widths).fit(
                digits.X_train,
                digits.y_train,
                epochs=EPOCHS,
                learning_rate_schedule="cosine",
                random_state=seed,
                progress=False,
                **options,
            ),
        )


#: Strength of the regularizers. Chosen on validation images.
_LASSO = 0.01
_L1 = 0.03


def _schedules(steps: int) -> dict[str, dict[str, Callable[[float], dict[str, Any]]]]:
    """Return what each schedule is for a sparsity, over the same steps, group by group."""
    begin, end = steps // 10, steps // 10 + steps // 200 * 100

    def pruner(schedule: Any) -> dict[str, Any]:
        return {"prune": qc.Pruner(scope="global", schedule=schedule)}

    def gradual(share: float) -> Any:
        return qc.PolynomialDecay(0.0, share, begin, end)

    return {
        "dense at first": {
            "one shot": lambda s: pruner(qc.ConstantSparsity(s, end // 2, frequency=steps)),
            "polynomial": lambda s: pruner(gradual(s)),
            "polynomial, regrowth by gradient": lambda s: pruner(qc.Regrowth(gradual(s))),
            "polynomial, regrowth by chance": lambda s: pruner(
                qc.Regrowth(gradual(s), grow="random")
            ),
            "rewinding": lambda s: pruner(qc.Rewinding(s, rounds=2, rewind_step=400)),
        },
        "sparse from the start": {
            "constant": lambda s: pruner(qc.ConstantSparsity(s, 0, frequency=steps)),
            "constant, regrowth by gradient": lambda s: pruner(
                qc.Regrowth(qc.ConstantSparsity(s, 0))
            ),
            "constant, regrowth by chance": lambda s: pruner(
                qc.Regrowth(qc.ConstantSparsity(s, 0), grow="random")
            ),
        },
    }


def _rank(w: Any, bits: float) -> int:
    """Return the rank whose float16 factors take as many bytes as codes of so many bits."""
    rows, columns = w.shape
    rank: int = max(1, round(rows * columns * bits / (16 * (rows + columns))))
    return rank


def _rows(
    what: str,
    found: Mapping[str, Mapping[str, Sequence[float]]],
    regimes: Mapping[str, Any],
    form: str = "2f",
    *,
    least: bool = False,
) -> list[Row]:
    """Return a row for each method, with mean and spread, the best of each regime in bold."""
    means = {
        method: {regime: float(np.mean(values)) for regime, values in by.items()}
        for method, by in found.items()
    }
    rows = []
    for method, by in found.items():
        cells = {"method": method, "measured": what}
        for regime in regimes:
            if regime not in by:
                cells[regime] = ""
                continue
            values = np.asarray(by[regime])
            text = f"{values.mean():.{form}}"
            if values.size > 1:
                text += f" ± {values.std(ddof=1):.{form}}"
            others = [mean[regime] for mean in means.values() if regime in mean]
            best = min(others) if least else max(others)
            cells[regime] = f"**{text}**" if means[method][regime] == best else text
        rows.append(Row(cells))
    return rows


if __name__ == "__main__":
    main()
