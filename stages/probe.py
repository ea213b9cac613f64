"""Say whether a column of the inventories can be read in what the networks have learnt: class, age, whatever it names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from hpcl.besides import mapped_besides
from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.core.records import MapFacts
from hpcl.embedding.probe import Array, Probed, ProbeError, classes, probe, usable
from hpcl.embedding.spaces import prefix
from hpcl.geo import raster, vector
from hpcl.ingest import headers, vector_files
from hpcl.ingest.columns import columns
from hpcl.settings.evaluate import EvaluateSettings
from stages._stage import params, run

DATA = Path("data")
OURS = ("id", "source", "fold", "block", "alike", "place", "where", "weights_sha256")
"""Columns that say nothing of a landslide."""
VECTORS = re.compile(r"(embedding|without_\d+)_\d+$")


def main(column: str) -> None:
    """Print it, with interval and chance, for all areas in data/embed (`make embed`); writes nothing. Each landslide's vector is by
    networks that never saw it, and the probe that is asked about a fold, or about an area outside of all folds, learnt on the others;
    a fold's ground had no say in the space of the vectors, either.
    """
    settings = params("evaluate", EvaluateSettings)
    listed = params("areas", Names)
    tables = [
        table
        for area in [*listed, *mapped_besides(DATA, listed)]
        if (path := DATA / "embed" / area / "inventory.gpkg").exists()
        for table in [_told(area, path)]
    ]
    if not tables:
        raise ProbeError(
            "There is no data/embed/<area>/inventory.gpkg to probe; run make embed in a project with an inventory."
        )
    table = pd.concat(tables, ignore_index=True)
    vectors = [name for name in table if VECTORS.match(name)]
    if column not in table or column in (*OURS, *vectors):
        others = [name for name in table if name not in (*OURS, *vectors) and _varies(table[name])]
        there = (
            f"those that could be probed: {', '.join(others)}"
            if others
            else "none that could be probed: all are of one value"
        )
        raise ProbeError(f"The inventories have no column '{column}' of their own; {there}.")
    table = table[np.isfinite(table[[name for name in vectors if name.startswith(prefix(0))]]).all(axis=1)]
    names = usable(classes(table[column]), table["place"], column)
    if left := len(table) - len(names):
        print(f"probe: {left} of {len(table)} landslides have no value, or one of too few, and are left out")
    table = table.loc[names.index]
    counts = ", ".join(f"{name} ({count})" for name, count in names.value_counts().sort_index().items())
    print(f"probe: {column} of {len(table)} landslides: {counts}; {table['place'].nunique()} folds or areas")
    sizes = dict.fromkeys(table["place"], np.log(table[["area_m2"]]).to_numpy())
    for what, features in {"the vectors": vectors_by_place(table), "their size alone": sizes}.items():
        place, where = (table[name].to_numpy() for name in ("place", "where"))
        found = probe(features, names.to_numpy(), place, where, settings)
        print(f"probe: from {what} {_share(found)}; chance {1 / names.nunique():.2f}")


def vectors_by_place(table: pd.DataFrame) -> dict[str, Array]:
    """By place the vectors ``(landslide, dimension)`` of all landslides by which it is judged: those of the space in which the ground of
    its fold had no say."""
    fold_of = dict(zip(table["place"], table["fold"], strict=True))
    return {
        place: table[[name for name in table if name.startswith(prefix(fold))]].to_numpy()
        for place, fold in fold_of.items()
    }


def _varies(column: pd.Series) -> bool:
    """Whether a column has several values, and is no name of each landslide."""
    count = len(set(column.dropna()))
    return count > 1 and (pd.api.types.is_numeric_dtype(column) or count < len(column))


def _told(area: str, path: Path) -> pd.DataFrame:
    """The landslides of an area with all that its raw inventory says of them, the place that is kept back together, and the block."""
    headers.area_folder(DATA / "raw" / area)
    table = vector.read(path)
    mapped = artifacts.read_json(DATA / "predict" / area / "facts.json", MapFacts).weights_sha256
    by_fold = path.with_name("inventory_by_fold.csv")
    if "weights_sha256" not in table or set(table["weights_sha256"]) - {mapped} or not by_fold.exists():
        raise ProbeError(
            f"{path} and {by_fold.name} beside it were not both made with the networks of the map of {area}; run make embed again."
        )
    with raster.Source(DATA / "ingest" / area / "image.tif") as image:
        raw = vector_files.find(DATA / "raw" / area).inventory
        more = pd.DataFrame(index=table.index) if raw is None else columns(raw, image.grid, table)
    place = [f"fold {fold}" if fold else area for fold in table["fold"]]
    where = [f"{area} {block}" for block in table["block"]]
    own = table.drop(columns=table.geometry.name).join(pd.read_csv(by_fold, index_col="id"), on="id")
    return own.join(more[[name for name in more if name not in own]]).assign(place=place, where=where)


def _share(found: Probed) -> str:
    low, high = found.interval
    return f"{found.balanced_accuracy:.2f} [{low:.2f}, {high:.2f}] of each class told right"


if __name__ == "__main__":
    run(main)
