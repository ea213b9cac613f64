"""What the stage `rung` and the command `ladder` know of ladder/params.yaml."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.predict import InferSettings
from hpcl.settings.train import TrainSettings
from hpcl.training.recipe import Recipe
from stages._stage import ParameterError, merged, params
from stages._windows import Predict

LADDER = Path("ladder")
FILE, RUNGS = LADDER / "params.yaml", LADDER / "results"
SECTIONS = ("model", "contrastive", "train", "predict")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Row:
    """One row of the ladder: params.yaml with `base` and ``set`` laid over it, and of the branches only those named, if
    any are. ``steps_factor`` times the steps of the budget, for a row that gets as much time as another one takes."""

    label: str
    against: str = ""
    branches: tuple[str, ...] = ()
    steps_factor: float = 1.0
    set: dict[str, dict[str, Any]] | None = None


class Rung(NamedTuple):
    """What one training of the ladder is made of, its seed included, and how it maps."""

    recipe: Recipe
    windows: InferSettings


def rows() -> dict[str, Row]:
    """All rows by name."""
    return params("rows", dict[str, Row], file=FILE)


def rung(name: str, seed: int) -> Rung:
    """The settings of a row with a seed."""
    row = params(f"rows.{name}", Row, file=FILE)
    strange = (row.set or {}).keys() - set(SECTIONS)
    if strange:
        raise ParameterError(
            f"Row '{name}' of {FILE} sets '{min(strange)}'; a row sets {', '.join(SECTIONS[:-1])} and {SECTIONS[-1]}."
        )
    over = merged(params("base", dict[str, dict[str, Any]], file=FILE), row.set or {})
    budget = params("budget", dict[str, int], file=FILE)
    budget["steps_per_epoch"] = max(1, round(budget["steps_per_epoch"] * row.steps_factor))
    model = params("model", ModelSettings, over.get("model", {}))
    if row.branches:
        lost = [branch for branch in row.branches if branch not in model.branches]
        if lost:
            raise ParameterError(
                f"Row '{name}' of {FILE} needs the branch '{lost[0]}', which params.yaml does not have."
            )
        model = replace(model, branches={branch: model.branches[branch] for branch in row.branches})
    contrast = params("contrastive", ContrastSettings, over.get("contrastive", {}))
    train = params("train", TrainSettings, budget | over.get("train", {}) | {"seed": seed})
    return Rung(Recipe(model, contrast, train), params("predict", Predict, over.get("predict", {})).windows)


def distinct(names: Sequence[str], new_ground: bool) -> None:
    """Refuse rows that would be the same training and the same map, so that a table never compares a row with itself.

    AdaBN acts on ``new_ground`` only, and only there do rows differ by it.
    """
    seen: dict[str, str] = {}
    for name in names:
        made = rung(name, 0)
        settings = repr(made if new_ground else made._replace(windows=replace(made.windows, adapt_windows=0)))
        if settings in seen:
            raise ParameterError(
                f"With this params.yaml and these tiles the rows '{seen[settings]}' and '{name}' of {FILE} are the same; "
                "take one of them out of 'run'. (With contrastive.weight 0 rows of the contrast are alike; where only areas "
                "that are trained on are scored, rows that differ in predict.windows.adapt_windows.)"
            )
        seen[settings] = name
