"""A mapper who knows the truth: which rows they look at, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from benchmarks.planted.errors import DISPLACED, FALSE
from benchmarks.planted.truth import HIT_FRAC, Truth, covered, shapes_of
from hpcl.core.review import COLUMNS, DOUBTFUL, LAYERS, OMISSIONS, OUTLINES
from hpcl.geo import vector

Array = npt.NDArray[Any]

ASKED = (OMISSIONS, DOUBTFUL, OUTLINES)
SAME_IOU = 0.5
"""A left-out landslide is no longer one if an outline of the inventory is this much the same; `ingest` judges likewise."""


@dataclass(frozen=True)
class Desk:
    """What lies before the mapper of an area: its ``truth``, the ``inventory`` as it is by now, and the ``layers`` of the audit."""

    truth: Truth
    inventory: gpd.GeoDataFrame
    layers: dict[str, gpd.GeoDataFrame]

    @property
    def left_out(self) -> Array:
        """Numbers of the landslides that the inventory lacks by now."""
        lacking, drawn = self.truth.landslides[self.truth.left_out], shapes_of(self.inventory)
        both = shapely.area(shapely.intersection(lacking[:, None], drawn[None, :]))
        either = shapely.area(lacking)[:, None] + shapely.area(drawn)[None, :] - both
        return self.truth.left_out[~(both / either >= SAME_IOU).any(axis=1)]


def desk(project: Path, area: str, truth: Truth) -> Desk:
    """The mapper's view of an area of a project."""
    review = project / "data/audit" / area / "review.gpkg"
    layers = {layer: vector.read(review, layer) for layer in LAYERS}
    return Desk(truth, vector.read(project / "data/ingest" / area / "landslides.gpkg"), layers)


def open_rows(desks: Mapping[str, Desk]) -> pd.DataFrame:
    """All rows that have no answer: ``area``, ``layer``, number ``at`` in it, in the order of their probability of being right,
    whatever their layer."""
    parts = [
        table.assign(area=area, layer=layer, at=np.arange(len(table)))
        for area, one in desks.items()
        for layer, table in one.layers.items()
        if layer in ASKED
    ]
    rows = pd.DataFrame(pd.concat(parts)).drop(columns="geometry")
    rows = rows[rows["decision"] == ""].sort_values(["probability", "id"], ascending=[False, True])
    return rows[["area", "layer", "at"]].reset_index(drop=True)


def answered(one: Desk, layer: str, at: Array) -> gpd.GeoDataFrame:
    """A layer with the rows ``at`` answered by the truth."""
    table = one.layers[layer].copy()
    rows = table.iloc[at]
    for number, (decision, shape) in zip(rows.index, _answers(one, layer, rows), strict=True):
        table.loc[number, "decision"] = decision
        if shape is not None:
            table.loc[[number], "geometry"] = gpd.GeoSeries([shape], [number], crs=table.crs)
    return table


def _answers(one: Desk, layer: str, rows: gpd.GeoDataFrame) -> list[tuple[str, Any]]:
    """A decision for each row, and the true outline where that is drawn."""
    truth = one.truth
    if layer == DOUBTFUL:
        return [("accept" if right else "reject", None) for right in truth.right(layer, rows)]
    if layer == OUTLINES:
        return [_outline(truth, digest) for digest in rows["inventory_sha256"]]
    numbers, shapes = one.left_out, shapes_of(rows)
    # A landslide that the inventory has, but elsewhere, is neither missing nor background.
    elsewhere = covered(shapes, truth.landslides) >= HIT_FRAC
    right = truth.right(layer, rows, numbers)
    shared = shapely.area(shapely.intersection(shapes[:, None], truth.landslides[numbers][None, :]))
    return [
        ("redraw", truth.landslides[numbers[shares.argmax()]]) if is_right else ("unsure" if is_one else "reject", None)
        for is_right, is_one, shares in zip(right, elsewhere, shared, strict=True)
    ]


def _outline(truth: Truth, digest: str) -> tuple[str, Any]:
    kind, number = truth.drawn.get(digest, ("", -1))
    return ("redraw", truth.landslides[number]) if kind == DISPLACED else ("reject", None)


def looked_at(one: Desk, at: Array) -> dict[str, gpd.GeoDataFrame]:
    """The layers with what a mapper says who looks at landslides ``at`` of the inventory, asked or not."""
    said: dict[str, list[dict[str, Any]]] = {DOUBTFUL: [], OUTLINES: []}
    for row in one.inventory.iloc[at].itertuples():
        digest = vector.digest(row.geometry)
        about = {"inventory_id": row.id, "inventory_sha256": digest}
        decision, outline = _outline(one.truth, digest)
        if outline is not None:
            said[OUTLINES].append({**about, "decision": decision, "geometry": outline})
        else:
            decision = "accept" if one.truth.kind(digest) == FALSE else "reject"
            said[DOUBTFUL].append({**about, "decision": decision, "geometry": row.geometry})
    return one.layers | {layer: _with(one.layers[layer], rows) for layer, rows in said.items() if rows}


def _with(table: gpd.GeoDataFrame, rows: list[dict[str, Any]]) -> gpd.GeoDataFrame:
    """A layer and rows that a person added: all else that a row has is empty."""
    empty = {name: "" if kind is str else kind(0) for name, kind in COLUMNS.items()} | {"probability": np.nan}
    new = gpd.GeoDataFrame([empty | row for row in rows], geometry="geometry", crs=table.crs)
    return gpd.GeoDataFrame(pd.concat([table[new.columns], new], ignore_index=True), geometry="geometry", crs=table.crs)


def write(project: Path, area: str, layers: Mapping[str, gpd.GeoDataFrame]) -> None:
    """Save the answers where a mapper in QGIS would: in the audit's own file."""
    vector.write_layers(project / "data/audit" / area / "review.gpkg", {layer: layers[layer] for layer in LAYERS})
