"""What ``qcore compress`` would try for a target: ``--dry-run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore.cli.models import load_model
from qcore.cli.params import bytes_of
from qcore.deep_compression.forecast import Forecast, forecast
from qcore.recipes.deep import size_target

if TYPE_CHECKING:
    from qcore.cli.compressing.job import Job

__all__ = ["TargetPlan", "plan_target"]


@dataclass(frozen=True)
class TargetPlan:
    """What would be tried, and what may come of it.

    Attributes
    ----------
    output : Path or None
    before : int
        Bytes of the file that is read.
    forecast : Forecast
        Bytes are those of the file, recipe and all.
    recipe : str
    """

    output: Path | None
    before: int
    forecast: Forecast
    recipe: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        found = self.forecast
        return {
            "format": 1,
            "dry_run": True,
            "output": None if self.output is None else str(self.output),
            "input_bytes": self.before,
            "output_bytes": found.steps[0].nbytes,
            "output_bytes_bounds": [found.least, found.most],
            "exact": False,
            "seconds": found.seconds[0],
            "seconds_bounds": list(found.seconds),
            "memory_bytes": found.memory,
            "steps": [step._asdict() for step in found.steps],
            "recipe": self.recipe,
        }


def plan_target(job: Job) -> TargetPlan:
    """Say what a job with a target would do, from the network and a short training."""
    options = job.recipe.compress
    X, y = job.samples
    assert options is not None, "it has no target"
    assert X is not None, "a target needs samples"
    assert y is not None, "a target needs labels"
    net = job.recipe.prepare(load_model(job.source))
    if not hasattr(net, "layers"):
        raise ValueError(f"'{job.source}' is no network; only networks are trained to a target")
    reserve = job.recipe.nbytes
    epochs = {} if options.get("epochs") is None else {"epochs": options["epochs"]}
    size = size_target(net, options.get("target_bytes"), options.get("target_ratio"), reserve)
    found = forecast(net, X, y, target_bytes=size, min_score=options.get("min_score"), **epochs)
    found = found._replace(
        steps=[step._replace(nbytes=step.nbytes + reserve) for step in found.steps],
        least=found.least + reserve,
        most=found.most + reserve,
    )
    return TargetPlan(job.output, bytes_of(job.source), found, job.recipe.to_toml())
