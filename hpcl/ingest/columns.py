"""What a raw inventory says of landslides beside their class: columns that no stage reads."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from hpcl.geo.raster import Grid
from hpcl.ingest import inventory

LEAST_IOU = 0.5
"""Of an ingested outline and the raw one that it came from: only repair lies between them."""


def columns(path: Path, image: Grid, table: gpd.GeoDataFrame) -> pd.DataFrame:
    """All columns of a raw inventory for the landslides of ``table``, as `ingest` wrote them on the grid of the ``image``; NaN for
    those that did not come from there. Raises `IngestError`."""
    raw, *_ = inventory.polygons(path, image, keep=lambda _: True)
    raw = raw.reset_index(drop=True)
    ours, theirs = np.asarray(table.geometry.values), inventory.repair(np.asarray(raw.geometry.values))
    own, other = shapely.STRtree(theirs).query(ours, predicate="intersects")
    both = shapely.area(shapely.intersection(ours[own], theirs[other]))
    iou = both / (shapely.area(ours[own]) + shapely.area(theirs[other]) - both)
    rising = np.lexsort((-other, iou))  # the best comes last and stays; of outlines drawn twice the first, as in ingest
    near = rising[iou[rising] > LEAST_IOU]
    matched = dict(zip(own[near].tolist(), other[near].tolist(), strict=True))
    rows = [matched.get(row, -1) for row in range(len(table))]
    found = raw.drop(columns=raw.geometry.name).reindex(rows)
    return found.set_axis(table.index)
