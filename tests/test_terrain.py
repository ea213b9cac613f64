"""Attributes of the ground: planted planes and domes, foreign oracles, blocks, gaps and flips."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import examples
import numpy as np
import pytest
import rasterio

from hpcl.core.artifacts import write_json
from hpcl.core.records import Sun
from hpcl.geo import blocks, cog, raster
from hpcl.settings.terrain import TerrainSettings
from hpcl.terrain import ATTRIBUTES, TerrainError, attributes, derive, facts, hillshade, kind, names

HALF_STEP = 1 / 512
"""A hillshade is written in steps of 1/256."""

PLAIN = TerrainSettings(
    smoothing_m=0.0,
    sun_azimuth_deg=315.0,
    sun_altitude_deg=45.0,
    relief_radii_m=(10.0, 31.0),
    roughness_radius_m=8.0,
    compression="deflate",
)
SMOOTH = replace(PLAIN, smoothing_m=5.0)
PIXEL_M = 2.0


def grid_of(shape, pixel_m=PIXEL_M):
    return raster.Grid(shape, rasterio.Affine(pixel_m, 0, 500_000, 0, -pixel_m, 4_000_000), "EPSG:32649")


def east_north(shape, pixel_m=PIXEL_M):
    """Metres east and north of the first pixel."""
    rows, columns = np.indices(shape)
    return columns * pixel_m, -rows * pixel_m


def hills(shape=(150, 137), seed=0):
    """Rough ground, tens of metres high, 1000 m above the sea."""
    east, north = east_north(shape)
    noise = np.random.default_rng(seed).normal(size=shape)
    z = 1000 + 30 * np.sin(east / 40) * np.cos(north / 55) + 8 * np.sin((east + 2 * north) / 17) + 0.2 * noise
    return z.astype(np.float32)


def with_gaps(z):
    """A large void, a lone missing pixel, a lone known pixel, a missing corner."""
    z = z.copy()
    z[40:60, 30:70] = np.nan
    z[50, 50] = 1003.0
    z[90, 20] = np.nan
    z[:9, :13] = np.nan
    return z


def table(tmp_path, z, settings, pixel_m=PIXEL_M, **options):
    """The bands of terrain.tif by name."""
    source, target = tmp_path / "dem.tif", tmp_path / "terrain.tif"
    cog.write(
        source, raster.Raster(z[None].astype(np.float32), grid_of(z.shape, pixel_m), (raster.Band("elevation", "m"),))
    )
    derive(source, target, settings, **options)
    return raster.read(target)


def of_array(z, *bands, margin_px=1, pixel_m=(PIXEL_M, PIXEL_M), settings=PLAIN):
    """Bands of an elevation in memory, without its margin."""
    return attributes(z[None], margin_px=margin_px, pixel_m=pixel_m, settings=settings, bands=bands)


def inner(values, rim=1):
    return values[..., rim:-rim, rim:-rim]


@pytest.mark.parametrize("settings", [PLAIN, SMOOTH], ids=["plain", "smoothed"])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_plane(tmp_path, settings, gaps):
    """On a plane every attribute is known, up to the very edge of the scene and of its gaps."""
    east, north = east_north((150, 137))
    z = 1200 + 0.3 * east - 0.4 * north
    got = table(tmp_path, with_gaps(z) if gaps else z, settings)
    upright = 1 / np.sqrt(1 + 0.3**2 + 0.4**2)
    truth = {
        "slope": (np.rad2deg(np.arctan(0.5)), 2e-3),
        "n_east": (-0.3 * upright, 3e-5), "n_north": (0.4 * upright, 3e-5), "n_up": (upright, 3e-5),
        "hillshade": (upright * np.sqrt(0.5) * (1 + np.sqrt(0.5) * (0.3 + 0.4)), HALF_STEP + 5e-5),
        "profile_curvature": (0, 1e-4), "plan_curvature": (0, 1e-4),
        "relief_10m": (0, 5e-4), "relief_31m": (0, 5e-4), "roughness": (0, 5e-4),
    }  # fmt: skip
    assert set(truth) == {band.name for band in got.bands}
    away = slice(None) if not gaps else np.s_[80:]  # the lone pixel in the void is not on the plane
    for name, (value, tolerance) in truth.items():
        found = inner(got[name])[away]
        assert np.nanmax(np.abs(found - value)) < tolerance, name
        assert np.isfinite(found).mean() > 0.99


def test_curvature_of_a_dome():
    """A paraboloid's curvatures in closed form; both are 1/rho at its top, and negative in a bowl."""
    rho = 80.0
    east, north = (metres - metres.mean() for metres in east_north((101, 101)))
    away = np.hypot(east, north) / rho
    dome = -(east**2 + north**2) / (2 * rho)
    for sign in (1, -1):
        got = attributes(
            sign * dome[None],
            margin_px=1,
            pixel_m=(PIXEL_M, PIXEL_M),
            settings=PLAIN,
            bands=("profile_curvature", "plan_curvature"),
        )
        np.testing.assert_allclose(got[0], sign * inner(1 / rho / (1 + away**2) ** 1.5), rtol=1e-5)
        np.testing.assert_allclose(got[1], sign * inner(1 / rho / (1 + away**2) ** 0.5), rtol=1e-5)


