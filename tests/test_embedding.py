"""Vectors of landslides: exact in area and weights, from networks that never saw the ground, and in one space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
from affine import Affine
from test_ensemble import NAMES, SHAPE, Memory, Tilted, member
from test_probe import SETTINGS as SETTINGS_OF_PROBE

from hpcl.embedding import alike, spaces, vectors
from hpcl.embedding.footprint import Footprint
from hpcl.embedding.probe import probe
from hpcl.footprints import footprints
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.networks.base import Outputs
from hpcl.networks.ensemble import Ensemble
from hpcl.settings.inference import InferenceSettings
from stages import embed

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
        np.s_[50:70, 80:100],  # folds 2 and 3
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
    held = seen.in_fold.sum(axis=0)
    assert held.min() == 0, "outside of all folds"
    assert held.max() == 2, "across a border"


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
    common = np.stack([said(ground, turn) for turn in turns])
    seen = vectors.Seen(sums, pixels, common, np.zeros(common.shape[:2], bool))
    halves = np.arange(2 * pairs) ^ 1

    def found(rows: np.ndarray) -> float:
        return float(np.mean([near[0] == half for near, half in zip(alike.nearest(rows), halves, strict=True)]))

    assert found(sums.sum(axis=0).astype(float) / 40) < 0.2
    joined = spaces.joined([seen])[0]
    assert found(joined) > 0.9
    assert joined.shape == (2 * pairs, spaces.DIMENSIONS)


def test_what_networks_know_by_heart_is_not_read_where_their_ground_has_no_say() -> None:
    """Classes dealt at random, which every network knows of the folds that it learnt, and only there."""
    rng = np.random.default_rng(0)
    networks, channels, count, cells = 3, 128, 90, 10
    folds, names = np.arange(count) % networks, rng.permutation(np.resize(["even", "odd"], count)).astype(object)
    own = folds == np.arange(networks)[:, None]
    heart = np.where(own, 0, np.where(names == "odd", 1, -1))[..., None] * rng.normal(size=(networks, 1, channels))
    said = rng.normal(size=(count, channels)) + rng.normal(size=(networks, count, channels)) + heart
    common = np.repeat(said, cells, axis=1) + 0.1 * rng.normal(size=(networks, count * cells, channels))
    pixels = 40 * own.astype(np.float32)
    sums = (said * pixels[..., None]).astype(np.float32)
    seen = vectors.Seen(sums, pixels, common.astype(np.float32), np.repeat(own, cells, axis=1))

    def read(without: list[int]) -> float:
        features = {fold: spaces.joined([seen], one)[0] for fold, one in enumerate(without)}
        return probe(features, names, folds, np.arange(count), SETTINGS_OF_PROBE).balanced_accuracy

    assert read([0, 0, 0]) > 0.8, "what is to be kept from the probe"
    assert read([1, 2, 3]) < 0.6


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


# ------------------------------------------------------------------------------------------------------------ the stage


class Ground(Memory):
    """The scene in memory as the stage opens one."""

    grid = Grid(SHAPE, Affine(2, 0, 0, 0, -2, 0), examples.CRS)

    def __init__(self, area: str, files: Any, ensemble: Ensemble, missing: str) -> None:
        super().__init__(ensemble, area)

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def square(row: int, column: int) -> Any:
    """Eight pixels wide."""
    return shapely.box(2 * column, -2 * row - 16, 2 * column + 16, -2 * row)


SHOWN, HOLE, OFF = [square(40, 8), square(60, 80), square(70, 140)], [square(12, 64)], [square(-99, 0)]


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the stage on areas of which the map shows nothing and the inventory has these outlines."""

    def run(**inventories: list[Any]) -> None:
        def tables(name: str) -> dict[str, gpd.GeoDataFrame]:
            outlines = {embed.OF_MAP: [], embed.OF_INVENTORY: inventories[name]}
            return {
                file: gpd.GeoDataFrame({"id": range(1, len(of) + 1)}, geometry=of, crs=examples.CRS)
                for file, of in outlines.items()
            }

        ensemble = Ensemble(tuple(member(fold, Cells(1.0)) for fold in (1, 2, 3)))
        for name, value in {
            "params": lambda section, _: SETTINGS if section == "inference" else tuple(inventories),
            "load": lambda _: ensemble, "_is_mapped_by": lambda *_: True, "_tables": tables, "RasterScene": Ground,
        }.items():  # fmt: skip
            monkeypatch.setattr(embed, name, value)
        monkeypatch.chdir(tmp_path)
        embed.main()

    return run


@pytest.mark.parametrize("outlines", [HOLE, OFF])
def test_where_no_landslide_has_data_one_sentence_says_so(outlines: list[Any], embedded: Callable[..., None]) -> None:
    with pytest.raises(embed.EmbedError, match="No landslide of valley lies on ground with data"):
        embedded(valley=outlines)
    assert not Path("data/embed").exists()


def test_an_area_whose_landslides_have_no_data_is_left_out(
    embedded: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    embedded(valley=SHOWN + HOLE, hill=OFF)
    assert "embed: hill: no landslide lies on ground with data, so it is left out" in capsys.readouterr().out
    assert [path.name for path in Path("data/embed").iterdir()] == ["valley"]
    found = vector.read(Path("data/embed/valley/inventory.gpkg"))
    assert np.isfinite(found["embedding_01"]).tolist() == [True, True, True, False]
    assert found["fold"].tolist() == [1, 2, 0, 2]
    by_fold = pd.read_csv("data/embed/valley/inventory_by_fold.csv")
    assert by_fold["id"].tolist() == [1, 2, 3, 4]
    assert {f"without_{fold}_03" for fold in (1, 2, 3)} < set(by_fold)
    assert (by_fold["without_1_01"] != found["embedding_01"]).all()
    np.testing.assert_array_equal(np.isfinite(by_fold["without_2_01"]), [True, True, True, False])
