"""A share of the labels, by place: the ground that a mapper has reached when this share of the landslides is mapped.

Blocks of ground are mapped whole, one after the other on a way that is spread out over all areas from its beginning, and that
follows from a seed alone. Each share goes as far on it as its landslides need, so a smaller one is part of every larger one. Ground
that is not reached is unknown to a training, no background: nobody has been there. What judges a training is not thinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.core import artifacts
from hpcl.core.areas import distinct
from hpcl.core.codes import MAX_FOLDS
from hpcl.core.records import LabelShare, TaughtGround, TileFacts
from hpcl.metrics.patches import Patches
from hpcl.windows import strips

Array = npt.NDArray[Any]
Place = tuple[str, int]
"""A block: its area, and its number in there."""
AMISS = 0.5
"""A share that is missed by more than this part of itself is told."""


class ShareError(ValueError):
    """A share of the labels that nothing can be learnt from."""


@dataclass(frozen=True)
class Asked:
    """A share of the landslides that may teach a network, in per cent, on the way that follows from ``seed``."""

    percent: int
    seed: int


def way(facts: TileFacts, seed: int) -> list[Place]:
    """All blocks of all areas but test areas, in the order in which they are mapped; labels have no part in it."""
    places, corners = [], []
    for number, (name, area) in enumerate(sorted(facts.areas.items())):
        if not area.test:
            places += [(name, block) for block in range(len(area.folds))]
            apart = number * 1e12  # areas lie farther from each other than any blocks of one
            corners += [(apart, top, left) for top in area.tops for left in area.lefts]
    order = spread_out(np.array(corners, float), np.random.default_rng(seed))
    return [places[at] for at in order]


def spread_out(points: Array, rng: np.random.Generator) -> list[int]:
    """An order of ``points`` ``(point, axis)``, of which every beginning lies spread out over all of them: the points are cut in two
    halves across their longest side, either half is ordered so, and the two take turns.

    >>> spread_out(np.arange(8.0)[:, None], np.random.default_rng(0))
    [7, 0, 5, 2, 6, 1, 4, 3]
    """
    return _spread_out(points, np.arange(len(points)), rng)


def _spread_out(points: Array, numbers: Array, rng: np.random.Generator) -> list[int]:
    if len(numbers) < 2:
        return [int(number) for number in numbers]
    axis = int(np.ptp(points[numbers], axis=0).argmax())
    ordered = numbers[np.argsort(points[numbers, axis], kind="stable")]
    middle = len(ordered) // 2 + int(rng.integers(2)) * (len(ordered) % 2)
    halves = [_spread_out(points, half, rng) for half in (ordered[:middle], ordered[middle:])]
    first = int(rng.integers(2)) if len(halves[0]) == len(halves[1]) else int(len(halves[1]) > len(halves[0]))
    order = [0] * len(numbers)
    order[0::2], order[1::2] = halves[first], halves[1 - first]
    return order


def write(tiles: Path, asked: Asked, minimum_valid_frac: float, out: Path) -> None:
    """Write what the network of each fold may learn from at a share of the labels of ``tiles``: ``facts.json`` (`LabelShare`) and, as
    the tiles have them, ``windows_<fold>.csv``, without the training windows of which less than ``minimum_valid_frac`` is left.

    A share that could not be had is a finding. Raises `ShareError` if nothing can be learnt.
    """
    facts = artifacts.read_json(tiles / "facts.json", TileFacts)
    ground = _Ground(tiles, facts)
    order = way(facts, asked.seed)
    taught = []
    for code in range(len(facts.folds)):
        of_fold, windows = _chosen(ground, code, order, asked, minimum_valid_frac)
        taught.append(of_fold)
        artifacts.write_csv(out / f"windows_{code + 1}.csv", windows, "%.4f")
    findings = [told for code, one in enumerate(taught) for told in _findings(code, one, asked)]
    artifacts.write_json(out / "facts.json", LabelShare(folds=taught, findings=findings))


def _chosen(
    ground: _Ground, code: int, order: Sequence[Place], asked: Asked, minimum_valid_frac: float
) -> tuple[TaughtGround, pd.DataFrame]:
    """The beginning of the way that holds the share for the network of a fold, and its windows: one landslide at least, and as
    far on as a training window shows one."""
    counts = ground.landslides(code)
    open_ = [place for place in order if ground.may_teach(code, place)]
    found = np.cumsum([counts.get(place, 0) for place in open_])
    total = int(found[-1]) if len(found) else 0
    wanted = max(1, (2 * total * asked.percent + 100) // 200)  # rounded, halves up
    for reached in range(int(np.searchsorted(found, wanted)) + 1, len(open_) + 1):
        blocks = {
            area: [block for name, block in open_[:reached] if name == area] for area in sorted(ground.facts.areas)
        }
        windows = ground.windows(code, blocks, minimum_valid_frac)
        if (windows.loc[windows["role"] == "train", "landslide_frac"] > 0).any():
            return TaughtGround(blocks=blocks, landslides=int(found[reached - 1]), of=total), windows
    raise ShareError(
        f"No training window of fold {code + 1} shows a landslide, whatever share of the labels it is; make the tiles again (dvc"
        " repro -s -f tile)."
    )


def _findings(code: int, taught: TaughtGround, asked: Asked) -> Iterator[str]:
    had = 100 * taught.landslides / taught.of
    if abs(had - asked.percent) > AMISS * asked.percent:
        yield (
            f"{asked.percent} % of the {taught.of} landslides that may teach the network of fold {code + 1} cannot be had: it learns"
            f" from {taught.landslides} ({had:.0f} %), for ground is mapped in whole blocks, and one landslide is the least."
        )


class _Ground:
    """The labels of all areas that lie in folds, and what they may teach."""

    def __init__(self, tiles: Path, facts: TileFacts) -> None:
        self.tiles, self.facts = tiles, facts
        self._arrays = {
            name: [artifacts.read_npy(tiles / f"{name}.{what}.npy", "iu", area.shape) for what in ("labels", "teaches")]
            for name, area in ((name, facts.areas[name]) for name in distinct(facts.areas))
            if not area.test
        }

    def may_teach(self, code: int, place: Place) -> bool:
        """Whether a block lies in a fold other than that of ``code``."""
        name, block = place
        fold = self.facts.areas[name].folds[block]
        return fold < MAX_FOLDS and fold != code

    def landslides(self, code: int) -> Mapping[Place, int]:
        """How many landslides that may teach the network of fold ``code`` belong to each block. Those that touch are one, and one
        across blocks belongs to that of its northernmost pixel, as in the scores; what it teaches is cut where ground ends."""
        found: dict[Place, int] = {}
        for name, (labels, _) in self._arrays.items():
            patches, area = Patches(), self.facts.areas[name]
            for rows in strips(labels.shape):
                roi = rows, slice(0, labels.shape[1])
                slides = self._teaching(name, code, roi) & (labels[roi] > 0)
                patches.add(slides, slides, area.blocks(*roi))
            counts = patches.table()["block"].value_counts()
            found |= {(name, int(block)): int(count) for block, count in counts.items()}
        return found

    def windows(self, code: int, blocks: Mapping[str, Sequence[int]], minimum_valid_frac: float) -> pd.DataFrame:
        """The windows of fold ``code`` when its network learns from these blocks; held-out ones are all there."""
        columns = {
            "area": str,
            "role": str,
            "row_px": int,
            "column_px": int,
            "valid_frac": float,
            "landslide_frac": float,
        }
        table = artifacts.read_csv(self.tiles / f"windows_{code + 1}.csv", columns)
        taken = {name: np.isin(np.arange(len(area.folds)), blocks[name]) for name, area in self.facts.areas.items()}
        side = self.facts.window_px
        keep = np.ones(len(table), bool)
        shares = table[["valid_frac", "landslide_frac"]].to_numpy(copy=True)
        names, tops, lefts = (table[column].to_numpy() for column in ("area", "row_px", "column_px"))
        for at in np.flatnonzero(table["role"] == "train"):
            name, top, left = names[at], tops[at], lefts[at]
            labels = self._arrays[name][0]
            roi = slice(top, min(top + side, labels.shape[0])), slice(left, min(left + side, labels.shape[1]))
            known = self._teaching(name, code, roi) & taken[name][self.facts.areas[name].blocks(*roi)]
            valid = known.sum() / side**2
            keep[at] = known.any() and valid >= minimum_valid_frac
            shares[at] = valid, (labels[roi][known] > 0).mean() if keep[at] else 0
        table[["valid_frac", "landslide_frac"]] = shares
        return table[keep]

    def _teaching(self, name: str, code: int, roi: tuple[slice, slice]) -> npt.NDArray[np.bool_]:
        bits = self._arrays[name][1][roi]
        return np.asarray(bits >> np.uint16(code) & np.uint16(1)).astype(bool)
