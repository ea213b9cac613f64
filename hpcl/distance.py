"""How far the bands of an area lie from the ground that networks learnt, on one scale for all bands.

The distance of a band is Wasserstein's first: by how much its values would have to move, on average, to be distributed as
those of the other ground are; the area between the two quantile functions. In units of the standard deviation of the other
ground, 0 means alike and 1 that the values differ by as much as they vary there. It says how unlike two grounds are and not
whether a network minds: for that, labelled areas are compared with each other in the same way (`between`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hpcl.core.records import AreaGround, BandKind, TrainedFacts

LEVELS = (np.arange(20) + 0.5) / 20
"""Where quantiles are kept: twentieths by their middles, so that a few spikes or clouds move nothing far."""

Array = npt.NDArray[np.float64]
Distances = dict[str, dict[str, float]]
"""By branch and band."""


def described(names: Sequence[str], kinds: Sequence[BandKind], pixels: npt.NDArray[np.float32], px: int) -> AreaGround:
    """What is kept of ``px`` pixels of ground, from a sample of them, ``(band, pixel)``. Bands without data are left out.

    Normals of all directions are one, without their sign: windows are turned in training, so a network knows slopes that look
    west from those that look south.
    """
    directions = [kind in ("east", "north") for kind in kinds]
    normals = abs(pixels[directions]).ravel()
    bands = {}
    for name, values, is_direction in zip(names, pixels, directions, strict=True):
        values = normals if is_direction else values
        values = values[np.isfinite(values)].astype(np.float64)
        if len(values) >= len(LEVELS):
            bands[name] = np.quantile(values, LEVELS).tolist()
    return AreaGround(px=px, bands=bands)


def from_ground(area: AreaGround, others: Sequence[AreaGround], branches: Mapping[str, Sequence[str]]) -> Distances:
    """How far an area's bands lie from the ground of ``others`` together. Bands are left out that one side lacks, or that are
    constant on the other ground: nothing can be learnt from them."""
    found: Distances = {}
    for branch, bands in branches.items():
        for band in bands:
            there = _together(others, band)
            if band in area.bands and len(there) and (spread := there.std()) > 0:
                moved = abs(np.array(area.bands[band]) - there).mean() / spread
                found.setdefault(branch, {})[band] = float(moved)
    return found


def _together(grounds: Sequence[AreaGround], band: str) -> Array:
    """The quantiles of a band of several areas together, each with the weight of its pixels; empty if none has it."""
    held = [ground for ground in grounds if band in ground.bands]
    if not held:
        return np.empty(0)
    values = np.concatenate([ground.bands[band] for ground in held])
    weights = np.repeat([float(ground.px) for ground in held], len(LEVELS))
    order = values.argsort()
    below = weights[order].cumsum() - weights[order] / 2
    return np.interp(LEVELS, below / weights.sum(), values[order])


def learnt(facts: TrainedFacts) -> list[AreaGround]:
    """The ground of all areas that lie in folds."""
    return [ground for area, ground in facts.grounds.items() if area in facts.areas]


def between(facts: TrainedFacts, branches: Mapping[str, Sequence[str]]) -> dict[str, Distances]:
    """How far each labelled area lies from the ground of the others, by area: of a test area, and of one that lies in a single
    fold, from what those that map it learnt. Areas that have no others are left out."""
    found = {}
    for area, ground in facts.grounds.items():
        own = facts.areas[area].fold_codes if area in facts.areas else frozenset()
        others = [
            facts.grounds[other]
            for other, folded in facts.areas.items()
            if other in facts.grounds and other != area and not (len(own) == 1 and folded.fold_codes == own)
        ]
        if others:
            found[area] = from_ground(ground, others, branches)
    return found


def of_branch(bands: Mapping[str, float]) -> float:
    """The distance of a branch: the mean of its bands."""
    return sum(bands.values()) / len(bands)
