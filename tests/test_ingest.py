"""Raw areas in all their ways: planted coordinates, grids, masks and outlines come out where they were put."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.features import rasterize

from hpcl.core.areas import AreaNameError
from hpcl.core.records import BandName
from hpcl.geo import blocks, raster
from hpcl.ingest import IngestError, IngestSettings, edges, onto
from hpcl.ingest.grids import crs_of
from hpcl.ingest.operations import operation
from hpcl.ingest.output import write
from hpcl.ingest.plan import Layer, examine

BANDS = ("red", "green", "blue", "nir")
SETTINGS = IngestSettings(optical_bands=BANDS, dem_margin_px=4, area_change_max_frac=0.01, stretch_max_frac=0.1)
UTM = "EPSG:32648"
WEST, NORTH = 500_000.0, 4_000_000.0
IMAGE = Affine(2.0, 0, WEST, 0, -2.0, NORTH)
"""Grid of the test image: 60 rows, 80 columns of 2 m."""
DEM = Affine(10.0, 0, WEST - 105.0, 0, -10.0, NORTH + 95.0)
"""Grid of the test DEM: 35 rows, 40 columns of 10 m, not on the lattice of the image."""


def write_tif(path, values, transform, crs=UTM, nodata=None, names=None, unit=None, **profile):
    """A raw GeoTIFF of ``values`` (band, row, column)."""
    bands, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata, **profile,
    ) as file:  # fmt: skip
        file.write(values)
        if names:
            file.descriptions = names
        if unit:
            file.units = [unit] * bands
    return path


def square(x, y, side):
    """A square of ``side`` m whose north-west corner lies ``x`` m east and ``y`` m south of the image's."""
    return shapely.box(WEST + x, NORTH - y - side, WEST + x + side, NORTH - y)


def write_polygons(path, shapes, crs=UTM, **columns):
    gpd.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path, engine="pyogrio")
    return path


def optical_values(shape=(60, 80), bands=4, seed=0):
    return np.random.default_rng(seed).integers(50, 3000, (bands, *shape)).astype(np.uint16)


