"""Labels that nothing in the bands tells of: networks learn them by heart, and a cross-fitted map still scores as chance does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from test_fit import recipe

from hpcl.ablation import score
from hpcl.ablation.records import CONFUSION
from hpcl.core.codes import UNKNOWN
from hpcl.networks import store
from hpcl.networks.ensemble import Ensemble, load
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings
from stages import _stage, _train


def project(folder: Path, tiles: Path) -> None:
    """The tiles with other labels, which are drawn apart from every band."""
    (folder / "data/tiles").mkdir(parents=True)
    for path in tiles.iterdir():
        (folder / "data/tiles" / path.name).write_bytes(path.read_bytes())
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(256, 256)), 14)
    labels = (noise > np.quantile(noise, 0.7)).astype(np.uint8)
    labels[np.load(tiles / "place.labels.npy") == UNKNOWN] = UNKNOWN
    np.save(folder / "data/tiles/place.labels.npy", labels)
    values = np.load(tiles / "place.bands.npy")
    values[0] -= np.load(tiles / "place.labels.npy") == 1  # what told of the labels that were
    values = np.stack([ndimage.gaussian_filter(np.nan_to_num(band), 4) * 8 for band in values])
    np.save(folder / "data/tiles/place.bands.npy", values.astype(np.float32))


def landslide_iou(ensemble: Ensemble) -> float:
    windows = InferenceSettings(
        overlap_frac=0.0, batch_size=4, tta="none", adapt_windows=0, missing_bands="refuse", networks="all"
    )
    settings = EvaluateSettings(
        resamples=10, confidence_frac=0.9, seed=0, object_found_frac=0.5, object_minimum_area_m2=0.0,
        object_size_edges_m2=(1.0, 2.0), boundary_px=2, calibration_bins=10,
    )  # fmt: skip
    _, false, missed, found = score.score(_train.TILES, ensemble, windows, settings)[CONFUSION].sum()
    return float(found / (false + missed + found))


def swapped(ensemble: Ensemble) -> Ensemble:
    """Each fold mapped by the network that learnt from it: what a map without folds is."""
    first, second = ensemble.members
    return Ensemble(
        (
            replace(second, facts=replace(second.facts, fold=1)),
            replace(first, facts=replace(first.facts, fold=2)),
        )
    )


def test_what_is_learnt_by_heart_scores_as_chance(
    tmp_path: Path, tiles_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_stage, "_inputs", [])  # of a stage that an earlier test was
    project(tmp_path, tiles_folder)
    by_heart = recipe(epochs=1, steps_per_epoch=100, weight=0.0, dropout=0.0, learning_rate=0.006)
    for result in _train.train("training", by_heart):
        store.save(Path("data/model") / str(result.fold), result.network, result.facts)
    ensemble = load(Path("data/model"))
    labels = np.load("data/tiles/place.labels.npy")
    everything = float(np.mean(labels[labels != UNKNOWN] == 1))  # the IoU of calling all ground landslide
    assert landslide_iou(ensemble) < everything + 0.05
    assert landslide_iou(swapped(ensemble)) > everything + 0.2
