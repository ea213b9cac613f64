"""One training of the ablation, scored on the test ground of the tiles as a map would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hpcl.core import codes
from hpcl.core.areas import distinct
from hpcl.core.artifacts import read_npy
from hpcl.core.records import TileFacts
from hpcl.inference import predict, scene
from hpcl.metrics import tally
from hpcl.networks.normalise import Float32
from hpcl.networks.store import Trained
from hpcl.settings.inference import InferenceSettings

COUNTS = ["tn", "fp", "fn", "tp"]


class TileScene(scene.Scene):
    """An area of the tiles as a scene: the same ground as its rasters, and no GDAL."""

    def __init__(self, folder: Path, area: str, facts: TileFacts, trained: Trained) -> None:
        self._values = read_npy(folder / f"{area}.bands.npy", "f", [len(facts.bands), None, None])
        self._layers = [facts.band_names.index(name) for name in trained.facts.band_names]
        super().__init__(trained, area, (self._values.shape[1], self._values.shape[2]))

    def read(self, roi: tuple[slice, slice]) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        return np.stack([self._values[layer, roi[0], roi[1]] for layer in self._layers])


def score(folder: Path, facts: TileFacts, trained: Trained, windows: InferenceSettings) -> pd.DataFrame:
    """Confusion of the trained network's map in every test block of the tiles: ``area, block, tn, fp, fn, tp``."""
    tables = []
    for area in distinct(sorted(facts.areas)):
        labels, split, block = (
            read_npy(folder / f"{area}.{a}.npy", "iu", [None, None]) for a in ("labels", "split", "block")
        )
        if not (split == codes.TEST).any():
            continue
        counts = np.zeros((int(block.max()) + 1, len(COUNTS)), np.int64)
        for part in predict.predict(TileScene(folder, area, facts, trained), trained, windows):
            used = (split[part.roi] == codes.TEST) & (labels[part.roi] != codes.UNKNOWN)
            truth, mapped = labels[part.roi] >= 1, part.probability >= trained.facts.threshold
            found = tally.by_block(block[part.roi][used], (truth * 2 + mapped)[used], len(COUNTS))
            counts[: len(found)] += found
        blocks = np.flatnonzero(counts.any(1))
        tables.append(pd.DataFrame(counts[blocks], columns=COUNTS).assign(area=area, block=blocks))
    return pd.concat(tables, ignore_index=True)[["area", "block", *COUNTS]]
