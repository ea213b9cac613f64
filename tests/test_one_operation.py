"""Coordinates from one CRS to another: planted true positions, over the world, against pyproj's own operation for the area."""

import warnings

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from pyproj.aoi import AreaOfInterest
from pyproj.transformer import TransformerGroup
from test_ingest import write_tif

from hpcl.geo import raster
from hpcl.ingest import IngestError, IngestSettings, checks
from hpcl.ingest.output import write
from hpcl.ingest.plan import examine


@pytest.fixture(autouse=True)
def coordinates_are_ground(monkeypatch):
    """The elevations planted here are coordinates, which no ground has."""
    monkeypatch.setattr(checks, "_check_ground", lambda raw, window, ground: [])


SETTINGS = IngestSettings(optical_bands=("x", "y"), dem_margin_px=4, area_change_max_frac=0.01, stretch_max_frac=0.005)


def best(crs, target, lon, lat):
    """pyproj's best operation for some kilometres around a place."""
    area = AreaOfInterest(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyproj warns of grids that are not here; the best without them is meant
        return TransformerGroup(crs, target, always_xy=True, area_of_interest=area).transformers[0]


def grid_at(crs, lon, lat, step_m, size):
    """A north-up grid of ``size`` pixels a side around a place given in the datum of ``crs``."""
    crs = pyproj.CRS(crs)
    x, y = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(lon, lat)
    step = step_m if crs.is_projected else step_m / 111_000
    return Affine(step, 0, x - size / 2 * step, 0, -step, y + size / 2 * step)


def centres(transform, shape):
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    return transform * (columns, rows)


def plant(path, transform, shape, crs, target, way, origin, bands=("x", "y"), dtype=np.float32):
    """A raster whose pixels hold the true target coordinates of their centres, less an origin."""
    x, y = way.transform(*centres(transform, shape))
    both = np.stack([x - origin[0], y - origin[1]]).astype(dtype)
    values = both[[("x", "y").index(b) for b in bands]]
    return write_tif(path, values, transform, crs, nodata=-9e9, names=bands)


def run(folder):
    plan = examine(folder, SETTINGS)
    return write(plan, folder / "out"), folder / "out"


OLD = {
    "Beijing 1954, west": ("EPSG:4214", 110.0095, 38.0), "Beijing 1954, east": ("EPSG:4214", 119.23, 38.0),
    "Beijing 1954, projected": ("EPSG:21419", 110.0095, 38.0),
    "Monte Mario": ("EPSG:4265", 6.62, 45.0), "Monte Mario, projected": ("EPSG:3003", 9.3, 44.4),
    "ED50": ("EPSG:4230", 2.0, 48.0), "ED50, projected": ("EPSG:23030", -3.0, 40.4),
    "NAD27": ("EPSG:4267", -100.0, 40.0), "NAD27, projected": ("EPSG:26712", -111.0, 39.0),
    "OSGB36": ("EPSG:4277", -3.0, 54.0), "OSGB36, projected": ("EPSG:27700", -3.0, 54.0),
    "Pulkovo 1942": ("EPSG:4284", 60.0, 55.0), "Tokyo": ("EPSG:4301", 139.0, 36.0), "AGD66": ("EPSG:4202", 147.0, -36.0),
    "Arc 1950": ("EPSG:4209", 28.0, -15.0), "Indian 1975": ("EPSG:4240", 101.0, 15.0),
    "NTF (Paris), grads": ("EPSG:4807", 5.0, 50.0), "Hu Tzu Shan": ("EPSG:4236", 121.0, 24.0),
    "Xian 1980": ("EPSG:2379", 102.5, 35.5), "PSAD56": ("EPSG:4248", -70.0, -16.5),
}  # fmt: skip


@pytest.mark.parametrize(("crs", "lon", "lat"), OLD.values(), ids=OLD)
def test_pixels_and_outlines_of_an_old_datum_go_the_same_way(tmp_path, crs, lon, lat):
    """The image and its outlines in the old CRS; the DEM in degrees of today. All three are where pyproj puts them."""
    shape, to_degrees = (60, 80), pyproj.CRS(crs).geodetic_crs
    there = pyproj.CRS(crs)
    transform = grid_at(crs, lon, lat, 2.0, 70)
    if "grad" in to_degrees.axis_info[0].unit_name:
        lon, lat = lon * 0.9 + 2.33722917, lat * 0.9
    write_tif(tmp_path / "optical.tif", np.full((2, *shape), 9, np.uint16), transform, crs, names=("x", "y"))
    first = best(there, "EPSG:4326", lon, lat).transform(*(transform * (40, 30)))
    dem_grid = grid_at("EPSG:4326", *first, 10.0, 60)
    write_tif(tmp_path / "dem.tif", np.full((1, 60, 60), 5, np.float32), dem_grid, "EPSG:4326", nodata=-9e9)
    target = examine(tmp_path, SETTINGS).grid
    way = best(there, target.crs.proj, lon, lat)
    origin = np.round(way.transform(*(transform * (40, 30))))

    plant(tmp_path / "optical.tif", transform, shape, crs, target, way, origin)
    inverse = best("EPSG:4326", target.crs.proj, lon, lat)
    x, _ = inverse.transform(*centres(dem_grid, (60, 60)))
    write_tif(tmp_path / "dem.tif", (x - origin[0]).astype(np.float32)[None], dem_grid, "EPSG:4326", nodata=-9e9)
    corners = [transform * at for at in ((20, 10), (50, 10), (50, 40), (20, 40))]
    gpd.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=crs).to_file(tmp_path / "landslides.gpkg")
    facts, out = run(tmp_path)

    image = raster.read(out / "image.tif")
    x, y = centres(image.grid.affine, image.grid.shape)
    seen = np.isfinite(image.values).all(axis=0)
    seen[:2], seen[-2:], seen[:, :2], seen[:, -2:] = False, False, False, False
    inner = np.zeros_like(seen)
    inner[6:-6, 6:-6] = True
    assert seen.mean() > 0.7
    pixel = facts.pixel_m
    assert np.abs(image["x"] - (x - origin[0]))[seen & inner].max() < 0.05 * pixel
    assert np.abs(image["y"] - (y - origin[1]))[seen & inner].max() < 0.05 * pixel
    dem = raster.read(out / "dem.tif")
    x, _ = centres(dem.grid.affine, dem.grid.shape)
    off = np.abs(dem.values[0] - (x - origin[0]))[4:-4, 4:-4]
    assert np.nanmax(off) < 0.05 * pixel
    assert np.isfinite(off).mean() > 0.8
    drawn = gpd.read_file(out / "landslides.gpkg").geometry[0]
    expected = shapely.Polygon(list(zip(*way.transform(*np.transpose(corners)), strict=True)))
    assert drawn.symmetric_difference(expected).area < 0.01 * expected.length * pixel
    if pyproj.CRS(facts.crs) == there:  # a map in metres stays as it is
        assert facts.reprojected == ["dem.tif"]
        return
    entry = next(e for e in facts.operations if "optical.tif" in e.files)
    assert entry.files == ["optical.tif", "landslides.gpkg"]
    parts = [p.strip() for p in way.description.split(" + ") if "axis order" not in p and p.strip()]
    assert entry.name == " + ".join(parts)
    assert entry.accuracy_m == (way.accuracy if way.accuracy >= 0 else None)


