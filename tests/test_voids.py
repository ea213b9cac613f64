"""Numbers that cannot be data: voids and units of elevations, strays of other bands, fill along the edge; and sound ground.

Every remedy is carried out as the sentence says it, and the area must then go through with the planted pixels as NaN.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject
from test_ingest import BANDS, DEM, IMAGE, UTM, dark_scene, optical_values, refusal, run, sound_area, write_tif

from hpcl.geo import blocks, raster
from hpcl.ingest import checks
from hpcl.ingest.elevations import body_of, ground_pixel_m
from hpcl.ingest.raw import Raw

SHAPE = (200, 220)


def relief(shape=SHAPE, base_m=1200.0, height_m=150.0, seed=0):
    """Rough ground [m]: waves as long as many pixels, and noise of a few centimetres."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = np.sin(columns / 30) * np.cos(rows / 35) + 0.4 * np.sin((columns + 2 * rows) / 17)
    return base_m + height_m * waves + np.random.default_rng(seed).normal(0, 0.05, shape)


def check(tmp_path, values, pixel_m=10.0, crs=UTM, nodata=None, elevation=True, transform=None, **profile):
    """What `check_values` finds in a file of ``values``; (row, column) or (band, row, column)."""
    values = values[None] if values.ndim == 2 else values
    transform = transform or Affine(pixel_m, 0, 500_000, 0, -pixel_m, 4_000_000)
    path = write_tif(tmp_path / "file.tif", values, transform, crs, nodata, **profile)
    with Raw(path) as raw:
        whole = slice(0, raw.grid.shape[0]), slice(0, raw.grid.shape[1])
        return checks.check_values(raw, whole, whole, elevation, lambda: None)


def fault(tmp_path, values, **how):
    with pytest.raises(checks.IngestError) as caught:
        check(tmp_path, values, **how)
    return str(caught.value)


def holes(kind):
    void = np.zeros(SHAPE, bool)
    where = {"pixel": np.s_[90, 90], "patch": np.s_[60:90, 80:140], "half": np.s_[:, :110], "corner": np.s_[:9, :9]}
    void[where[kind]] = True
    return void


# ------------------------------------------------------------------------------------------------ voids of a DEM


@pytest.mark.parametrize("kind", ["pixel", "patch", "half", "corner"])
@pytest.mark.parametrize("base_m", [250.0, 1200.0, 5000.0])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(-1, "int16"), (-1, "float32"), (0, "uint16"), (0, "float64"), (-10000, "int16"), (-9999, "float32"), (-999, "int32"),
     (-999999, "float32"), (1e30, "float32"), (-3.4028226e38, "float32"), (-3.4028234663852886e38, "float64"),
     (-32767, "int16"), (65535, "uint16"), (32767, "int16"), (-1e20, "float64"), (1e308, "float64")],
)  # fmt: skip
def test_a_void_of_any_number_is_named(tmp_path, code, dtype, base_m, kind):
    dem = relief(base_m=base_m, height_m=80).astype(dtype)
    void = holes(kind)
    dem[void] = code
    sentence = fault(tmp_path, dem)
    stored = np.dtype(dtype).type(code)
    share = f"{void.mean():.2%}"
    text = sentence.split("file.tif is ")[1].split(" at ")[0]
    assert np.dtype(dtype).type(float(text)) == stored
    assert f" at {share} of its pixels" in sentence
    assert f"`rio edit-info --nodata {text} {tmp_path / 'file.tif'}`" in sentence
    assert check(tmp_path, dem, nodata=float(stored)) == []


@pytest.mark.parametrize("code", [-1, -9999, -10000, -32768, -999])
def test_a_void_in_ground_near_sea_level(tmp_path, code):
    plain = relief(base_m=5, height_m=0.5)
    plain[holes("patch")] = code
    assert f"is {code} at" in fault(tmp_path, plain.astype(np.float32))


def test_a_void_below_ground_of_much_relief(tmp_path):
    hills = relief(base_m=400, height_m=250)
    hills[holes("patch")] = -1
    gap_m = np.sort(hills, axis=None)[holes("patch").sum()] + 1
    assert 10 < gap_m < 0.1 * (hills.max() - hills.min())
    assert "far from all its other values" in fault(tmp_path, hills.astype(np.float32))


