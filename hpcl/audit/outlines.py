"""In the inventory and on the map, but drawn differently: the outline that the map proposes instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from hpcl.audit.shift import Shifts

Array = npt.NDArray[Any]

FITS_IOU = 0.5
"""A mapped polygon stands for a landslide if both cover each other so far; where none does, the landslide is moved as a whole."""


def proposed(inventory: Array, mapped: Array, moves: Shifts) -> Array:
    """The outline ``(landslide,)`` that fits the map better than each of the inventory: the mapped one where there is one that
    fits the moved landslide, which may be a better or worse drawing of it; otherwise the moved one."""
    moved = np.array(
        [
            affinity.translate(shape, east, north)
            for shape, east, north in zip(inventory, moves.east_m, moves.north_m, strict=True)
        ],
        dtype=object,
    )
    if not len(mapped):
        return moved
    found = moved.copy()
    landslide, polygon = shapely.STRtree(mapped).query(moved, predicate="intersects")
    fits = iou(moved[landslide], mapped[polygon])
    for number in np.unique(landslide[fits >= FITS_IOU]):
        own = landslide == number
        found[number] = mapped[polygon[own][fits[own].argmax()]]
    return found


def iou(one: Array, other: Array) -> Array:
    """Intersection over union of shapes, pair by pair, ``(pair,)``."""
    both = shapely.area(shapely.intersection(one, other))
    return np.asarray(both / (shapely.area(one) + shapely.area(other) - both))
