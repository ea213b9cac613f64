"""Write what the networks have learnt of each landslide as columns, and which landslides look like it: data/embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from hpcl.besides import mapped_besides
from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.core.codes import MAX_FOLDS
from hpcl.core.records import FoldedArea, MapFacts
from hpcl.embedding import alike, spaces, vectors
from hpcl.embedding.footprint import Footprint
from hpcl.footprints import footprints
from hpcl.geo import vector
from hpcl.networks.ensemble import Ensemble, load
from hpcl.raster_scene import RasterScene
from hpcl.settings.inference import InferenceSettings
from stages._stage import params, progress, run

DATA, OUT = Path("data"), Path("data/embed")
SIDE_PX = 256
"""Of the squares that stand for blocks in areas that the model does not divide."""
OF_MAP, OF_INVENTORY = "landslides.gpkg", "inventory.gpkg"
BY_FOLD = "inventory_by_fold.csv"


class EmbedError(ValueError):
    """No landslide has a vector; the message says why, and what to do."""


@dataclass(frozen=True)
class Area:
    """The landslides of an area by the file that they are written to, and what the networks see of all of them, in this order."""

    name: str
    tables: dict[str, gpd.GeoDataFrame]
    seen: vectors.Seen


def main() -> None:
    """Write data/embed/<area>/: landslides.gpkg, the map's landslides with their vectors and those most alike; inventory.gpkg,
    the same of the inventory; inventory_by_fold.csv, its vectors for `python -m stages.probe`, in spaces that leave a fold out.

    Takes as long as a map of the ground that holds landslides. `dvc repro -s page` then shows on the map which are alike.
    """
    settings = params("inference", InferenceSettings)
    ensemble = load(DATA / "model")
    listed = params("areas", Names)
    areas = [
        _seen(name, ensemble, settings)
        for name in [*listed, *mapped_besides(DATA, listed)]
        if _is_mapped_by(ensemble, name) and any(map(len, _tables(name).values()))
    ]
    if not areas:
        print("embed: no area has landslides, so nothing is written.")
        return
    areas = _with_data(areas)
    for name in (OF_MAP, OF_INVENTORY, BY_FOLD):
        for earlier in OUT.glob(f"*/{name}"):
            earlier.unlink()  # of another space
    found = [spaces.joined([area.seen for area in areas], without) for without in range(len(ensemble.members) + 1)]
    for area, of_spaces in zip(areas, zip(*found, strict=True), strict=True):
        ends = np.cumsum([len(table) for table in area.tables.values()])[:-1]
        for (name, table), (own, *by_fold) in zip(
            area.tables.items(), np.split(np.stack(of_spaces), ends, axis=1), strict=True
        ):
            vector.write(OUT / area.name / name, _with_vectors(table, own))
            if name == OF_INVENTORY:
                _by_fold(table, by_fold).to_csv(OUT / area.name / BY_FOLD, index=False)
        print(f"embed: {area.name}: {', '.join(f'{len(table)} in {name}' for name, table in area.tables.items())}")


def _with_data(areas: list[Area]) -> list[Area]:
    """The areas with a landslide on ground with data; the others are told. Raises `EmbedError` if there are none."""
    found = [area for area in areas if area.seen.common.size]
    if not found:
        names = ", ".join(area.name for area in areas)
        raise EmbedError(
            f"No landslide of {names} lies on ground with data in all branches of the networks, so none has a vector; compare the"
            " outlines with data/predict/<area>/probability.tif."
        )
    for area in areas:
        if not area.seen.common.size:
            print(f"embed: {area.name}: no landslide lies on ground with data, so it is left out.")
    return found


def _is_mapped_by(ensemble: Ensemble, area: str) -> bool:
    """Whether an area was mapped with these weights; said if not."""
    facts = artifacts.read_json(DATA / "predict" / area / "facts.json", MapFacts)
    if facts.weights_sha256 == ensemble.weights_sha256:
        return True
    print(f"embed: {area} was mapped with other weights and is left out; map it again to have it.")
    return False


def _tables(name: str) -> dict[str, gpd.GeoDataFrame]:
    """The landslides of the map, and those of the inventory if there is one, by the file that is written of them."""
    files = {
        OF_MAP: DATA / "outline" / name / "landslides.gpkg",
        OF_INVENTORY: DATA / "ingest" / name / "landslides.gpkg",
    }
    return {out: vector.read(path) for out, path in files.items() if out == OF_MAP or path.exists()}


def _seen(name: str, ensemble: Ensemble, settings: InferenceSettings) -> Area:
    tables = _tables(name)
    rasters = [DATA / "ingest" / name / "image.tif", DATA / "terrain" / name / "terrain.tif"]
    with RasterScene(name, rasters, ensemble, settings.missing_bands) as scene:
        drawn = [footprints(table.geometry, scene.grid) for table in tables.values()]
        seen = vectors.see(
            scene, ensemble, settings, [one for table in drawn for one in table], progress(f"embed {name}")
        )
    folded = ensemble.areas.get(name)
    for table, own in zip(tables.values(), drawn, strict=True):
        table["weights_sha256"] = ensemble.weights_sha256  # which the map's own table has already, and the same
        table[["fold", "block"]] = np.array([_place(one, folded) for one in own]).reshape(-1, 2)
    return Area(name, tables, seen)


def _place(footprint: Footprint, folded: FoldedArea | None) -> tuple[int, int]:
    """The fold (0: none) and the block of ground in which most pixels of a landslide lie; where the model divides nothing,
    a square by its number."""
    if not footprint.inside.any():
        return 0, 0
    if folded is None:
        rows, columns = footprint.roi
        return 0, rows.start // SIDE_PX * SIDE_PX + columns.start // SIDE_PX
    block = int(np.bincount(folded.blocks(*footprint.roi)[footprint.inside]).argmax())
    return (folded.folds[block] + 1 if folded.folds[block] < MAX_FOLDS else 0), block


def _with_vectors(table: gpd.GeoDataFrame, found: spaces.Float64) -> gpd.GeoDataFrame:
    """The table, with ``alike`` (ids of those of the table that look most like it, the most alike first) and the vectors."""
    ids = table["id"].to_numpy()
    alike_ids = [", ".join(map(str, ids[rows])) for rows in alike.nearest(found)]
    return table.assign(alike=alike_ids, **_columns(found, spaces.prefix(0)))


def _by_fold(table: gpd.GeoDataFrame, found: Sequence[spaces.Float64]) -> pd.DataFrame:
    """The ids of the landslides, and their vectors for each fold whose ground had no say in them."""
    columns = [_columns(vectors, spaces.prefix(fold)) for fold, vectors in enumerate(found, start=1)]
    return pd.DataFrame({"id": table["id"]}).assign(**{name: each for one in columns for name, each in one.items()})


def _columns(found: spaces.Float64, prefix: str) -> dict[str, spaces.Float64]:
    return {f"{prefix}{number:02d}": values for number, values in enumerate(found.T.round(4), start=1)}


if __name__ == "__main__":
    run(main)
