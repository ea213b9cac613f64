"""Errors planted into an inventory that is right: landslides left out, outlines displaced, false ones added. Equal seeds plant alike."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from shapely import affinity

from hpcl.geo import vector

OMITTED_FRAC, DISPLACED_FRAC, FALSE_FRAC = 0.2, 0.15, 0.1
"""Shares of the landslides that are left out and displaced; false ones come on top."""
OFFSETS = 0.4, 0.7
"""How far outlines are displaced, in square roots of their area."""
APART_M = 20.0
"""A false landslide is a true one's outline, turned, this far from all others and within what was labelled."""
TRIES = 200
KEPT, DISPLACED, FALSE = "kept", "displaced", "false"
NONE = -1
"""The number of the true landslide that a false one stands for."""


@dataclass(frozen=True)
class Planted:
    """An inventory with errors, and the one without."""

    inventory: gpd.GeoDataFrame
    """Columns ``kind`` and ``truth``, the number of the landslide in `truth`."""
    omitted: gpd.GeoDataFrame
    """Column ``i``, its number there."""
    truth: gpd.GeoDataFrame


def planted(truth: gpd.GeoDataFrame, extent: Any, seed: int) -> Planted:
    """``truth`` with errors; ``extent`` is the polygon within which it is complete."""
    shapes, rng = list(truth.geometry), np.random.default_rng(seed)
    everything, count = shapely.union_all(shapes), len(truth)
    order = rng.permutation(count)
    omitted, rest = np.split(order, [round(OMITTED_FRAC * count)])
    moved = {}
    for number in rest[: round(DISPLACED_FRAC * count)]:
        if (found := _displaced(shapes[number], extent, rng)) is not None:
            moved[number] = found
    false: list[Any] = []
    while len(false) < max(1, round(FALSE_FRAC * count)):
        found = _elsewhere(shapes[rng.integers(count)], extent.bounds, rng)
        if extent.contains(found) and all(found.distance(one) > APART_M for one in (everything, *false)):
            false.append(found)
    left = [number for number in range(count) if number not in set(omitted)]
    rows = [(DISPLACED if number in moved else KEPT, number, moved.get(number, shapes[number])) for number in left]
    rows += [(FALSE, NONE, shape) for shape in false]
    kinds, numbers, outlines = zip(*rows, strict=True)
    return Planted(
        gpd.GeoDataFrame({"kind": kinds, "truth": numbers}, geometry=list(outlines), crs=truth.crs),
        gpd.GeoDataFrame({"i": omitted}, geometry=[shapes[number] for number in omitted], crs=truth.crs),
        gpd.GeoDataFrame({"i": range(count)}, geometry=shapes, crs=truth.crs),
    )


def _displaced(shape: Any, extent: Any, rng: np.random.Generator) -> Any:
    """A copy that is moved and still within the extent; None if none was found."""
    for _ in range(TRIES):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(*OFFSETS) * np.sqrt(shape.area)
        moved = affinity.translate(shape, far * np.cos(angle), far * np.sin(angle))
        if extent.contains(moved):
            return moved
    return None


def _elsewhere(shape: Any, bounds: tuple[float, float, float, float], rng: np.random.Generator) -> Any:
    west, south, east, north = bounds
    turned = affinity.rotate(shape, rng.uniform(0, 360))
    middle = turned.centroid
    return affinity.translate(turned, rng.uniform(west, east) - middle.x, rng.uniform(south, north) - middle.y)


def plant(raw: Path, ingested: Path, out: Path, seed: int) -> None:
    """Write a raw area ``out`` like ``raw`` with errors in its inventory, which is that of ``ingested``: repaired. What was planted is
    written beside the project's data, as the last file."""
    extent = vector.read(raw / "labelled_extent.gpkg").union_all()
    found = planted(vector.read(ingested / "landslides.gpkg"), extent, seed)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(raw, out, ignore=shutil.ignore_patterns("review.*"))
    vector.write(out / "landslides.gpkg", found.inventory[["geometry"]])
    layers = {"inventory": found.inventory, "omitted": found.omitted, "truth": found.truth}
    vector.write_layers(record(out.parents[2], out.name), layers)


def record(project: Path, area: str) -> Path:
    """The file that says what was planted."""
    return project / f"{area}_planted.gpkg"
