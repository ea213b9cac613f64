"""Where a grid lies in degrees: against every pixel, transformed one by one, at the antimeridian, the poles and on other bodies."""

from __future__ import annotations

import exported
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from hpcl.export.body import body
from hpcl.export.footprint import footprint, joined
from hpcl.geo.raster import Grid

MARS = "+proj=longlat +a=3396190 +b=3376200"
CASES = {
    "UTM": ("EPSG:32648", 500_000, 4_000_000, "EPSG:4326"),
    "axes north, east": ("EPSG:2193", 1_600_000, 5_100_000, "EPSG:4326"),
    "another datum": ("EPSG:31467", 3_500_000, 5_300_000, "EPSG:4326"),
    "antimeridian": ("EPSG:3832", 3_320_000, 100_000, "EPSG:4326"),
    "antimeridian in UTM 60": ("EPSG:32760", 745_000, 6_000_000, "EPSG:4326"),
    "antimeridian in UTM 1": ("EPSG:32601", 335_000, 7_200_000, "EPSG:4326"),
    "beside the pole": ("EPSG:3413", 100_000, 900_000, "EPSG:4326"),
    "north pole": ("EPSG:3413", -20_000, 30_000, "EPSG:4326"),
    "south pole": ("EPSG:3031", -10_000, 30_000, "EPSG:4326"),
    "Mars, sphere": (exported.MARS, -5_500_000, -200_000, "+proj=longlat +R=3396190"),
    "Mars, ellipsoid": ("+proj=stere +lat_0=-80 +lon_0=175 +a=3396190 +b=3376200", 0, 30_000, MARS),
    "Mars, pole": ("+proj=stere +lat_0=90 +a=3396190 +b=3376200", -25_000, 30_000, MARS),
    "Moon": ("+proj=eqc +R=1737400 +lon_0=180", -20_000, 30_000, "+proj=longlat +R=1737400"),
}
ROWS, COLUMNS, PIXEL_M = 60, 80, 700.0


def grid(crs: str, west: float, north: float) -> Grid:
    return Grid((ROWS, COLUMNS), Affine(PIXEL_M, 0, west, 0, -PIXEL_M, north), crs)


@pytest.mark.parametrize("case", CASES)
def test_pixels_lie_inside_and_their_surroundings_do_not(case: str) -> None:
    crs, west, north, degrees = CASES[case]
    found = footprint(grid(crs, west, north))
    assert found is not None
    columns, rows = np.meshgrid(np.arange(-3, COLUMNS + 3) + 0.5, np.arange(-3, ROWS + 3) + 0.5)
    inside = (columns > 0) & (columns < COLUMNS) & (rows > 0) & (rows < ROWS)
    transform = Transformer.from_crs(CRS(crs), CRS(degrees), always_xy=True)
    lon, lat = transform.transform(west + PIXEL_M * columns, north - PIXEL_M * rows)
    lon = (lon + 180) % 360 - 180
    assert found.shape.is_valid
    np.testing.assert_array_equal(shapely.contains_xy(found.shape, lon, lat), inside)
    left, south, right, top = found.box_deg
    round_the_world = (left, right) == (-180, 180)
    within = (lon >= left) & (lon <= right) if left <= right else (lon >= left) | (lon <= right)
    assert (within & (lat >= south) & (lat <= top))[inside].all()
    assert (left > right) == ("antimeridian" in case or case in ("Moon", "Mars, ellipsoid"))
    assert round_the_world == ("pole" in case and "beside" not in case)
    width = 360.0 if round_the_world else (right - left) % 360
    assert width == pytest.approx(
        360.0 if round_the_world else np.ptp(np.unwrap(lon, period=360, axis=1)[inside]), rel=0.1
    )
    assert all(part.exterior.is_ccw for part in found.parts)  # as GeoJSON wants it


@pytest.mark.parametrize(
    "crs", [None, 'LOCAL_CS["site",UNIT["metre",1]]', "+proj=ortho +lat_0=0 +lon_0=0", "+proj=eqc +R=12345"],
    ids=["no CRS", "no planet", "beyond the horizon", "unknown body"],
)  # fmt: skip
def test_ground_that_nobody_can_place_has_no_footprint(crs: str | None) -> None:
    far = 6_370_000.0
    assert footprint(Grid((ROWS, COLUMNS), Affine(PIXEL_M, 0, far, 0, -PIXEL_M, far), crs)) is None


def test_a_map_of_a_whole_planet_is_the_whole_planet() -> None:
    side = 3396190 * np.pi / 10
    for columns, west in ((20, -10 * side), (22, -11 * side)):
        found = footprint(Grid((10, columns), Affine(side, 0, west, 0, -side, 5 * side), "+proj=eqc +R=3396190"))
        assert found is not None
        assert found.box_deg == (-180, -90, 180, 90)
        assert found.shape.area == pytest.approx(360 * 180)


def test_several_areas_are_joined() -> None:
    made = {case: footprint(grid(*CASES[case][:3])) for case in ("UTM", "axes north, east", "antimeridian")}
    utm, nz, across = (found for found in made.values() if found)
    both = joined([utm, nz])
    assert both is not None
    assert both.box_deg == pytest.approx((utm.box_deg[0], nz.box_deg[1], nz.box_deg[2], utm.box_deg[3]))
    assert both.shape.geom_type == "MultiPolygon"
    assert joined([utm]) == utm
    assert joined([]) is None
    whole = joined([utm, across])
    assert whole is not None
    assert (whole.box_deg[0], whole.box_deg[2]) == (-180, 180)


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        ("EPSG:32648", "Earth"), ("EPSG:4267", "Earth"), ("+proj=eqc +R=6371000", "Earth"), ("IAU_2015:49910", "Mars"),
        ("+proj=eqc +R=3389500", "Mars"), ("IAU_2015:30130", "Moon"), ("+proj=eqc +R=2575000", "Titan"),
        ("+proj=eqc +R=1000000", None), ('LOCAL_CS["site",UNIT["metre",1]]', None),
    ],
)  # fmt: skip
def test_the_body_is_known_by_its_radius(crs: str, name: str | None) -> None:
    assert body(CRS(crs)) == name