def test_a_number_inside_the_range_walled_by_steps_is_a_void(tmp_path):
    for code, base_m in ((3276.7, 3300.0), (0.0, 100.0), (1234.5, 1300.0), (0.0, -40.0)):
        dem = relief(base_m=base_m, height_m=900).astype(np.float32)
        assert dem.min() < code < dem.max()
        void = holes("patch") & (abs(dem - code) > 300)
        dem[void] = code
        sentence = fault(tmp_path, dem, pixel_m=30.0)
        assert f"is {code:.9g} at {(dem == np.float32(code)).mean():.2%} of its pixels, walled by steps" in sentence, (
            code
        )


@pytest.mark.parametrize("code", [-32768, -9999, 32767, -3.4e38])
@pytest.mark.parametrize("how", [Resampling.bilinear, Resampling.cubic, Resampling.average])
def test_a_void_that_was_warped_is_told_from_a_code(tmp_path, code, how):
    dem = relief().astype(np.float32)
    dem[holes("patch")] = code
    out = np.zeros((170, 190), np.float32)
    reproject(dem, out, src_transform=Affine(10, 0, 0, 0, -10, 0), dst_transform=Affine(11.3, 0, 3, 0, -11.3, -4),
              src_crs=UTM, dst_crs=UTM, resampling=how)  # fmt: skip
    out = out[:-2, :-2]
    sentence = fault(tmp_path, out)
    assert "the rim of a void that was warped as if it were ground does; take the DEM as it was before" in sentence


# ------------------------------------------------------------------------------------------- units of elevation


@pytest.mark.parametrize("per_m", [10, 100, 1000])
@pytest.mark.parametrize("pixel_m", [2.0, 10.0, 30.0])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_elevations_that_are_no_metres(tmp_path, per_m, pixel_m, dtype):
    dem = relief(height_m=15 * pixel_m)
    assert check(tmp_path, dem.astype(np.float32), pixel_m) == []
    sentence = fault(tmp_path, (dem * per_m).astype(dtype), pixel_m=pixel_m)
    assert "its elevations are hardly metres; convert them to metres or set the scale of the band" in sentence
    if (pixel_m, dtype) == (10.0, "int32"):
        carry_out(sentence.replace("=0.001", f"={1 / per_m}"))
        with Raw(tmp_path / "file.tif") as raw:
            whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
            assert checks.check_values(raw, whole, whole, True, lambda: None) == []


def test_decimetres_of_low_ground(tmp_path):
    """No height is beyond any ground, and only the slopes tell."""
    dem = relief(base_m=200, height_m=70)
    assert check(tmp_path, dem.astype(np.float32)) == []
    assert "its elevations are hardly metres" in fault(tmp_path, (10 * dem).astype(np.float32))


def test_slopes_are_those_of_metres_on_the_ground(tmp_path):
    """In degrees a pixel is not 0.0001 m wide, and at 60 N it is half as wide as high."""
    for latitude in (0, 36, 60, -75):
        transform = Affine(1e-4, 0, 105, 0, -1e-4, latitude)
        assert check(tmp_path, relief().astype(np.float32), crs="EPSG:4326", transform=transform) == []
        grid = raster.Grid(SHAPE, transform, "EPSG:4326")
        down, across = ground_pixel_m(grid)
        metres_per_degree = 111_320
        assert down == pytest.approx(1e-4 * metres_per_degree, rel=0.01)
        assert across == pytest.approx(1e-4 * metres_per_degree * np.cos(np.radians(latitude)), rel=0.01)


@pytest.mark.parametrize(
    ("crs", "name", "low_m", "high_m"),
    [(UTM, "Earth", -430, 8849), ("IAU_2015:49910", "Mars", -8528, 21229), ("IAU_2015:30110", "the Moon", -9150, 10786),
     ("IAU_2015:29910", "Venus", -2500, 11000), ("IAU_2015:19910", "Mercury", -5380, 4480)],
)  # fmt: skip
def test_every_planet_keeps_its_own_heights(tmp_path, crs, name, low_m, high_m):
    ramp = np.broadcast_to(np.linspace(low_m, high_m, 400), (60, 400)).astype(np.float32)
    transform = Affine(100, 0, 500_000, 0, -100, 1000)
    assert body_of(raster.Grid((60, 400), transform, crs)).name == name
    assert check(tmp_path, ramp, crs=crs, transform=transform) == []
    for code in (-32768.0, 32767.0):
        void = ramp.copy()
        void[20:30, 100:200] = code
        assert f"is {code:.9g} at" in fault(tmp_path, void, crs=crs, transform=transform)


