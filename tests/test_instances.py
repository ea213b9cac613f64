"""Polygons and landslides one by one: scores against a count by sets of pixels, and patches that are cut into landslides."""

from pathlib import Path

import examples
import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from scipy import ndimage

from hpcl import windows
from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.geo import cog, raster, vector
from hpcl.metrics import instances
from hpcl.metrics.tally import Scene
from hpcl.outline import parts, polygons
from hpcl.outline.drawn import Drawn
from hpcl.settings.outline import OutlineSettings

AFFINE = Affine(2.0, 0, 500_000, 0, -2.0, 4_000_000)
SHAPE = (70, 90)
GRID = raster.Grid(SHAPE, AFFINE, "EPSG:32649")
TOPS, LEFTS = [0, 25, 50], [0, 30, 60]
FOLDS = [0, 1, OUTSIDE, 1, 0, 1, 0, OUTSIDE, 1]


# ---- scores


def blobs(rng: np.random.Generator, count: int) -> list[shapely.Polygon]:
    """Random ellipses, some of which overlap."""
    found = []
    for _ in range(count):
        east, north = rng.uniform([500_000, 3_999_860], [500_180, 4_000_000])
        disc = shapely.affinity.scale(shapely.Point(east, north).buffer(1.0, quad_segs=4), *rng.uniform(3, 25, 2))
        found.append(shapely.affinity.rotate(disc, rng.uniform(0, 180)))
    return found