def test_curvature_of_a_ridge():
    """A cylinder is curved across its ridge only, which is its steepest direction too."""
    radius = 500.0
    east, _ = east_north((40, 41))
    z = np.sqrt(radius**2 - (east - 15) ** 2)
    profile, plan = of_array(z, "profile_curvature", "plan_curvature")
    np.testing.assert_allclose(profile, 1 / radius, rtol=1e-3)
    np.testing.assert_allclose(plan, 0, atol=1e-9)


def test_slope_and_hillshade_in_a_plain_loop(tmp_path):
    """An independent oracle without any library: Horn's formula as printed, the shade as an angle between vectors."""
    z = hills((20, 17))
    got = table(tmp_path, z, replace(PLAIN, sun_azimuth_deg=120.0, sun_altitude_deg=10.0))
    azimuth, altitude = np.radians([120.0, 10.0])
    sun = [np.sin(azimuth) * np.cos(altitude), np.cos(azimuth) * np.cos(altitude), np.sin(altitude)]
    assert (got["hillshade"] == 0).any()
    for i in range(1, 19):
        for j in range(1, 16):
            a, b, c, d, _, f, g, h, k = z[i - 1 : i + 2, j - 1 : j + 2].astype(float).ravel()
            p = ((c + 2 * f + k) - (a + 2 * d + g)) / (8 * PIXEL_M)
            q = ((a + 2 * b + c) - (g + 2 * h + k)) / (8 * PIXEL_M)
            normal = np.cross([1, 0, p], [0, 1, q])
            assert got["slope"][i, j] == pytest.approx(np.degrees(np.arctan(np.hypot(p, q))), abs=1e-3)
            shade = max(normal @ sun / np.linalg.norm(normal), 0)
            assert got["hillshade"][i, j] == pytest.approx(shade, abs=HALF_STEP + 1e-5)


@pytest.mark.skipif(shutil.which("gdaldem") is None, reason="gdaldem (Debian: gdal-bin) is not on this machine")
@pytest.mark.parametrize(("azimuth_deg", "altitude_deg"), [(315.0, 45.0), (100.0, 20.0)])
def test_gdaldem(tmp_path, azimuth_deg, altitude_deg):
    sun = replace(PLAIN, sun_azimuth_deg=azimuth_deg, sun_altitude_deg=altitude_deg)
    got = table(tmp_path, with_gaps(hills()), sun)
    options = {"slope": [], "hillshade": ["-az", str(azimuth_deg), "-alt", str(altitude_deg)]}
    for mode, more in options.items():
        out = tmp_path / f"{mode}.tif"
        subprocess.run(["gdaldem", mode, tmp_path / "dem.tif", out, *more, "-q"], check=True)
        with rasterio.open(out) as file:
            theirs = file.read(1, masked=True).astype(float).filled(np.nan)
        ours = got[mode] if mode == "slope" else 1 + 254 * got[mode]
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))
        # gdaldem adds elevations of 1000 m in float32 before it subtracts them, which costs it 3e-3 deg; bytes are rounded.
        assert np.nanmax(np.abs(ours - theirs)) < (5e-3 if mode == "slope" else 0.51 + 254 * HALF_STEP)


@pytest.mark.parametrize("settings", [PLAIN, SMOOTH], ids=["plain", "smoothed"])
def test_blocks_do_not_show(tmp_path, settings, monkeypatch):
    """The same bits, whether the scene is cut into 5 x 5 blocks, odd ones, or not at all."""
    z = with_gaps(hills())
    monkeypatch.setattr(blocks, "BLOCK_PX", 1024)
    whole = table(tmp_path, z, settings).values
    for block_px in (31, 64):
        monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
        np.testing.assert_array_equal(table(tmp_path, z, settings).values, whole)