# ---------------------------------------------------------------------------------------------- ground that is sound


def sea(dem):
    return np.maximum(dem, 0)


def quarry(dem):
    dem = dem.copy()
    dem[60:120, 60:120] -= 60
    dem[80:100, 80:100] = dem[60:120, 60:120].min()  # its lake
    return dem


def cliff(height_m, column=100):
    def drop(dem):
        dem = dem.copy()
        for step in range(4):  # a wall of four pixels
            dem[:, column + step :] -= height_m / 4
        return dem

    return drop


def lake(dem):
    return np.maximum(dem, np.quantile(dem, 0.3))


def dam(dem):
    dem = dem.copy()
    dem[:, 100:104] = dem.max() + 40
    return dem


def spikes(dem):
    dem = dem.copy()
    at = np.random.default_rng(1).integers(0, 200, (2, 30))
    dem[at[0], at[1]] += np.random.default_rng(2).uniform(-40, 40, 30)
    return dem


SOUND = {
    "hills": (lambda dem: dem, 1200, 150, 10.0),
    "sea": (sea, 60, 150, 10.0),
    "fjord": (sea, 300, 900, 30.0),
    "fjord in fine pixels": (sea, 40, 60, 2.0),
    "sea floor": (lambda dem: dem, -3000, 900, 90.0),
    "polder": (lambda dem: dem, -2, 3, 5.0),
    "lake": (lake, 372, 150, 10.0),
    "quarry": (quarry, 160, 20, 1.0),
    "El Capitan": (cliff(900), 2000, 100, 10.0),
    "El Capitan in fine pixels": (cliff(350), 2000, 50, 1.0),
    "sea cliff": (lambda dem: sea(cliff(400)(dem)), 250, 30, 2.0),
    "dam": (dam, 20, 0.3, 2.0),
    "noise and spikes": (spikes, 400, 20, 1.0),
    "Himalaya": (lambda dem: dem, 5500, 2500, 90.0),
    "flat": (lambda dem: dem * 0 + 1500, 0, 0, 10.0),
    "two levels": (lambda dem: np.where(dem > 1200, 3.0, 2.0), 1200, 20, 10.0),
    "Dead Sea": (lambda dem: np.maximum(dem, -430), -300, 200, 10.0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("name", SOUND)
def test_sound_ground_passes_without_a_word(tmp_path, name, dtype):
    shape, base_m, height_m, pixel_m = SOUND[name]
    dem = shape(relief(base_m=base_m, height_m=height_m))
    assert check(tmp_path, dem.astype(dtype), pixel_m) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 5), (3, 4)])
def test_a_tiny_dem(tmp_path, shape):
    assert check(tmp_path, relief(shape).astype(np.float32)) == []


def test_a_canopy_of_a_surface_model(tmp_path):
    canopy = relief(height_m=10) + np.random.default_rng(3).gamma(2, 0.6, SHAPE)
    assert check(tmp_path, canopy.astype(np.float32), 0.5) == []


def test_high_steps_are_told(tmp_path):
    finding = check(tmp_path, cliff(2400)(relief(base_m=3000)).astype(np.float32))
    assert len(finding) == 1
    assert "file.tif has steps of up to 6" in finding[0]


# ---------------------------------------------------------------------------------------------- other scalar bands


