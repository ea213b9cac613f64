"""Two sets of a mapper's answers become one, without losing any; where they contradict each other, that is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import pandas as pd
import shapely
from odc.geo.crs import CRS

from hpcl.core.review import LAYERS
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.ingest import review_files
from hpcl.ingest.review_files import check_closed, short
from hpcl.ingest.settings import IngestError

Counts = Literal["earlier", "new"]
"""Which of two different answers counts."""
SAME_M = 0.01
"""Corners of one outline that went through files and coordinate systems lie this close."""


class ConflictError(IngestError):
    """One question with two answers; ``differences`` says which, in words."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        shown = ", ".join(differences[:3]) + (f" and {len(differences) - 3} more" if len(differences) > 3 else "")
        super().__init__(f"{len(differences)} of the same rows are answered differently: {shown}")


def read(paths: Sequence[Path], image: Grid) -> tuple[gpd.GeoDataFrame, dict[str, CRS]]:
    """The answers in an area's own review files, in the image's CRS; the CRS of each file as it was given.

    Raises `IngestError` also where one of the files is open in another program, or where they contradict each other.
    """
    found, drawn_in = None, {}
    for path in paths:
        check_closed(path)
        rows, drawn_in[path.name] = review_files.read(path, image, path.parent.name)
        try:
            found = joined(rows.iloc[:0] if found is None else found, rows)
        except ConflictError as error:
            raise IngestError(f"{paths[0]} and {path.name}: {error}; keep the file that counts.") from error
    return found, drawn_in


def joined(earlier: gpd.GeoDataFrame, new: gpd.GeoDataFrame, counts: Counts | None = None) -> gpd.GeoDataFrame:
    """The answers of both, in an order of their own. `unsure` gives way to any other answer that comes later.

    A row is known by its layer and id; a polygon that was split has several rows of one id, and they are one answer.
    Raises `ConflictError` where both answer differently, unless it is said which ``counts``.
    """
    before, after = _by_question(earlier), _by_question(new)
    differences = []
    for key, rows in after.items():
        old = before.get(key)
        if old is not None and _weight(old) == 2 and _weight(rows) > 0 and not _same(old, rows):
            if counts is None:
                differences.append(f"{key[0]} {short(key[1])} ({_said(old)}, then {_said(rows)})")
            if counts != "new":
                continue
        if old is None or _weight(rows) >= _weight(old) or counts == "new":
            before[key] = rows if old is None else _noted(old, rows)
    if differences:
        raise ConflictError(differences)
    return _ordered(
        gpd.GeoDataFrame(pd.concat([earlier.iloc[:0], *before.values()]), geometry="geometry", crs=earlier.crs)
    )


def _by_question(table: gpd.GeoDataFrame) -> dict[tuple[str, str], gpd.GeoDataFrame]:
    answers = table[(table["decision"] != "") | (table["note"] != "")]
    return {
        key: rows[~_shapes(rows).duplicated().to_numpy()] for key, rows in answers.groupby(["layer", "id"], sort=False)
    }


def _shapes(rows: gpd.GeoDataFrame) -> pd.DataFrame:
    """What tells the rows of one question apart."""
    digests = [vector.digest(shape) if shape else "" for shape in rows.geometry]
    return pd.DataFrame({"decision": rows["decision"].to_numpy(), "shape": digests})


def _weight(rows: gpd.GeoDataFrame) -> int:
    """0 for a note without a decision, 1 for unsure, 2 for an answer."""
    return max({"": 0, "unsure": 1}.get(decision, 2) for decision in rows["decision"])


def _said(rows: gpd.GeoDataFrame) -> str:
    said = sorted(set(rows["decision"]) - {""})
    return " and ".join(said) + (f" with {len(rows)} outlines" if len(rows) > 1 else "")


def _same(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> bool:
    rest = list(other.itertuples())
    for row in one.itertuples():
        twin = next((i for i, found in enumerate(rest) if _alike(row, found)), None)
        if twin is None:
            return False
        rest.pop(twin)
    return not rest


def _alike(one: Any, other: Any) -> bool:
    if (one.decision, one._asdict().get("class")) != (other.decision, other._asdict().get("class")):
        return False
    shapes = [shapely.normalize(row.geometry) if row.geometry else None for row in (one, other)]
    return shapes[0] is shapes[1] is None or bool(shapely.equals_exact(*shapes, tolerance=SAME_M))


def _noted(old: gpd.GeoDataFrame, new: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The new rows, with the notes of the old where they have none."""
    notes = [note for note in old["note"] if note]
    if not notes or (new["note"] != "").any():
        return new
    return new.assign(note="; ".join(dict.fromkeys(notes)))


def _ordered(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    keys = pd.DataFrame(
        {
            "layer": table["layer"].map(LAYERS.index).to_numpy(),
            "id": table["id"].to_numpy(),
            "shape": [vector.digest(shape) if shape else "" for shape in table.geometry],
            "decision": table["decision"].to_numpy(),
        }
    )
    order = keys.sort_values(list(keys), kind="stable").index
    return table.iloc[order].reset_index(drop=True)
