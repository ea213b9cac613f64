"""The rows of a review: questions of all areas with the probability of each being right, in the order in which to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from hpcl.audit.area import Questions, shapes_of
from hpcl.audit.mixture import LEAST, Mixture, Objects, joined, likeness
from hpcl.audit.next_ground import Squares
from hpcl.core.records import Promise
from hpcl.core.review import COLUMNS, NEXT, OMISSIONS
from hpcl.geo import vector

Array = npt.NDArray[Any]

LEAST_PROBABILITY = 0.05
"""What is less probable is not asked."""
SAME_FRAC = 0.5
"""A row was asked before if it and an answered one cover each other so far (intersection over union)."""


@dataclass(frozen=True)
class Answered:
    """Rows that were decided in earlier rounds, ``table`` as `ingest` hands it on, without what it could not apply:
    `COLUMNS` and ``layer``."""

    table: gpd.GeoDataFrame

    def covers(self, layer: str, shapes: Array) -> Array:
        """The number of the answer to each question, ``(shape,)``; -1 where it was never asked."""
        found = np.full(len(shapes), -1)
        numbers = np.flatnonzero(self.table["layer"] == layer)
        before = shapes_of(self.table)[numbers]
        if len(before):
            row, answer = shapely.STRtree(before).query(shapes, predicate="intersects")
            both = shapely.area(shapely.intersection(shapes[row], before[answer]))
            same = both / (shapely.area(shapes[row]) + shapely.area(before[answer]) - both) >= SAME_FRAC
            found[row[same]] = numbers[answer[same]]
        return found


def layer_rows(
    layer: str, asked: Mapping[str, Questions], answered: Mapping[str, Answered], promise_frac: float, told: bool
) -> tuple[dict[str, gpd.GeoDataFrame], Promise | None]:
    """The rows of one layer by area, ranked, and how many of them the audit promises to be right; None where too little is known
    to tell, or the map is not ``told`` from a blind one, and then no row has a probability and their likeness ranks them."""
    open_ = {name: ~_settled(layer, one, answered.get(name)) for name, one in asked.items()}
    known = joined([one.known for one in asked.values()])
    mixed = joined([one.asked.of(one.mixed & open_[name]) for name, one in asked.items()])
    mixture = _mixture(known, mixed, selected=layer == OMISSIONS) if told else None
    graded = {name: _Graded(one.mixed, likeness(known, mixed, one.asked)) for name, one in asked.items()}
    tables, listed = {}, {}
    for name, one in asked.items():
        probability = graded[name].probability(mixture)
        listed[name] = open_[name] & ~(probability < LEAST_PROBABILITY)
        table = one.table.assign(probability=probability, likeness=graded[name].likeness)
        table = _ranked(layer, table[listed[name]])
        tables[name] = _carried(layer, table, answered[name]) if name in answered else table
    if mixture is None:
        return tables, None
    rng = np.random.default_rng(1)
    chances = (
        np.concatenate([one.chances(mixture, share)[listed[name]] for name, one in graded.items()])
        for share in mixture.shares
    )
    right = [int((rng.random(len(chance)) < chance).sum()) for chance in chances]
    end = (1 - promise_frac) / 2
    low, high = np.quantile(right, [end, 1 - end], method="nearest")
    expected = sum(float(table["probability"].sum()) for table in tables.values())
    return tables, Promise(rows=sum(map(len, tables.values())), expected=expected, low=float(low), high=float(high))


@dataclass(frozen=True)
class _Graded:
    """The rows of one area by their likeness to what would be right, ``(row,)``; those that are not ``mixed`` lie on ground that
    nobody has mapped, where the inventory could have no landslide."""

    mixed: Array
    likeness: Array

    def chances(self, mixture: Mixture, share_frac: float) -> Array:
        """The probability of each row being right, if this share of the mixed ones is."""
        among, all_ = (f(self.likeness, share_frac) for f in (mixture.probability, mixture.probability_unmixed))
        return np.where(self.mixed, among, all_)

    def probability(self, mixture: Mixture | None) -> Array:
        """The probability of each row being right, whatever the share may be; NaN where that cannot be told."""
        if mixture is None:
            return np.full(len(self.likeness), np.nan)
        found = np.zeros(len(self.likeness))
        for share in mixture.shares:
            found += self.chances(mixture, share) / len(mixture.shares)
        return found


def _mixture(known: Objects, mixed: Objects, selected: bool) -> Mixture | None:
    known_scores, mixed_scores = likeness(known, mixed, known), likeness(known, mixed, mixed)
    known_scores, mixed_scores = (scores[np.isfinite(scores)] for scores in (known_scores, mixed_scores))
    return Mixture(known_scores, mixed_scores, selected) if min(len(known_scores), len(mixed_scores)) >= LEAST else None


def _settled(layer: str, one: Questions, answered: Answered | None) -> Array:
    """Which questions were answered for good."""
    if answered is None:
        return np.zeros(len(one.table), bool)
    number = answered.covers(layer, shapes_of(one.table))
    decisions = answered.table["decision"].to_numpy()
    return np.asarray((number >= 0) & (decisions[number] != "unsure")) if len(decisions) else number >= 0


def _carried(layer: str, table: gpd.GeoDataFrame, answered: Answered) -> gpd.GeoDataFrame:
    """Decision and note of what was left unsure."""
    number = answered.covers(layer, shapes_of(table))
    for name in ("decision", "note"):
        table.loc[number >= 0, name] = answered.table[name].to_numpy()[number[number >= 0]]
    return table


def _ranked(layer: str, table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The rows in their order, with ids, ranks and places for answers; by likeness where equally probable, or nobody knows."""
    shapes = shapes_of(table)
    table = table.assign(id=_ids(layer, shapes), area_m2=shapely.area(shapes), decision="", note="")
    order = ["probability", "likeness", "id"]
    table = table.sort_values(order, ascending=[False, False, True], ignore_index=True).drop(columns="likeness")
    return table.assign(rank=np.arange(1, len(table) + 1))