@pytest.mark.parametrize("code", [1e30, -1e20, -3.4028226e38, -999999.0, -9999.0, -10000.0, -999.9, 7.5e9])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_number_far_from_all_others_of_a_band(tmp_path, code, layer):
    values = np.random.default_rng(0).normal(250, 60, (3, 80, 90)).astype(np.float32)
    assert check(tmp_path, values, elevation=False) == []
    values[layer, 20:30, 40:50] = code
    sentence = fault(tmp_path, values, elevation=False)
    assert f"at {100 / 7200:.2%} of its pixels, far from all its other values" in sentence


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).lognormal(0, 3, (1, 80, 90)).astype(np.float32),  # a radar image in power
        (np.random.default_rng(1).random((1, 80, 90)) > 0.9).astype(np.uint8) * 255,  # a mask
        np.random.default_rng(2).integers(-1, 2, (1, 80, 90)).astype(np.int16),  # classes
        np.random.default_rng(3).normal(0, 1, (2, 80, 90)).astype(np.float32),
    ],
    ids=["radar", "mask", "classes", "scores"],
)
def test_sound_bands_pass_without_a_word(tmp_path, values):
    assert check(tmp_path, values, elevation=False) == []


# ------------------------------------------------------------------------------------------- fill along the edge


def carry_out(sentence):
    """Run the one command of a sentence as a user would."""
    command = sentence.split("`")[1]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parent.parent
    subprocess.run(command, shell=True, check=True, cwd=root, env=environment, timeout=60, capture_output=True)


def corner(shape=(60, 80), where="two"):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    one = rows + columns < 25
    return one if where == "one" else one | (rows + columns > sum(shape) - 25)


@pytest.fixture
def area(tmp_path):
    return sound_area(tmp_path / "raw of mine" / "place")


@pytest.mark.parametrize("where", ["one", "two"])
@pytest.mark.parametrize(
    ("dtype", "declared", "fill"),
    [("uint16", 65535, 0), ("uint16", 0, 65535), ("float32", np.nan, 0), ("float32", -9999, 0), ("uint8", 255, 0),
     ("uint8", 0, 255), ("uint8", None, 0), ("uint8", 7, 0), ("int16", -1, 0), ("uint8", -9999, 0)],
)  # fmt: skip
def test_fill_beside_a_declared_nodata(area, dtype, declared, fill, where):
    path = area / "optical.tif"
    scene = np.random.default_rng(0).integers(50, 200, (4, 60, 80))
    values = scene.astype(dtype)
    filled, hole = corner(where=where), np.zeros((60, 80), bool)
    hole[30:35, 40:50] = declared is not None and declared != -9999
    values[:, filled] = fill
    if hole.any():
        values[:, hole] = declared
    write_tif(path, values, IMAGE, nodata=None if declared == -9999 and dtype == "uint8" else declared, names=BANDS)
    sentence = refusal(area)
    assert (
        f"is {fill} {'at' if fill == 65535 else 'in all bands along'} " in sentence
    )  # 65535 is far from the others too
    carry_out(sentence)
    image = raster.read(run(area)[1] / "image.tif")
    np.testing.assert_array_equal(np.isnan(image.values), np.broadcast_to(filled | hole, (4, 60, 80)))
    np.testing.assert_array_equal(image.values[:, ~(filled | hole)], scene[:, ~(filled | hole)])
    assert [band.name for band in image.bands] == list(BANDS)


def test_fill_below_an_opaque_alpha(area):
    values = np.random.default_rng(0).integers(50, 200, (5, 60, 80)).astype(np.uint16)
    values[:4, corner()] = 0
    values[4] = 65535
    path = write_tif(area / "optical.tif", values, IMAGE, photometric="RGB")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.gray, ColorInterp.alpha]
    carry_out(refusal(area))
    image = raster.read(run(area)[1] / "image.tif")
    np.testing.assert_array_equal(np.isnan(image.values), np.broadcast_to(corner(), (4, 60, 80)))


