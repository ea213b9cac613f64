"""A mapper's answers heeded: landslides join the inventory, are drawn again or taken out of it, and ground becomes background.

Answers speak of outlines, not of rows of a file: of a landslide by the digest of its outline, of ground by their own. So the order
of rows and the numbers of an inventory do not matter, and an answer about what is no longer there is told and not applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from hpcl.core.codes import BACKGROUND
from hpcl.core.records import DecisionCount
from hpcl.core.review import DOUBTFUL, LAYERS, OMISSIONS, OUTLINES
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.ingest.review_files import short
from hpcl.ingest.settings import IngestError

INVENTORY, REVIEW = "inventory", "review"
"""Where a landslide of the inventory comes from: from its file, or from an answer."""
YES = ("accept", "redraw")
SAME_IOU = 0.5
"""Outlines that share this much of their ground are of one landslide."""


@dataclass(frozen=True)
class Heeded:
    """An inventory after the answers."""

    table: gpd.GeoDataFrame
    """The landslides; column ``source`` is `INVENTORY` or `REVIEW`."""
    unknown: tuple[Any, ...] = ()
    """Outlines that were taken out: nobody knows what lies there."""
    background: tuple[Any, ...] = ()
    """Ground on which there is no landslide, even outside the labelled extent."""
    rows: gpd.GeoDataFrame | None = None
    """The decided rows, with a column ``applied``; None if there are none."""
    counts: tuple[DecisionCount, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Terms:
    """What answers are held against, beside the inventory."""

    path: Path
    """The file that they stand in."""
    ids: Sequence[int]
    """All that the inventory's file has, also of landslides that do not count."""
    area_change_max_frac: float
    """An outline that mending changes by more is refused."""


def _mended(rows: gpd.GeoDataFrame, path: Path, area_change_max_frac: float) -> tuple[gpd.GeoDataFrame, list[str]]:
    """The decided rows with valid outlines, and a sentence about those that were not.

    Refused if that changes the area of an outline that is to count by more than ``area_change_max_frac``.
    """
    rows = rows[rows["decision"] != ""].reset_index(drop=True)
    shapes = np.array(rows.geometry.values, dtype=object)
    broken = np.flatnonzero(~shapely.is_valid(shapes))
    whole = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    for at, before, after in zip(broken, shapes[broken], whole, strict=True):
        row, area_m2 = rows.loc[at], float(shapely.area(after))
        changed_m2 = abs(area_m2 - float(shapely.area(before)))
        if row["decision"] in YES and not changed_m2 <= area_change_max_frac * area_m2:
            how_much = f"changes its area by {changed_m2 / area_m2:.1%}" if area_m2 else "leaves nothing of it"
            raise IngestError(
                f"{path}: the outline of row {short(row['id'])} of {row['layer']} crosses itself, and mending it {how_much}; draw it again."
            )
    shapes[broken] = whole
    told = f"{path.name}: {len(broken)} of {len(rows)} outlines crossed themselves and were mended."
    return rows.set_geometry(gpd.GeoSeries(shapes, crs=rows.crs)), [told] if len(broken) else []


def heed(given: gpd.GeoDataFrame, rows: gpd.GeoDataFrame, image: Grid, terms: Terms) -> Heeded:
    """The inventory ``given`` as the decided ones of the ``rows`` want it.

    Raises `IngestError` where two answers contradict each other about one landslide, or one names a class that none may have.
    """
    name = terms.path.name
    rows, findings = _mended(rows, terms.path, terms.area_change_max_frac)
    if not len(rows):
        return Heeded(given)
    rows = rows.assign(digest=[vector.digest(shape) for shape in rows.geometry], why="")
    _check_omissions(rows[rows["layer"] == OMISSIONS], name)
    _check_answers(rows[rows["inventory_sha256"] != ""], name)
    draws = rows["layer"].isin([OMISSIONS, OUTLINES]) & rows["decision"].isin(YES)
    outside = ~shapely.intersects(rows.geometry.values, image.extent.geom)
    rows.loc[draws & outside, "why"] = "they lie outside the image"
    findings += _choose_classes(rows, sorted(set(given["class"])), name)
    table = _with_omissions(given, rows, set(terms.ids))
    table = _with_outlines(table, rows)
    table, unknown = _without_doubtful(table, rows)
    if not len(table):
        raise IngestError(f"{name} takes every landslide out of the inventory; leave one, or take the inventory away.")
    cleared = (rows["layer"] == OMISSIONS) & (rows["decision"] == "reject")
    kept = rows.drop(columns=["digest", "why"]).assign(applied=rows["why"] == "")
    background = tuple(rows.geometry[cleared])
    return Heeded(table, unknown, background, kept, _counted(kept), (*findings, *_findings(rows, name)))