@pytest.mark.parametrize("settings", [PLAIN, SMOOTH], ids=["plain", "smoothed"])
def test_gaps_stay_what_they_are(tmp_path, settings):
    """Not filled anywhere; grown by the 3x3 kernel where there are differences, not at all where there are means."""
    from scipy.ndimage import binary_erosion

    z = with_gaps(hills())
    known = np.isfinite(z)
    got = table(tmp_path, z, settings)
    reached = binary_erosion(known, np.ones((3, 3)))
    for band in got.bands:
        finite = np.isfinite(got[band.name])
        by_means = band.name.startswith(("relief", "roughness"))
        np.testing.assert_array_equal(finite, known if by_means else reached, err_msg=band.name)


def test_smoothing_is_a_gaussian(tmp_path):
    """Against scipy's own, away from the edge."""
    from scipy.ndimage import gaussian_filter

    z = hills()
    smooth = gaussian_filter(z.astype(float), SMOOTH.smoothing_m / PIXEL_M, truncate=3.0)
    by_scipy = of_array(smooth, "slope")[0]
    np.testing.assert_allclose(inner(table(tmp_path, z, SMOOTH)["slope"], 10), inner(by_scipy, 9), atol=1e-4)


def test_relief_and_roughness_in_a_plain_loop(tmp_path):
    z = hills((60, 50))
    got = table(tmp_path, z, PLAIN)
    mean = np.full(z.shape, np.nan)
    for i in range(4, 56):
        for j in range(4, 46):
            mean[i, j] = z[i - 4 : i + 5, j - 4 : j + 5].astype(float).mean()
    for i, j in [(25, 25), (30, 20), (12, 33)]:
        near = z[i - 5 : i + 6, j - 5 : j + 6].astype(float)
        assert got["relief_10m"][i, j] == pytest.approx(z[i, j] - near.mean(), abs=5e-4)
        departure = (z - mean)[i - 4 : i + 5, j - 4 : j + 5]
        assert got["roughness"][i, j] == pytest.approx(np.sqrt((departure**2).mean()), abs=5e-4)


def turned(values, kinds_of_bands, flip):
    """A stack of attributes under a flip of the map: arrays flipped, directions turned."""
    flipped = {
        "left-right": lambda v: v[..., ::-1],
        "up-down": lambda v: v[..., ::-1, :],
        "quarter turn": lambda v: np.rot90(v, axes=(-2, -1)),
    }[flip]
    out = {name: flipped(layer) for name, layer in values.items()}
    by_kind = {kind: name for name, kind in kinds_of_bands.items()}
    east, north = out[by_kind["east"]], out[by_kind["north"]]
    if flip == "left-right":
        out[by_kind["east"]] = -east
    elif flip == "up-down":
        out[by_kind["north"]] = -north
    else:
        out[by_kind["east"]], out[by_kind["north"]] = -north, east
    return out


@pytest.mark.parametrize("settings", [PLAIN, SMOOTH], ids=["plain", "smoothed"])
@pytest.mark.parametrize("flip", ["left-right", "up-down", "quarter turn"])
def test_derive_then_flip_equals_flip_then_derive(tmp_path, flip, settings):
    z = with_gaps(hills())
    geometry = {"left-right": z[:, ::-1], "up-down": z[::-1], "quarter turn": np.rot90(z)}[flip]
    before, after = table(tmp_path, z, settings), table(tmp_path, geometry, settings)
    kinds = {band.name: kind(band.name) for band in before.bands}
    moved = turned({name: before[name] for name in kinds}, kinds, flip)
    for name in kinds:
        same = np.allclose(moved[name], after[name], atol=2e-4, equal_nan=True)
        assert same == (name != "hillshade"), f"{name}: {'differs' if not same else 'a flipped hillshade passed'}"
    lit = hillshade(np.stack([moved["n_east"], moved["n_north"], moved["n_up"]]), 315.0, 45.0)
    np.testing.assert_allclose(lit, after["hillshade"], atol=HALF_STEP + 1e-6)


def test_bands_carry_names_and_units(tmp_path):
    got = table(tmp_path, hills((30, 30)), PLAIN)
    assert tuple(band.name for band in got.bands) == names(PLAIN)
    units = {band.name: band.unit for band in got.bands}
    assert units == {
        "slope": "deg", "n_east": "", "n_north": "", "n_up": "", "hillshade": "", "profile_curvature": "1/m",
        "plan_curvature": "1/m", "relief_10m": "m", "relief_31m": "m", "roughness": "m",
    }  # fmt: skip
    assert [kind(name) for name in units] == [
        "scalar", "east", "north", "up", "hillshade", "scalar", "scalar", "scalar", "scalar", "scalar",
    ]  # fmt: skip
    assert all(row.source for row in ATTRIBUTES.values())
    assert [band.name for band in facts(PLAIN, []).bands] == list(units)
    assert facts(PLAIN, []).sun == Sun(315.0, 45.0)