def _ids(layer: str, shapes: Array) -> list[str]:
    return [f"{layer}-{vector.digest(shape)[:12]}" for shape in shapes]


def next_rows(ground: Squares, median_area_m2: float, crs: Any) -> gpd.GeoDataFrame:
    """Rows of the layer `NEXT`."""
    landslides = ground.expected_area_m2 / median_area_m2
    reasons = [
        f"{frac:.0%} of this square is unlabelled; the map expects about {expected:.1f} landslides of the usual size there, with a"
        f" mean uncertainty of {doubt:.2f}."
        for frac, expected, doubt in zip(ground.unlabelled_frac, landslides, ground.uncertainty, strict=True)
    ]
    shapes = ground.shapes
    return gpd.GeoDataFrame(
        {
            "id": _ids(NEXT, shapes),
            "rank": np.arange(1, len(shapes) + 1), "probability": np.full(len(shapes), np.nan), "reason": reasons,
            "decision": "", "note": "", "area_m2": shapely.area(shapes), "inventory_id": 0,
            "expected_landslides": landslides, "mean_uncertainty": ground.uncertainty,
            "unlabelled_frac": ground.unlabelled_frac,
        },
        geometry=shapes, crs=crs,
    )  # fmt: skip


def finished(table: gpd.GeoDataFrame, inventory: gpd.GeoDataFrame, weights_sha256: str) -> gpd.GeoDataFrame:
    """The columns that every layer has first, in their order and types."""
    outlines = dict(zip(inventory["id"], map(vector.digest, shapes_of(inventory)), strict=True))
    table = table.assign(
        inventory_sha256=[outlines.get(number, "") for number in table["inventory_id"]], weights_sha256=weights_sha256
    )
    more = [name for name in table.columns if name not in COLUMNS and name != "geometry"]
    return table.astype(COLUMNS)[[*COLUMNS, *more, "geometry"]]
