"""The ladder: what each component buys. A rung is one training, scored on the test split of the tiles as a map would
be; the table compares rungs with seeds and blocks resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpcl import infer, metrics
from hpcl.bands import Float32
from hpcl.networks import Trained

COUNTS = ["tn", "fp", "fn", "tp"]


class LadderError(ValueError):
    """Rungs that cannot be compared."""


class TileScene(infer.Scene):
    """An area of the tiles as a scene: the same ground as its rasters, and no GDAL."""

    def __init__(self, folder: Path, area: str, facts: Mapping[str, Any], trained: Trained) -> None:
        self._values = np.load(folder / f"{area}.bands.npy", mmap_mode="r")
        names = [band["name"] for band in facts["bands"]]
        self._layers = [names.index(band["name"]) for band in trained.facts["bands"]]
        super().__init__(trained, area, (self._values.shape[1], self._values.shape[2]))

    def read(self, roi: tuple[slice, slice]) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        return np.stack([self._values[layer, roi[0], roi[1]] for layer in self._layers])


def score(
    folder: Path,
    facts: Mapping[str, Any],
    trained: Trained,
    windows: infer.InferSettings,
    settings: metrics.EvaluateSettings,
) -> pd.DataFrame:
    """Confusion of the trained network's map in every test block of the tiles: ``area, block, tn, fp, fn, tp``."""
    tables = []
    for area, fact in sorted(facts["areas"].items()):
        labels, split, block = (
            np.load(folder / f"{area}.{a}.npy", mmap_mode="r") for a in ("labels", "split", "block")
        )
        if not (np.asarray(split) == metrics.TEST).any():
            continue
        scene = TileScene(folder, area, facts, trained)
        probability = np.empty(scene.shape, np.float32)
        for part in infer.predict(scene, trained, windows):
            probability[part.roi] = part.probability
        ground = metrics.Scene(labels, split, block, fact["pixel_m"] ** 2)
        blocks = metrics.tally(ground, lambda rows: probability[rows], trained.facts["threshold"], settings).blocks  # noqa: B023  (called at once)
        counts = pd.DataFrame(blocks.confusion.reshape(-1, 4), columns=COUNTS)
        tables.append(counts.assign(area=area, block=blocks.block)[["area", "block", *COUNTS]])
    return pd.concat(tables, ignore_index=True)


def ground(facts: Mapping[str, Any]) -> str:
    """What a score was reached on, in words: ``west -> east``, or ``north + south, test blocks``.

    >>> ground({"areas": {"a": {"blocks": [{"split": "train"}]}, "b": {"blocks": [{"split": "test"}]}}})
    'a -> b'
    """
    splits = {area: {block["split"] for block in fact["blocks"]} for area, fact in sorted(facts["areas"].items())}
    train, test = ([area for area, has in splits.items() if wanted in has] for wanted in ("train", "test"))
    if set(train) & set(test):
        return f"{' + '.join(test)}, test blocks"
    return f"{' + '.join(train)} -> {' + '.join(test)}"


def compare(
    rungs: Mapping[str, Sequence[pd.DataFrame]], against: Mapping[str, str], settings: metrics.EvaluateSettings
) -> pd.DataFrame:
    """One line per rung: mean and standard deviation of its landslide IoU over seeds, and how far it is ahead.

    ``rungs``: the block counts of each rung, one table per seed, the same seeds in the same order for all;
    ``against``: the rung that each is compared with. The interval resamples seeds and blocks, both paired.
    """
    counts = {name: _stack(tables) for name, tables in rungs.items()}
    shapes = {(len(c), c.shape[1]) for c in counts.values()}
    truths = [c.sum(-1) for c in counts.values()]
    places = {
        tuple(zip(*(t.sort_values(["area", "block"])[c] for c in ("area", "block")), strict=True))
        for r in rungs.values()
        for t in r
    }
    if len(shapes) != 1 or len(places) != 1 or any((truth != truths[0]).any() for truth in truths):
        raise LadderError("The rungs were not scored on the same blocks with the same seeds; run the ladder again.")
    seeds, blocks = shapes.pop()
    weights = metrics.resample(blocks, settings)
    drawn = np.random.default_rng(settings.seed).integers(seeds, size=(len(weights), seeds))
    iou = {name: metrics.scores(c.sum(1))["landslide_iou"] for name, c in counts.items()}
    draws = {name: _draws(c, weights, drawn) for name, c in counts.items()}
    lines = []
    for name in rungs:
        line = {
            "row": name,
            "seeds": seeds,
            "landslide_iou": iou[name].mean(),
            "sd": iou[name].std(ddof=1) if seeds > 1 else np.nan,
        }
        other = against.get(name, "")
        if other in counts:
            low, high = metrics.interval(draws[name] - draws[other], settings)
            lead = {"against": other, "difference": (iou[name] - iou[other]).mean(), "low": low, "high": high}
            line |= lead
        lines.append(line)
    return pd.DataFrame(lines, columns=["row", "seeds", "landslide_iou", "sd", "against", "difference", "low", "high"])


def _stack(tables: Sequence[pd.DataFrame]) -> metrics.Array:
    """Confusion ``(seed, block, 2, 2)``."""
    ordered = [table.sort_values(["area", "block"])[COUNTS].to_numpy().reshape(-1, 2, 2) for table in tables]
    return np.stack(ordered)


def _draws(counts: metrics.Array, weights: metrics.Array, drawn: metrics.Array) -> metrics.Array:
    """Mean IoU over the drawn seeds on the drawn blocks, ``(resample,)``."""
    by_seed = np.stack(
        [metrics.scores(np.tensordot(weights.astype(float), c, axes=1))["landslide_iou"] for c in counts]
    )
    return np.asarray(by_seed[drawn.T, np.arange(len(weights))].mean(0))