@pytest.mark.parametrize("settings", [PLAIN, SMOOTH], ids=["plain", "smoothed"])
def test_some_bands_only(tmp_path, settings, monkeypatch):
    """Any band alone, which looks less far around, has the same bits as in the whole stack."""
    z = with_gaps(hills((100, 90)))
    whole = table(tmp_path, z, settings)
    monkeypatch.setattr(blocks, "BLOCK_PX", 32)
    for name in ("slope", "n_east", "profile_curvature", "relief_10m", "roughness"):
        alone = table(tmp_path, z, settings, bands=[name])
        assert [band.name for band in alone.bands] == [name]
        np.testing.assert_array_equal(alone[name], whole[name], err_msg=name)


def test_pixels_that_are_not_square():
    east, north = (metres * factor for metres, factor in zip(east_north((60, 60), 1.0), (3.0, 2.0), strict=True))
    settings = replace(SMOOTH, relief_radii_m=(12.0,))
    margin_px = 12
    slope, relief = attributes(
        (0.3 * east + 0.4 * north)[None],
        margin_px=margin_px,
        pixel_m=(3.0, 2.0),
        settings=settings,
        bands=("slope", "relief_12m"),
    )
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.5)), rtol=1e-5)
    np.testing.assert_allclose(relief, 0, atol=2e-4)


def test_refusals(tmp_path):
    with pytest.raises(TerrainError, match="radius of 10 m, less than the pixel of 220 m"):
        table(tmp_path, hills((30, 30)), PLAIN, pixel_m=220.0)
    with pytest.raises(TerrainError, match="would look 50000 pixels around each pixel"):
        table(tmp_path, hills((30, 30)), replace(PLAIN, relief_radii_m=(100_000.0,)))
    with pytest.raises(TerrainError, match="'slop' is no attribute"):
        kind("slop")
    south_up = raster.Grid((30, 30), rasterio.Affine(2, 0, 0, 0, 2, 0), "EPSG:32649")
    cog.write(tmp_path / "s.tif", raster.Raster(hills((30, 30))[None], south_up, (raster.Band("elevation", "m"),)))
    with pytest.raises(TerrainError, match="north-up"):
        derive(tmp_path / "s.tif", tmp_path / "t.tif", PLAIN)


def test_no_torch():
    code = "import sys, hpcl.terrain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stage(tmp_path, monkeypatch):
    from stages.terrain import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "terrain: {smoothing_m: 4, sun_azimuth_deg: 315, sun_altitude_deg: 45, relief_radii_m: [20.0, 8], roughness_radius_m: 6,"
        " compression: deflate}"
    )
    folder = tmp_path / "data/coregister/place"
    folder.mkdir(parents=True)
    elevation = raster.Band("elevation", "m")
    cog.write(folder / "dem.tif", raster.Raster(hills((40, 50))[None], grid_of((40, 50)), (elevation,)))
    write_json(folder / "shift.json", examples.shift(dem_pixel_m=5.0))
    main("place")
    out = tmp_path / "data/terrain/place"
    assert sorted(f.name for f in out.iterdir()) == ["facts.json", "terrain.tif"]
    said = json.loads((out / "facts.json").read_text())
    assert [band["name"] for band in said["bands"]] == [band.name for band in raster.read(out / "terrain.tif").bands]
    assert {"relief_20m", "relief_8m"} <= {band["name"] for band in said["bands"]}
    assert said["sun"]["azimuth_deg"] == 315


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_the_compression_asked_for(tmp_path, compression):
    asked = table(tmp_path, with_gaps(hills()), replace(PLAIN, compression=compression))
    with rasterio.open(tmp_path / "terrain.tif") as file:
        assert file.compression.value.lower() == compression
    usual = table(tmp_path, with_gaps(hills()), PLAIN)
    np.testing.assert_array_equal(asked.values, usual.values)


def test_a_hillshade_has_eight_bits(tmp_path):
    steps = table(tmp_path, hills(), PLAIN)["hillshade"] * 256
    np.testing.assert_array_equal(steps, np.rint(steps))