def hills(transform, shape):
    """Elevations [m] of some hills, by place and not by pixel."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform * (columns, rows)
    return (1200 + 30 * np.sin((x - WEST) / 60) * np.cos((y - NORTH) / 45)).astype(np.float32)[None]


def sound_area(folder):
    """An area with nothing wrong."""
    optical = optical_values()
    optical[:, :5, :7] = 0
    write_tif(folder / "optical.tif", optical, IMAGE, nodata=0, names=BANDS)
    write_tif(folder / "dem.tif", hills(DEM, (35, 40)), DEM, nodata=-9999, unit="metre")
    write_polygons(folder / "landslides.gpkg", [square(20, 20, 31), square(90, 60, 25)])
    write_polygons(folder / "labelled_extent.gpkg", [square(0, 0, 130)])
    return folder


@pytest.fixture
def area(tmp_path):
    return sound_area(tmp_path / "raw" / "place")


def run(folder, settings=SETTINGS):
    """Survey and write; the facts and the folder written."""
    out = folder.parent.parent / "out"
    return write(examine(folder, settings), out), out


def refusal(folder, settings=SETTINGS):
    with pytest.raises(IngestError) as caught:
        examine(folder, settings)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- the data contract


def test_a_sound_area_keeps_its_own_pixels(area):
    rng = np.random.default_rng(1)
    inertia = rng.normal(size=(1, 60, 80)).astype(np.float32)
    inertia[0, 30:, 70:] = np.nan
    write_tif(area / "thermal.tif", inertia, IMAGE, unit="1")
    write_tif(area / "radar.tif", rng.normal(size=(2, 60, 80)).astype(np.float32), IMAGE)
    facts, out = run(area)
    assert sorted(p.name for p in out.iterdir()) == ["dem.tif", "image.tif", "labels.tif", "landslides.gpkg"]

    image = raster.read(out / "image.tif")
    expected = optical_values().astype(np.float32)
    expected[:, :5, :7] = np.nan
    assert [band.name for band in image.bands] == [*BANDS, "radar_1", "radar_2", "thermal"]
    assert image.grid.affine == IMAGE
    assert image.grid.crs.epsg == 32648
    np.testing.assert_array_equal(image.values[:4], expected)
    np.testing.assert_array_equal(image["thermal"], inertia[0])

    dem = raster.read(out / "dem.tif")
    assert [(band.name, band.unit) for band in dem.bands] == [("elevation", "m")]
    # The image covers the DEM's rows 9.5 to 21.5 and columns 10.5 to 26.5; four pixels of margin around them.
    assert dem.grid.affine == DEM * Affine.translation(6, 5)
    assert dem.grid.shape == (21, 25)
    np.testing.assert_array_equal(dem.values, hills(DEM, (35, 40))[:, 5:26, 6:31])

    assert facts.shape == [60, 80]
    assert facts.pixel_m == 2.0
    assert facts.classes == ["landslide"]
    assert facts.bands[-1] == BandName("thermal", "1")
    assert pyproj.CRS(facts.crs).to_epsg() == 32648
    assert facts.valid_frac.image == pytest.approx(1 - 35 / 4800)
    assert facts.findings == []
    assert facts.reprojected == []
    json.dumps(asdict(facts))


def test_labels_equal_the_outlines(area):
    facts, out = run(area)
    labels = raster.read(out / "labels.tif").values[0]
    slides = rasterize([square(20, 20, 31), square(90, 60, 25)], out_shape=(60, 80), transform=IMAGE, dtype="uint8")
    slides[:, 65:] = 255
    slides[:5, :7] = 255
    np.testing.assert_array_equal(labels, slides)
    assert facts.inventory.landslide_frac == pytest.approx((slides == 1).sum() / (slides < 255).sum())
    assert facts.inventory.unknown_frac == pytest.approx((slides == 255).mean())
    with rasterio.open(out / "labels.tif") as file:
        assert (file.dtypes[0], file.nodata) == ("uint8", 255)
    table = gpd.read_file(out / "landslides.gpkg")
    assert list(table.columns) == ["id", "class", "area_m2", "source", "geometry"]
    assert list(table["area_m2"]) == [31 * 31, 25 * 25]


def test_a_pixel_with_one_optical_band_is_known_ground(area):
    values = optical_values()
    values[0, 30, 30] = 0  # one band alone: shadow, or a sensor's defect
    values[:, 40, 40] = 0
    write_tif(area / "optical.tif", values, IMAGE, nodata=0)
    labels = raster.read(run(area)[1] / "labels.tif").values[0]
    assert labels[30, 30] == 0
    assert labels[40, 40] == 255


def test_equal_input_gives_equal_bytes(area, tmp_path):
    hashes = []
    for turn in ("a", "b"):
        out = tmp_path / turn
        write(examine(area, SETTINGS), out)
        hashes.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir()})
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 4


def test_the_size_of_blocks_does_not_show(area, monkeypatch):
    """Everything by windows: image reprojected, finer band averaged, DEM projected, labels drawn, fill looked for."""
    to_degrees(area / "dem.tif", hills(DEM, (35, 40)), DEM)
    fine = Affine(0.7, 0, WEST - 5, 0, -0.7, NORTH + 5)
    write_tif(area / "fine.tif", np.random.default_rng(2).normal(size=(1, 190, 250)).astype(np.float32), fine)
    _, out = run(area)
    whole = {p.name: raster.read(p).values for p in out.glob("*.tif")}
    monkeypatch.setattr(blocks, "walk", partial(blocks.walk, block_px=29))
    monkeypatch.setattr(onto, "MOST_PX", 6000)
    _, out = run(area)
    for name, values in whole.items():
        np.testing.assert_allclose(raster.read(out / name).values, values, rtol=0, atol=1e-3)


def test_survey_writes_nothing(area):
    before = sorted(area.parent.parent.rglob("*"))
    examine(area, SETTINGS)
    assert sorted(area.parent.parent.rglob("*")) == before


def test_progress_counts_to_the_end(area):
    for step in (
        partial(examine, area, SETTINGS),
        partial(write, examine(area, SETTINGS), area / "o"),
    ):
        told = []
        step(progress=lambda done, total, told=told: told.append((done, total)))
        assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
        assert len({total for _, total in told}) == 1


# --------------------------------------------------------------------------------------------- grids and CRS


def to_degrees(path, values, transform):
    """A raw DEM in geographic coordinates that holds the ``values`` of a UTM grid, warped finely."""
    from rasterio.warp import calculate_default_transform, reproject

    height, width = values.shape[1:]
    bounds = rasterio.transform.array_bounds(height, width, transform)
    degrees, columns, rows = calculate_default_transform(UTM, "EPSG:4326", width, height, *bounds)
    out = np.full((1, rows, columns), np.nan, np.float32)
    reproject(values, out, src_transform=transform, src_crs=UTM, dst_transform=degrees, dst_crs="EPSG:4326",
              src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.cubic, tolerance=0)  # fmt: skip
    return write_tif(path, out, degrees, "EPSG:4326", nodata=np.nan)


def eastings(grid_transform, shape, crs, what):
    """Planted truth: at every pixel centre its own easting (what=0) or northing (what=1) in UTM."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = grid_transform * (columns, rows)
    planted = pyproj.Transformer.from_crs(crs, UTM, always_xy=True).transform(x, y)[what]
    return (planted - (WEST, NORTH)[what]).astype(np.float32)[None]


@pytest.mark.parametrize("what", [0, 1])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32647", "EPSG:3857"])
def test_a_dem_in_another_crs_lands_on_its_ground(area, crs, what):
    """A DEM that holds UTM coordinates as elevations holds, reprojected, the coordinates of its pixels' centres."""
    x, y = pyproj.Transformer.from_crs(UTM, crs, always_xy=True).transform(WEST - 200, NORTH + 200)
    step = 1e-4 if crs == "EPSG:4326" else 10.0
    transform = Affine(step, 0, x, 0, -step, y)
    write_tif(area / "dem.tif", eastings(transform, (70, 90), crs, what), transform, crs, nodata=-9999)
    facts, out = run(area)
    dem = raster.read(out / "dem.tif")
    inside = np.isfinite(dem.values)
    expected = eastings(dem.grid.affine, dem.grid.shape, UTM, what)
    assert inside.mean() > 0.8
    edge = np.zeros_like(inside)
    edge[:, 4:-4, 4:-4] = True  # beyond the file's edge the kernel has one side alone
    np.testing.assert_allclose(dem.values[inside & edge], expected[inside & edge], atol=0.002)
    assert dem.grid.affine.a == -dem.grid.affine.e == pytest.approx(10, rel=0.3)
    assert facts.reprojected == ["dem.tif"]
    assert len(facts.findings) == 1
    assert "dem.tif" in facts.findings[0]
    assert f"({crs})) and was projected to WGS 84 / UTM zone 48N (EPSG:32648)" in facts.findings[0]