# ---------------------------------------------------------------------------------------- what is said, what is not


def area(folder, crs, lon, lat, step_m=2.0, dem_crs=None, size=40, dem_size=60):
    """An image of ``crs`` and a wider DEM of ``dem_crs`` around a place, with an outline in the image's CRS."""
    transform = grid_at(crs, lon, lat, step_m, size)
    image = np.random.default_rng(0).integers(50, 900, (2, size, size)).astype(np.uint16)
    write_tif(folder / "optical.tif", image, transform, crs, names=("x", "y"))
    write_tif(folder / "dem.tif", np.random.default_rng(1).normal(500, 3, (1, dem_size, dem_size)).astype(np.float32),
              grid_at(dem_crs or crs, lon, lat, 5 * step_m, dem_size), dem_crs or crs)  # fmt: skip
    corners = [transform * at for at in ((10, 10), (30, 10), (30, 30), (10, 30))]
    gpd.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=crs).to_file(folder / "landslides.gpkg")
    return transform


def doubts(folder):
    return [f for f in examine(folder, SETTINGS).findings if "shift" in f]


@pytest.mark.parametrize(
    ("crs", "dem_crs", "lon", "lat", "step_m"),
    [
        ("EPSG:4490", "EPSG:4326", 105.0, 35.5, 0.5), ("EPSG:4547", "EPSG:4326", 114.0, 30.0, 0.5),
        ("EPSG:25832", "EPSG:4326", 9.0, 46.0, 0.1), ("EPSG:28355", "EPSG:4326", 147.0, -36.0, 0.5),
        ("EPSG:7855", "EPSG:4283", 147.0, -36.0, 0.5), ("EPSG:26913", "EPSG:4326", -105.0, 40.0, 0.5),
        ("EPSG:4612", "EPSG:32654", 141.0, 38.0, 0.5), ("EPSG:2193", "EPSG:4326", 173.0, -41.0, 0.5),
        ("EPSG:31983", "EPSG:4326", -45.0, -22.0, 0.5), ("EPSG:32648", "EPSG:4326", 105.0, 36.0, 0.5),
        ("EPSG:2056", "EPSG:21781", 8.0, 46.8, 2.0), ("EPSG:4258", "EPSG:4326", 9.0, 46.0, 0.1),
    ],
)  # fmt: skip
def test_data_that_are_the_same_are_no_word(tmp_path, crs, dem_crs, lon, lat, step_m):
    area(tmp_path, crs, lon, lat, step_m, dem_crs)
    assert doubts(tmp_path) == []