# --------------------------------------------------------------------------------------------- what contradicts itself


def _check_omissions(rows: gpd.GeoDataFrame, name: str) -> None:
    """Refuse two outlines of one landslide that both join, and one that joins where another says that there is none."""
    rows = rows[rows["decision"] != "unsure"].drop_duplicates(["decision", "digest"])
    shapes = np.array(rows.geometry.values, dtype=object)
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    one, other = one[one < other], other[one < other]
    joins = rows["decision"].isin(YES).to_numpy()
    pairs = (joins[one] | joins[other]) & (_iou(shapes[one], shapes[other]) >= SAME_IOU)
    pairs &= ~((joins[one] & joins[other]) & (rows["digest"].to_numpy()[one] == rows["digest"].to_numpy()[other]))
    for a, b in zip(one[pairs], other[pairs], strict=True):
        raise _contradiction(rows.iloc[a], rows.iloc[b], name)


def _check_answers(rows: gpd.GeoDataFrame, name: str) -> None:
    """Refuse two answers about one landslide that cannot both be followed."""
    for _, about in rows.groupby("inventory_sha256", sort=True):
        redrawn = about[(about["layer"] == OUTLINES) & about["decision"].isin(YES)].drop_duplicates("digest")
        doubtful = about[about["layer"] == DOUBTFUL]
        gone, stays = (doubtful[doubtful["decision"] == decision] for decision in ("accept", "reject"))
        against = pd.concat([redrawn.iloc[1:], gone]) if len(redrawn) else stays if len(gone) else redrawn
        if len(against):
            raise _contradiction((redrawn if len(redrawn) else gone).iloc[0], against.iloc[0], name)


def _contradiction(one: pd.Series, other: pd.Series, name: str) -> IngestError:
    said = [f"row {short(row['id'])} of {row['layer']} ({row['decision']})" for row in (one, other)]
    return IngestError(
        f"{name}: {said[0]} and {said[1]} contradict each other about one landslide; set one of them to unsure."
    )


def _iou(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    shared = shapely.area(shapely.intersection(one, other))
    union = shapely.area(one) + shapely.area(other) - shared
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)


# ------------------------------------------------------------------------------------------------ the inventory changes


def _choose_classes(rows: gpd.GeoDataFrame, known: list[str], name: str) -> list[str]:
    """Fill the class of omissions: as they say it, or the inventory's only one; a sentence about classes that it has not."""
    spelt = {one.casefold(): one for one in known}
    new = set()
    for at, row in rows[(rows["layer"] == OMISSIONS) & rows["decision"].isin(YES)].iterrows():
        said = row["class"]
        if said.casefold() == BACKGROUND:
            raise IngestError(
                f"{name} says in row {short(row['id'])} of {OMISSIONS} the class '{said}', which is what ground without landslides is"
                " called; write another class, or reject the row."
            )
        if not said and len(known) > 1:
            rows.loc[at, "why"] = f"their class is not said (write one of {', '.join(known)} into the column 'class')"
        rows.loc[at, "class"] = spelt.setdefault(said.casefold(), said) if said else known[0]
        new |= {rows.loc[at, "class"]} - set(known)
    return [f"{name}: the class '{one}' is new to this inventory." for one in sorted(new)]


def _with_omissions(given: gpd.GeoDataFrame, rows: gpd.GeoDataFrame, ids: set[int]) -> gpd.GeoDataFrame:
    """The inventory and what it lacked. A landslide that it has by now is not added, whoever drew it."""
    asked = rows[(rows["layer"] == OMISSIONS) & rows["decision"].isin(YES) & (rows["why"] == "")]
    digests = {vector.digest(shape) for shape in given.geometry}
    asked = asked[~asked["digest"].isin(digests)].drop_duplicates("digest")
    shapes = np.array(asked.geometry.values, dtype=object)
    one, other = given.sindex.query(shapes, predicate="intersects")
    there = one[_iou(shapes[one], np.array(given.geometry.values, dtype=object)[other]) >= SAME_IOU]
    rows.loc[asked.index[there], "why"] = "the inventory has a landslide there by now"
    asked = asked.drop(asked.index[np.unique(there)]).sort_values(["id", "digest"])
    if not len(asked):
        return given
    numbers = _numbers(asked, ids)
    new = {"id": numbers, "class": asked["class"], "area_m2": np.round(asked.geometry.area, 3), "source": REVIEW}
    table = pd.concat([given, gpd.GeoDataFrame(new, geometry=asked.geometry, crs=given.crs)], ignore_index=True)
    return gpd.GeoDataFrame(table, geometry="geometry", crs=given.crs)


