"""Vectors of landslides: exact in area and weights, from networks that never saw the ground, and in one space."""

from __future__ import annotations

from typing import Any

import examples
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from test_ensemble import NAMES, SHAPE, Memory, Tilted, member

from hpcl.embedding import alike, spaces, vectors
from hpcl.embedding.footprint import Footprint
from hpcl.footprints import footprints
from hpcl.geo.raster import Grid
from hpcl.networks.base import Outputs
from hpcl.networks.ensemble import Ensemble
from hpcl.settings.inference import InferenceSettings

SETTINGS = InferenceSettings(
    overlap_frac=0.5, batch_size=3, tta="none", adapt_windows=0, missing_bands="refuse", networks="all"
)
CELL_PX = 8


class Cells(Tilted):
    """A network whose deepest map is the mean of one band in each hyper-pixel."""

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        return Outputs(red, torch.nn.functional.avg_pool2d(red, CELL_PX), None)


def test_a_landslide_has_its_share_of_each_hyper_pixel_by_the_networks_that_never_saw_it() -> None:
    ensemble = Ensemble(tuple(member(fold, Cells(1.0)) for fold in (1, 2, 3)))
    places = [
        np.s_[38:42, 6:9],  # four hyper-pixels, fold 1
        np.s_[50:70, 30:50],  # folds 1 and 2
        np.s_[41:42, 141:142],  # smaller than a hyper-pixel, outside of all folds
        np.s_[5:35, 55:65],  # fold 2, part of it without data
        np.s_[12:20, 64:72],  # no data at all
    ]
    drawn = [Footprint(roi, np.ones([span.stop - span.start for span in roi], bool)) for roi in places]
    seen = vectors.see(scene := Memory(ensemble), ensemble, SETTINGS, drawn)
    expected = np.zeros((3, len(places), 1))
    pixels = np.zeros((3, len(places)))
    for fold in range(3):
        red = np.clip((scene.values[NAMES.index("red")] - 0.5 * (fold + 1)) / (2 + fold), -6, 6)
        cells = np.nan_to_num(red).reshape(SHAPE[0] // CELL_PX, CELL_PX, -1, CELL_PX).mean((1, 3))
        smooth = np.kron(cells, np.ones((CELL_PX, CELL_PX)))
        codes = scene.networks(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
        share = np.where(np.isfinite(red), (codes == fold + 1) + (codes == 0) / 3, 0)
        for number, roi in enumerate(places):
            pixels[fold, number] = share[roi].sum()
            expected[fold, number] = (share * smooth)[roi].sum()
    np.testing.assert_allclose(seen.pixels, pixels, atol=1e-3)
    np.testing.assert_allclose(seen.sums, expected, atol=2e-3)
    assert (pixels[:, 0] == [12, 0, 0]).all()


def test_what_networks_share_is_compared_and_what_each_has_for_itself_is_not() -> None:
    """Pairs of landslides that are alike, each in another fold: as networks say it, none finds its other half."""
    rng = np.random.default_rng(0)
    networks, channels, shared, pairs = 3, 40, 24, 30

    def said(latent: np.ndarray, turn: np.ndarray) -> np.ndarray:
        own = 2 * rng.normal(size=(len(latent), channels - shared))
        return (np.concatenate([latent, own], axis=1) @ turn + 5 * turn[0]).astype(np.float32)

    turns = [np.linalg.qr(rng.normal(size=(channels, channels)))[0] for _ in range(networks)]
    latent = np.repeat(rng.normal(size=(pairs, shared)), 2, axis=0) + 0.05 * rng.normal(size=(2 * pairs, shared))
    ground = rng.normal(size=(1500, shared))
    folds = np.arange(2 * pairs) % networks
    pixels = 40 * (folds == np.arange(networks)[:, None]).astype(np.float32)
    sums: np.ndarray = np.stack([said(latent, turn) for turn in turns]) * pixels[..., None]
    seen = vectors.Seen(sums, pixels, np.stack([said(ground, turn) for turn in turns]))
    halves = np.arange(2 * pairs) ^ 1

    def found(rows: np.ndarray) -> float:
        return float(np.mean([near[0] == half for near, half in zip(alike.nearest(rows), halves, strict=True)]))

    assert found(sums.sum(axis=0).astype(float) / 40) < 0.2
    joined = spaces.joined([seen])[0]
    assert found(joined) > 0.9
    assert joined.shape == (2 * pairs, spaces.DIMENSIONS)


def test_a_landslide_without_data_is_nobodys_neighbour() -> None:
    rows = np.array([[1.0, 0], [1, 0.1], [np.nan, 0], [-1, 0], [-1, 0.3]])
    found = alike.nearest(rows)
    assert found[2] == []
    assert [near[0] for near in found if near] == [1, 0, 4, 3]
    assert all(2 not in near for near in found)


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        (shapely.box(0.5, -4.5, 6.5, -0.5), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]),
        (shapely.box(4.2, -3.9, 4.6, -3.5), [(1, 2)]),  # no centre of a pixel
        (shapely.box(-9, -5, -4, -1), []),  # beside the grid
        (shapely.box(-3, -1.5, 1.5, 2), [(0, 0)]),  # partly
    ],
)
def test_outlines_have_pixels(shape: Any, pixels: list[tuple[int, int]]) -> None:
    grid = Grid((4, 5), Affine(2, 0, 0, 0, -2, 0), examples.CRS)
    (own,) = footprints([shape], grid)
    drawn = np.zeros((4, 5), bool)
    drawn[own.roi] = own.inside
    assert list(zip(*np.nonzero(drawn), strict=True)) == pixels