@pytest.mark.parametrize(
    ("crs", "dem_crs", "lon", "lat", "said"),
    [
        ("EPSG:2379", "EPSG:4326", 102.5, 35.5, "no shift from WGS 84 to Xian 1980"),
        ("EPSG:4326", "EPSG:4610", 105.0, 35.5, "no shift from Xian 1980 to WGS 84 / UTM zone 48N"),
        ("EPSG:21419", "EPSG:4326", 112.5, 28.0, "from WGS 84 to Beijing 1954"),
        ("EPSG:32613", "EPSG:4267", -105.0, 40.0, "right to 7 m only, and a pixel of the image has 2 m"),
        ("EPSG:32654", "EPSG:4301", 139.0, 36.0, "right to 9 m only"),
        ("EPSG:4210", "EPSG:4326", 100.0, 60.0, "no shift"),
    ],
)
def test_a_shift_that_nobody_knows_or_that_is_coarse_is_said(tmp_path, crs, dem_crs, lon, lat, said):
    area(tmp_path, crs, lon, lat, 2.0, dem_crs, dem_size=160)
    (finding,) = doubts(tmp_path)
    assert finding.startswith("dem.tif: ")
    assert said in finding
    assert "reproject with one that fits your region" in finding


def test_a_missing_grid_is_named(tmp_path):
    area(tmp_path, "EPSG:32613", -105.0, 40.0, 2.0, "EPSG:4267", dem_size=160)
    (finding,) = doubts(tmp_path)
    assert "us_noaa_conus.tif, is not installed" in finding


# ------------------------------------------------------------------------------------------- metres, east and north


@pytest.mark.parametrize(
    ("crs", "lon", "lat"),
    [
        ("EPSG:3857", 102.0, 16.0), ("EPSG:3857", 30.0, 0.2), ("EPSG:3395", 8.0, -12.0), ("EPSG:2053", 29.5, -26.0),
        ("EPSG:2046", 15.2, -29.0), ("EPSG:2055", 33.0, -25.0), ("EPSG:22275", 19.2, -32.0), ("EPSG:5513", 15.0, 50.0),
        ("EPSG:2065", 15.0, 50.0), ("EPSG:3031", 100.0, -80.0), ("EPSG:3413", 120.0, 72.0), ("EPSG:3035", 30.0, 65.0),
        ("EPSG:5070", -96.0, 48.0), ("EPSG:6933", 10.0, 20.0),
    ],
)  # fmt: skip
def test_a_map_that_is_stretched_or_turned_is_reprojected(tmp_path, crs, lon, lat):
    transform = area(tmp_path, crs, lon, lat)
    facts, out = run(tmp_path)
    image = raster.read(out / "image.tif")
    assert "was reprojected to" in facts.findings[0]
    check_metric(image.grid)
    drawn = gpd.read_file(out / "landslides.gpkg")
    geod = pyproj.CRS(crs).geodetic_crs.get_geod()
    back = pyproj.Transformer.from_crs(crs, pyproj.CRS(crs).geodetic_crs, always_xy=True)
    ring = shapely.Polygon([back.transform(*(transform * at)) for at in ((10, 10), (30, 10), (30, 30), (10, 30))])
    assert drawn.area.sum() == pytest.approx(abs(geod.geometry_area_perimeter(ring)[0]), rel=0.01)


