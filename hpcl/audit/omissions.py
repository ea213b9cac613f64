"""Mapped, and not in the inventory: which mapped polygons, or parts of them, may be landslides that a mapper has missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

Array = npt.NDArray[Any]

AGREED_FRAC = 0.5
"""Map and inventory agree on a mapped polygon of which at least this share is in the inventory..."""
APART_FRAC = 0.1
"""...and one of which no more is there than this is a candidate as it is. Of those between, parts may be."""
WIDTH = 0.5
"""How wide a part must be, in square roots of the median area of the inventory: what is narrower is a matter of outlines."""


@dataclass(frozen=True)
class Candidates:
    """Shapes that may be landslides; ``(candidate,)``."""

    shapes: Array
    mapped: Array
    """Number of the mapped polygon that each is, or is a part of."""
    whole: Array
    """Whether it is all of it."""


def agreed(mapped: Array, inventory: Array) -> Array:
    """Share of each of the ``mapped`` polygons that lies in the inventory, ``(polygon,)``."""
    if not len(inventory):
        return np.zeros(len(mapped))
    return np.asarray(shapely.area(shapely.intersection(mapped, _under(mapped, inventory))) / shapely.area(mapped))


def candidates(mapped: Array, inventory: Array, minimum_area_m2: float) -> Candidates:
    """What of the ``mapped`` polygons is not in the inventory, as far as it is as large as any mapped polygon."""
    frac = agreed(mapped, inventory)
    apart = np.flatnonzero(frac <= APART_FRAC)
    shapes, numbers = [*mapped[apart]], [*apart]
    if len(inventory):
        half_width_m = WIDTH / 2 * float(np.sqrt(np.median(shapely.area(inventory))))
        for number in np.flatnonzero(frac > APART_FRAC):
            for part in _parts(mapped[number], _under(mapped[[number]], inventory)[0], half_width_m):
                if part.area >= minimum_area_m2:
                    shapes.append(part)
                    numbers.append(number)
    whole = np.arange(len(shapes)) < len(apart)
    return Candidates(np.array(shapes, dtype=object), np.array(numbers, dtype=np.int64), whole)


def _under(mapped: Array, inventory: Array) -> Array:
    """The landslides of the inventory that each polygon touches, as one shape each."""
    found = np.full(len(mapped), shapely.Polygon(), dtype=object)
    polygon, landslide = shapely.STRtree(inventory).query(mapped, predicate="intersects")
    for number in np.unique(polygon):
        found[number] = shapely.union_all(inventory[np.sort(landslide[polygon == number])])
    return found


def _parts(polygon: shapely.Geometry, known: shapely.Geometry, half_width_m: float) -> list[shapely.Polygon]:
    """The parts of a polygon beside what is ``known``, without what is narrower than twice ``half_width_m``."""
    rest = shapely.difference(polygon, known)
    wide = shapely.intersection(rest.buffer(-half_width_m).buffer(half_width_m), rest)
    return [part for part in shapely.get_parts(wide) if part.geom_type == "Polygon" and not part.is_empty]
