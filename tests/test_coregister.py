"""Planted shifts come back, by both methods; what cannot be known is refused; nothing is moved without a gain."""

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.enums import Resampling
from scipy.ndimage import binary_dilation, gaussian_filter
from shapely.geometry import box

from benchmarks.ground import (
    DEM_GRID,
    DEM_M,
    ELEVATION,
    IMAGE_GRID,
    NORTH,
    SUN_ALTITUDE_DEG,
    SUN_AZIMUTH_DEG,
    WEST,
    Ground,
    centres,
    colours,
    displaced,
    grid_of,
    picture,
    save,
    tilted,
)
from hpcl.core.spread import nmad
from hpcl.coregister import reference, sampling, shading
from hpcl.coregister.apply import apply, in_pixels, residuals
from hpcl.coregister.image import _lit_patches, align_to_image
from hpcl.coregister.reference import align
from hpcl.coregister.sampling import read_on
from hpcl.coregister.shift import Shift
from hpcl.geo import blocks, raster
from hpcl.settings.coregister import CoregisterSettings

SETTINGS = CoregisterSettings(minimum_gain_frac=0.02, maximum_shift_px=8, sample_patches=64)


def error_px(shift, move_m):
    return math.hypot(shift.east_m - move_m[0], shift.north_m - move_m[1]) / DEM_M


# ---------------------------------------------------------------------------------------------- against a reference