def test_a_wide_dem_is_projected_to_a_hundredth_of_a_pixel():
    """A hundred kilometres at 70 degrees north, where the approximation that GDAL makes by default is .08 pixel off."""
    degrees = raster.Grid((700, 1600), Affine(2e-3, 0, 107, 0, -1e-3, 70), "EPSG:4326")
    x, y = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(107.1, 69.85)
    metres = raster.Grid((300, 1000), Affine(100.0, 0, x, 0, -100.0, y), UTM)
    y -= NORTH

    class Planted:
        bands = (raster.Band("northing"),)

        def read(self, roi):
            return eastings(degrees[roi].affine, degrees[roi].shape, "EPSG:4326", 1) - y

    layer = Layer(Path("dem.tif"), degrees, metres, (), operation(crs_of(degrees), crs_of(metres), metres))
    values = onto.read_onto(Planted(), layer, metres, Resampling.cubic)
    expected = eastings(metres.affine, metres.shape, UTM, 1) - y
    np.testing.assert_allclose(values, expected, rtol=0, atol=1.0)


def test_a_dem_whose_crs_is_only_written_differently_is_not_resampled(area):
    other = "+proj=utm +zone=48 +ellps=WGS84 +units=m"
    assert pyproj.CRS(other) != pyproj.CRS(UTM)
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), DEM, crs=other, nodata=-9999)
    facts, out = run(area)
    assert facts.reprojected == []
    np.testing.assert_array_equal(raster.read(out / "dem.tif").values, hills(DEM, (35, 40))[:, 5:26, 6:31])


def test_heights_in_the_crs_leave_the_map_as_it_is(area):
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), DEM, crs="EPSG:32648+5773", nodata=-9999)
    facts, out = run(area)
    assert facts.reprojected == []
    assert raster.read(out / "dem.tif").grid.crs.epsg == 32648


def test_a_rotated_or_south_up_dem_becomes_north_up(area):
    south_up = Affine(10.0, 0, DEM.c, 0, 10.0, DEM.f - 350)
    write_tif(area / "dem.tif", hills(south_up, (35, 40)), south_up, nodata=-9999)
    _, out = run(area)
    dem = raster.read(out / "dem.tif")
    np.testing.assert_array_equal(dem.values, hills(DEM, (35, 40))[:, 5:26, 6:31])
    turned = Affine.translation(WEST - 150, NORTH + 150) * Affine.rotation(10) * Affine.scale(10, -10)
    write_tif(area / "dem.tif", eastings(turned, (60, 60), UTM, 0), turned, nodata=-9999)
    facts, out = run(area)
    dem = raster.read(out / "dem.tif")
    assert tuple(dem.grid.affine)[:5:2] == pytest.approx((10.0, dem.grid.affine.c, -10.0))
    assert dem.grid.affine.b == dem.grid.affine.d == 0
    known = np.isfinite(dem.values[:, 4:-4, 4:-4])
    assert known.mean() > 0.9
    expected = eastings(dem.grid.affine, dem.grid.shape, UTM, 0)[:, 4:-4, 4:-4]
    np.testing.assert_allclose(dem.values[:, 4:-4, 4:-4][known], expected[known], atol=0.002)
    assert "is on a rotated grid" in facts.findings[0]


@pytest.mark.parametrize(
    ("crs", "step", "why"),
    [
        ("EPSG:4326", 2e-5, "has a geographic CRS (WGS 84 (EPSG:4326)) and was reprojected to WGS 84 / UTM zone 48N"),
        ("EPSG:3857", 2.0, "has a CRS that stretches lengths by 24% here (WGS 84 / Pseudo-Mercator"),
        ("EPSG:2263", 6.0, "has a CRS in US survey foot (NAD83 / New York Long Island (ftUS)"),
    ],
)
def test_an_image_without_metres_goes_to_its_utm_zone(tmp_path, crs, step, why):
    folder = tmp_path / "raw" / "place"
    lon, lat = (105.0, 36.0) if crs != "EPSG:2263" else (-74.0, 40.7)
    zone = "EPSG:32648" if crs != "EPSG:2263" else "EPSG:32618"
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    transform = Affine(step, 0, x, 0, -step, y)
    values = np.concatenate([*([optical_values((60, 80), 3)] * 1), np.full((1, 60, 80), 700, np.uint16)])
    values[:, 20:30, 20:30] = 0
    write_tif(folder / "optical.tif", values, transform, crs, nodata=0)
    east, north = pyproj.Transformer.from_crs("EPSG:4326", zone, always_xy=True).transform(lon, lat)
    wide = Affine(10.0, 0, east - 300, 0, -10.0, north + 300)
    write_tif(folder / "dem.tif", hills(DEM, (80, 80)), wide, zone, nodata=-9999)
    facts, out = run(folder)
    image = raster.read(out / "image.tif")
    assert image.grid.crs == zone
    assert why in facts.findings[0]
    assert facts.reprojected == ["optical.tif"]
    assert facts.stretch_frac < 0.001
    constant = image["nir"]
    np.testing.assert_allclose(constant[np.isfinite(constant)], 700, rtol=1e-6)  # nodata did not bleed
    # nor did it grow: data cover the ground they covered
    ground = np.isfinite(constant).sum() * facts.pixel_m**2
    ground_before = (4800 - 100) * np.prod(ground_pixel_m(transform, crs))
    assert ground == pytest.approx(ground_before, rel=0.04)