def check_metric(grid, turned_deg=30):
    """A step along x goes east, along y north, and both are as long as they say, all over the grid."""
    crs = grid.crs.proj
    back = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    height, width = grid.shape
    for row, column in ((0, 0), (0, width), (height, 0), (height, width), (height / 2, width / 2)):
        x, y = grid.affine * (column, row)
        here, east, north = back.transform(x, y), back.transform(x + 100, y), back.transform(x, y + 100)
        for there, azimuth in ((east, 90), (north, 0)):
            found, _, metres = crs.geodetic_crs.get_geod().inv(*here, *there)
            assert metres == pytest.approx(100, rel=0.005)
            assert abs((found - azimuth + 180) % 360 - 180) < turned_deg


@pytest.mark.parametrize(
    ("crs", "lon", "lat"),
    [("EPSG:2154", 6.5, 44.5), ("EPSG:5514", 18.5, 49.2), ("EPSG:27700", -3.0, 57.0), ("EPSG:2056", 9.5, 46.5),
     ("EPSG:31467", 9.9, 48.0), ("EPSG:2193", 172.0, -43.0), ("EPSG:4547", 115.2, 30.0), ("EPSG:32648", 102.2, 36.0),
     ("EPSG:3413", -48.0, 70.5), ("EPSG:25832+5621", 10.0, 61.0)],
)  # fmt: skip
def test_national_grids_keep_their_pixels(tmp_path, crs, lon, lat):
    area(tmp_path, crs, lon, lat)
    plan = examine(tmp_path, SETTINGS)
    assert plan.findings == ()
    assert plan.reprojected == ()
    assert plan.operations == {}


@pytest.mark.parametrize(
    ("west", "south", "east", "north"),
    [(100, 10, 113, 13), (100, 44, 122, 46), (-10, 83, 10, 87), (-180, 88, 180, 90), (20, -89.9, 60, -85), (5, 40, 14, 58)],
)  # fmt: skip
def test_an_image_wider_than_its_zone_gets_a_map_of_its_own(tmp_path, west, south, east, north):
    step = (east - west) / 60
    size = max(round((north - south) / step), 10), 60
    transform = Affine(step, 0, west, 0, -(north - south) / size[0], north)
    write_tif(tmp_path / "optical.tif", np.full((2, *size), 7, np.uint16), transform, "EPSG:4326", names=("x", "y"))
    write_tif(tmp_path / "dem.tif", np.full((1, *size), 7, np.float32), transform, "EPSG:4326")
    # Around a pole north is everywhere.
    check_metric(examine(tmp_path, SETTINGS).grid, 30 if max(abs(south), abs(north)) < 85 else 181)


@pytest.mark.parametrize(("west", "east"), [(-180, 180), (60, 140)])
def test_an_image_too_wide_for_any_map_is_a_sentence(tmp_path, west, east):
    transform = Affine((east - west) / 90, 0, west, 0, -1.0, 45)
    write_tif(tmp_path / "optical.tif", np.full((2, 40, 90), 7, np.uint16), transform, "EPSG:4326", names=("x", "y"))
    write_tif(tmp_path / "dem.tif", np.full((1, 40, 90), 7, np.float32), transform, "EPSG:4326")
    with pytest.raises(IngestError, match="cut out the area that is to be mapped"):
        examine(tmp_path, SETTINGS)


# ------------------------------------------------------------------------------------------------ the 180th meridian


def fiji(folder, west, crs="EPSG:4326", dem=None):
    """An image across 180 degrees whose x begins at ``west``, and a DEM: both hold their own UTM coordinates."""
    way = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    transform = Affine(0.002, 0, west, 0, -0.002, -16.9)
    origin = way.transform(180.0, -17.0)
    plant(folder / "optical.tif", transform, (100, 100), "EPSG:4326", None, way, origin)
    dem_transform, shape = dem or (Affine(0.01, 0, west - 0.1, 0, -0.01, -16.8), (40, 40))
    plant(folder / "dem.tif", dem_transform, shape, "EPSG:4326", None, way, origin, bands=("x",))
    return origin


WORLD = {
    "-180 to 180": (Affine(0.05, 0, -180, 0, -0.05, -16.5), (20, 7200)),
    "0 to 360": (Affine(0.05, 0, 0, 0, -0.05, -16.5), (20, 7200)),
    "-180 to 180, points": (Affine(0.05, 0, -180.025, 0, -0.05, -16.5), (20, 7201)),
    "179 to 181": (Affine(0.05, 0, 179, 0, -0.05, -16.5), (20, 40)),
    "-181 to -179": (Affine(0.05, 0, -181, 0, -0.05, -16.5), (20, 40)),
    "170 to 190": (Affine(0.05, 0, 170, 0, -0.05, -16.5), (20, 400)),
}


