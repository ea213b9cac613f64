"""What an area's first look proposes: it suits the ground, nothing is proposed twice, and figures equal those counted one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from test_dvc_yaml import ROOT, read_yaml

from hpcl import sensors
from hpcl.first_look import naming, polygons, proposals
from hpcl.scale import Sizes

DOCUMENT = read_yaml(ROOT / "params.yaml")


def shipped(**over: Any) -> dict[str, Any]:
    """The project's parameters by dotted names, lists as tuples; of one area."""
    values = {
        f"{section}.{key}": tuple(value) if isinstance(value, list) else value
        for section, inner in DOCUMENT.items()
        if isinstance(inner, dict)
        for key, value in inner.items()
    }
    values["model.branches"] = {name: tuple(bands) for name, bands in DOCUMENT["model"]["branches"].items()}
    return {**values, "areas": ("kaghan",), **{key.replace("__", "."): value for key, value in over.items()}}


def lognormal(median_m2: float, spread: float, seed: int, count: int = 400) -> tuple[float, ...]:
    return tuple(median_m2 * np.exp(spread * np.random.default_rng(seed).normal(size=count)))


def settled(sizes: Sizes, values: dict[str, Any]) -> dict[str, Any]:
    return {**values, **{found.parameter: found.proposed for found in proposals.of_sizes(sizes, values)}}


GROUNDS = [
    Sizes((rows, columns), pixel_m, dem_m, lognormal(across_px**2 * pixel_m**2, spread, seed))
    for seed, (rows, columns, pixel_m, dem_m, across_px, spread) in enumerate(
        [
            (2328, 2787, 10, 28.55, 3, 1.4), (1030, 1190, 2, 5, 50, 0.6), (4000, 3000, 0.5, 1, 90, 1.0),
            (900, 700, 30, 30, 20, 0.8), (1500, 6000, 3, 12, 12, 1.2), (1200, 1200, 6, 200, 60, 0.5),
            (20000, 20000, 5, 12.5, 20, 1.4), (400, 500, 5, 30, 20, 0.7), (3000, 3000, 1, 0.5, 300, 0.4),
        ]
    )
]  # fmt: skip


@pytest.mark.parametrize("sizes", GROUNDS, ids=lambda s: f"{s.pixel_m:g}m-{s.dem_pixel_m:g}m-{s.median_m2:.0f}m2")
def test_proposals_settle_what_scale_finds_fault_with(sizes: Sizes) -> None:
    once = settled(sizes, shipped())
    assert proposals.of_sizes(sizes, once) == [], "a second look has nothing to add"
    mended = {found.parameter for found in proposals.of_sizes(sizes, shipped())}
    left = [said for said in proposals.said(sizes, once) if said.startswith(tuple(mended))]
    assert all("boundaries cannot be judged" in said for said in left), left
    for parameter in set(once) - mended:
        assert once[parameter] == shipped()[parameter]
    assert once["tile.window_px"] % 32 == 0
    assert once["tile.block_px"] >= once["tile.window_px"]


def test_the_ground_that_params_yaml_was_made_for_needs_no_change() -> None:
    sizes = Sizes((1270, 1190), 2.0, 5.0, lognormal(9000, 1.0, 3))
    assert proposals.of_sizes(sizes, shipped()) == []


def test_the_newcomers_terrain_is_that_of_the_dem() -> None:
    found = {p.parameter: p for p in proposals.of_sizes(GROUNDS[0], shipped())}
    assert (found["terrain.smoothing_m"].now, found["terrain.smoothing_m"].proposed) == (6.0, 30.0)
    assert found["terrain.relief_radii_m"].proposed == (100.0, 400.0)
    assert "0.21 DEM pixels" in found["terrain.smoothing_m"].reason


