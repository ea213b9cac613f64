"""The networks of one training of the ablation, scored on the ground of the tiles as a map would be: each block by the network that
never saw its fold, at a threshold of the other folds; test areas by the mean of all networks, at a threshold of all folds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from hpcl.ablation.records import CONFUSION, COUNTS
from hpcl.calibration.out_of_fold import Counter
from hpcl.calibration.points import chosen
from hpcl.core.areas import distinct
from hpcl.core.artifacts import read_json, read_npy
from hpcl.core.records import TileFacts
from hpcl.inference import predict, scene
from hpcl.metrics import tally
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings


class TileScene(scene.Scene):
    """An area of the tiles as a scene: the same ground as its rasters, and no GDAL."""

    def __init__(self, folder: Path, area: str, facts: TileFacts, ensemble: Ensemble) -> None:
        self._values = read_npy(folder / f"{area}.bands.npy", "f", [len(facts.bands), *facts.areas[area].shape])
        self._layers = [facts.band_names.index(name) for name in ensemble.facts.band_names]
        super().__init__(ensemble, area, (self._values.shape[1], self._values.shape[2]))

    def read(self, roi: tuple[slice, slice]) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        return np.stack([self._values[layer, roi[0], roi[1]] for layer in self._layers])


Progress = Callable[[int, int], None]


def score(
    folder: Path,
    ensemble: Ensemble,
    windows: InferenceSettings,
    settings: EvaluateSettings,
    progress: Callable[[str], Progress] = lambda area: lambda done, total: None,
) -> pd.DataFrame:
    """What the map of all labelled ground of the tiles in ``folder`` got right and wrong in each block: ``area, block, fold`` (0 in
    test areas) and `COUNTS`. ``progress`` gives a hook for each area.

    The maps of all areas lie in a temporary folder meanwhile, for all are counted before the first threshold is chosen.
    """
    facts = read_json(folder / "facts.json", TileFacts)
    counter = Counter(len(facts.folds), settings)
    grounds: dict[str, tally.Scene] = {}
    maps: dict[str, Float32] = {}
    with TemporaryDirectory() as place:
        for area in distinct(sorted(facts.areas)):
            labels = read_npy(folder / f"{area}.labels.npy", "iu", facts.areas[area].shape)
            grounds[area] = tally.Scene(labels, facts.areas[area])
            tiles = TileScene(folder, area, facts, ensemble)
            maps[area] = np.lib.format.open_memmap(Path(place) / f"{area}.npy", "w+", np.float32, tiles.shape)
            for part in predict.predict(tiles, ensemble, windows, progress(area)):
                maps[area][part.roi] = part.probability
            if not facts.areas[area].test:
                counter.add(grounds[area], maps[area].__getitem__)
        thresholds, _ = chosen(counter.counts, "best_iou")
        tables = [
            _table(area, tally.tally(ground, tally.Map(maps[area].__getitem__, thresholds.by_network), settings).blocks)
            for area, ground in grounds.items()
        ]
    return pd.concat(tables, ignore_index=True)


def _table(area: str, blocks: tally.Blocks) -> pd.DataFrame:
    counted = np.concatenate([blocks.confusion.reshape(-1, len(CONFUSION)), blocks.boundary_px, blocks.objects], axis=1)
    table = pd.DataFrame(counted.astype(np.int64), columns=COUNTS).assign(
        area=area, block=blocks.block, fold=blocks.fold
    )
    return table[["area", "block", "fold", *COUNTS]]
