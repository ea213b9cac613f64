"""Each remedy that a sentence prints is run by a shell as printed, on the file it was printed for; the area then goes through."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp as C
from rasterio.rpc import RPC
from test_ingest import BANDS, DEM, IMAGE, SETTINGS, UTM, hills, optical_values, refusal, run, sound_area, write_tif

from hpcl.geo import raster
from hpcl.ingest import IngestError, opening, remedies
from hpcl.ingest.plan import examine

ROOT = Path(__file__).parent.parent


@pytest.fixture
def area(tmp_path, monkeypatch):
    """A sound area, in a folder with blanks, quotes and more."""
    monkeypatch.chdir(tmp_path)
    return sound_area(Path('L\'Aquila, 3 "new" $HOME slides') / "raw" / "place")


def follow(sentence):
    """Run the commands of a sentence as it prints them."""
    commands = re.findall(r"`([^`]+)`", sentence)
    assert commands
    programs = Path(ROOT / ".venv" / "bin")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(
            command, shell=True, env=environment, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    return commands


def as_layout(path, layout):
    if layout == "plain":
        return
    driver = {"cog": "COG", "hfa": "HFA", "jp2": "JP2OpenJPEG"}[layout]
    options = {"QUALITY": "100", "REVERSIBLE": "YES"} if layout == "jp2" else {}
    # Under its own suffix first: GDAL writes no georeference into a JPEG 2000 file that is called .tif.
    new = path.with_suffix({"jp2": ".jp2"}.get(layout, ".new"))
    rasterio.shutil.copy(path, new, driver=driver, **options)
    new.replace(path)
    new.with_name(f"{new.name}.aux.xml").unlink(missing_ok=True)


@pytest.mark.parametrize("layout", ["plain", "cog", "jp2"])
def test_undeclared_fill(area, layout):
    values = optical_values()
    values[:, :, :30] = 0
    write_tif(area / "optical.tif", values, IMAGE)
    as_layout(area / "optical.tif", layout)
    path = area / "optical.tif"
    assert "which looks like nodata that is not declared" in refusal(area)
    follow(f"`{remedies.edit_info(path, '--nodata', '0')}`")
    image = raster.read(run(area)[1] / "image.tif").values
    np.testing.assert_array_equal(np.isnan(image), values == 0)
    np.testing.assert_array_equal(image[:, :, 30:], values[:, :, 30:].astype(np.float32))


@pytest.mark.parametrize(
    ("layout", "code"), [("plain", -9999.0), ("plain", -3.4028234663852886e38), ("cog", -3.4028234663852886e38)]
)
def test_negative_and_long_numbers(area, layout, code):
    dem = hills(DEM, (35, 40))
    dem[:, 12:15, 14:18] = code
    path = write_tif(area / "dem.tif", dem, DEM)
    as_layout(path, layout)
    follow(f"`{remedies.edit_info(path, '--nodata', f'{code:.9g}')}`")
    out = run(area)[1]
    assert np.isnan(raster.read(out / "dem.tif").values).sum() == 12


@pytest.mark.parametrize("layout", ["plain", "cog"])
def test_no_crs(area, layout):
    write_tif(area / "optical.tif", optical_values(), IMAGE, crs=None, nodata=0)
    as_layout(area / "optical.tif", layout)
    follow(refusal(area))
    assert run(area)[0].crs_name == "WGS 84 / UTM zone 48N (EPSG:32648)"


@pytest.mark.parametrize("layout", ["cog"])
def test_metres_under_a_crs_of_degrees(area, layout):
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), DEM, crs="EPSG:4326", nodata=-9999)
    as_layout(area / "dem.tif", layout)
    follow(refusal(area))
    assert run(area)[0].reprojected == []


@pytest.mark.parametrize("layout", ["cog"])
def test_a_name_twice_and_names_for_some(area, layout):
    write_tif(area / "sar.tif", optical_values(bands=2).astype(np.float32), IMAGE, names=("vv", "red"))
    as_layout(area / "sar.tif", layout)
    follow(refusal(area))
    assert [band.name for band in run(area)[0].bands][4:] == ["vv", "other_red"]
    write_tif(area / "optical.tif", optical_values(), IMAGE, names=("pan", "red", "green", ""), nodata=0)
    as_layout(area / "optical.tif", layout)
    follow(refusal(area))
    assert [band.name for band in run(area)[0].bands][:4] == ["pan", "red", "green", "blue"]


@pytest.mark.parametrize("kind", ["gray", "alpha", "nodata"])
def test_control_points_alone(area, kind):
    """An image turned by 20 degrees, its position known by control points: each pixel holds its own easting."""
    turned = Affine.translation(500_010, 3_999_960) * Affine.rotation(20) * Affine.scale(2, -2)
    columns, rows = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    east, _ = turned * (columns, rows)
    values = np.repeat((east - 499_000).astype(np.uint16)[None], 5 if kind == "alpha" else 4, axis=0)
    points = [GroundControlPoint(r, c, *(turned * (c, r)), 0) for r in (0, 30, 60) for c in (0, 40, 80)]
    (area / "optical.tif").unlink()
    nodata = {"nodata": 0} if kind == "nodata" else {}
    with rasterio.open(
        area / "optical.tif", "w", driver="GTiff", count=len(values), height=60, width=80, dtype="uint16", gcps=points,
        crs=UTM, **nodata,
    ) as file:  # fmt: skip
        if kind == "alpha":
            values[4] = 65535
            file.colorinterp = [C.gray, C.undefined, C.undefined, C.undefined, C.alpha]
        file.write(values)
    sentence = refusal(area)
    assert "is placed by 9 control points alone" in sentence
    follow(sentence)
    image = raster.read(run(area)[1] / "image.tif")
    known = np.isfinite(image["red"])
    assert known.sum() * abs(image.grid.affine.determinant) == pytest.approx(60 * 80 * 4, rel=0.03)
    columns, rows = np.meshgrid(np.arange(known.shape[1]) + 0.5, np.arange(known.shape[0]) + 0.5)
    there = (image.grid.affine * (columns, rows))[0] - 499_000
    assert np.abs(image["red"] - there)[known].max() < 2.5  # whole metres, and a pixel at the rim


def test_control_points_of_an_unknown_crs(area):
    points = [GroundControlPoint(r, c, *(IMAGE * (c, r)), 0) for r in (0, 60) for c in (0, 80)]
    (area / "optical.tif").unlink()
    with rasterio.open(
        area / "optical.tif", "w", driver="GTiff", count=4, height=60, width=80, dtype="uint16", gcps=points, crs=CRS()
    ) as file:
        file.write(optical_values())
    follow(refusal(area))
    assert run(area)[0].shape == [60, 80]


def test_a_camera_model_alone(area):
    """A camera to which ground 100 m higher seems 16 m farther east: over the DEM, columns land where its equation says."""
    one = [1.0] + [0.0] * 19
    rpc = RPC(
        height_off=1200, height_scale=500, lat_off=36.1428, lat_scale=0.0006, line_off=30, line_scale=30, long_off=105.0009,
        long_scale=0.0009, samp_off=40, samp_scale=40, line_num_coeff=[0, 0, -1.0, *[0.0] * 17], line_den_coeff=one,
        samp_num_coeff=[0, 1.0, 0, 1.0, *[0.0] * 16], samp_den_coeff=one, err_bias=None, err_rand=None,
    )  # fmt: skip
    values = np.repeat(np.tile(np.arange(100, 180, dtype=np.uint16), (60, 1))[None], 4, axis=0)
    (area / "optical.tif").unlink()
    with rasterio.open(
        area / "optical.tif", "w", driver="GTiff", count=4, height=60, width=80, dtype="uint16", rpcs=rpc
    ) as file:
        file.write(values)
    ground = np.full((1, 200, 200), 1300, np.float32)
    write_tif(area / "dem.tif", ground, Affine(10.0, 0, 499_000, 0, -10.0, 4_001_000))
    sentence = refusal(area)
    assert "is placed by a camera model (RPC) alone" in sentence
    follow(sentence)
    (area / "landslides.gpkg").unlink()
    (area / "labelled_extent.gpkg").unlink()
    with rasterio.open(area / "optical.tif") as file:
        columns, rows = np.meshgrid(np.arange(file.width) + 0.5, np.arange(file.height) + 0.5)
        x, y = file.transform * (columns, rows)
        lon = np.array(rasterio.warp.transform(file.crs, "EPSG:4326", x.ravel(), y.ravel())[0]).reshape(x.shape)
        sample = 40 + 40 * ((lon - 105.0009) / 0.0009 + (1300 - 1200) / 500)
        seen, known = file.read(1), file.read_masks(1) > 0
        assert known.sum() > 2000
        # Each column holds its number; half a pixel between its centre and its corner, half by rounding.
        assert np.abs(seen - (100 + sample))[known].max() < 1.2
    assert run(area)[0].valid_frac.image > 0.5


@pytest.mark.parametrize(
    ("declared", "layout"),
    [("nodata 65535", "cog"), ("nodata nan", "plain"), ("alpha", "plain"), ("nothing", "cog"), ("mask", "plain")],
)
def test_a_black_rim_beside_any_mark(area, declared, layout):
    values = optical_values(bands=4)
    rows, columns = np.mgrid[:60, :80]
    rim = rows + columns < 25
    inner = (slice(40, 45), slice(40, 45))
    values[:, rim] = 0
    values[:, *inner] = 0  # black ground within the scene is none
    path, nodata = area / "optical.tif", None
    if declared.startswith("nodata"):
        nodata = float(declared.split()[1])
        values = values.astype(np.float32) if np.isnan(nodata) else values
    elif declared == "alpha":
        values = np.concatenate([values, np.full((1, 60, 80), 65535, np.uint16)])
    write_tif(path, values, IMAGE, nodata=nodata)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        if declared == "alpha":
            file.colorinterp = [C.gray, C.undefined, C.undefined, C.undefined, C.alpha]
        if declared == "mask":
            file.write_mask(np.full((60, 80), 255, np.uint8))
    as_layout(path, layout)
    follow(f"`{remedies.mark_rim(path, 0)}`")
    image = raster.read(run(area)[1] / "image.tif").values
    np.testing.assert_array_equal(np.isnan(image), np.broadcast_to(rim, image.shape))
    np.testing.assert_array_equal(image[:, ~rim], values[:4, ~rim].astype(np.float32))


def test_a_nearly_black_rim_of_a_jpeg(area):
    values = np.random.default_rng(0).integers(60, 250, (3, 64, 80)).astype(np.uint8)
    values[:, :, :32] = 0
    path = write_tif(area / "optical.tif", values, IMAGE, compress="jpeg", photometric="ycbcr", tiled=True, blockxsize=16,
                     blockysize=16)  # fmt: skip
    follow(f"`{remedies.mark_rim(path, 0, within=12)}`")
    image = raster.read(run(area)[1] / "image.tif").values
    assert np.isnan(image[:, :, :30]).all()
    assert not np.isnan(image[:, :, 33:]).any()


def test_a_raster_too_large(area, monkeypatch):
    monkeypatch.setattr(opening, "MAX_PX", 1500)
    sentence = refusal(area)
    assert "has 60 x 80 pixels where the area lies" in sentence
    follow(sentence)
    assert run(area)[0].pixel_m == pytest.approx(2 * 1.83, rel=0.01)


def test_pixels_that_lie_elsewhere(area, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (area / "optical.tif").rename(tmp_path / "elsewhere" / "tile.tif")
    rasterio.shutil.copy(tmp_path / "elsewhere" / "tile.tif", area / "optical.tif", driver="VRT")
    sentence = refusal(area)
    assert "which lies outside of its folder" in sentence
    follow(sentence)
    assert [band.name for band in run(area)[0].bands] == list(BANDS)


def test_shells_are_given_no_words_of_their_own():
    for name in ("a b", "L'Aquila", 'x"y', "$(touch no)", "`no`", "a;b", "-x"):
        command = remedies.edit_info(Path("raw") / name / "optical.tif", "--nodata", "0")
        assert shlex.split(command)[-1] == str(Path("raw") / name / "optical.tif")


def test_what_cannot_be_mended_is_said(area):
    programs = ROOT / ".venv" / "bin" / "python"
    for options in (["--georeference"],):
        done = subprocess.run(
            [programs, "-m", "stages.mend", *options, area / "optical.tif"], env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 1
        assert re.fullmatch(r"mend: [^\n]+\.\n", done.stderr)


def test_the_sound_area_needs_none(area):
    assert examine(area, SETTINGS).findings == ()
    with pytest.raises(IngestError):
        examine(area / "nowhere", SETTINGS)