def ground_pixel_m(transform, crs):
    """Width and height in metres of the first pixel, on the ellipsoid."""
    geod = pyproj.CRS(crs).geodetic_crs.get_geod()
    back = pyproj.Transformer.from_crs(crs, pyproj.CRS(crs).geodetic_crs, always_xy=True)
    (x0, y0), (x1, y1) = transform * (0, 0), transform * (1, 1)
    lon, lat = back.transform([x0, x1, x0], [y0, y0, y1])
    return geod.inv(lon[0], lat[0], lon[1], lat[1])[2], geod.inv(lon[0], lat[0], lon[2], lat[2])[2]


def test_mars_has_metres_but_no_utm(tmp_path):
    folder = tmp_path / "raw" / "valles"
    mars = "IAU_2015:49910"
    transform = Affine(220.0, 0, -4_017_280.0, 0, -220.0, -691_360.0)
    write_tif(folder / "optical.tif", optical_values(), transform, mars, nodata=0)
    write_tif(folder / "dem.tif", hills(DEM, (60, 80)), transform, mars, nodata=-32768)
    facts, out = run(folder)
    assert facts.reprojected == []
    assert facts.stretch_frac == pytest.approx(0.0216, abs=0.001)  # 1 / cos(latitude) - 1
    assert raster.read(out / "image.tif").grid.affine == transform
    assert "Mars" in facts.crs
    degrees = Affine(0.004, 0, -67.0, 0, -0.004, -12.0)
    write_tif(folder / "optical.tif", optical_values(), degrees, "IAU_2015:49900", nodata=0)
    wide = Affine(500.0, 0, -4_017_280.0, 0, -500.0, -691_360.0)
    write_tif(folder / "dem.tif", hills(DEM, (200, 200)), wide, mars, nodata=-32768)
    facts, out = run(folder)
    image = raster.read(out / "image.tif")
    assert image.grid.crs.projected
    assert image.grid.crs.proj.ellipsoid.semi_major_metre == 3396190
    assert facts.stretch_frac < 1e-4
    assert facts.pixel_m == pytest.approx(0.004 * np.pi / 180 * 3396190, rel=0.05)
    assert "dem.tif" in facts.reprojected
    assert facts.valid_frac.dem == 1.0


def test_further_bands_are_warped_onto_the_image_layer_by_layer(area):
    """Half a pixel off, with a hole in one layer: the hole stays in its layer, and does not grow."""
    off = IMAGE * Affine.translation(-2.5, -3.5)
    values = np.stack([eastings(off, (70, 90), UTM, 0)[0], eastings(off, (70, 90), UTM, 1)[0]])
    values[0, 30:40, 50:60] = np.nan
    write_tif(area / "coordinates.tif", values, off)
    facts, out = run(area)
    image = raster.read(out / "image.tif")
    assert facts.reprojected == ["coordinates.tif"]
    assert 60 <= np.isnan(image["coordinates_1"]).sum() <= 100
    assert not np.isnan(image["coordinates_2"]).any()
    np.testing.assert_allclose(image["coordinates_2"], eastings(IMAGE, (60, 80), UTM, 1)[0], atol=0.02)
    # Beside the hole the kernel has one side alone: at most half a pixel off, never a number out of nowhere.
    error = np.abs(image["coordinates_1"] - eastings(IMAGE, (60, 80), UTM, 0)[0])
    assert np.nanmax(error) <= 1.0 + 1e-3
    far = np.ones((60, 80), bool)
    far[24:40, 45:61] = False
    assert error[far].max() < 0.02


def test_a_hole_in_a_projected_dem_neither_bleeds_nor_grows(area):
    x, y = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(WEST - 200, NORTH + 200)
    transform = Affine(1e-4, 0, x, 0, -1e-4, y)
    dem = np.full((1, 70, 90), 1500, np.int16)
    dem[0, 20:30, 25:35] = -9999
    dem[0, 25, 45] = -9999
    write_tif(area / "dem.tif", dem, transform, "EPSG:4326", nodata=-9999)
    _, out = run(area, IngestSettings(**{**vars_of(SETTINGS), "dem_margin_px": 20}))
    values = raster.read(out / "dem.tif").values[0]
    known = np.isfinite(values)
    np.testing.assert_allclose(values[known], 1500, rtol=1e-6)
    inner = ~known[15:40, 15:45]
    assert 60 <= inner.sum() * raster.read(out / "dem.tif").grid.affine.a ** 2 / (9.0 * 11.1) <= 101


