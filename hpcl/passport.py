"""The transfer passport of a new area: how far it lies from the ground that the networks learnt, and which landslide IoU to expect.

What to expect follows from areas that were hidden whole from what mapped them: test areas, which the mean of all networks maps as
it maps a new area, and areas whose ground lies in a single fold, which one network mapped that learnt from other areas only.
Ground of an area that was dealt block by block says nothing of it: its network knew the blocks beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpcl import distance
from hpcl.core.digest import joint
from hpcl.core.records import ModelFacts
from hpcl.metrics.records import Metrics

LEAST_AREAS = 3
"""Hidden areas from which on an interval is given. Of two, a 95 % interval is ten times as wide as the two are apart."""

SCALE = "0: alike; 1: values differ by as much as they vary on that ground"
"""What a distance means, in words."""


@dataclass(frozen=True)
class BranchDistance:
    """How far a new area lies off in one branch: the mean of its bands, the farthest band, and the distances of the areas with
    labels from each other's ground, by area."""

    branch: str
    mean: float
    band: str
    band_distance: float
    areas: Mapping[str, float]


@dataclass(frozen=True)
class Passport:
    """What is known of a new area before it is mapped."""

    branches: Sequence[BranchDistance]
    expectation: str
    """Which landslide IoU to expect, or why nothing can be promised."""
    warning: str
    """In which branches the expectation does not hold, if in any."""
    promises: bool
    """Whether there is an interval, and no warning."""


def passport(area: distance.Distances, models: Sequence[ModelFacts], metrics: Metrics | str) -> Passport:
    """That of an area which lies ``area`` from the ground that the networks learnt (`distance.from_ground`). ``metrics`` are the
    scores of the model on labelled ground, or a sentence that says why they are not known."""
    branches = _branches(area, models[0])
    if isinstance(metrics, Metrics) and metrics.weights_sha256 != joint(model.weights_sha256 for model in models):
        metrics = "reports/evaluate/metrics.json has the scores of another model; run dvc repro."
    if isinstance(metrics, str):
        return Passport(branches, f"Which landslide IoU to expect is not known: {metrics}", "", promises=False)
    found = hidden(models[0], metrics)
    warning = _warning(branches, list(found))
    confidence_frac = metrics.counts.confidence_frac or 0.95
    promises = len(found) >= LEAST_AREAS and not warning
    return Passport(branches, _expectation(found, confidence_frac), warning, promises)


def hidden(model: ModelFacts, metrics: Metrics) -> dict[str, float]:
    """The landslide IoU of the areas that were hidden whole from what mapped them, by area; an area without landslides is left
    out, for no map can be right there about any."""
    scored = list(metrics.transfer.areas) if metrics.transfer else []
    whole = {name for name, folded in model.areas.items() if len(folded.fold_codes) == 1}
    scored += [row for row in metrics.areas if row.area in whole]
    return {
        row.area: row.hpcl_net_landslide_iou
        for row in scored
        if row.landslide_frac > 0 and row.hpcl_net_landslide_iou is not None
    }


def prediction_interval(ious: Sequence[float], confidence_frac: float) -> tuple[float, float]:
    """Where the IoU of one further area lies with this confidence, if areas are drawn as the given three or more were.

    Student's t on the IoUs themselves: mean -+ t(n - 1) * s * sqrt(1 + 1/n), cut off at 0 and 1, where no IoU lies, so that cutting
    loses nothing. Not on their logits: an area in which nothing is found has none, and where most IoUs lie, from 0.2 to
    0.8, the logit is nearly a straight line.
    """
    n = len(ious)
    reach = stats.t.ppf((1 + confidence_frac) / 2, n - 1) * np.std(ious, ddof=1) * math.sqrt(1 + 1 / n)
    middle = float(np.mean(ious))
    return max(0.0, middle - float(reach)), min(1.0, middle + float(reach))


def lines(of: Passport) -> list[str]:
    """The passport as lines of text."""
    told = [f"how far the bands lie from the ground that the networks learnt ({SCALE}):"] if of.branches else []
    told += [
        f"  {row.branch} {row.mean:.2f}, most in {row.band} ({row.band_distance:.2f}); {yardstick(row)}"
        for row in of.branches
    ]
    return [*told, of.expectation, *([of.warning] if of.warning else [])]


def yardstick(row: BranchDistance) -> str:
    """With what the distance of a branch is to be compared."""
    if not row.areas:
        return "there is no second area with labels to compare that with"
    low, high = (f"{end:.2f}" for end in (min(row.areas.values()), max(row.areas.values())))
    span = low if low == high else f"{low} to {high}"
    return f"areas with labels lie {span} from each other's ground"


def _branches(area: distance.Distances, model: ModelFacts) -> list[BranchDistance]:
    between = distance.between(model, model.branches)
    rows = []
    for branch, bands in area.items():
        farthest = max(bands, key=bands.__getitem__)
        others = {name: distance.of_branch(of[branch]) for name, of in between.items() if branch in of}
        rows.append(BranchDistance(branch, distance.of_branch(bands), farthest, bands[farthest], others))
    return rows


def _expectation(found: Mapping[str, float], confidence_frac: float) -> str:
    got = ", ".join(f"{area} {iou:.2f}" for area, iou in sorted(found.items()))
    if not found:
        return (
            "Nothing can be promised about this map: no area with landslides was hidden whole from what mapped it. To have that"
            " measured, deal whole areas into folds (tile.split: areas) or keep some outside (tile.test_areas), then run dvc repro."
        )
    if len(found) < LEAST_AREAS:
        only = "One area was" if len(found) == 1 else "Two areas were"
        return (
            f"Nothing can be promised about the landslide IoU of this map. {only} hidden whole from what mapped"
            f" {'it' if len(found) == 1 else 'them'} ({got}); so few do not show how areas differ, from {LEAST_AREAS} on there is an"
            " interval."
        )
    low, high = prediction_interval(list(found.values()), confidence_frac)
    return (
        f"Landslide IoU to expect: {low:.2f} to {high:.2f}, in {confidence_frac:.0%} of areas like the {len(found)} that were hidden"
        f" whole from what mapped them ({got})."
    )


def _warning(branches: Sequence[BranchDistance], hidden_areas: Sequence[str]) -> str:
    """A sentence if the area lies farther off than every hidden area did."""
    beyond = []
    for row in branches:
        known = [row.areas[area] for area in hidden_areas if area in row.areas]
        if known and row.mean > max(known):
            beyond.append(f"{row.branch} ({row.mean:.2f}; they {max(known):.2f} at most)")
    if not beyond:
        return ""
    return (
        f"This area lies farther from the ground that was learnt than every hidden area did, in {' and '.join(beyond)}: what those got"
        " does not hold here."
    )