def turned(shape=(160, 200), degrees=20):
    """A scene turned in its frame: where it has data."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = rows - shape[0] / 2, columns - shape[1] / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (abs(x * cos + y * sin) < 70) & (abs(y * cos - x * sin) < 50)


@pytest.mark.parametrize(("dtype", "fill"), [("uint8", 0), ("uint8", 255), ("uint16", 0), ("float32", 0)])
def test_a_rim_inside_the_declared_nodata(tmp_path, dtype, fill):
    """Black between the scene and what is declared: it touches no edge of the file."""
    data = turned()
    values = np.full((3, 160, 200), 77, dtype)
    values[:, data] = np.random.default_rng(0).integers(80, 200, (3, data.sum()))
    columns = np.mgrid[:160, :200][1]
    values[:, data & (columns < 60)] = fill
    assert f"is {fill} in all bands along" in fault(tmp_path, values, elevation=False, nodata=77)
    values[:, data & (columns < 60)] = 77
    assert check(tmp_path, values, elevation=False, nodata=77) == []


@pytest.mark.parametrize("noise", [0, 9])
@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(("photometric", "quality"), [("RGB", 75), ("YCbCr", 50), ("YCbCr", 95)])
def test_a_rim_that_jpeg_blurred(tmp_path, quality, photometric, fill, noise):
    from scipy import ndimage

    rng = np.random.default_rng(0)
    scene = np.clip(128 + 300 * ndimage.gaussian_filter(rng.normal(size=(3, 256, 320)), (0, 3, 3)), 40, 215)
    filled = corner((256, 320)) | (np.arange(320) < 20)
    scene[:, filled] = np.abs(fill - rng.integers(0, noise + 1, (3, filled.sum())))
    how = {"elevation": False, "compress": "JPEG", "photometric": photometric, "jpeg_quality": quality, "tiled": True}
    sentence = fault(tmp_path, scene.astype(np.uint8), **how)
    assert f"is {fill} or within 12 of it in all bands along" in sentence
    carry_out(sentence)
    with Raw(tmp_path / "file.tif") as raw:
        whole = slice(0, 256), slice(0, 320)
        assert checks.check_values(raw, whole, whole, False, lambda: None) == []
        _, valid = raw.read_native(whole)
    assert (valid.any(axis=0) == ~filled).mean() > 0.99


def night(seed=0):
    """Water of 0 to 12 that reaches the edge, below ground of which a good part is nearly as dark."""
    return np.abs(dark_scene(np.uint8, seed).astype(int) - 10).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("nodata", [None, 255, 254])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dark_or_bright_ground_at_the_edge_is_no_fill(tmp_path, nodata, seed):
    for scene in (dark_scene(np.uint8, seed), night(seed)):
        assert check(tmp_path, scene, elevation=False, nodata=nodata) == []
        assert check(tmp_path, 255 - scene, elevation=False, nodata=0) == []  # snow
        wide = np.repeat(np.repeat(scene[:3], 4, 1), 4, 2)
        for photometric in ("RGB", "YCbCr"):
            how = {"compress": "JPEG", "photometric": photometric, "tiled": True}
            assert check(tmp_path, wide, elevation=False, **how) == []


# ------------------------------------------------------------------------------------------ blocks, and one more law


@pytest.mark.parametrize("block_px", [7, 64, 500])
def test_what_is_found_is_the_same_in_blocks_of_any_size(tmp_path, monkeypatch, block_px):
    dem = relief(base_m=100, height_m=900).astype(np.float32)
    dem[holes("patch") & (abs(dem) > 300)] = 0
    warped = relief().astype(np.float32)
    warped[50:60, 50:60] = np.linspace(-2000, -400, 10)
    scene = np.random.default_rng(0).integers(50, 200, (4, 60, 80)).astype(np.uint8)
    scene[:, corner()] = 0
    found = [partial(fault, tmp_path, dem, pixel_m=30.0), partial(fault, tmp_path, warped),
             partial(fault, tmp_path, scene, elevation=False), partial(fault, tmp_path, (dem * 0 - 1)),
             partial(check, tmp_path, cliff(2400, 126)(relief(base_m=3000)).astype(np.float32))]  # fmt: skip
    before = [ask() for ask in found]
    monkeypatch.setattr(blocks, "walk", partial(blocks.walk, block_px=block_px))
    assert [ask() for ask in found] == before


def test_the_image_of_a_sound_area_keeps_its_numbers(area):
    write_tif(area / "optical.tif", optical_values(), IMAGE, nodata=65535, names=BANDS)
    image = raster.read(run(area)[1] / "image.tif")
    np.testing.assert_array_equal(image.values, optical_values())
    write_tif(area / "dem.tif", relief((35, 40)).astype(np.float32)[None], DEM)
    assert run(area)[0].findings == []