def vars_of(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_a_dem_smaller_than_the_image_is_told(area):
    half = DEM * Affine.translation(18, 0)
    write_tif(area / "dem.tif", hills(half, (35, 40)), half, nodata=-9999)
    facts, _ = run(area)
    assert facts.findings == ["dem.tif covers 53.1% of the image; the rest has no terrain."]


def test_a_reference_dem_is_treated_as_the_dem_is(area):
    fine = Affine(5.0, 0, WEST - 100, 0, -5.0, NORTH + 100)
    write_tif(area / "reference_dem.tif", hills(fine, (80, 80)), fine, nodata=-9999)
    facts, out = run(area)
    reference = raster.read(out / "reference_dem.tif")
    assert reference.grid.affine == fine * Affine.translation(16, 16)
    assert facts.valid_frac.reference_dem == 1.0
    write_tif(area / "reference_dem.tif", hills(fine, (80, 80)), fine, unit="feet")
    assert "reference_dem.tif has elevations in 'feet'" in refusal(area)


# ----------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "nan and nodata"])
def test_every_way_to_mark_nodata_becomes_nan(area, how):
    hole = np.zeros((60, 80), bool)
    hole[10:20, 30:50] = True
    values = optical_values()
    if how == "nodata":
        values[:, hole] = 7
        write_tif(area / "optical.tif", values, IMAGE, nodata=7)
    elif how == "mask":
        write_tif(area / "optical.tif", values, IMAGE)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(area / "optical.tif", "r+") as file,
        ):
            file.write_mask(np.where(hole, 0, 255).astype(np.uint8))
    elif how == "alpha":
        alpha = np.where(hole, 0, 65535).astype(np.uint16)[None]
        write_tif(area / "optical.tif", np.concatenate([values, alpha]), IMAGE, photometric="RGB")
        with rasterio.open(area / "optical.tif", "r+") as file:
            file.colorinterp = [
                ColorInterp.red,
                ColorInterp.green,
                ColorInterp.blue,
                ColorInterp.gray,
                ColorInterp.alpha,
            ]
    else:
        values = values.astype(np.float32)
        values[:, hole] = -1
        values[:, 10:20, 30:40] = np.nan
        values[:, 15:20, 30:35] = np.inf
        write_tif(area / "optical.tif", values, IMAGE, nodata=-1)
    image = raster.read(run(area)[1] / "image.tif")
    np.testing.assert_array_equal(np.isnan(image.values), np.broadcast_to(hole, (4, 60, 80)))
    np.testing.assert_array_equal(image.values[:, ~hole], optical_values()[:, ~hole].astype(np.float32))


