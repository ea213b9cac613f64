"""What is true on planted ground: which rows of an audit are right, and which errors it does not show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from benchmarks.planted import errors
from benchmarks.planted.errors import DISPLACED, FALSE, KEPT
from hpcl.core.review import DOUBTFUL, OMISSIONS, OUTLINES
from hpcl.geo import vector
from hpcl.settings.synthesize import SynthesizeSettings
from hpcl.synth.sensors import scene
from hpcl.synth.write import outline
from stages._stage import params

Array = npt.NDArray[Any]

HIT_FRAC = 0.3
"""A candidate is right if at least this share of it lies on landslides that are left out."""
ERROR = {DOUBTFUL: FALSE, OUTLINES: DISPLACED}
"""The error that a layer looks for in the inventory."""


@dataclass(frozen=True)
class Truth:
    """An area's landslides, and what the planted inventory made of them."""

    landslides: Array
    """Outlines ``(landslide,)`` of all; of the planted inventory before the errors, and of what that had overlooked already."""
    drawn: dict[str, tuple[str, int]]
    """Kind and number in `landslides` of what the planted inventory has, by the digest of its outline."""
    left_out: Array
    """Numbers of the landslides that it lacks."""

    def kind(self, digest: str) -> str:
        """What an outline of the inventory is; kept, if it came by an answer."""
        return self.drawn.get(digest, (KEPT, errors.NONE))[0]

    def right(self, layer: str, rows: gpd.GeoDataFrame, left_out: Array | None = None) -> Array:
        """Which rows of a layer are right ``(row,)``; ``left_out``: by now, if landslides have joined."""
        if layer == OMISSIONS:
            numbers = self.left_out if left_out is None else left_out
            return covered(shapes_of(rows), self.landslides[numbers]) >= HIT_FRAC
        return np.array([self.kind(digest) == ERROR[layer] for digest in rows["inventory_sha256"]], bool)

    def missed(self, layer: str, rows: gpd.GeoDataFrame) -> int:
        """How many errors that the layer looks for no row shows."""
        right = rows[self.right(layer, rows)]
        if layer != OMISSIONS:
            return sum(kind == ERROR[layer] for kind, _ in self.drawn.values()) - len(right)
        lacking, shown = self.landslides[self.left_out], shapes_of(right)
        return len(lacking) - int(np.any(touching(lacking, shown) >= HIT_FRAC, axis=1).sum())


def read(project: Path, area: str) -> Truth:
    """The truth of an area of a planted project."""
    path = errors.record(project, area)
    inventory, omitted, truth = (vector.read(path, layer) for layer in ("inventory", "omitted", "truth"))
    overlooked = _overlooked(project, area)
    drawn = {
        vector.digest(shape): (kind, int(number))
        for shape, kind, number in zip(inventory.geometry, inventory["kind"], inventory["truth"], strict=True)
    }
    before = np.arange(len(truth), len(truth) + len(overlooked))
    return Truth(
        np.array([*truth.geometry, *overlooked], dtype=object), drawn, np.concatenate([omitted["i"].to_numpy(), before])
    )


def _overlooked(project: Path, area: str) -> list[Any]:
    """Landslides that the mapper of the synthetic inventory had missed, before any error was planted."""
    missed = json.loads((project / "data/raw" / area / "truth.json").read_text())["landslides"]["missed_ids"]
    if not missed:
        return []
    settings = params("synthesize", SynthesizeSettings, file=project / "params.yaml")
    world = scene(settings.areas[area], settings)
    return [affinity.translate(shapely.Polygon(outline(world.slides[number - 1])), *world.corner) for number in missed]


def shapes_of(table: gpd.GeoDataFrame) -> Array:
    """The geometries as an object array."""
    return np.array(table.geometry.values, dtype=object)


def covered(shapes: Array, by: Array) -> Array:
    """The share of each shape that lies on any of the others, ``(shape,)``."""
    under = shapely.union_all(by) if len(by) else shapely.Polygon()
    return np.asarray(shapely.area(shapely.intersection(shapes, under)) / shapely.area(shapes))


def touching(one: Array, other: Array) -> Array:
    """What any two shapes share, as a part of the smaller, ``(one, other)``."""
    both = shapely.area(shapely.intersection(one[:, None], other[None, :]))
    return np.asarray(both / np.minimum(shapely.area(one)[:, None], shapely.area(other)[None, :]))