@pytest.mark.parametrize(
    ("move_m", "reference_m"),
    [((2.1, -1.3), DEM_M), ((-17.0, 11.0), DEM_M), ((3.2, 4.4), 10.0), ((-1.9, 2.7), 3.0)],
    ids=["part of a pixel", "several pixels", "coarse reference", "fine reference"],
)
def test_planted_shift_to_a_reference(tmp_path, move_m, reference_m):
    ground, reference = Ground(), grid_of((round(760 / reference_m),) * 2, reference_m, WEST - 40, NORTH + 40)
    z = ground.elevation(*centres(reference)) + 0.2 * np.random.default_rng(1).normal(size=reference.shape)
    dem = displaced(ground, move_m, up_m=3.0)
    dem[40:60, 30:70] = np.nan
    shift = align(save(tmp_path / "r.tif", reference, z), save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert shift.accepted, shift.reason
    assert error_px(shift, move_m) < 0.1
    assert shift.vertical_m == pytest.approx(-3.0, abs=0.03)
    assert shift.quality_after < 0.5 < shift.quality_before
    assert shift.facts().east_px == pytest.approx(move_m[0] / DEM_M, abs=0.1)


def test_ground_that_slid_is_left_out(tmp_path):
    """Two thirds of the ground have sunk and moved; only the rest may be asked."""
    ground, move_m = Ground(), (2.0, 1.5)
    z = ground.elevation(*centres(DEM_GRID))
    dem = displaced(ground, move_m)
    slid = displaced(ground, (-9.0, 6.0)) - 12
    dem[:, :110] = slid[:, :110]
    reference, moving = save(tmp_path / "r.tif", DEM_GRID, z), save(tmp_path / "d.tif", DEM_GRID, dem)
    left, bottom, _, top = DEM_GRID.boundingbox.bbox
    slides = gpd.GeoDataFrame(geometry=[box(left, bottom, left + 110 * DEM_M, top)], crs="EPSG:32649")
    masked, naive = align(reference, moving, SETTINGS, slides), align(reference, moving, SETTINGS)
    assert masked.accepted
    assert error_px(masked, move_m) < 0.1
    assert masked.vertical_m == pytest.approx(0, abs=0.1)
    assert error_px(naive, move_m) > 1


def test_two_equal_dems(tmp_path):
    """What lies right stays: neither the same file nor the same ground under other noise is moved."""
    ground = Ground()
    reference = save(tmp_path / "r.tif", DEM_GRID, displaced(ground, (0, 0), seed=1))
    for dem in (reference, save(tmp_path / "d.tif", DEM_GRID, displaced(ground, (0, 0), seed=2))):
        shift = align(reference, dem, SETTINGS)
        assert not shift.accepted
        assert "minimum_gain_frac" in shift.reason
        assert error_px(shift, (0, 0)) < 0.02
        assert shift.move_m == (0, 0)


@pytest.mark.parametrize("move_m", [(0.0, 0.0), (2.1, -1.3), (-17.0, 11.0)], ids=["none", "part of a pixel", "several"])
def test_planted_tilt(tmp_path, move_m):
    """It comes back to 0.1 m/km over 0.85 km of ground with 0.2 m of noise, and does not spoil the shift."""
    ground, grid = Ground(), grid_of((150, 150), DEM_M, WEST - 10, NORTH + 10)
    dem = tilted(displaced(ground, move_m, up_m=3.0), DEM_GRID, 5.0, -2.0)
    dem[40:60, 30:70] = np.nan
    reference = save(tmp_path / "r.tif", grid, displaced(ground, (0, 0), grid=grid, seed=1))
    moving = save(tmp_path / "d.tif", DEM_GRID, dem)
    shift = align(reference, moving, SETTINGS)
    assert shift.accepted == (move_m != (0, 0))
    assert error_px(shift, move_m) < 0.02
    assert (shift.tilt_east_m_per_km, shift.tilt_north_m_per_km) == pytest.approx((-5.0, 2.0), abs=0.1)
    assert shift.vertical_m == pytest.approx(-3.0, abs=0.15)  # the tilt is about the middle before the move
    size = math.hypot(shift.tilt_east_m_per_km, shift.tilt_north_m_per_km)
    assert f"A tilt of {size:.3g} m/km was taken off its elevations" in shift.reason
    apply(moving, reference, shift, tmp_path / "out.tif")
    apart = raster.read(tmp_path / "out.tif")["elevation"] - ground.elevation(*centres(grid))
    assert nmad(apart) < 0.21
    assert max(abs(np.nanmedian(part)) for part in (apart[:30], apart[-30:], apart[:, :30], apart[:, -30:])) < 0.05
    residuals(moving, reference, shift, tmp_path / "out.tif", moved=True)
    rest = raster.read(tmp_path / "out.tif")["dem_minus_reference"]
    assert nmad(rest) == pytest.approx(shift.quality_after, rel=0.15)
    assert max(abs(np.nanmedian(part)) for part in (rest[:30], rest[-30:], rest[:, :30], rest[:, -30:])) < 0.05


def sink(z, seed):
    """An unmapped landslide of 250 m, 12 m deep."""
    row, column = np.random.default_rng(seed).integers(25, 125, 2)
    rows, columns = np.ogrid[: z.shape[0], : z.shape[1]]
    return z - 12 * np.maximum(1 - ((rows - row) ** 2 + (columns - column) ** 2) / 25**2, 0)


@pytest.mark.parametrize("what", ["nothing", "a landslide", "a warp", "a tilt too small to gain by"])
@pytest.mark.parametrize("seed", range(4))
def test_no_tilt_is_made_up(tmp_path, what, seed):
    """Noise, an unmapped landslide or a warp of 75 m length and 0.5 m height lean one way by chance, and are no tilt."""
    ground, move_m = Ground(seed), (3.2, -7.4)
    dem = displaced(ground, move_m, seed=seed)
    if what == "a landslide":
        dem = sink(dem, seed)
    elif what == "a warp":
        warp = gaussian_filter(np.random.default_rng(seed).normal(size=dem.shape), 15)
        dem += 0.5 * warp / warp.std()
    elif what == "a tilt too small to gain by":
        dem = tilted(dem, DEM_GRID, 0.12, 0)
    reference = save(tmp_path / "r.tif", DEM_GRID, displaced(ground, (0, 0), seed=100 + seed))
    shift = align(reference, save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert shift.accepted
    assert (shift.tilt_east_m_per_km, shift.tilt_north_m_per_km) == (0.0, 0.0)
    assert "tilt" not in shift.reason


@pytest.mark.parametrize("seed", range(3))
def test_an_unmapped_landslide_does_not_bend_a_tilt(tmp_path, seed):
    ground, move_m = Ground(seed), (3.2, -7.4)
    dem = sink(tilted(displaced(ground, move_m, seed=seed), DEM_GRID, 5, -2), seed)
    reference = save(tmp_path / "r.tif", DEM_GRID, displaced(ground, (0, 0), seed=100 + seed))
    shift = align(reference, save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert (shift.tilt_east_m_per_km, shift.tilt_north_m_per_km) == pytest.approx((-5.0, 2.0), abs=0.3)


@pytest.mark.parametrize(
    ("what", "seed"),
    [
        *((what, 0) for what in ("flat", "noise", "elsewhere", "other hills", "too far")),
        ("grain", 18),
        ("grain", 22),
    ],
)
def test_reference_that_says_nothing(tmp_path, what, seed):
    ground = Ground(seed)
    z, grid = displaced(ground, (0, 0)), DEM_GRID
    dem = displaced(ground, (60.0, 0.0) if what == "too far" else (3.0, 2.0))
    if what == "flat":
        z, dem = np.full(z.shape, 100.0), np.full(z.shape, 101.0)
    elif what == "noise":
        z, dem = (np.random.default_rng(seed).normal(size=z.shape) for seed in (1, 2))
    elif what == "grain":
        z = np.random.default_rng(seed).normal(size=z.shape)
    elif what == "other hills":
        z = Ground(seed=9).elevation(*centres(DEM_GRID))
    elif what == "elsewhere":
        grid = grid_of(z.shape, DEM_M, WEST + 5000)
    shift = align(save(tmp_path / "r.tif", grid, z), save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert not shift.accepted
    assert "not moved" in shift.reason
    assert shift.move_m == (0, 0)


def test_pair_in_degrees(tmp_path):
    """Two DEMs in geographic coordinates: 3 columns and 5 rows, as whole files are cut against each other."""
    step = 1 / 3600
    grid = raster.Grid((220, 240), rasterio.Affine(step, 0, 104.0, 0, -step, 36.0), "EPSG:4326")
    z = Ground(height_m=8.0).elevation(WEST + np.arange(250) * 25.0, NORTH - np.arange(230) * 31.0)
    reference = save(tmp_path / "r.tif", grid, z[:220, :240])
    dem = save(tmp_path / "d.tif", grid, z[5:225, 3:243])
    shift = align(reference, dem, SETTINGS)
    assert shift.accepted
    assert in_pixels(dem, shift) == pytest.approx((3, 5), abs=0.1)
    assert shift.east_m == pytest.approx(3 * 25.05, abs=2)
    assert shift.north_m == pytest.approx(-5 * 30.82, abs=2)


# ------------------------------------------------------------------------------------------------ against the image


@pytest.mark.parametrize("move_m", [(2.1, -1.3), (-17.0, 11.0)], ids=["part of a pixel", "several pixels"])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_planted_shift_to_an_image(tmp_path, move_m, gaps):
    ground = Ground()
    dem, grey, dull = displaced(ground, move_m), picture(ground), picture(ground, albedo=0.8, noise=0.3, seed=8)
    if gaps:
        dem[40:60, 30:70] = np.nan
        grey[:, 300:] = grey[200:230, 50:120] = np.nan
    image = save(tmp_path / "i.tif", IMAGE_GRID, dull, grey, bands=colours("dull", "grey"))
    shift = align_to_image(image, save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert shift.accepted, shift.reason
    assert error_px(shift, move_m) < 0.1
    assert error_px(shift, move_m) < 4 * shift.standard_error_px + 0.02
    facts = shift.facts()
    assert facts.band == "grey"
    assert facts.sun.azimuth_deg == pytest.approx(SUN_AZIMUTH_DEG, abs=6)
    assert facts.sun.altitude_deg == pytest.approx(SUN_ALTITUDE_DEG, abs=15)
    assert facts.quality_after > facts.quality_before
    json.dumps(dataclasses.asdict(facts), allow_nan=False)


def test_image_coarser_than_the_dem(tmp_path):
    """The comparison is made at the scale of the image, which shows nothing finer."""
    ground, move_m = Ground(), (3.0, -4.0)
    dem_grid, image_grid = grid_of((1500, 1620), 1.0, WEST - 30, NORTH + 30), grid_of((240, 260), 6.0)
    dem = save(tmp_path / "d.tif", dem_grid, displaced(ground, move_m, grid=dem_grid))
    image = save(tmp_path / "i.tif", image_grid, picture(ground, image_grid, albedo=1.0, noise=0.1), bands=colours("a"))
    shift = align_to_image(image, dem, SETTINGS)
    assert shift.accepted, shift.reason
    assert math.hypot(shift.east_m - move_m[0], shift.north_m - move_m[1]) < 0.6  # a tenth of the image's pixel
    assert shift.facts().north_px == pytest.approx(-4.0, abs=0.6)
    residuals(dem, image, shift, tmp_path / "out.tif", moved=True)
    assert abs(raster.read(tmp_path / "out.tif").grid.affine.a) == pytest.approx(6.0)


def test_image_that_fits_already(tmp_path):
    ground = Ground()
    image = save(tmp_path / "i.tif", IMAGE_GRID, picture(ground), bands=colours("grey"))
    shift = align_to_image(image, save(tmp_path / "d.tif", DEM_GRID, displaced(ground, (0, 0))), SETTINGS)
    assert not shift.accepted
    assert error_px(shift, (0, 0)) < 0.05
    assert shift.move_m == (0, 0)


@pytest.mark.parametrize(
    ("what", "seed"),
    [
        *((what, seed) for what in ("noise", "soil", "level ground") for seed in range(3)),
        ("other hills", 10),
        ("black", 0),
        ("flat ground", 0),
    ],
)
def test_image_that_says_nothing(tmp_path, what, seed):
    ground, rng = Ground(), np.random.default_rng(seed)
    dem, grey = displaced(ground, (3.0, 2.0)), picture(ground)
    if what == "noise":
        grey = rng.normal(size=grey.shape)
    elif what == "soil":
        grey = gaussian_filter(rng.normal(size=grey.shape), 3)
    elif what == "other hills":
        grey = picture(Ground(seed))
    elif what == "black":
        grey = np.zeros(grey.shape)
    elif what == "flat ground":
        dem = np.full(dem.shape, 100.0)
    elif what == "level ground":
        dem = 100 + 0.1 * rng.normal(size=dem.shape)
    image = save(tmp_path / "i.tif", IMAGE_GRID, grey, bands=colours("grey"))
    shift = align_to_image(image, save(tmp_path / "d.tif", DEM_GRID, dem), SETTINGS)
    assert not shift.accepted
    assert shift.move_m == (0, 0)
    assert shift.facts().sun is None
    assert shift.reason.startswith("No band of the image shows the relief of the DEM (")


def test_bands_under_two_suns(tmp_path):
    """Each band has its own sun: their mean would show no relief at all, the better of them does."""
    ground, move_m = Ground(), (4.0, -3.0)
    east = picture(ground, azimuth_deg=80.0, altitude_deg=30.0)
    west = picture(ground, azimuth_deg=260.0, altitude_deg=30.0, seed=9, albedo=0.2)
    image = save(tmp_path / "i.tif", IMAGE_GRID, east, west, bands=colours("east", "west"))
    shift = align_to_image(image, save(tmp_path / "d.tif", DEM_GRID, displaced(ground, move_m)), SETTINGS)
    assert shift.accepted, shift.reason
    assert error_px(shift, move_m) < 0.1
    assert shift.facts().sun.azimuth_deg == pytest.approx(80 if shift.facts().band == "east" else 260, abs=6)


def test_bands_that_do_not_lie_on_each_other(tmp_path):
    """As in the published data of Valles Marineris: then no shift of the DEM is right."""
    ground = Ground()
    here = picture(ground)
    there = np.roll(picture(ground, seed=9), 4, axis=1)
    image = save(tmp_path / "i.tif", IMAGE_GRID, here, there, bands=colours("here", "there"))
    shift = align_to_image(image, save(tmp_path / "d.tif", DEM_GRID, displaced(ground, (0, 0))), SETTINGS)
    assert not shift.accepted
    assert "'here'" in shift.reason
    assert "'there'" in shift.reason
    assert "px apart" in shift.reason


def test_relief_in_one_direction(tmp_path):
    """Along straight ridges nothing fixes the shift."""
    east, image_east = (np.broadcast_to(centres(grid)[0], grid.shape) for grid in (DEM_GRID, IMAGE_GRID))
    ridges = sum(np.sin(2 * np.pi * east / length + length) * length / 40 for length in (60, 97, 151, 230))
    light = sum(np.cos(2 * np.pi * image_east / length + length) for length in (60, 97, 151, 230))
    image = save(tmp_path / "i.tif", IMAGE_GRID, light, bands=colours("grey"))
    dem = save(tmp_path / "d.tif", DEM_GRID, 100 + ridges)
    assert not align_to_image(image, dem, SETTINGS).accepted
    with raster.Source(image) as seen, raster.Source(dem) as ground:
        patches = _lit_patches(seen, ground, DEM_GRID, SETTINGS)[0]
    assert shading.refine(patches, (0, 0)) == "the relief runs in one direction, along which nothing can be seen"


def test_small_scene_is_refused(tmp_path):
    ground, grid = Ground(), grid_of((30, 40), DEM_M)
    image = save(tmp_path / "i.tif", grid, picture(ground, grid), bands=colours("grey"))
    shift = align_to_image(image, save(tmp_path / "d.tif", grid, displaced(ground, (3, 2), grid=grid)), SETTINGS)
    assert not shift.accepted
    assert "patches" in shift.reason


def test_shading_against_a_plain_loop():
    """The multiple correlation at one shift, by scikit-learn on the pixels themselves."""
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    margin, most, shape = 10, 3, (20, 24)
    normal = rng.normal(size=(3, shape[0] + 2 * margin, shape[1] + 2 * margin))
    row, column = 2, -1
    inside = normal[:, margin + row : margin + row + shape[0], margin + column : margin + column + shape[1]]
    bright = np.tensordot([2.0, -1.0, 0.5], inside, 1) + rng.normal(size=shape)
    known, lit = np.ones(normal.shape[1:], bool), np.ones(shape, bool)
    patch = shading.Patch(normal, known, bright, lit)
    x, y = inside.reshape(3, -1).T, bright.ravel()
    fit = LinearRegression(fit_intercept=False).fit(x, y)
    toward, correlation = shading.light([patch], (row, column))
    np.testing.assert_allclose(toward, fit.coef_, rtol=1e-6)
    assert correlation == pytest.approx(math.sqrt(1 - ((y - fit.predict(x)) ** 2).sum() / (y**2).sum()))
    lag, own, power = shading.scan(patch, most)
    np.testing.assert_allclose(lag[:, most + row, most + column], (x * y[:, None]).sum(0), rtol=1e-6)
    surface = shading.explained(lag, own, power)
    assert np.unravel_index(surface.argmax(), surface.shape) == (most + row, most + column)
    gap, dark = np.zeros_like(known), np.zeros_like(lit)
    gap[15:20, 15:20] = dark[1:4, 20:] = True
    normal[:, gap] = bright[dark] = 1e3
    masked, _ = shading.light([shading.Patch(normal, ~gap, bright, ~dark)], (row, column))
    use = ~(gap[margin + row : margin + row + shape[0], margin + column : margin + column + shape[1]] | dark).ravel()
    rest = LinearRegression(fit_intercept=False).fit(x[use], y[use])
    np.testing.assert_allclose(masked, rest.coef_, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- what is written


def believed(east_m, north_m, up_m=0.0):
    return Shift("reference", True, "", (DEM_M, DEM_M), east_m, north_m, up_m)


def test_applied_shift_puts_the_ground_right(tmp_path):
    ground, move_m = Ground(), (3.7, -2.9)
    dem = save(tmp_path / "d.tif", DEM_GRID, displaced(ground, move_m, noise_m=0, up_m=4.0))
    image = save(tmp_path / "i.tif", IMAGE_GRID, picture(ground), bands=colours("grey"))
    apply(dem, image, believed(*move_m, -4.0), tmp_path / "out.tif")
    out, truth = raster.read(tmp_path / "out.tif"), ground.elevation(*centres(IMAGE_GRID))
    assert out.grid == IMAGE_GRID
    assert out.bands == ELEVATION
    assert np.abs(out["elevation"] - truth).max() < 0.15
    apply(dem, image, replace(believed(*move_m, -4.0), accepted=False), tmp_path / "out.tif")
    unmoved = raster.read(tmp_path / "out.tif")["elevation"]
    assert np.abs(unmoved - truth).max() > 0.5, "a refused shift was applied"
    assert np.median(unmoved - truth) == pytest.approx(0, abs=0.3)


def test_gaps_neither_grow_nor_close(tmp_path):
    z = Ground().elevation(*centres(DEM_GRID))
    z[60:80, 50:90] = np.nan
    z[100, 100] = np.nan
    dem = save(tmp_path / "d.tif", DEM_GRID, z)
    image = save(tmp_path / "i.tif", IMAGE_GRID, np.ones(IMAGE_GRID.shape), bands=colours("grey"))
    apply(dem, image, believed(1.2, -0.7), tmp_path / "out.tif")
    known = np.isfinite(raster.read(tmp_path / "out.tif")["elevation"])
    east, north = centres(IMAGE_GRID)
    columns, rows = (east - 1.2 - DEM_GRID.affine.c) // DEM_M, (DEM_GRID.affine.f - north - 0.7) // DEM_M
    under = np.isnan(z)[np.ix_(rows.astype(int), columns.astype(int))]
    assert not known[under & ~binary_dilation(~under, iterations=2)].any(), "a gap was filled"
    assert known[~binary_dilation(under, iterations=2)].all(), "a gap grew"


def test_blocks_do_not_show(tmp_path, monkeypatch):
    ground = Ground()
    dem = save(tmp_path / "d.tif", DEM_GRID, displaced(ground, (2.0, 3.0)))
    image = save(tmp_path / "i.tif", IMAGE_GRID, picture(ground), bands=colours("grey"))
    reference = save(tmp_path / "r.tif", grid_of((90, 90), 10.0, WEST - 55, NORTH + 55), np.ones((90, 90)))
    by_image = align_to_image(image, dem, SETTINGS)

    def written(block_px):
        monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
        apply(dem, image, by_image, tmp_path / "a.tif")
        residuals(dem, image, by_image, tmp_path / "b.tif", moved=True)
        residuals(dem, reference, believed(2.0, 3.0), tmp_path / "c.tif", moved=True)
        return [raster.read(tmp_path / f"{name}.tif").values for name in "abc"]

    for whole, parts in zip(written(1024), written(64), strict=True):
        assert np.isfinite(whole).mean() > 0.5
        np.testing.assert_allclose(parts, whole, atol=2e-4)  # a few units in the last place of 500 m


def test_blocks_do_not_show_in_a_tilt(tmp_path, monkeypatch):
    """Bit for bit, where no resampling rounds: the plane is counted from the corner of the grid."""
    grid = grid_of((150, 170), 1.7, WEST + 0.123, NORTH - 0.456)
    z = Ground().elevation(*centres(grid))
    dem, reference = save(tmp_path / "d.tif", grid, z), save(tmp_path / "r.tif", grid, z)
    shift = Shift("reference", False, "", (1.7, 1.7), vertical_m=0.3, tilt_east_m_per_km=4.7, tilt_north_m_per_km=-1)

    def written(block_px):
        monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
        apply(dem, reference, shift, tmp_path / "a.tif")
        residuals(dem, reference, shift, tmp_path / "b.tif", moved=True)
        return [raster.read(tmp_path / f"{name}.tif").values[0] for name in "ab"]

    whole = written(1024)
    for block_px in (37, 64):
        np.testing.assert_array_equal(written(block_px), whole)
    np.testing.assert_allclose(whole[0], tilted(z + 0.3, grid, 4.7, -1), atol=1e-4)
    np.testing.assert_allclose(whole[1], tilted(np.full(z.shape, 0.3), grid, 4.7, -1), atol=1e-4)


def test_copies_where_pixels_are_shared(tmp_path):
    z = Ground().elevation(*centres(DEM_GRID)).astype(np.float32)
    with raster.Source(save(tmp_path / "d.tif", DEM_GRID, z)) as source:
        got = read_on(source, DEM_GRID[10:30, 150:170].pad(5), Resampling.cubic)[0]
    np.testing.assert_array_equal(got[:, :25], z[5:35, 145:170])
    assert np.isnan(got[:, 25:]).all()


def test_residuals_show_the_gain(tmp_path):
    ground, move_m = Ground(), (6.0, -8.0)
    dem = save(tmp_path / "d.tif", DEM_GRID, displaced(ground, move_m, up_m=2.0))
    image = save(tmp_path / "i.tif", IMAGE_GRID, picture(ground), bands=colours("grey"))
    reference = save(tmp_path / "r.tif", DEM_GRID, displaced(ground, (0, 0), seed=3))
    for other, shift in ((image, align_to_image(image, dem, SETTINGS)), (reference, align(reference, dem, SETTINGS))):
        spread = {}
        for moved in (False, True):
            residuals(dem, other, shift, tmp_path / "out.tif", moved=moved)
            layer = raster.read(tmp_path / "out.tif")
            spread[moved] = np.nanstd(layer.values)
            assert layer.bands[0].unit == ("m" if other is reference else "")
            assert layer.grid == DEM_GRID
        assert spread[True] < 0.9 * spread[False]
    assert np.nanmedian(layer.values) == pytest.approx(0, abs=0.05)


def test_a_wide_dem_is_projected_to_a_fiftieth_of_a_pixel(tmp_path):
    """A hundred kilometres at 70 degrees north, where the approximation that GDAL makes by default is .09 pixel off."""
    degrees = raster.Grid((700, 1600), rasterio.Affine(2e-3, 0, 107, 0, -1e-3, 70), "EPSG:4326")
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32648", always_xy=True)
    west, north = to_metres.transform(107.1, 69.85)
    rows, columns = np.mgrid[:700, :1600] + 0.5
    northing = to_metres.transform(*(degrees.affine * (columns, rows)))[1] - north
    metres = raster.Grid((300, 1000), rasterio.Affine(100.0, 0, west, 0, -100.0, north), "EPSG:32648")
    with raster.Source(save(tmp_path / "d.tif", degrees, northing)) as source:
        got = read_on(source, metres, Resampling.cubic)[0]
    expected = -100 * (np.arange(300)[:, None] + 0.5)
    assert np.nanmax(np.abs(got - expected)) < 111 / 50


def test_memory_is_flat(tmp_path, monkeypatch):
    """A source far finer than its target is read in parts, with the same result."""
    fine = grid_of((400, 400), 1.0)
    z = Ground().elevation(*centres(fine))
    with raster.Source(save(tmp_path / "d.tif", fine, z)) as source:
        target = grid_of((30, 30), 12.0, WEST + 11, NORTH - 13)
        whole = read_on(source, target, Resampling.cubic)
        monkeypatch.setattr(sampling, "MOST_PX", 10_000)
        np.testing.assert_allclose(read_on(source, target, Resampling.cubic), whole, atol=1e-3)
    east, north = centres(target)
    assert np.abs(whole[0] - Ground().elevation(east, north))[2:-2, 2:-2].max() < 3


def test_a_dem_without_a_crs_is_named(tmp_path):
    z = displaced(Ground(), (0, 0))
    save(tmp_path / "dem.tif", DEM_GRID, z)
    rows, columns = z.shape
    profile = {"driver": "GTiff", "height": rows, "width": columns, "count": 1, "dtype": "float32"}
    with rasterio.open(tmp_path / "other.tif", "w", transform=DEM_GRID.affine, **profile) as file:
        file.write(z.astype(np.float32), 1)
    with pytest.raises(reference.CoregisterError, match=r"other\.tif has no coordinate reference system"):
        reference.align(tmp_path / "other.tif", tmp_path / "dem.tif", SETTINGS)


@pytest.mark.parametrize("with_reference", [True, False], ids=["reference", "image"])
def test_stage(tmp_path, monkeypatch, capsys, with_reference):
    from stages.coregister import main
    from stages.coregister_pair import main as pair

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("coregister: {minimum_gain_frac: 0.02, maximum_shift_px: 8, sample_patches: 64}\n")
    ground, folder, move_m = Ground(), Path("data/ingest/place"), (3.0, -2.0)
    folder.mkdir(parents=True)
    save(folder / "dem.tif", DEM_GRID, displaced(ground, move_m, up_m=1.0))
    save(folder / "image.tif", IMAGE_GRID, picture(ground), bands=colours("grey"))
    if with_reference:
        save(folder / "reference_dem.tif", DEM_GRID, displaced(ground, (0, 0), seed=3))
    main("place")
    out = Path("data/coregister/place")
    assert sorted(f.name for f in out.iterdir()) == [
        "dem.tif",
        "residual_after.tif",
        "residual_before.tif",
        "shift.json",
    ]
    facts = json.loads((out / "shift.json").read_text())
    assert facts["accepted"]
    assert facts["method"] == ("reference" if with_reference else "image")
    assert math.hypot(facts["east_m"] - 3, facts["north_m"] + 2) < 0.1 * DEM_M
    assert facts["reason"] in capsys.readouterr().out
    if with_reference:
        pair("data/ingest/place/reference_dem.tif", "data/ingest/place/dem.tif")
        said = capsys.readouterr().out
        assert "columns (to the right)" in said
        assert "accepted" in said