def test_a_fourth_band_of_bytes_is_no_mask(area):
    """GDAL calls it alpha, with and without a nodata value."""
    values = (optical_values() // 16 + 1).astype(np.uint8)
    values[3, ::7, ::5] = 0
    for nodata in (None, 255):
        write_tif(area / "optical.tif", values, IMAGE, nodata=nodata)
        with rasterio.open(area / "optical.tif") as file:
            assert file.colorinterp[3] == ColorInterp.alpha
        image = raster.read(run(area)[1] / "image.tif")
        np.testing.assert_array_equal(image.values, values.astype(np.float32))


def test_scale_and_offset_are_applied(area):
    decimetres = np.round(hills(DEM, (35, 40)) * 10).astype(np.int16)
    write_tif(area / "dem.tif", decimetres, DEM, nodata=-9999)
    with rasterio.open(area / "dem.tif", "r+") as file:
        file.scales, file.offsets = [0.1], [100.0]
    dem = raster.read(run(area)[1] / "dem.tif").values
    np.testing.assert_allclose(dem, hills(DEM, (35, 40))[:, 5:26, 6:31] + 100, atol=0.051)


@pytest.mark.parametrize(
    ("code", "dtype"), [(-9999, "float32"), (-32768, "int16"), (-3.4028234663852886e38, "float32"), (-99999, "float64")]
)
def test_a_single_sentinel_in_a_dem_is_refused(area, code, dtype):
    dem = hills(DEM, (35, 40)).astype(dtype)
    dem[0, 15, 15] = code
    write_tif(area / "dem.tif", dem, DEM)
    sentence = refusal(area)
    assert f"dem.tif is {code} at 0.12% of its pixels" in sentence
    assert "declare it, as in `rio edit-info --nodata" in sentence
    write_tif(area / "dem.tif", dem, DEM, nodata=code)
    assert np.isnan(raster.read(run(area)[1] / "dem.tif").values).sum() == 1


def test_zeros_in_a_dem(area):
    """The sea is no nodata: the land rises from it. A wall from 0 to 1200 m is."""
    dem = hills(DEM, (35, 40))
    dem[:, :, :14] = 0
    write_tif(area / "dem.tif", dem, DEM)
    assert "dem.tif is 0 at" in refusal(area)
    coast = np.maximum(hills(DEM, (35, 40)) - 1190, 0)
    assert (coast == 0).mean() > 0.1
    write_tif(area / "dem.tif", coast, DEM)
    assert run(area)[0].valid_frac.dem == 1.0
    deep = hills(DEM, (35, 40)) - 11_200  # elevations around -9999 that are none of its kind
    deep[0, 15, 15] = -9999
    write_tif(area / "dem.tif", deep, DEM)
    assert run(area)[0].valid_frac.dem == 1.0


def dark_scene(dtype, seed=3, one_band=False):
    """A scene of 8 bits with dark, noisy ground, some of it black in all bands, also along the edge."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:60, :80]
    brightness = 45 + 80 * np.sin(rows / 9) * np.cos(columns / 7)  # down to -35: some of it is black
    bands = 1 if one_band else 4
    return np.clip(brightness + rng.normal(0, 3, (bands, 60, 80)), 0, 255).astype(dtype)


def test_dark_pixels_are_no_nodata(area):
    values = dark_scene(np.uint8)
    black = (values == 0).all(axis=0)
    assert black.mean() > 0.01
    assert np.concatenate([black[0], black[-1], black[:, 0], black[:, -1]]).mean() > edges.EDGE_FRAC
    write_tif(area / "optical.tif", values, IMAGE, names=BANDS)
    image = raster.read(run(area)[1] / "image.tif")
    np.testing.assert_array_equal(image.values, values.astype(np.float32))
    bright = (255 - values).astype(np.uint8)  # snow, saturated
    write_tif(area / "optical.tif", bright, IMAGE, names=BANDS)
    assert run(area)[0].valid_frac.image == 1.0


@pytest.mark.parametrize(
    ("dtype", "fill"), [("uint8", 0), ("uint8", 255), ("uint16", 0), ("float32", 0), ("int16", -9999)]
)
def test_fill_along_the_edge_is_nodata(area, dtype, fill):
    values = dark_scene(dtype)
    rows, columns = np.mgrid[:60, :80]
    corners = (rows + columns < 25) | (rows + columns > 115)
    values[:, corners] = fill
    write_tif(area / "optical.tif", values, IMAGE, names=BANDS)
    sentence = refusal(area)
    assert f"optical.tif is {fill} " in sentence
    assert f"`rio edit-info --nodata {fill} {area / 'optical.tif'}`" in sentence
    write_tif(area / "optical.tif", values, IMAGE, names=BANDS, nodata=fill)
    assert np.isnan(raster.read(run(area)[1] / "image.tif").values)[:, corners].all()


def test_a_layer_without_data_on_the_ground_is_refused(area):
    dem = hills(DEM, (35, 40))
    dem[:, :, 5:] = -9999
    write_tif(area / "dem.tif", dem, DEM, nodata=-9999)
    assert "dem.tif has no data where the image lies" in refusal(area)


@pytest.mark.parametrize("layout", ["strips", "cog"])
def test_a_file_cut_short_is_refused_before_anything_is_written(area, layout):
    path = area / "optical.tif"
    write_tif(area / "plain.tif", optical_values((600, 800)), IMAGE, nodata=0)
    if layout == "cog":
        rasterio.shutil.copy(area / "plain.tif", path, driver="COG", overviews="none")
    else:
        path.write_bytes((area / "plain.tif").read_bytes())
    (area / "plain.tif").unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"{path} breaks off while it is read (truncated?); copy the file again (GDAL says: " in refusal(area)


# ----------------------------------------------------------------------------------------------- refused files


def test_units_of_elevation(area):
    dem = hills(DEM, (35, 40))
    for unit in ("metre", "m", "Metres"):
        write_tif(area / "dem.tif", dem, DEM, unit=unit, nodata=-9999)
        examine(area, SETTINGS)
    for unit in ("feet", "US survey foot", "cm"):
        write_tif(area / "dem.tif", dem, DEM, unit=unit)
        assert f"dem.tif has elevations in '{unit}' by the unit of its band; convert them to metres" in refusal(area)
    write_tif(area / "feet.tif", dem, DEM, crs="EPSG:32648+6360")  # NAVD88 height (ftUS); GDAL tells it as the unit too
    rasterio.shutil.copy(area / "feet.tif", area / "dem.tif", driver="VRT")
    virtual = (area / "dem.tif").read_text()
    (area / "dem.tif").write_text(virtual.replace("<UnitType>US survey foot</UnitType>", ""))
    assert "dem.tif has elevations in US survey foot by its vertical CRS" in refusal(area)


def test_a_map_in_feet_has_feet_of_elevation_unless_it_says_metres(tmp_path):
    folder = tmp_path / "raw" / "new_york"
    feet = Affine(6.0, 0, 984_000.0, 0, -6.0, 200_000.0)
    write_tif(folder / "optical.tif", optical_values(), feet, "EPSG:2263", nodata=0)
    wide = Affine(30.0, 0, 983_000.0, 0, -30.0, 201_000.0)
    write_tif(folder / "dem.tif", hills(DEM, (80, 80)), wide, "EPSG:2263")
    assert "dem.tif has elevations in US survey foot like its map, as far as one can tell" in refusal(folder)
    write_tif(folder / "dem.tif", hills(DEM, (80, 80)), wide, "EPSG:2263", unit="metre")
    facts, _ = run(folder)
    assert facts.reprojected == ["optical.tif", "dem.tif"]
    assert facts.dem_pixel_m == pytest.approx(30 * 0.3048, rel=0.02)


def test_a_name_that_tables_read_as_none_is_refused(area):
    with pytest.raises(AreaNameError, match="'NA' is no name of an area"):
        examine(area.rename(area.parent / "NA"), SETTINGS)


def test_complex_numbers_are_refused(area):
    write_tif(area / "sar.tif", hills(IMAGE, (60, 80)).astype(np.complex64), IMAGE)
    assert "sar.tif holds numbers of type complex64; give real ones" in refusal(area)


def test_bands_and_their_names(area):
    write_tif(area / "optical.tif", optical_values(bands=3), IMAGE, nodata=0)
    assert "optical.tif has 3 bands, but params.yaml ingest.optical_bands names 4 (red, green, blue, nir)" in refusal(
        area
    )
    write_tif(area / "optical.tif", optical_values(bands=3), IMAGE, nodata=0, names=("red", "nir", "blue"))
    facts, _ = run(area)
    assert [band.name for band in facts.bands] == ["red", "nir", "blue"]
    assert facts.findings == ["optical.tif has no band green of ingest.optical_bands."]
    write_tif(area / "optical.tif", optical_values(), IMAGE, nodata=0, names=("red", "green", "blue", "gray"))
    facts, _ = run(area)
    assert [band.name for band in facts.bands] == ["red", "green", "blue", "gray"]
    assert "optical.tif names its bands red, green, blue, gray" in facts.findings[0]
    write_tif(area / "gray.tif", hills(IMAGE, (60, 80)), IMAGE)
    assert f"{area / 'gray.tif'} has a band 'gray', and so has {area / 'optical.tif'}" in refusal(area)
    (area / "gray.tif").unlink()
    write_tif(area / "dem.tif", np.repeat(hills(DEM, (35, 40)), 2, axis=0), DEM)
    assert "dem.tif has 2 bands" in refusal(area)


def test_places_that_do_not_meet(area):
    away = DEM * Affine.translation(1000, 0)
    write_tif(area / "far.tif", hills(away, (35, 40)), away)
    assert "far.tif does not overlap" in refusal(area)
    (area / "far.tif").unlink()
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), Affine(1, 0, 1000, 0, -1, -700), "IAU_2015:49910")
    assert "which has no way to the image's CRS WGS 84 / UTM zone 48N" in refusal(area)
    beside = Affine(10.0, 0, WEST + 160, 0, -10.0, NORTH)  # touches the image's east edge
    write_tif(area / "dem.tif", hills(beside, (35, 40)), beside)
    assert "dem.tif does not overlap" in refusal(area)


def test_files_without_a_place(area):
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), DEM, crs=None)
    assert "dem.tif has no coordinate reference system" in refusal(area)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_tif(area / "dem.tif", hills(DEM, (35, 40)), Affine.identity())
    assert "dem.tif has a coordinate reference system but no position in it" in refusal(area)
    local = 'LOCAL_CS["drone frame",UNIT["metre",1]]'
    write_tif(area / "dem.tif", hills(DEM, (35, 40)), DEM, crs=local)
    assert "dem.tif has the local coordinate system 'drone frame'" in refusal(area)


# --------------------------------------------------------------------------------------------------- inventories


def test_an_area_without_inventory_is_mapped_only(area):
    (area / "landslides.gpkg").unlink()
    write_polygons(area / "landslide.gpkg", [square(20, 20, 31)])
    facts, out = run(area)
    assert sorted(p.name for p in out.iterdir()) == ["dem.tif", "image.tif"]
    assert facts.inventory is None
    assert facts.classes == []
    told = " ".join(facts.findings)
    assert "the area is mapped, but not trained on or scored" in told
    assert "labelled_extent.gpkg is not used" in told
    assert "landslide.gpkg: not used" in told


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson"])
def test_every_format_and_crs_of_an_inventory(area, suffix):
    (area / "landslides.gpkg").unlink()
    table = gpd.GeoDataFrame({"id": [7, 9]}, geometry=[square(20, 20, 31), square(90, 60, 25)], crs=UTM)
    table.to_crs("EPSG:4326").to_file(area / f"landslides{suffix}", engine="pyogrio")
    facts, out = run(area)
    result = gpd.read_file(out / "landslides.gpkg")
    assert list(result["id"]) == [7, 9]
    assert result.crs.to_epsg() == 32648
    assert facts.inventory.file == f"landslides{suffix}"
    np.testing.assert_allclose(result["area_m2"], [961, 625], rtol=1e-3)
    write_polygons(area / ("landslides.shp" if suffix != ".shp" else "landslides.gpkg"), [square(20, 20, 31)])
    assert "keep the one that counts" in refusal(area)


def test_invalid_polygons_are_repaired_and_counted(area):
    spike = shapely.Polygon(
        [(WEST + 20, NORTH - 20), (WEST + 60, NORTH - 20), (WEST + 60, NORTH - 60), (WEST + 20, NORTH - 60),
         (WEST + 20, NORTH - 40), (WEST + 10, NORTH - 40), (WEST + 20, NORTH - 40)]
    )  # fmt: skip
    assert not spike.is_valid
    write_polygons(area / "landslides.gpkg", [spike, square(90, 60, 25)])
    facts, out = run(area)
    assert facts.inventory.repaired == 1
    assert facts.inventory.area_change_frac == pytest.approx(0, abs=1e-9)
    assert facts.findings == [
        "landslides.gpkg: 1 of 2 polygons were invalid and were repaired, which changed the mapped area by 0.00%."
    ]
    table = gpd.read_file(out / "landslides.gpkg")
    assert table.is_valid.all()
    np.testing.assert_allclose(table["area_m2"], [1600, 625])


def test_a_repair_that_changes_the_area_is_refused(area):
    def bow_tie(reach):  # two triangles of 20 and `reach` m; their signed areas cancel
        return shapely.Polygon([(x + WEST + 30, y + NORTH - 60) for x, y in ((0, 0), (0, 20), (reach, 0), (reach, 20))])

    write_polygons(area / "landslides.gpkg", [bow_tie(20), square(90, 60, 25)])
    sentence = refusal(area)
    assert (
        "landslides.gpkg has 1 invalid polygons of 2, and repairing them changes the mapped area by 24.2%" in sentence
    )
    assert "repair them by hand" in sentence
    # Changes that cancel each other are changes: 200 m2 more here, 200 m2 less in overlapping parts there.
    part = square(20, 20, 20)
    doubled = shapely.MultiPolygon([part, shapely.affinity.translate(part, 10, 0)])
    assert doubled.area == 800
    write_polygons(area / "landslides.gpkg", [bow_tie(20), doubled, square(90, 60, 25)])
    assert "changes the mapped area by" in refusal(area)


def test_classes_are_coded_in_sorted_order_and_small_lies_on_large(area):
    shapes = [square(24, 24, 8), square(20, 20, 40), square(90, 60, 25)]
    write_polygons(area / "landslides.gpkg", shapes, **{"class": ["rotational", "flow", "flow"]})
    facts, out = run(area)
    labels = raster.read(out / "labels.tif").values[0]
    assert facts.classes == ["flow", "rotational"]
    assert labels[13, 13] == 2
    assert labels[20, 20] == 1
    assert labels[35, 50] == 1
    assert labels[50, 10] == 0
    assert (labels == 2).sum() == 16
    write_polygons(area / "landslides.gpkg", shapes, **{"class": ["rotational", None, "flow"]})
    assert "landslides.gpkg has 1 polygons without a class" in refusal(area)
    write_polygons(area / "landslides.gpkg", shapes, **{"class": ["flow ", " ", "flow"]})
    assert "landslides.gpkg has 1 polygons without a class" in refusal(area)
    write_polygons(area / "landslides.gpkg", shapes, **{"class": ["flow ", "fall", "flow"]})
    assert run(area)[0].classes == ["fall", "flow"]
    write_polygons(area / "landslides.gpkg", shapes, **{"class": ["Flow", "fall", "flow"]})
    assert "landslides.gpkg has the classes 'Flow' and 'flow'" in refusal(area)


@pytest.mark.parametrize("name", ["background", " Background "])
def test_no_class_is_called_as_ground_without_landslides_is(area, name):
    write_polygons(area / "landslides.gpkg", [square(20, 20, 8), square(90, 60, 25)], **{"class": [name, "flow"]})
    assert f"landslides.gpkg has a class '{name.strip()}' in its column 'class'" in refusal(area)


def test_polygons_off_the_image_are_left_out(area):
    write_polygons(area / "landslides.gpkg", [square(20, 20, 31), square(5000, 60, 25)], id=[4, 4])
    facts, out = run(area)
    assert facts.inventory.n == 1
    assert facts.inventory.outside == 1
    assert "1 of 2 polygons lie outside the image" in facts.findings[0]
    assert list(gpd.read_file(out / "landslides.gpkg")["id"]) == [1]
    write_polygons(area / "landslides.gpkg", [square(5000, 60, 25)])
    assert "landslides.gpkg has no polygon where the image lies" in refusal(area)
    write_polygons(area / "landslides.gpkg", [square(20, 20, 31)])
    write_polygons(area / "labelled_extent.gpkg", [square(5000, 60, 25)])
    assert "labelled_extent.gpkg does not overlap the image" in refusal(area)


def test_inventories_that_say_nothing(area):
    write_polygons(area / "landslides.gpkg", [shapely.Point(WEST + 5, NORTH - 5)])
    assert "landslides.gpkg holds geometries of type Point; give the outlines as polygons." in refusal(area)
    (area / "landslides.gpkg").unlink()
    path = area / "landslides.geojson"
    for features in ([], [{"type": "Feature", "properties": {"id": 1}, "geometry": None}]):
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        assert "landslides.geojson has no polygons" in refusal(area)
    path.unlink()
    write_polygons(area / "landslides.shp", [square(20, 20, 31)], id=[1])
    (area / "landslides.prj").unlink()
    assert "landslides.shp has no coordinate reference system" in refusal(area)
    Path(area / "landslides.shp").unlink()
