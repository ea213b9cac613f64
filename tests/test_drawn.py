"""Polygons drawn onto a grid are 1 where a pixel's centre lies inside, whatever strips they are drawn in."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine

from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.outline.drawn import Drawn, DrawnError

GRID = Grid((37, 53), Affine(2.5, 0.0, 500_000.0, 0.0, -2.5, 4_000_000.0), "EPSG:32649")


def drawn(folder: Path, shapes: list[shapely.Geometry], crs: str = "EPSG:32649") -> Drawn:
    path = folder / "landslides.gpkg"
    vector.write(path, gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32649").to_crs(crs))
    return Drawn(path, GRID)


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_those_with_their_centre_inside(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([500_000, 3_999_907], [500_132, 4_000_000], (4, 2))
    shapes = [shapely.Point(corner).buffer(rng.uniform(1, 30)) for corner in corners]
    shapes.append(shapes[0].difference(shapely.Point(corners[0]).buffer(0.4)))  # with a hole
    columns, rows = np.meshgrid(np.arange(53) + 0.5, np.arange(37) + 0.5)
    x, y = GRID.affine * (columns, rows)
    inside = shapely.contains_xy(shapely.union_all(shapes), x, y)
    made = drawn(tmp_path, shapes)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(made.rows(slice(0, 37)), inside)
    strips = [made.rows(slice(top, min(top + 8, 37))) for top in range(0, 37, 8)]
    np.testing.assert_array_equal(np.concatenate(strips), inside)


def test_no_polygon_is_no_landslide(tmp_path: Path) -> None:
    assert drawn(tmp_path, []).rows(slice(3, 9)).shape == (6, 53)
    assert not drawn(tmp_path, [shapely.box(0, 0, 9, 9)]).rows(slice(0, 37)).any()


def test_lines_and_points_cover_nothing(tmp_path: Path) -> None:
    box = shapely.box(500_010, 3_999_950, 500_050, 3_999_990)
    whole = drawn(tmp_path, [box]).rows(slice(0, 37))
    line = shapely.LineString([(500_000, 3_999_910), (500_120, 3_999_999)])
    np.testing.assert_array_equal(drawn(tmp_path, [box, line, line.centroid]).rows(slice(0, 37)), whole)


def test_polygons_of_another_crs_are_refused_and_not_scored_as_nothing(tmp_path: Path) -> None:
    box = shapely.box(500_010, 3_999_950, 500_050, 3_999_990)
    with pytest.raises(DrawnError, match=r"landslides\.gpkg is in another CRS \(WGS 84\) than the map"):
        drawn(tmp_path, [box], crs="EPSG:4326")
    gpd.pd.DataFrame({"id": [1]}).pipe(pyogrio.write_dataframe, tmp_path / "landslides.gpkg", layer="landslides")
    with pytest.raises((DrawnError, vector.VectorError), match=r"landslides\.gpkg"):
        Drawn(tmp_path / "landslides.gpkg", GRID)