def mapped_like(rng: np.random.Generator, landslides: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Some landslides missed, some cut in two, others moved or joined, and false ones; none overlaps another."""
    found: list[shapely.Geometry] = []
    for shape in landslides:
        kind = rng.integers(0, 5)
        east, north = shape.centroid.coords[0]
        if kind == 0:
            found += list(shapely.ops.split(shape, shapely.LineString([(east, north - 99), (east, north + 99)])).geoms)
        elif kind < 4:
            found.append(shapely.affinity.translate(shape, *rng.normal(0, 3, 2)))
    bridge = shapely.LineString([shape.centroid for shape in landslides[:2]]).buffer(3)
    found.insert(0, shapely.union_all([*landslides[:2], bridge]))
    found += blobs(rng, 3)
    apart: list[shapely.Geometry] = []
    for shape in found:
        rest = shape.difference(shapely.union_all(apart))
        apart += [part for part in getattr(rest, "geoms", [rest]) if part.geom_type == "Polygon"]
    return apart


def pixels_of(shapes_: list[shapely.Polygon], scored: np.ndarray) -> list[set[int]]:
    """The scored pixels of each shape; where shapes overlap, the smallest has them."""
    columns, rows = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    x, y = AFFINE * (columns, rows)
    taken: set[int] = set()
    found: list[set[int]] = [set()] * len(shapes_)
    for i in sorted(range(len(shapes_)), key=lambda i: shapes_[i].area):
        inside = set(np.flatnonzero(shapely.contains_xy(shapes_[i], x, y) & scored).tolist())
        found[i] = inside - taken
        taken |= inside
    return found


def block_of(pixel: int) -> int:
    row, column = divmod(pixel, SHAPE[1])
    return sum(top <= row for top in TOPS[1:]) * 3 + sum(left <= column for left in LEFTS[1:])


def brute(landslides: list[set[int]], mapped: list[set[int]], smallest_px: float) -> np.ndarray:
    """`instances.COUNTS` by block from sets of pixels, every pair tried."""
    void = set().union(*(one for one in landslides if len(one) < smallest_px))
    landslides = [one for one in landslides if one and len(one) >= smallest_px]
    mapped = [one - void for one in mapped]
    large = [one for one in mapped if one and len(one) >= smallest_px]
    counts = np.zeros((9, 6))
    matched = []
    for known in landslides:
        block = block_of(min(known))
        counts[block, 0] += 1
        for one in mapped:
            if (iou := len(known & one) / len(known | one)) > 0.5:
                matched.append(one)
                counts[block, 1:4] += [1, 1, iou]
        counts[block, 4] += sum(len(one & known) > len(one) / 2 for one in large) > 1
    for one in mapped:
        if one:
            counts[block_of(min(one)), 1] += one in large and one not in matched
            counts[block_of(min(one)), 5] += sum(len(one & known) > len(known) / 2 for known in landslides) > 1
    return counts


def scene_with_unknown(rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[ndimage.gaussian_filter(rng.normal(size=SHAPE), 6) > 0.06] = UNKNOWN
    area = examples.tiled_area(
        *FOLDS, tops=TOPS, lefts=LEFTS, shape=list(SHAPE), crs="EPSG:32649", transform=list(AFFINE)[:6], pixel_m=2.0
    )
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    return Scene(labels, area), (labels != UNKNOWN) & (area.codes(*whole) != OUTSIDE)


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("minimum_area_m2", [0.0, 150.0, 500.0])
def test_scores_equal_a_count_by_sets_of_pixels_whatever_the_strips(tmp_path, monkeypatch, seed, minimum_area_m2):
    rng = np.random.default_rng(seed)
    scene, scored = scene_with_unknown(rng)
    landslides = blobs(rng, 9)
    mapped = mapped_like(rng, landslides)
    for name, outlines in {"known": landslides, "mapped": mapped}.items():
        vector.write(tmp_path / f"{name}.gpkg", gpd.GeoDataFrame(geometry=outlines, crs="EPSG:32649"))
    expected = brute(pixels_of(landslides, scored), pixels_of(mapped, scored), minimum_area_m2 / 4)
    for strip_px in (90 * 7, 2**20):
        monkeypatch.setattr(windows, "STRIP_PX", strip_px)
        known, found = (Drawn(tmp_path / f"{name}.gpkg", GRID).numbers for name in ("known", "mapped"))
        counts = instances.count(scene, known, found, minimum_area_m2)
        np.testing.assert_allclose(counts, expected, rtol=1e-12)

    tp, fp, fn = expected[:, 2].sum(), (expected[:, 1] - expected[:, 2]).sum(), (expected[:, 0] - expected[:, 2]).sum()
    quality = instances.scores(counts.sum(0))
    assert quality["matched_f1"] == pytest.approx(tp / (tp + fp / 2 + fn / 2))
    assert quality["panoptic_quality"] == pytest.approx(expected[:, 3].sum() / (tp + fp / 2 + fn / 2))
    if tp:
        assert quality["panoptic_quality"] == pytest.approx(quality["matched_iou"] * quality["matched_f1"])


def test_the_random_polygons_above_hold_every_kind_of_mistake():
    total = np.zeros(6)
    for seed in range(7):
        rng = np.random.default_rng(seed)
        _, scored = scene_with_unknown(rng)
        landslides = blobs(rng, 9)
        total += brute(pixels_of(landslides, scored), pixels_of(mapped_like(rng, landslides), scored), 0).sum(0)
    known, mapped, matched, _, split, merging = total
    assert min(known - matched, mapped - matched, matched, split, merging) >= 3


def test_what_lies_on_unknown_ground_changes_nothing():
    rng = np.random.default_rng(3)
    scene, scored = scene_with_unknown(rng)
    known, mapped = (ndimage.label(ndimage.gaussian_filter(rng.normal(size=SHAPE), 3) > 0.05)[0] for _ in range(2))
    counts = instances.count(scene, lambda rows: known[rows], lambda rows: mapped[rows], 40.0)
    known[~scored] = rng.integers(0, 99, (~scored).sum())
    mapped[~scored] = 0
    again = instances.count(scene, lambda rows: known[rows], lambda rows: mapped[rows], 40.0)
    np.testing.assert_array_equal(counts, again)


def test_no_polygon_or_no_landslide_is_no_error():
    scene, _ = scene_with_unknown(np.random.default_rng(0))
    none, one = (lambda rows: np.zeros(SHAPE, int)[rows]), (lambda rows: np.eye(*SHAPE, dtype=int)[rows])
    assert instances.count(scene, none, none, 0.0).sum() == 0
    missed = instances.scores(instances.count(scene, one, none, 0.0).sum(0))
    assert missed["panoptic_quality"] == missed["matched_f1"] == 0
    assert np.isnan(missed["matched_iou"])
    assert all(np.isnan(score) for score in instances.scores(instances.count(scene, none, one, 0.0).sum(0)).values())


# ---- cutting


def patches_of(mask: np.ndarray) -> list[shapely.Polygon]:
    found = shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    return [shapely.Polygon(one["coordinates"][0], one["coordinates"][1:]) for one, _ in found]


def drawn(shape: shapely.Geometry, turn_deg: float, radius_px: float) -> shapely.Polygon:
    """A shape of unit size as a patch of pixels: turned, then enlarged, off the middle of a pixel."""
    shape = shapely.affinity.rotate(shape, turn_deg, origin=(0, 0))
    shape = shapely.affinity.scale(shape, radius_px, radius_px, origin=(0, 0))
    left, bottom, right, top = shape.bounds
    shape = shapely.affinity.translate(shape, 2.3 - left, 2.6 - bottom)
    mask = rasterize([shape], out_shape=(int(top - bottom) + 6, int(right - left) + 6)) > 0
    return max(patches_of(mask), key=lambda patch: patch.area)


DISC = shapely.Point(0, 0).buffer(1.0, quad_segs=64)
TWO = {
    "alike": DISC.union(shapely.affinity.translate(DISC, 1.985, 0)),
    "of two sizes": DISC.union(shapely.affinity.translate(shapely.affinity.scale(DISC, 0.6, 0.6), 1.585, 0)),
    "with a bridge": DISC.union(shapely.affinity.translate(DISC, 2.6, 0)).union(shapely.box(0, -0.12, 2.6, 0.12)),
}
ONE = {
    "disc": DISC,
    "ellipse": shapely.affinity.scale(DISC, 3.0, 0.8),
    "crescent": DISC.difference(shapely.affinity.translate(shapely.affinity.scale(DISC, 0.9, 0.9), 0.35, 0)),
    "tongue": DISC.union(shapely.box(0, -0.5, 5, 0.5)),
    "ring": DISC.difference(shapely.affinity.scale(DISC, 0.5, 0.5)),
}
TURNS_DEG = [0.0, 17.0, 45.0, 90.0, 141.0]


@pytest.mark.parametrize("radius_px", [16, 25, 60])
@pytest.mark.parametrize("turn_deg", TURNS_DEG)
@pytest.mark.parametrize("name", TWO)
def test_two_bodies_that_touch_are_two_landslides(name, turn_deg, radius_px):
    patch = drawn(TWO[name], turn_deg, radius_px)
    both = parts.cut(patch, 0.4)
    assert len(both) == 2
    smaller, larger = sorted(part.area for part in both)
    share = 0.36 / 1.36 if name == "of two sizes" else 0.5
    assert smaller / (smaller + larger) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("radius_px", [3, 8, 25, 60])
@pytest.mark.parametrize("turn_deg", TURNS_DEG)
@pytest.mark.parametrize("name", ONE)
def test_one_body_is_one_landslide(name, turn_deg, radius_px):
    patch = drawn(ONE[name], turn_deg, radius_px)
    assert parts.cut(patch, 0.4) == [patch]


def test_a_hole_makes_a_neck_unless_it_is_to_be_filled():
    mask = np.zeros((44, 84), bool)
    mask[2:42, 2:82] = True
    mask[4:40, 42] = False
    (patch,) = patches_of(mask)
    assert len(parts.cut(patch, 0.4)) == 2
    assert len(parts.cut(patch, 0.4, fill_px=36.0)) == 2
    assert parts.cut(patch, 0.4, fill_px=36.5) == [patch]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("neck_frac", [0.2, 0.4, 0.9])
def test_parts_tile_their_patch(seed, neck_frac):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 2.5)
    mask = field > -0.02  # large patches with necks, holes, and corners that touch
    number, seen = 0, np.zeros(mask.shape, int)
    for patch in patches_of(mask):
        for part in parts.cut(patch, neck_frac, fill_px=6.0):
            assert part.is_valid
            seen += rasterize([part], out_shape=mask.shape)
            number += 1
    np.testing.assert_array_equal(seen, mask)
    assert number >= ndimage.label(mask)[1] + (neck_frac > 0.3)


def test_a_patch_too_large_to_be_cut_is_one_sentence(monkeypatch):
    monkeypatch.setattr(parts, "MOST_PX", 400)
    assert len(parts.cut(shapely.box(3, 4, 23, 24), 0.3)) == 1
    with pytest.raises(
        parts.PartsError, match=r"spans 21 x 20 pixels, more than can be cut \(400 pixels\).*neck_frac to 0"
    ):
        parts.cut(shapely.box(3, 4, 24, 24), 0.3)


# ---- in the outlines


def plant(path: Path, probability: np.ndarray, pixel_m: float = 2.0) -> Path:
    grid = raster.Grid(probability.shape, Affine(pixel_m, 0, 5e5, 0, -pixel_m, 4e6), "EPSG:32649")
    cog.write(path, raster.Raster(probability[None].astype(np.float32), grid, (raster.Band("probability"),)))
    networks = np.zeros((1, *probability.shape), np.uint8)
    cog.write(path.with_name("network.tif"), raster.Raster(networks, grid, (raster.Band("network"),)), 255)
    return path


def outlined(path: Path, neck_frac: float, minimum_area_m2: float = 0.0, simplify_px: float = 0.0) -> gpd.GeoDataFrame:
    settings = OutlineSettings(
        operating_point="best_iou", neck_frac=neck_frac, minimum_area_m2=minimum_area_m2, simplify_px=simplify_px,
        minimum_mean_probability=0.0,
    )  # fmt: skip
    return polygons.landslides(
        path, examples.thresholds(0.5, elsewhere=0.5), settings, classes=["landslide"], provenance={}
    )


def rough(seed: int) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(120, 90)), 3.0)
    return np.where(field > -0.02, 0.8, 0.1)


@pytest.mark.parametrize("seed", range(3))
def test_blocks_do_not_show_in_what_is_written(tmp_path, monkeypatch, seed):
    path = plant(tmp_path / "p.tif", rough(seed))
    monkeypatch.setattr(polygons, "STRIP_ROWS", 512)
    whole = outlined(path, 0.4, 60.0, 1.0).drop(columns="mean_probability")  # sums of floats, by strips
    vector.write(tmp_path / "whole/landslides.gpkg", whole)
    assert len(whole) > len(outlined(path, 0.0, 60.0, 1.0))
    for rows in (1, 7, 64):
        monkeypatch.setattr(polygons, "STRIP_ROWS", rows)
        vector.write(
            tmp_path / "strips/landslides.gpkg", outlined(path, 0.4, 60.0, 1.0).drop(columns="mean_probability")
        )
        assert (tmp_path / "strips/landslides.gpkg").read_bytes() == (tmp_path / "whole/landslides.gpkg").read_bytes()


def test_nothing_is_cut_at_0_and_parts_smooth_without_gap_or_overlap(tmp_path, monkeypatch):
    path = plant(tmp_path / "p.tif", rough(5))
    cut = outlined(path, 0.4, simplify_px=1.5)
    assert cut.is_valid.all()
    assert cut.geometry.union_all().area == pytest.approx(cut["area_m2"].sum())
    monkeypatch.setattr(parts, "cut", None)  # is not called
    off = outlined(path, 0.0)
    assert len(off) == ndimage.label(rough(5) > 0.5)[1] < len(cut)


@pytest.mark.parametrize("pixel_m", [0.5, 10.0, 232.0])
def test_the_minimum_area_acts_on_parts_at_any_size_of_pixels(tmp_path, pixel_m):
    patch = drawn(TWO["of two sizes"], 30.0, 25)
    mask = rasterize([patch], out_shape=(int(patch.bounds[3]) + 3, int(patch.bounds[2]) + 3))
    path = plant(tmp_path / "p.tif", np.where(mask, 0.9, 0.1), pixel_m)
    smaller, larger = sorted(outlined(path, 0.4)["area_m2"])
    assert smaller + larger == patch.area * pixel_m**2
    assert outlined(path, 0.4, smaller * 1.1)["area_m2"].tolist() == [larger]
    assert outlined(path, 0.0, smaller * 1.1)["area_m2"].tolist() == [smaller + larger]
