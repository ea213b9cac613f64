"""Polygons drawn onto a grid are 1 where a pixel's centre lies inside, whatever strips they are drawn in."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine

from hpcl.geo.raster import Grid
from hpcl.outline.drawn import Drawn

GRID = Grid((37, 53), Affine(2.5, 0.0, 500_000.0, 0.0, -2.5, 4_000_000.0), "EPSG:32649")


def table(shapes: list[shapely.Geometry]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32649")


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_those_with_their_centre_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([500_000, 3_999_907], [500_132, 4_000_000], (4, 2))
    shapes = [shapely.Point(corner).buffer(rng.uniform(1, 30)) for corner in corners]
    shapes.append(shapes[0].difference(shapely.Point(corners[0]).buffer(0.4)))  # with a hole
    columns, rows = np.meshgrid(np.arange(53) + 0.5, np.arange(37) + 0.5)
    x, y = GRID.affine * (columns, rows)
    inside = shapely.contains_xy(shapely.union_all(shapes), x, y)
    drawn = Drawn(table(shapes), GRID)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(drawn.rows(slice(0, 37)), inside)
    strips = [drawn.rows(slice(top, min(top + 8, 37))) for top in range(0, 37, 8)]
    np.testing.assert_array_equal(np.concatenate(strips), inside)


def test_no_polygon_is_no_landslide() -> None:
    assert Drawn(table([]), GRID).rows(slice(3, 9)).shape == (6, 53)
    assert not Drawn(table([shapely.box(0, 0, 9, 9)]), GRID).rows(slice(0, 37)).any()