def test_edges_are_thirds_of_what_is_counted() -> None:
    sizes = GROUNDS[0]
    once = settled(sizes, shipped())
    counted = np.array([area for area in sizes.landslides_m2 if area >= once["evaluate.object_minimum_area_m2"]])
    shares = np.histogram(counted, [0, *once["evaluate.object_size_edges_m2"], np.inf])[0] / len(counted)
    assert (abs(shares - 1 / 3) < 0.03).all()


@pytest.mark.parametrize(("minimum_m2", "pixel_m"), [(400, 0.5), (5000, 2), (90000, 10)])
def test_a_minimum_area_that_drops_many_is_lowered_and_says_what_it_keeps(minimum_m2: float, pixel_m: float) -> None:
    areas = lognormal(2 * minimum_m2, 1.5, 8)
    sizes = Sizes((3000, 3000), pixel_m, pixel_m, areas)
    values = shipped(outline__minimum_area_m2=minimum_m2)
    found = {p.parameter: p for p in proposals.of_sizes(sizes, values)}["outline.minimum_area_m2"]
    kept = np.array(areas)[np.array(areas) >= found.proposed]
    assert len(kept) >= 0.9 * len(areas)
    assert f"keeps {100 * len(kept) / len(areas):.0f} % of the polygons" in found.reason


@pytest.mark.parametrize("shape", [(300, 320), (600, 500), (1000, 900)])
def test_a_small_area_alone_gets_blocks_for_every_fold(shape: tuple[int, int]) -> None:
    sizes = Sizes(shape, 2.0, 5.0, lognormal(900, 0.5, 1))
    once = settled(sizes, shipped())
    rows, columns = (round(side / once["tile.block_px"]) for side in shape)
    assert rows * columns >= 2 * once["tile.folds"] or once["tile.block_px"] == once["tile.window_px"]
    several = shipped(areas=("kaghan", "naran"))
    assert settled(sizes, several)["tile.block_px"] == several["tile.block_px"], "folds are of all areas together"


# ---- polygons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_pixels_are_those_that_gdal_draws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, slivers, and large ones across the border of the image; counted in parts of any size."""
    rng = np.random.default_rng(seed)
    shape = (60, 90)
    shapes = []
    for _ in range(200):
        x, y = rng.uniform(-3, 93), rng.uniform(-3, 63)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radius = rng.lognormal(0, 1, 7)
        ring = np.c_[x + rng.choice([0.2, 1]) * radius * np.cos(angles), y + radius * np.sin(angles)]
        shapes.append(shapely.Polygon(ring).buffer(0))
    shapes = [one for one in shapes if one.area > 0]
    drawn = np.array([rasterio.features.rasterize([one], shape).sum() for one in shapes])
    monkeypatch.setattr(polygons, "AT_ONCE", 50)
    counted = polygons.pixel_counts(np.array(shapes, object), shape)
    few = (drawn <= polygons.COUNTED_PX) & (shapely.area(shapes) <= polygons.COUNTED_PX)
    assert few.sum() > 50
    np.testing.assert_array_equal(counted[few], drawn[few])
    np.testing.assert_allclose(counted[~few], drawn[~few], rtol=0.3, atol=8)


# ---- names -------------------------------------------------------------------------------------------------------------

BEFORE, AFTER = ("slope", "relief_30m", "relief_120m"), ("slope", "relief_100m", "relief_400m")


def test_branches_take_the_names_that_there_are() -> None:
    found = naming.of_branches(("B2", "B3", "B4", "B8"), (), BEFORE, AFTER, shipped())
    renewed = {p.parameter: p.proposed for p in found}
    assert renewed["model.branches.optical"] == ("B2", "B3", "B4", "B8")
    assert renewed["model.branches.terrain"][-3:] == ("relief_100m", "relief_400m", "roughness")


def test_branches_that_suit_are_left_and_further_bands_are_not_forced_on_anyone() -> None:
    values = shipped(model__branches={"optical": ("red", "nir"), "terrain": ("slope", "relief_30m"), "heat": ("tir",)})
    assert naming.of_branches(("red", "green", "nir"), ("tir",), BEFORE, BEFORE, values) == []
    (found,) = naming.of_branches(("red", "green", "nir"), ("tir",), BEFORE, AFTER, values)
    assert found.proposed == ("slope", "relief_100m", "relief_400m")


