"""One area as an audit sees it: what is mapped, what is in the inventory, and what may be asked of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from hpcl.audit import omissions, outlines, placed
from hpcl.audit.mixture import Objects
from hpcl.audit.shift import shifts
from hpcl.audit.support import Support, around, drawn, logit, support
from hpcl.core.codes import UNKNOWN
from hpcl.geo.raster import Roi
from hpcl.outline.mapped import Mapped

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MappedArea:
    """An area's ``mapped`` polygons and those of its ``inventory`` (an empty table where there is none), the open ``map`` and the
    ``labels`` of a window ``(row, column)``."""

    mapped: gpd.GeoDataFrame
    inventory: gpd.GeoDataFrame
    map: Mapped
    labels: Callable[[Roi], Array]

    def background(self, roi: Roi) -> Array:
        """Which pixels the inventory calls background."""
        return np.asarray(self.labels(roi) == 0)

    def unlabelled(self, roi: Roi) -> Array:
        """Of which pixels nobody knows whether they are landslide."""
        return np.asarray(self.labels(roi) == UNKNOWN)


@dataclass(frozen=True)
class Questions:
    """What may be asked of one layer: the rows ``table`` (columns of its own and the geometry) and what tells whether each is right.

    ``known``: objects that would be right; ``asked``: one for each row; ``mixed``: which rows are of those
    among which the share of right ones is estimated.
    """

    table: gpd.GeoDataFrame
    known: Objects
    asked: Objects
    mixed: Array


def shapes_of(table: gpd.GeoDataFrame) -> Array:
    """The geometries as an object array."""
    return np.array(table.geometry.values, dtype=object)


def missing(ground: MappedArea, minimum_area_m2: float) -> Questions:
    """Omissions: like the landslides that map and inventory agree on?"""
    mapped, inventory = shapes_of(ground.mapped), shapes_of(ground.inventory)
    frac = omissions.agreed(mapped, inventory)
    known = support(ground.map, mapped[frac >= omissions.AGREED_FRAC])
    found = omissions.candidates(mapped, inventory, minimum_area_m2)
    seen = support(ground.map, found.shapes)
    unlabelled_frac = np.array([_frac(ground, shape, ground.unlabelled) for shape in found.shapes])
    unlabelled = unlabelled_frac > 0.5
    parents = ground.mapped.iloc[found.mapped].reset_index(drop=True)
    facts = [name for name in ("class", "mean_slope_deg", "aspect_deg", "relief_m") if name in parents]
    reasons = [
        f"Mapped with a mean probability of {inside:.2f} ({ring:.2f} around it) and not in the inventory"
        + ("" if whole else "; part of a mapped landslide that reaches beyond the inventory's")
        + ("; nobody has mapped this ground." if bare else ".")
        for inside, ring, whole, bare in zip(seen.probability, seen.ring, found.whole, unlabelled, strict=True)
    ]
    columns = {"reason": reasons, "inventory_id": 0, **_told(seen), "unlabelled_frac": unlabelled_frac}
    columns |= {name: parents[name].to_numpy() for name in facts}
    return _questions(ground, columns, found.shapes, known, seen, ~unlabelled)


def doubted(ground: MappedArea) -> Questions:
    """Doubtful landslides: like copies of them that are laid on background?

    Asked of a landslide as it is drawn and as it could be moved, for one that is badly drawn is not therefore none. How probable background
    is differs from network to network, and the copies tell it: what counts is how far beyond theirs a landslide is.
    """
    inventory = shapes_of(ground.inventory)
    copies = placed.elsewhere(inventory, ground.map.source.grid, ground.background)
    (_, known), (seen, asked) = (_as_drawn_and_moved(ground.map, shapes) for shapes in (copies, inventory))
    reasons = [
        f"In the inventory, but the map gives it a mean probability of {inside:.2f} ({ring:.2f} around it)."
        for inside, ring in zip(seen.probability, seen.ring, strict=True)
    ]
    columns = {"reason": reasons, "inventory_id": ground.inventory["id"].to_numpy(), **_told(seen)}
    columns |= {"mapped_frac": seen.mapped_frac, "class": ground.inventory["class"].to_numpy()}
    return _questions(ground, columns, inventory, beyond(known, known), beyond(asked, known), seen.known)


def _as_drawn_and_moved(map_: Mapped, shapes: Array) -> tuple[Support, Objects]:
    """What the map says of shapes where they lie, and how probable each is there and where it fits best."""
    seen = support(map_, shapes)
    probable = [logit(seen.probability), logit(shifts(map_, shapes).best)]
    return seen, Objects(np.stack(probable, axis=1), seen.network)


def beyond(objects: Objects, background: Objects) -> Objects:
    """Objects by how far their features are beyond the median of the background that the same network mapped; of all the background,
    where it mapped none."""
    seen = background.of(np.asarray(np.isfinite(background.features).all(axis=1)))
    features = objects.features.copy()
    for network in np.unique(objects.network) if len(seen) else ():
        own = seen.network == network
        features[objects.network == network] -= np.median(seen.features[own if own.any() else ...], axis=0)
    return Objects(features, objects.network)


def misdrawn(ground: MappedArea) -> Questions:
    """Badly drawn outlines: like copies of outlines that were moved?"""
    inventory, mapped = shapes_of(ground.inventory), shapes_of(ground.mapped)
    seen = support(ground.map, inventory)
    objects, facts = [], []
    for shapes in (placed.displaced(inventory), inventory):
        moves = shifts(ground.map, shapes)
        better = outlines.proposed(shapes, mapped, moves)
        like = outlines.iou(shapes, better)
        objects.append(np.stack([moves.gain, moves.length_m / np.sqrt(seen.area_m2), like], axis=1))
        facts.append((moves, better, like))
    moves, better, like = facts[1]
    reasons = [
        f"Moved by {length:.0f} m to the {compass(east, north)} it would fit the map better: mean probability {inside + gain:.2f}"
        f" instead of {inside:.2f}."
        for length, east, north, inside, gain in zip(
            moves.length_m, moves.east_m, moves.north_m, seen.probability, moves.gain, strict=True
        )
    ]
    columns = {"reason": reasons, "inventory_id": ground.inventory["id"].to_numpy(), **_told(seen)}
    columns |= {"shift_m": moves.length_m, "iou": like, "class": ground.inventory["class"].to_numpy()}
    return _questions(
        ground, columns, better, Objects(objects[0], seen.network), Objects(objects[1], seen.network), seen.known
    )


def compass(east: float, north: float) -> str:
    """The direction of a move in words.

    >>> compass(1.0, 1.1), compass(-5.0, 0.2)
    ('north-east', 'west')
    """
    names = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"]
    return names[round(np.degrees(np.arctan2(east, north)) / 45) % 8]


def _told(seen: Support) -> dict[str, Array]:
    return {
        "mean_probability": seen.probability,
        "mean_uncertainty": seen.uncertainty,
        "network": seen.network,
    }


def _frac(ground: MappedArea, shape: Any, where: Callable[[Roi], Array]) -> float:
    grid = ground.map.source.grid
    roi = around(grid, shape, 0)
    return 0.0 if roi is None else float(where(roi)[drawn(grid, shape, roi)].mean())


def _questions(
    ground: MappedArea,
    columns: dict[str, Any],
    shapes: Array,
    known: Objects | Support,
    asked: Objects | Support,
    mixed: Array,
) -> Questions:
    """Rows of which the map says anything."""
    table = gpd.GeoDataFrame(columns, geometry=shapes, crs=ground.mapped.crs)
    objects = [one if isinstance(one, Objects) else Objects(one.features(), one.network) for one in (known, asked)]
    sound = [np.asarray(np.isfinite(one.features).all(axis=1)) for one in objects]
    return Questions(
        table[sound[1]].reset_index(drop=True), objects[0].of(sound[0]), objects[1].of(sound[1]), mixed[sound[1]]
    )