def _numbers(asked: gpd.GeoDataFrame, ids: set[int]) -> list[int]:
    """Ids that follow from the question alone, so that no other answer and no edit of the inventory moves them."""
    split = asked["id"].duplicated(keep=False)
    taken, numbers = set(ids), []
    for name, digest, is_part in zip(asked["id"], asked["digest"], split, strict=True):
        key = f"{name}{digest if is_part else ''}".encode()
        number = int(hashlib.sha256(key).hexdigest()[:8], 16) % 2**31
        while number in taken or not number:
            number = (number + 1) % 2**31
        taken.add(number)
        numbers.append(number)
    return numbers


def _with_outlines(table: gpd.GeoDataFrame, rows: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The inventory with better outlines in place of those that they speak of, also of such as came by an answer themselves."""
    asked = rows[(rows["layer"] == OUTLINES) & rows["decision"].isin(YES) & (rows["why"] == "")]
    table = table.assign(digest=[vector.digest(shape) for shape in table.geometry])
    waiting = list(asked.sort_values(["id", "digest"]).index)
    while waiting:
        found = next((at for at in waiting if (table["digest"] == rows["inventory_sha256"][at]).any()), None)
        if found is None:
            break
        waiting.remove(found)
        row, own = rows.loc[found], table["digest"] == rows["inventory_sha256"][found]
        if not shapely.intersects(table.geometry[own].values, row.geometry).all():
            rows.loc[found, "why"] = "their outlines do not touch their landslides"
            continue
        table.loc[own, ["source", "digest"]] = REVIEW, row["digest"]
        table.loc[own, "geometry"] = gpd.GeoSeries([row.geometry] * int(own.sum()), table.index[own], crs=table.crs)
    for at in waiting:
        if not (table["digest"] == rows["digest"][at]).any():  # otherwise it is drawn so already
            rows.loc[at, "why"] = _gone(rows["inventory_sha256"][at])
    return table.assign(area_m2=np.round(table.geometry.area, 3)).drop(columns="digest")


def _without_doubtful(table: gpd.GeoDataFrame, rows: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, tuple[Any, ...]]:
    """The inventory without the landslides that are none, and their outlines."""
    asked = rows[(rows["layer"] == DOUBTFUL) & (rows["decision"] == "accept") & (rows["why"] == "")]
    digests = pd.Series([vector.digest(shape) for shape in table.geometry], table.index)
    lost = asked[~asked["inventory_sha256"].isin(digests)]
    rows.loc[lost.index, "why"] = [_gone(digest) for digest in lost["inventory_sha256"]]
    out = digests.isin(set(asked["inventory_sha256"])).to_numpy()
    return table[~out].reset_index(drop=True), tuple(table.geometry[out])


def _gone(digest: str) -> str:
    if not digest:
        return "they say of no landslide that they speak of it"
    return "no landslide of the inventory has the outline that they speak of (it was moved, drawn again or taken out)"


# -------------------------------------------------------------------------------------------------------- what is told


def _findings(rows: gpd.GeoDataFrame, name: str) -> list[str]:
    told = []
    for why, about in rows[rows["why"] != ""].groupby("why", sort=True):
        which = [f"{row.layer} {short(row.id)}" for row in about.itertuples()]
        more = f" and {len(which) - 3} more" if len(which) > 3 else ""
        answers = "1 answer was" if len(which) == 1 else f"{len(which)} answers were"
        told.append(f"{name}: {answers} not applied, because {why}: {', '.join(which[:3])}{more}.")
    return told


def _counted(rows: gpd.GeoDataFrame) -> tuple[DecisionCount, ...]:
    return tuple(
        DecisionCount(layer, decision, len(applied), int(applied.sum()))
        for layer in LAYERS
        for decision, applied in rows[rows["layer"] == layer].groupby("decision", sort=True)["applied"]
    )
