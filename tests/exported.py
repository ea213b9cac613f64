"""A small export, as `stages.export` would write it: model, areas, catalogue, crate and manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
from affine import Affine
from shapely.geometry import box

from hpcl.core.artifacts import write_json
from hpcl.core.digest import sha256
from hpcl.core.records import FoldedArea, ModelFacts
from hpcl.export import crate, manifest
from hpcl.export.content import Content
from hpcl.export.origin import Origin, software
from hpcl.export.stac.area import MappedArea
from hpcl.export.stac.catalog import catalogue
from hpcl.geo import cog, raster, vector

FOLDER = Path("data/export")
CITATION = {
    "title": "HPCL-Net", "version": "0.1.0", "license": "Apache-2.0", "date-released": "2026-11-22",
    "authors": [{"name": "The developers"}, {"given-names": "Ada", "family-names": "Lovelace", "orcid": "https://orcid.org/0000-0001"}],
}  # fmt: skip
ORIGIN = Origin(
    commit="ab" * 20, run="repro-1234567", params_sha256="ef" * 32, software=software(CITATION), date="2026-11-20T10:00:00+00:00"
)  # fmt: skip
MARS = 'PROJCRS["Mars",BASEGEOGCRS["Mars",DATUM["Mars",ELLIPSOID["Mars",3396190,0]]],CONVERSION["Equirectangular",\
METHOD["Equidistant Cylindrical",ID["EPSG",1028]]],CS[Cartesian,2],AXIS["e",east],AXIS["n",north],LENGTHUNIT["metre",1]]'
PLACES: dict[str, tuple[str, float, float]] = {
    "UTM": ("EPSG:32648", 500_000.0, 4_000_000.0),
    "Mars": (MARS, -5_500_000.0, -200_000.0),
    "antimeridian": ("EPSG:3832", 3_339_500.0, 2_000_000.0),
    "nowhere": ('LOCAL_CS["site",UNIT["metre",1]]', 0.0, 0.0),
}
"""CRS, and its coordinates of the upper left corner."""
SHAPE, PIXEL_M = (90, 120), 20.0


def grid(place: str = "UTM") -> raster.Grid:
    crs, west, north = PLACES[place]
    return raster.Grid(SHAPE, Affine(PIXEL_M, 0, west, 0, -PIXEL_M, north), crs)


def model_facts(places: Mapping[str, str], **changes: Any) -> ModelFacts:
    """Of a model that learnt the ground of areas, each with its place."""
    areas = {
        name: FoldedArea(
            shape=list(SHAPE), pixel_m=PIXEL_M, dem_pixel_m=PIXEL_M, crs=PLACES[place][0], transform=list(grid(place).affine)[:6],
            tops=[0], lefts=[0, 60], folds=[0, 1],
        )
        for name, place in places.items()
    }  # fmt: skip
    given = vars(examples.trained(areas=areas, trained_on=list(places), pixel_m=[PIXEL_M])) | {
        "settings": {"architecture": "hpcl_net", "encoder": "tiny", "pretrained": False, "weights": {}, "branches": {"optical": ["red"]}},
        "embedding_dim": 4, "weights_sha256": "12" * 32,
    }  # fmt: skip
    return ModelFacts(**given | changes)


def area(project: Path, name: str, place: str = "UTM", inventory: bool = True) -> MappedArea:
    """An area with the files of its map, two polygons, and rasters of the project that they come from."""
    data, own = project / "data", grid(place)
    values = np.random.default_rng(len(name)).random((2, *SHAPE), np.float32)
    values[:, :7, :9] = np.nan
    bands = (raster.Band("probability"), raster.Band("uncertainty"))
    cog.write(data / "predict" / name / "probability.tif", raster.Raster(values, own, bands))
    _, west, north = PLACES[place]
    shapes = [box(west + left, north - 900, west + left + 200, north - 500) for left in (100, 700)]
    columns = {"id": [1, 2], "area_m2": 80_000.0, "weights_sha256": "12" * 32, "input_sha256": "cd" * 32}
    table = gpd.GeoDataFrame(columns, geometry=shapes, crs=own.crs.proj if own.crs else None)
    for stage in ("outline", "ingest"):
        (data / stage / name).mkdir(parents=True, exist_ok=True)
        vector.write(data / stage / name / "landslides.gpkg", table)
    parquet = BytesIO()
    vector.read(data / "outline" / name / "landslides.gpkg").to_parquet(parquet, index=False)
    files = {
        "probability.tif": Content(data / "predict" / name / "probability.tif"),
        "landslides.gpkg": Content(data / "outline" / name / "landslides.gpkg"),
        "landslides.parquet": Content(parquet.getvalue()),
    }
    if inventory:
        files["inventory.gpkg"] = Content(data / "ingest" / name / "landslides.gpkg")
    facts = examples.mapped(area=name, weights_sha256="12" * 32)
    return MappedArea(facts=facts, grid=own, bands=bands, files=files)


def contents(
    model: ModelFacts, areas: list[MappedArea], links: manifest.Manifest, graph: bytes = b"graph"
) -> dict[str, Content]:
    """All files but the manifest."""
    of_model = {"model.onnx": Content(graph), "model_card.md": Content(b"# Card\n")}
    files = {**of_model, **{f"{one.facts.area}/{name}": file for one in areas for name, file in one.files.items()}}
    files |= catalogue(model, of_model, areas, ORIGIN)
    return files | {crate.NAME: crate.crate(files, links, ORIGIN)}


def links_of(names: Iterable[str]) -> manifest.Manifest:
    """A manifest that names no file yet."""
    own = manifest.AreaLinks(inputs={"data/ingest/x/image.tif": "01" * 32}, input_sha256="cd" * 32, outlines_sha256="")
    return manifest.Manifest(
        commit=ORIGIN.commit, run=ORIGIN.run, run_key="34" * 32, params_sha256=ORIGIN.params_sha256, weights_sha256="12" * 32,
        networks={"data/model/1/model.safetensors": "12" * 32}, areas=dict.fromkeys(names, own), files={},
    )  # fmt: skip


def write(project: Path, places: Mapping[str, str], **changes: Any) -> tuple[Path, manifest.Manifest]:
    """An export of areas, each with its place, in a project; returns its folder and its manifest."""
    areas, links = [area(project, name, place) for name, place in places.items()], links_of(places)
    files = contents(model_facts(places, **changes), areas, links)
    folder = project / FOLDER
    for name, content in files.items():
        content.write(folder / name)
    links = replace(links, files={name: sha256(folder / name) for name in files})
    write_json(folder / manifest.NAME, links)
    return folder, links