@pytest.mark.parametrize("west", [179.9, -180.1])
@pytest.mark.parametrize("dem", WORLD.values(), ids=WORLD)
def test_across_the_180th_meridian(tmp_path, west, dem):
    origin = fiji(tmp_path, west, dem=dem)
    edges = (179.95, -17.02, 179.98, -17.0), (-179.98, -17.05, -179.95, -17.03), (180.02, -17.0, 180.03, -16.95)
    boxes = [shapely.box(*edge) for edge in edges]
    gpd.GeoDataFrame(geometry=boxes, crs="EPSG:4326").to_file(tmp_path / "landslides.gpkg")
    facts, out = run(tmp_path)
    assert facts.valid_frac.image > 0.95
    assert facts.valid_frac.dem > 0.95
    image, dem = raster.read(out / "image.tif"), raster.read(out / "dem.tif")
    for band, values, grid, tolerance in (
        (0, image["x"], image.grid, 0.02), (1, image["y"], image.grid, 0.02), (0, dem.values[0], dem.grid, 0.02)
    ):  # fmt: skip
        planted = centres(grid.affine, grid.shape)[band] - origin[band]
        off = np.abs(values - planted)[3:-3, 3:-3]
        assert np.nanmax(off) < tolerance * grid.affine.a
    assert facts.inventory.n == 3
    drawn = gpd.read_file(out / "landslides.gpkg")
    way = pyproj.Transformer.from_crs("EPSG:4326", drawn.crs, always_xy=True)
    expected = [shapely.Polygon(list(zip(*way.transform(*b.exterior.xy), strict=True))) for b in boxes]
    assert max(a.symmetric_difference(b).area for a, b in zip(drawn.geometry, expected, strict=True)) < 1
    labels = raster.read(out / "labels.tif").values[0]
    assert (labels == 1).sum() * facts.pixel_m**2 == pytest.approx(sum(e.area for e in expected), rel=0.05)


@pytest.mark.parametrize("x0", [20_037_508.34 - 9_000, -20_037_508.34 - 9_000])
def test_a_cylinder_across_its_seam(tmp_path, x0):
    """Web Mercator beyond its own edge, on either side."""
    transform = Affine(200.0, 0, x0, 0, -200.0, -1_900_000)
    way = pyproj.Transformer.from_crs("EPSG:3857", "EPSG:32701", always_xy=True)
    origin = way.transform(*(transform * (50, 50)))
    plant(tmp_path / "optical.tif", transform, (100, 100), "EPSG:3857", None, way, origin)
    plant(tmp_path / "dem.tif", Affine(0.01, 0, 179.8, 0, -0.01, -16.7), (40, 40), "EPSG:4326", None,
          pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True), origin, bands=("x",))  # fmt: skip
    facts, out = run(tmp_path)
    assert facts.valid_frac.image > 0.93  # the rest are the corners of a turned square
    image = raster.read(out / "image.tif")
    planted = centres(image.grid.affine, image.grid.shape)[0] - origin[0]
    assert np.nanmax(np.abs(image["x"] - planted)[3:-3, 3:-3]) < 0.02 * facts.pixel_m


@pytest.mark.parametrize("lon", [179.999, -179.999])
def test_a_metric_image_beside_a_dem_of_the_globe(tmp_path, lon):
    """The DEM goes from 0 to 360 degrees or from -180 to 180; the image is in UTM on the 180th meridian."""
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True).transform(lon, -17)
    around = Affine(50, 0, x - 1500, 0, -50, y + 1500)
    write_tif(tmp_path / "optical.tif", np.full((2, 60, 60), 7, np.uint16), around, "EPSG:32701", names=("x", "y"))
    way = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    for west in (0, -180):
        plant(
            tmp_path / "dem.tif",
            Affine(0.02, 0, west, 0, -0.02, -16.8),
            (20, 18000),
            "EPSG:4326",
            None,
            way,
            (x, y),
            ("x",),
        )
        facts, out = run(tmp_path)
        dem = raster.read(out / "dem.tif")
        assert facts.valid_frac.dem > 0.9
        planted = centres(dem.grid.affine, dem.grid.shape)[0] - x
        assert np.nanmax(np.abs(dem.values[0] - planted)[2:-2, 2:-2]) < 0.02 * dem.grid.affine.a
