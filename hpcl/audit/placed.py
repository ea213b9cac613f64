"""Outlines laid where they do not belong: what the map says of these is what it would say of a polygon that is no landslide, or of one
that is badly drawn. Deterministic: the draws depend on the outlines alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from hpcl.audit.support import around, drawn
from hpcl.geo import raster

Array = npt.NDArray[Any]

PLACED = 500
"""Copies that are laid elsewhere in an area, at most..."""
COPIES = 8
"""...and of each outline."""
TRIES = 30
"""Places that are tried for each copy."""
OFFSETS = 0.3, 0.8
"""How far badly drawn copies are moved, in square roots of their area."""


def elsewhere(shapes: Array, grid: raster.Grid, background: Callable[[raster.Roi], Array]) -> Array:
    """Copies ``(copy,)`` of the shapes, turned and laid on ground that the inventory calls background; fewer where that is hard to
    find. ``background`` says of the pixels of a window ``(row, column)`` whether they are."""
    rng = np.random.default_rng(0)
    count = min(PLACED, COPIES * len(shapes))
    found = []
    for shape in shapes[np.arange(count) % max(len(shapes), 1)]:
        for _ in range(TRIES):
            copy = _moved(shape, grid, rng)
            roi = around(grid, copy, 0)
            if roi is None or not _inside(grid, copy):
                continue
            around_it = background(roi)
            if around_it.all() or (around_it.any() and around_it[drawn(grid, copy, roi)].all()):
                found.append(copy)
                break
    return np.array(found, dtype=object)


def _moved(shape: shapely.Geometry, grid: raster.Grid, rng: np.random.Generator) -> shapely.Geometry:
    column, row = rng.uniform(0, grid.shape[1]), rng.uniform(0, grid.shape[0])
    x, y = grid.affine * (column, row)
    turned = affinity.rotate(shape, rng.uniform(0, 360))
    middle = turned.centroid
    return affinity.translate(turned, x - middle.x, y - middle.y)


def _inside(grid: raster.Grid, shape: shapely.Geometry) -> bool:
    west, south, east, north = shape.bounds
    (left, top), (right, bottom) = ~grid.affine * (west, north), ~grid.affine * (east, south)
    return bool(left >= 0 and top >= 0 and right <= grid.shape[1] and bottom <= grid.shape[0])


def displaced(shapes: Array) -> Array:
    """A copy ``(shape,)`` of each shape, moved by `OFFSETS` in any direction."""
    rng = np.random.default_rng(1)
    far = rng.uniform(*OFFSETS, len(shapes)) * np.sqrt(shapely.area(shapes))
    angle = rng.uniform(0, 2 * np.pi, len(shapes))
    moves = np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1)
    return np.array([affinity.translate(shape, *move) for shape, move in zip(shapes, moves, strict=True)], dtype=object)
