"""The rows of a review file, with a picture of the ground of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from hpcl.core.artifacts import remedy
from hpcl.core.review import COLUMNS, LAYERS, OUTLINES
from hpcl.geo import raster, vector
from hpcl.page.pictures import Stretch

MARGIN_FRAC, MARGIN_PX = 0.3, 12
"""Ground shown around a candidate: a share of its longer side, or more around a small one."""


class PageError(ValueError):
    """A review file that the page cannot show; the message names file, finding and remedy."""


def read(path: Path, grid: raster.Grid) -> dict[str, gpd.GeoDataFrame]:
    """The layers of a review file, sorted by rank; empty if there is no file. Raises `PageError` and `VectorError`."""
    if not path.exists():
        return {}
    tables = {layer: vector.read(path, layer) for layer in LAYERS}
    ground = shapely.box(*grid.boundingbox.bbox)
    for layer, table in tables.items():
        if lacking := [name for name in COLUMNS if name not in table]:
            raise PageError(f"{path} lacks the column '{lacking[0]}' in its layer '{layer}'; {remedy(path)}.")
        if not shapely.intersects(table.geometry.to_numpy(), ground).all():
            raise PageError(f"{path} has rows in its layer '{layer}' that lie outside the area; {remedy(path)}.")
    return {layer: table.sort_values("rank", kind="stable") for layer, table in tables.items()}


def first(tables: Mapping[str, gpd.GeoDataFrame], most: int) -> list[tuple[str, Any]]:
    """The ``most`` first rows of all layers together by rank, each with its layer; layers in their order where ranks are equal."""
    rows = [(layer, row) for layer, table in tables.items() for row in table.itertuples()]
    return sorted(rows, key=lambda found: found[1].rank)[:most]


def properties(layer: str, row: Any) -> dict[str, Any]:
    """A row as JSON can hold it: its layer, all `COLUMNS` (null for NaN), and its outline with the digits that it has."""
    found: dict[str, Any] = {"layer": layer}
    for name, kind in COLUMNS.items():
        value = getattr(row, name)
        missing = bool(pd.isna(value))
        found[name] = ("" if missing else str(value)) if kind is str else None if missing else kind(value)
    return found | {"geometry": shapely.geometry.mapping(row.geometry)}


def compared(layer: str, row: Any, inventory: gpd.GeoDataFrame | None) -> Any:
    """The outline of the inventory beside which a better one is proposed, otherwise None."""
    if layer != OUTLINES or inventory is None:
        return None
    found = inventory.geometry[inventory["id"] == row.inventory_id]
    return shapely.geometry.mapping(found.iloc[0]) if len(found) else None


@dataclass(frozen=True)
class Look:
    """How candidates are pictured: by which ``bands`` of the image, and with at most ``max_px`` a side."""

    image: raster.Source
    bands: list[str]
    stretch: Stretch
    max_px: int

    def picture(self, shape: Any) -> dict[str, Any]:
        """The image around a ``shape``, and where that lies: its corner and its sides in pixels of the grid."""
        affine, (height, width) = self.image.grid.affine, self.image.grid.shape
        bounds = np.reshape(shape.bounds, (2, 2))
        ends = (bounds - [affine.c, affine.f]) / [affine.a, affine.e]
        middle, half = ends.mean(axis=0), np.ptp(ends, axis=0).max() / 2
        half += max(2 * half * MARGIN_FRAC, MARGIN_PX)
        sides = np.array([width, height])
        left, top = np.clip(np.floor(middle - half).astype(int), 0, sides - 1).tolist()
        right, bottom = np.clip(np.ceil(middle + half).astype(int), [left + 1, top + 1], sides).tolist()
        seen = self.image.thumbnail(self.max_px, self.bands, (slice(top, bottom), slice(left, right)))
        return {
            "url": self.stretch.picture(seen),
            "left": left,
            "top": top,
            "width": right - left,
            "height": bottom - top,
        }
