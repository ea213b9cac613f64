"""What the stage `variant` and the command `ablation` know of ablation/params.yaml."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training.recipe import Recipe
from stages._stage import ParameterError, merged, params

ABLATION = Path("ablation")
FILE, RESULTS = ABLATION / "params.yaml", ABLATION / "results"
SECTIONS = ("model", "contrastive", "train", "inference")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Variant:
    """One variant of the ablation: params.yaml with `base` and ``set`` laid over it, and of the branches only those named, if
    any are. ``steps_factor`` times the steps of the budget, for a variant that gets as much time as another one takes."""

    label: str
    against: str = ""
    branches: tuple[str, ...] = ()
    steps_factor: float = 1.0
    set: dict[str, dict[str, Any]] | None = None


class Training(NamedTuple):
    """What one training of the ablation is made of, its seed included, and how it maps."""

    recipe: Recipe
    inference: InferenceSettings


def variants() -> dict[str, Variant]:
    """All variants by name."""
    return params("variants", dict[str, Variant], file=FILE)


def training(name: str, seed: int) -> Training:
    """The settings of a variant with a seed."""
    chosen = params(f"variants.{name}", Variant, file=FILE)
    strange = (chosen.set or {}).keys() - set(SECTIONS)
    if strange:
        raise ParameterError(
            f"Variant '{name}' of {FILE} sets '{min(strange)}'; a variant sets {', '.join(SECTIONS[:-1])} and {SECTIONS[-1]}."
        )
    over = merged(params("base", dict[str, dict[str, Any]], file=FILE), chosen.set or {})
    budget = params("budget", dict[str, int], file=FILE)
    budget["steps_per_epoch"] = max(1, round(budget["steps_per_epoch"] * chosen.steps_factor))
    model = params("model", ModelSettings, over.get("model", {}))
    if chosen.branches:
        lost = [branch for branch in chosen.branches if branch not in model.branches]
        if lost:
            raise ParameterError(
                f"Variant '{name}' of {FILE} needs the branch '{lost[0]}', which params.yaml does not have."
            )
        model = replace(model, branches={branch: model.branches[branch] for branch in chosen.branches})
    contrast = params("contrastive", ContrastSettings, over.get("contrastive", {}))
    train = params("train", TrainSettings, budget | over.get("train", {}) | {"seed": seed})
    return Training(Recipe(model, contrast, train), params("inference", InferenceSettings, over.get("inference", {})))


def distinct(names: Sequence[str], new_ground: bool) -> None:
    """Refuse variants that would be the same training and the same map, so that a table never compares a variant with itself.

    AdaBN acts on ``new_ground`` only, and only there do variants differ by it.
    """
    seen: dict[str, str] = {}
    for name in names:
        made = training(name, 0)
        settings = repr(made if new_ground else made._replace(inference=replace(made.inference, adapt_windows=0)))
        if settings in seen:
            raise ParameterError(
                f"With this params.yaml and these tiles the variants '{seen[settings]}' and '{name}' of {FILE} are the same; "
                "take one of them out of 'run'. (With contrastive.weight 0 variants of the contrast are alike; where only areas "
                "that are trained on are scored, variants that differ in inference.adapt_windows.)"
            )
        seen[settings] = name
