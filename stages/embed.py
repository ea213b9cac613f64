"""Write what the networks have learnt of each landslide as columns, and which landslides look like it: data/embed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np

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


@dataclass(frozen=True)
class Area:
    """The landslides of an area by the file that they are written to, and what the networks see of all of them, in this order."""

    name: str
    tables: dict[str, gpd.GeoDataFrame]
    seen: vectors.Seen


def main() -> None:
    """Write data/embed/<area>/: landslides.gpkg, the map's landslides with their vectors and those most alike; inventory.gpkg,
    the same of the inventory, for `python -m stages.probe`.

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
    for earlier in (*OUT.glob(f"*/{OF_MAP}"), *OUT.glob(f"*/{OF_INVENTORY}")):
        earlier.unlink()  # of another space
    for area, found in zip(areas, spaces.joined([area.seen for area in areas]), strict=True):
        ends = np.cumsum([len(table) for table in area.tables.values()])[:-1]
        for (name, table), own in zip(area.tables.items(), np.split(found, ends), strict=True):
            vector.write(OUT / area.name / name, _with_vectors(table, own))
        print(f"embed: {area.name}: {', '.join(f'{len(table)} in {name}' for name, table in area.tables.items())}")


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
    columns = {f"embedding_{number:02d}": values for number, values in enumerate(found.T.round(4), start=1)}
    return table.assign(alike=alike_ids, **columns)


if __name__ == "__main__":
    run(main)
