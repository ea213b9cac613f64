"""Two runs on the ground that both were scored on.

Scores on other ground are other scores: an inventory that gained easy landslides lifts them though no map is better. So blocks
of the same place and the same labels are paired, and the two runs are compared there alone.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpcl.metrics.ground import LABELS, PLACE
from hpcl.metrics.intervals import resample, spread
from hpcl.metrics.pixels import scores
from hpcl.metrics.tally import Array
from hpcl.settings.evaluate import EvaluateSettings

MAPS = ("hpcl_net", "polygons")
COUNTS = ["tn", "fp", "fn", "tp"]
WHERE = ["area", *PLACE]
"""Of an area, because two images of one place are two grounds."""


class CommonError(ValueError):
    """A table of blocks that cannot be compared."""


@dataclass(frozen=True)
class Share:
    """How much ground a run was scored on, and how much of that the other one was, too."""

    blocks: int
    px: int
    common_frac: float


@dataclass(frozen=True)
class Change:
    """The landslide IoU of one map in both runs; NaN where there is no landslide."""

    before: float
    after: float
    interval: tuple[float, float]
    """Of the difference, from resampling the common blocks; NaN where they are fewer than two."""
    all_before: float
    all_after: float
    """On all ground of each run."""

    @property
    def difference(self) -> float:
        """After minus before, on the common ground."""
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Two runs, of which the first is called before and the second after."""

    before: Share
    after: Share
    blocks: int
    """How many are common."""
    changed: list[str]
    """Blocks with other labels than before, as area and number in the run after."""
    maps: dict[str, Change]

    @property
    def is_all(self) -> bool:
        """Whether both runs stand on the same ground."""
        return self.blocks == self.before.blocks == self.after.blocks


def read(text: str, whose: str) -> pd.DataFrame:
    """The text of a blocks.csv that ``evaluate`` wrote, one row for each of `MAPS` and block. Raises `CommonError`."""
    types = dict.fromkeys(["map", *WHERE, LABELS], str) | dict.fromkeys(["block", *COUNTS], "int64")
    try:
        table = pd.read_csv(io.StringIO(text), dtype=types, usecols=lambda name: name in types)
    except (ValueError, OverflowError) as error:
        raise CommonError(f"The blocks.csv of {whose} is no sound table ({' '.join(str(error).split())}).") from error
    if lacking := [name for name in types if name not in table]:
        if set(lacking) <= {*PLACE, LABELS}:
            raise CommonError(
                f"The scores of {whose} are from before blocks.csv kept what ground they stand on, so nothing says which of"
                " it is common; compare runs that were evaluated since."
            )
        raise CommonError(f"The blocks.csv of {whose} lacks the column '{lacking[0]}'.")
    table = table[table["map"].isin(MAPS)]
    of_map = [table[table["map"] == name].set_index(WHERE)[LABELS].sort_index() for name in MAPS]
    if table.isna().any(axis=None) or not of_map[0].index.is_unique or not of_map[0].equals(of_map[1]) or table.empty:
        raise CommonError(f"The blocks.csv of {whose} is damaged: its maps do not have the same blocks, each once.")
    return table


def compare(before: pd.DataFrame, after: pd.DataFrame, settings: EvaluateSettings) -> Comparison:
    """Pair the blocks of two runs, as `read` gives them, and compare the maps where place and labels are the same."""
    first, second = ({name: _blocks_of(table, name) for name in MAPS} for table in (before, after))
    one, other = first[MAPS[0]], second[MAPS[0]]
    both = one.index.intersection(other.index).sort_values()
    same = one.loc[both, LABELS] == other.loc[both, LABELS]
    common, changed = both[same], other.loc[both[~same]]
    weights = resample(len(common), settings) if len(common) else np.zeros((0, 0), np.int64)
    return Comparison(
        _share(one, common),
        _share(other, common),
        len(common),
        [
            f"{area} {number}"
            for area, number in sorted(zip(changed.index.get_level_values(0), changed["block"], strict=True))
        ],
        {name: _change(first[name], second[name], common, weights, settings) for name in MAPS},
    )


def _blocks_of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["map"] == name].set_index(WHERE)


def _share(blocks: pd.DataFrame, common: pd.Index[tuple[str, ...]]) -> Share:
    px = int(blocks[COUNTS].to_numpy().sum())
    return Share(len(blocks), px, int(blocks.loc[common, COUNTS].to_numpy().sum()) / px)


def _change(
    before: pd.DataFrame,
    after: pd.DataFrame,
    common: pd.Index[tuple[str, ...]],
    weights: Array,
    settings: EvaluateSettings,
) -> Change:
    """One map in both runs; ``weights`` ``(resample, block)`` are those of both, so that the difference is paired."""
    counts = [table.loc[common, COUNTS].to_numpy() for table in (before, after)]
    draws = [_iou(weights.astype(np.float64) @ of) for of in counts]
    here, there = (float(_iou(of.sum(0))) for of in counts)
    whole = [float(_iou(table[COUNTS].to_numpy().sum(0))) for table in (before, after)]
    return Change(here, there, spread(draws[1] - draws[0], len(common), settings), *whole)


def _iou(counts: Array) -> Array:
    """Landslide IoU of counts ``(..., 4)`` in the order of `COUNTS`."""
    return scores(counts.reshape(*counts.shape[:-1], 2, 2))["landslide_iou"]


def sentence(found: Comparison, before: str) -> str:
    """What somebody must know who sees the scores of the run after beside those of another, called ``before``, in one sentence."""
    share = f"{found.blocks} of {found.after.blocks} blocks are common ({before} has {found.before.blocks})"
    if not found.blocks:
        return f"Scored on other ground than {before}: no block is common, so the scores of the two do not compare."
    ours = found.maps[MAPS[0]]
    if math.isnan(ours.difference):
        return f"Scored on other ground than {before}: {share}, and no landslide lies there, so nothing compares."
    return (
        f"Scored on other ground than {before}: {share}, and there the landslide IoU is {ours.after:.3f} against"
        f" {ours.before:.3f} before, difference {difference(ours)}."
    )


def difference(change: Change) -> str:
    """A difference with its interval, if it has one."""
    low, high = change.interval
    return f"{change.difference:+.3f}" + ("" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")
