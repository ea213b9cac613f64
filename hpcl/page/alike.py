"""Which landslides of a map look like which, where `make embed` has said so of this very map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from hpcl.geo import vector


def read(path: Path, mapped: gpd.GeoDataFrame) -> dict[str, Any] | None:
    """By row of the ``mapped`` landslides: their ids and sizes, how many rings each has of those that `hpcl.page.outlines` draws, and
    the rows of those most alike. None without a file, or with one that was made of another map."""
    if not path.exists():
        return None
    table = vector.read(path)
    if not {"alike", *mapped.columns} <= set(table.columns) or not table[list(mapped.columns)].equals(mapped):
        return None
    ids = mapped["id"].astype(str).tolist()
    row_of = {name: row for row, name in enumerate(ids)}
    parts, owners = shapely.get_parts(mapped.geometry.to_numpy(), return_index=True)
    rings = np.bincount(owners, weights=1 + shapely.get_num_interior_rings(parts), minlength=len(mapped))
    return {
        "ids": ids,
        "area_m2": mapped.geometry.area.round().tolist(),
        "rings": rings.astype(int).tolist(),
        "nearest": [[row_of[name] for name in (near or "").split(", ") if name] for near in table["alike"]],
    }
