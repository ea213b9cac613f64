"""What `ingest` and `terrain` left of one area, as the tiles need it: its rasters on one grid, its outlines as pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio.features

from hpcl import scale
from hpcl.core import artifacts
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import AreaFacts, TerrainFacts
from hpcl.geo import raster, vector
from hpcl.settings.tile import TileError
from hpcl.tiles import stored

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Area:
    """One area's files under ``data``."""

    name: str
    data: Path = Path("data")

    @property
    def image(self) -> Path:
        """The optical bands, which give the grid."""
        return self.data / "ingest" / self.name / "image.tif"

    @property
    def terrain(self) -> Path:
        """The terrain bands."""
        return self.data / "terrain" / self.name / "terrain.tif"

    @property
    def labels(self) -> Path:
        """The inventory as class codes."""
        return self.image.with_name("labels.tif")

    @property
    def inventory(self) -> Path:
        """The inventory as outlines."""
        return self.image.with_name("landslides.gpkg")

    def facts(self) -> AreaFacts:
        """What `ingest` says of the area."""
        return artifacts.read_json(self.image.with_name("facts.json"), AreaFacts)

    def terrain_facts(self) -> TerrainFacts:
        """How the terrain bands turn, and the sun of their hillshade; one section makes them equal in all areas."""
        return artifacts.read_json(self.terrain.with_name("facts.json"), TerrainFacts)

    def has_inventory(self) -> bool:
        """Whether the area has landslides to learn from. Raises `TileError` if a file of its inventory was lost."""
        facts = self.facts()
        paths = self.inventory, self.labels
        given = bool(facts.inventory or facts.classes) or any(path.exists() for path in paths)
        for path in paths:
            if given and not path.exists():
                raise TileError(f"{path} does not exist, though the area has an inventory; {artifacts.remedy(path)}.")
        return given

    def check_grids(self) -> None:
        """Raise `raster.RasterError` if the area's rasters are not on one grid, that which `ingest` noted."""
        with (
            raster.Source(self.image) as image,
            raster.Source(self.terrain) as terrain,
            raster.Source(self.labels) as labels,
        ):
            noted = stored.grid(self.facts())
            grids = {source.path: source.grid for source in (image, terrain, labels)}
            raster.common_grid({self.image.with_name("facts.json"): noted, **grids})

    def grid(self) -> raster.Grid:
        """The image's grid."""
        with raster.Source(self.image) as source:
            return source.grid

    def sizes(self) -> scale.Sizes:
        """Pixels and landslides, for comparison with parameters."""
        return scale.Sizes.of(self.facts(), vector.read(self.inventory)["area_m2"])

    def classes(self) -> list[str]:
        """Names of the classes, in the order of their codes from 1."""
        return self.facts().classes

    def landslides(self) -> Iterator[tuple[raster.Roi, Mask]]:
        """Each landslide of the inventory as its bounding box in pixels and its pixels in there."""
        grid = self.grid()
        for shape in vector.read(self.inventory).geometry:
            if (drawn := _drawn(shape, grid)) is not None:
                yield drawn

    def seen(self, labels: npt.NDArray[np.uint8]) -> pd.DataFrame:
        """What is seen of each polygon: its ``pixels`` on the image, and those of them that are labelled landslide."""
        table: gpd.GeoDataFrame = vector.read(self.inventory)
        grid = self.grid()
        pixels = np.zeros((len(table), 2), np.int64)
        for row, shape in enumerate(table.geometry):
            if (drawn := _drawn(shape, grid)) is not None:
                roi, mask = drawn
                codes = labels[roi][mask]
                pixels[row] = codes.size, ((codes > 0) & (codes != UNKNOWN)).sum()
        return table[["id", "area_m2"]].assign(pixels=pixels[:, 0], labelled_px=pixels[:, 1])


def _drawn(shape: Any, grid: raster.Grid) -> tuple[raster.Roi, Mask] | None:
    """A polygon's bounding box in pixels and its pixels in there; None off the grid."""
    x0, y0, x1, y1 = shape.bounds
    (c0, r0), (c1, r1) = ~grid.affine * (x0, y1), ~grid.affine * (x1, y0)
    rows = slice(max(int(r0), 0), min(int(r1) + 2, grid.shape[0]))
    columns = slice(max(int(c0), 0), min(int(c1) + 2, grid.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    size = rows.stop - rows.start, columns.stop - columns.start
    origin = grid.affine * grid.affine.translation(columns.start, rows.start)
    return (rows, columns), rasterio.features.rasterize([shape], size, transform=origin, dtype="uint8").astype(bool)
