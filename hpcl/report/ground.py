"""What figures of an area begin with: its grid, relief and outlines, and the bands of its image that are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import shapely

from hpcl import sensors
from hpcl.core import artifacts
from hpcl.core.records import AreaFacts
from hpcl.geo import raster, vector
from hpcl.report import maps
from hpcl.settings.report import ReportSettings

DATA = Path("data")
Array = npt.NDArray[Any]


def ground(name: str, settings: ReportSettings, *, inventory: bool, mapped: bool) -> maps.Ground:
    """What all maps of an area share, with the outlines of its inventory and of the map if these are shown."""
    with raster.Source(DATA / "terrain" / name / "terrain.tif") as relief:
        grid, hillshade = relief.grid, relief.thumbnail(settings.map_px, ["hillshade"])[0]
    return maps.Ground(
        area=name,
        crs_name=artifacts.read_json(DATA / "ingest" / name / "facts.json", AreaFacts).crs_name,
        extent_km=extent_km(grid),
        hillshade=hillshade,
        mapped=outlines(DATA / "outline" / name / "landslides.gpkg") if mapped else [],
        inventory=outlines(DATA / "ingest" / name / "landslides.gpkg") if inventory else [],
    )


def images(of: maps.Ground, settings: ReportSettings) -> dict[str, Any]:
    """The image, and that of an earlier date if there is one, on the frame of all maps of the area, by kind."""
    terrain = DATA / "terrain" / of.area / "terrain.tif"
    with raster.Source(DATA / "ingest" / of.area / "image.tif") as optical, raster.Source(terrain) as relief:
        raster.common_grid({source.path: source.grid for source in (optical, relief)})
        dates = {
            "image": (shown(optical), "image"),
            "image_before": (shown(optical, earlier=True), "the earlier image"),
        }
        return {
            kind: maps.image_map(of, optical.thumbnail(settings.map_px, bands), bands, title)
            for kind, (bands, title) in dates.items()
            if bands
        }


def shown(image: raster.Source, *, earlier: bool = False) -> list[str]:
    """The bands of an image, or of that of the earlier date in it, to show as red, green and blue or as grey; none if there is none."""
    return sensors.shown([band.name for band in image.bands], abs(image.grid.affine.a), earlier=earlier)


def extent_km(grid: raster.Grid) -> tuple[float, float, float, float]:
    """West, east, south and north of a grid."""
    box = grid.boundingbox
    return box.left / 1e3, box.right / 1e3, box.bottom / 1e3, box.top / 1e3


def outlines(path: Path) -> list[Array]:
    """Every ring of the polygons of a file, in km."""
    shapes = vector.read(path).geometry.to_numpy()
    rings = shapely.get_rings(shapely.get_parts(shapes))
    return [shapely.get_coordinates(ring) / 1e3 for ring in rings]
