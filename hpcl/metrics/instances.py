"""Polygons against the landslides of the inventory, one by one: which match, which are split, which merged.

A polygon and a landslide match where their IoU is above 0.5; no other can then match either of them. With matches TP, false
polygons FP and missed landslides FN (panoptic quality, Kirillov et al., CVPR 2019, arXiv 1801.00868):

    SQ = mean IoU of matches,    RQ = TP / (TP + FP / 2 + FN / 2), which is F1,    PQ = SQ * RQ
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.metrics.pixels import ratio
from hpcl.metrics.tally import Array, Scene
from hpcl.windows import strips

COUNTS = ("landslides", "polygons", "matched", "matched_iou", "split", "merging")
"""What is counted in each block: landslides; polygons, those that match counted with their landslide; matches; their summed IoU;
landslides that several polygons split; polygons that merge several landslides."""

HALF = 0.5

Numbers = Callable[[slice], Array]
"""Rows of one area as numbers from 1 ``(row, column)``, 0 where there is none."""


def count(scene: Scene, landslides: Numbers, polygons: Numbers, minimum_area_m2: float) -> Array:
    """`COUNTS` by block id ``(block id, count)``. A landslide, and a polygon that matches none, count in the block of their
    northernmost pixel.

    Ground that is not scored counts on neither side, and no more does that of landslides below ``minimum_area_m2``. Polygons
    below it can match, but are not false. A polygon lies by more than half in one landslide at most, and a landslide in one
    polygon: where several lie so in one, they split or merge it.
    """
    smallest_px = minimum_area_m2 / scene.pixel_m2
    pairs = pd.concat(_strips(scene, landslides, polygons)).sort_values("first")
    pairs = pairs.groupby(["landslide", "polygon"], as_index=False).agg(
        {"pixels": "sum", "first": "min", "block": "first"}
    )
    large = pairs.groupby("landslide")["pixels"].transform("sum") >= smallest_px
    pairs = pairs[large | (pairs["landslide"] == 0)].sort_values("first")
    known, mapped = (_objects(pairs, name) for name in ("landslide", "polygon"))
    both = pairs[(pairs["landslide"] > 0) & (pairs["polygon"] > 0)]
    known_px, mapped_px = both["landslide"].map(known["pixels"]), both["polygon"].map(mapped["pixels"])
    iou = both["pixels"] / (known_px + mapped_px - both["pixels"])
    matched = both[iou > HALF]
    false = mapped[(mapped["pixels"] >= smallest_px) & ~mapped.index.isin(matched["polygon"])]
    inside = both[(both["pixels"] > HALF * mapped_px) & (mapped_px >= smallest_px)]
    around = both[both["pixels"] > HALF * known_px]
    size = len(scene.area.folds)

    def by_block(blocks: pd.Series[int], weights: pd.Series[float] | None = None) -> Array:
        return np.bincount(blocks.astype(np.int64), weights, minlength=size)

    matched_block = matched["landslide"].map(known["block"])
    return np.stack(
        [
            by_block(known["block"]),
            by_block(matched_block) + by_block(false["block"]),
            by_block(matched_block),
            by_block(matched_block, iou[matched.index]),
            by_block(known.loc[_repeated(inside["landslide"]), "block"]),
            by_block(mapped.loc[_repeated(around["polygon"]), "block"]),
        ],
        axis=1,
    )


def _strips(scene: Scene, landslides: Numbers, polygons: Numbers) -> Iterator[pd.DataFrame]:
    """What lies on what, strip by strip: scored ``pixels`` of each ``landslide`` in each ``polygon``, their ``first`` pixel and its
    ``block``."""
    width = scene.labels.shape[1]
    for rows in strips(scene.labels.shape):
        scored = (np.asarray(scene.labels[rows]) != UNKNOWN) & (scene.area.codes(rows, slice(0, width)) != OUTSIDE)
        known, mapped = (of(rows).astype(np.int64) for of in (landslides, polygons))
        at = np.flatnonzero(scored & ((known > 0) | (mapped > 0)))
        pair = known.ravel()[at] << 32 | mapped.ravel()[at]
        pair, first, pixels = np.unique(pair, return_index=True, return_counts=True)
        block = scene.area.blocks(rows, slice(0, width)).ravel()[at[first]]
        yield pd.DataFrame(
            {"landslide": pair >> 32, "polygon": pair & (2**32 - 1), "pixels": pixels}
            | {"first": rows.start * width + at[first], "block": block}
        )


def _objects(pairs: pd.DataFrame, name: str) -> pd.DataFrame:
    """The landslides or polygons of pairs in the order of their pixels: number, ``pixels`` and ``block``."""
    objects = pairs[pairs[name] > 0].groupby(name)
    return objects.agg({"pixels": "sum", "block": "first"})


def _repeated(numbers: pd.Series[int]) -> Array:
    return np.unique(numbers[numbers.duplicated()])


def scores(counts: Array) -> dict[str, Array]:
    """Scores of sums of `COUNTS` ``(..., count)``; NaN where there is no landslide, the mean of matches also where there is no match."""
    landslides, polygons, matched, iou, _, _ = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    objects = landslides + polygons

    def of(part: Array, whole: Array) -> Array:
        return np.where((landslides > 0) & (whole > 0), ratio(part, whole), np.nan)

    return {
        "panoptic_quality": of(2 * iou, objects),
        "matched_f1": of(2 * matched, objects),
        "matched_iou": of(iou, matched),
    }
