"""A linear probe learns from other places only, says how sure it is, and finds the columns that `ingest` leaves aside."""

from __future__ import annotations

from pathlib import Path

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine

from hpcl.embedding.probe import ProbeError, classes, probe, usable
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.ingest.columns import columns
from hpcl.settings.evaluate import EvaluateSettings
from stages import probe as stage

SETTINGS = EvaluateSettings(
    resamples=200, confidence_frac=0.95, seed=0, object_found_frac=0.5, object_minimum_area_m2=0.0, object_size_edges_m2=(),
    boundary_px=1, calibration_bins=10,
)  # fmt: skip
RNG = np.random.default_rng(0)
PLACES = np.repeat([f"fold {number}" for number in range(12)], 20)
BLOCKS = np.char.add(PLACES, np.tile([" a", " b"], 120))


def everywhere(features: np.ndarray) -> dict[str, np.ndarray]:
    """Features that are the same whichever place is judged."""
    return dict.fromkeys(PLACES, features)


def test_what_can_be_read_is_found_and_what_cannot_is_not_told_from_chance() -> None:
    names = np.tile(np.array(["old", "fresh", "old", "old"], object), 60)
    noise = RNG.normal(size=(240, 4))
    found = probe(everywhere(noise + 4 * (names == "old")[:, None]), names, PLACES, BLOCKS, SETTINGS)
    assert found.balanced_accuracy > 0.95
    low, high = probe(everywhere(noise), names, PLACES, BLOCKS, SETTINGS).interval
    assert low < 0.5 < high < 0.7


def test_what_only_names_a_place_is_not_read() -> None:
    """All landslides of a place are of one class and look alike: learnt from their neighbours they would all be right."""
    centres = dict(zip(np.unique(PLACES), RNG.normal(size=(12, 30)), strict=True))
    features = np.stack([centres[place] for place in PLACES]) + 0.01 * RNG.normal(size=(240, 30))
    names = np.where([place[-1] in "02468" for place in PLACES], "old", "fresh").astype(object)
    assert probe(everywhere(features), names, PLACES, BLOCKS, SETTINGS).balanced_accuracy < 0.75


def test_a_fold_is_judged_by_vectors_in_which_its_ground_had_no_say() -> None:
    table = pd.DataFrame({"place": ["fold 1", "hill", "fold 2", "fold 1"], "fold": [1, 0, 2, 1]})
    for number, name in enumerate(["embedding_01", "without_1_01", "without_2_01", "without_10_01"]):
        table[name] = float(number)
    found = stage.vectors_by_place(table)
    assert {place: set(rows.ravel()) for place, rows in found.items()} == {
        "fold 1": {1.0},
        "hill": {0.0},
        "fold 2": {2.0},
    }
    assert all(rows.shape == (4, 1) for rows in found.values())


def test_many_numbers_are_halved_and_few_landslides_refused() -> None:
    assert classes(pd.Series(np.arange(21.0))).value_counts().to_dict() == {"up to 10": 11, "above 10": 10}
    assert classes(pd.Series(["old", "", None, "fresh"])).isna().tolist() == [False, True, True, False]
    names = pd.Series(["old"] * 15 + ["fresh"] * 12 + ["dry"] * 9)
    spread = pd.Series(["fold 1", "fold 2", "fold 3"] * 12)
    assert set(usable(names, spread, "age")) == {"old", "fresh"}
    with pytest.raises(ProbeError, match=r"'age' has old \(15\), fresh \(12\), dry \(9\), and a probe needs"):
        usable(names, pd.Series(["fold 1"] * 15 + ["fold 2"] * 21), "age")


def test_columns_follow_their_landslides(tmp_path: Path) -> None:
    shapes = [shapely.box(x, 3_999_900, x + 60, 3_999_960) for x in (500_010, 500_100, 500_150)]  # two overlap
    raw = gpd.GeoDataFrame({"Age": [3.0, 1.0, 2.0]}, geometry=[shapes[2], shapes[0], shapes[1]], crs=examples.CRS)
    vector.write(tmp_path / "landslides.gpkg", raw)
    drawn = shapely.box(500_300, 3_999_900, 500_320, 3_999_920)  # by an answer of a mapper
    table = gpd.GeoDataFrame({"id": [1, 2, 3, 4]}, geometry=[*shapes, drawn], crs=examples.CRS)
    grid = Grid((100, 200), Affine(2, 0, 500_000, 0, -2, 4_000_000), examples.CRS)
    found = columns(tmp_path / "landslides.gpkg", grid, table)["Age"]
    np.testing.assert_array_equal(found, [1, 2, 3, np.nan])


def test_a_landslide_within_another_keeps_its_own_columns(tmp_path: Path) -> None:
    outer, inner = (shapely.box(500_010, 3_999_900, 500_010 + side, 3_999_900 + side) for side in (60, 50))
    raw = gpd.GeoDataFrame({"Age": [1.0, 2.0]}, geometry=[outer, inner], crs=examples.CRS)
    vector.write(tmp_path / "landslides.gpkg", raw)
    grid = Grid((100, 200), Affine(2, 0, 500_000, 0, -2, 4_000_000), examples.CRS)
    table = gpd.GeoDataFrame({"id": [1, 2]}, geometry=[outer, inner], crs=examples.CRS)
    for turned in (table, table[::-1]):
        found = columns(tmp_path / "landslides.gpkg", grid, turned)["Age"]
        np.testing.assert_array_equal(found, turned["id"])
