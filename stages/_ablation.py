"""What the stages of the ablation and the command `ablation` know of ablation/params.yaml."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings
from hpcl.training.recipe import Recipe
from stages._stage import ParameterError, merged, params

ABLATION = Path("ablation")
FILE, MODELS, RESULTS = ABLATION / "params.yaml", ABLATION / "models", ABLATION / "results"
SHARES = ABLATION / "shares"
ALL = 100
"""Per cent of the labels."""
TRAINING = "training.json"
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


@dataclass(frozen=True)
class Training:
    """A variant trained with a seed, at all labels or at a share of them, in per cent; and where that lies."""

    variant: str
    seed: int
    percent: int = ALL

    def __str__(self) -> str:
        return f"{self.variant} {self.seed}" + (f" at {self.percent} %" if self.percent != ALL else "")

    @property
    def stages(self) -> tuple[str, str]:
        """The stages that train and score it, as DVC calls them."""
        if self.percent == ALL:
            return f"train_variant@{self.variant}-{self.seed}", f"score_variant@{self.variant}-{self.seed}"
        one = f"{self.percent}-{self.seed}-{self.variant}"
        return f"train_share@{one}", f"score_share@{one}"

    @property
    def share(self) -> Path:
        """All of its share of the labels with its seed."""
        return SHARES / f"{self.percent}-{self.seed}"

    @property
    def labels(self) -> Path | None:
        """The folder that says what teaches, if not all labels do."""
        return None if self.percent == ALL else self.share / "labels"

    @property
    def networks(self) -> Path:
        """The folder of its networks, and of `TRAINING`."""
        whole = MODELS / f"{self.variant}-{self.seed}"
        return whole if self.percent == ALL else self.share / "models" / self.variant

    @property
    def scores(self) -> Path:
        """The file of its scores."""
        whole = RESULTS / f"{self.variant}-{self.seed}.json"
        return whole if self.percent == ALL else self.share / "results" / f"{self.variant}.json"


def variants() -> dict[str, Variant]:
    """All variants by name."""
    return params("variants", dict[str, Variant], file=FILE)


def recipe(name: str, seed: int) -> Recipe:
    """What a variant trains with a seed."""
    chosen, over = params(f"variants.{name}", Variant, file=FILE), laid_over(name)
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
    return Recipe(model, contrast, train)


def laid_over(name: str) -> dict[str, dict[str, Any]]:
    """What a variant changes in params.yaml, `base` included, by section."""
    chosen = params(f"variants.{name}", Variant, file=FILE)
    strange = (chosen.set or {}).keys() - set(SECTIONS)
    if strange:
        raise ParameterError(
            f"Variant '{name}' of {FILE} sets '{min(strange)}'; a variant sets {', '.join(SECTIONS[:-1])} and {SECTIONS[-1]}."
        )
    return merged(params("base", dict[str, dict[str, Any]], file=FILE), chosen.set or {})