COLOURS, EARLIER = ("red", "green", "nir"), ("red_before", "green_before")


def test_an_earlier_image_is_proposed_as_a_branch_of_the_bands_that_it_has() -> None:
    values = shipped(ingest__optical_bands=COLOURS, model__branches={"optical": COLOURS, "terrain": ("slope",)})
    (found,) = naming.of_branches(COLOURS, ("tir", *EARLIER), BEFORE, BEFORE, values)
    assert (found.parameter, found.now, found.proposed) == ("model.branches.before", (), EARLIER)
    named = {"earlier": EARLIER[:1], "optical": COLOURS}
    assert naming.of_branches(COLOURS, EARLIER, BEFORE, BEFORE, {**values, "model.branches": named}) == []
    taken = {"before": ("tir",), "optical": COLOURS}
    assert naming.of_branches(COLOURS, EARLIER, BEFORE, BEFORE, {**values, "model.branches": taken}) == []


def test_bands_of_each_date_take_the_place_of_those_of_the_same_date() -> None:
    branches = {"before": ("red_before", "nir_before"), "after": ("red", "nir")}
    values = shipped(ingest__optical_bands=("red", "nir"), model__branches=branches)
    found = naming.of_branches(("B4", "B8"), ("B4_before", "B8_before"), BEFORE, BEFORE, values)
    assert {p.parameter.removeprefix("model.branches."): p.proposed for p in found} == {
        "before": ("B4_before", "B8_before"),
        "after": ("B4", "B8"),
    }


def test_an_image_without_nir_takes_it_out_of_the_branch() -> None:
    branches = {"optical": ("red", "green", "blue", "nir")}
    (found,) = naming.of_branches(("red", "green", "blue"), (), (), (), shipped(model__branches=branches))
    assert found.proposed == ("red", "green", "blue")


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (("synthetic_north", "synthetic_south"), ("kaghan",)),
        (("synthetic_north", "naran"), ("naran", "kaghan")),
        (("kaghan", "naran"), ("kaghan", "naran")),
    ],
)
def test_own_ground_comes_in_and_synthetic_ground_goes(listed: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    values = shipped(areas=listed, tile__test_areas=listed[:1])
    found = {p.parameter: p.proposed for p in naming.of_areas("kaghan", values)}
    assert found.get("areas", listed) == wanted
    assert found["synthesize.areas"] == {}
    assert set(found.get("tile.test_areas", listed[:1])) <= set(wanted)
    assert naming.of_areas("kaghan", {**values, **found}) == []


def test_a_synthetic_area_that_is_looked_at_stays() -> None:
    values = shipped(areas=("synthetic_north", "synthetic_south"))
    assert naming.of_areas("synthetic_north", values) == []


@pytest.mark.parametrize(
    ("names", "pixel_m", "sensor", "colours"),
    [
        (["B2", "B3", "B4", "B8"], 10, "Sentinel-2", ("blue", "green", "red", "nir")),
        (["B02", "b03", "B8A", "B11"], 20, "Sentinel-2", ("blue", "green", "nir", "swir")),
        (["SR_B4", "SR_B5"], 30, "Landsat 8 or 9", ("red", "nir")),
        (["blue", "green", "red", "nir"], 3, "PlanetScope", ("blue", "green", "red", "nir")),
        (["red", "green", "blue", "nir"], 0.2, None, ("red", "green", "blue", "nir")),
        (["B2", "B3"], 1.5, None, ("", "")),
        (["first", "second"], 10, None, ("", "")),
    ],
)
def test_bands_of_known_sensors(names: list[str], pixel_m: float, sensor: str | None, colours: tuple[str, ...]) -> None:
    found = sensors.recognised(names, pixel_m)
    assert (found.name if found else None) == sensor
    assert sensors.colours(names, found) == colours
