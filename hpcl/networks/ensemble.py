"""The networks of all folds as one model: ground in a fold is mapped by the network that never saw it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpcl.core.artifacts import remedy
from hpcl.core.digest import joint
from hpcl.core.records import FoldedArea, Temperatures, TrainedFacts
from hpcl.networks import store
from hpcl.networks.store import Trained
from hpcl.networks.temperature import best
from hpcl.settings.model import ModelError


@dataclass(frozen=True)
class Ensemble:
    """Networks of one training, in the order of their folds. A single one, or some, may map ground without folds alone.

    Raises `ModelError` if they are not of one training.
    """

    members: tuple[Trained, ...]

    def __post_init__(self) -> None:
        first, *others = self.members
        for other in others:
            if unlike := _unlike(first, other):
                raise ModelError(
                    f"The networks of folds {first.facts.fold} and {other.facts.fold} differ in {unlike}, so they are not of one"
                    f" training; train all again (dvc repro -s -f train)."
                )
        folds = [member.facts.fold for member in self.members]
        if self.areas and folds != list(range(1, self.facts.folds + 1)):
            raise ModelError(
                f"The networks are those of folds {', '.join(map(str, folds))}, but ground is dealt into {self.facts.folds};"
                " a map needs the network of every fold, in their order."
            )

    @property
    def facts(self) -> TrainedFacts:
        """The facts of the first network, for what is the same for all."""
        return self.members[0].facts

    @property
    def areas(self) -> dict[str, FoldedArea]:
        """The areas whose ground lies in folds."""
        return self.facts.areas

    @property
    def weights_sha256(self) -> str:
        """Of the weights of all networks together."""
        return joint(member.weights_sha256 for member in self.members)

    @cached_property
    def temperatures(self) -> Temperatures:
        """Ground of a fold is mapped with the temperature that suits the other folds, so that none of its labels had a say."""
        held = [member.facts.held for member in self.members]
        others = [held[:own] + held[own + 1 :] for own in range(len(held))]
        return Temperatures(by_fold=[best(losses) for losses in others if losses], elsewhere=best(held))


def load(folder: Path) -> Ensemble:
    """Read the networks of all folds from ``folder/1``, ``folder/2`` and so on; of more folds than there are now, nothing.

    Raises `ModelError` or `ArtifactError` for what is missing, damaged or of another training.
    """
    first = store.load(folder / "1")
    members = [first, *(store.load(folder / str(fold)) for fold in range(2, first.facts.folds + 1))]
    for fold, member in enumerate(members, start=1):
        if member.facts.fold != fold:
            path = folder / str(fold) / store.FACTS
            raise ModelError(f"{path} is that of the network of fold {member.facts.fold}; {remedy(path)}.")
    return Ensemble(tuple(members))


def _unlike(one: Trained, other: Trained) -> str:
    """In what two networks differ that are not of one training; empty if in nothing."""
    here, there = one.facts, other.facts
    bands = [[(band.name, band.kind) for band in facts.bands] for facts in (here, there)]
    same = {
        "their number of folds": here.folds == there.folds,
        "their bands": bands[0] == bands[1],
        "their classes": here.classes == there.classes,
        "their window_px": here.window_px == there.window_px,
        "the sun of their hillshade": here.sun == there.sun,
        "the areas that they divide": here.areas == there.areas,
        "the section model": one.network.settings == other.network.settings,
    }
    return next((what for what, equal in same.items() if not equal), "")
