"""Write the trained model and its maps as files that other programs read: data/export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import geopandas as gpd

from hpcl.besides import mapped_besides
from hpcl.core import areas, artifacts
from hpcl.core.digest import sha256
from hpcl.core.records import MapFacts
from hpcl.core.trained import model_facts
from hpcl.export import card, check, deepness, graph, manifest, stack
from hpcl.export.form import ExportError
from hpcl.geo import vector
from hpcl.metrics.records import Metrics
from hpcl.networks.ensemble import Ensemble, load
from hpcl.networks.store import WEIGHTS
from hpcl.raster_scene import RasterScene, SceneError
from hpcl.settings.inference import InferenceSettings
from stages._stage import PARAMS, params, run
from stages.tracking import state

MODEL, METRICS, OUT = Path("data/model"), Path("reports/evaluate/metrics.json"), Path("data/export")


def main() -> None:
    """Write data/export/: model.onnx, checked against the pipeline; model_card.md; by area landslides.parquet and bands.vrt; manifest.json.

    Takes seconds for small networks, minutes for large ones. If the graph does not give the pipeline's probabilities, nothing
    is written.
    """
    settings = params("inference", InferenceSettings)
    ensemble, metrics = load(MODEL), artifacts.read_json(METRICS, Metrics)
    if metrics.weights_sha256 != ensemble.weights_sha256:
        raise ExportError(f"{METRICS} has the scores of other weights than those in {MODEL}; run dvc repro first.")
    mapped = list(_mapped(ensemble))
    told = deepness.metadata(ensemble.facts, settings.overlap_frac, card.thresholds(metrics), ensemble.weights_sha256)
    model = graph.onnx_model(ensemble, settings, told)
    _check(model, mapped, ensemble, settings)
    models, here = model_facts(MODEL), state.here(Path.cwd())
    origin = card.Origin(_commit(here), here["name"], sha256(PARAMS))
    files = {
        "model.onnx": model,
        "model_card.md": card.card(models, metrics, ensemble.weights_sha256, origin).encode(),
    }
    links = {}
    for area in mapped:
        polygons = vector.read(area.polygons)
        links[area.name] = manifest.of_area(polygons, area.rasters, area.facts.input_sha256)
        files |= _of_area(area, polygons, ensemble)
    written = manifest.Manifest(
        commit=origin.commit,
        run=origin.run,
        run_key=here["key"],
        params_sha256=origin.params_sha256,
        weights_sha256=ensemble.weights_sha256,
        networks={f"{MODEL}/{one.fold}/{WEIGHTS}": one.weights_sha256 for one in models},
        areas=links,
        files=manifest.of_files(files),
    )
    for name, data in files.items():
        artifacts.write_bytes(OUT / name, data)
    artifacts.write_json(OUT / manifest.NAME, written)
    print(f"export: {len(files)} files in {OUT}, {sum(map(len, files.values())) / 2**20:.1f} MiB")


def _commit(here: state.State) -> str:
    """The commit of git, with a mark where code was edited since."""
    commit = here["tags"].get("git.commit", "")
    return f"{commit}+" if commit and here["tags"]["git.dirty_code"] == "true" else commit


@dataclass(frozen=True)
class Mapped:
    """An area that was mapped with these weights, and the rasters that hold its bands."""

    name: str
    facts: MapFacts

    @property
    def rasters(self) -> list[Path]:
        """In the order in which their hashes make ``input_sha256``."""
        return [Path("data/ingest") / self.name / "image.tif", Path("data/terrain") / self.name / "terrain.tif"]

    @property
    def polygons(self) -> Path:
        """The landslides of the map."""
        return Path("data/outline") / self.name / "landslides.gpkg"


def _mapped(ensemble: Ensemble) -> Iterator[Mapped]:
    """The areas of the project and those of `make map`; one that was mapped with other weights is left out, and named."""
    listed = params("areas", areas.Names)
    for name in [*listed, *mapped_besides(Path("data"), listed)]:
        facts = artifacts.read_json(Path("data/predict") / name / "facts.json", MapFacts)
        if facts.weights_sha256 == ensemble.weights_sha256:
            yield Mapped(name, facts)
        else:
            print(f"export: {name} was mapped with other weights and is left out; map it again to have it.")


def _check(model: bytes, mapped: list[Mapped], ensemble: Ensemble, settings: InferenceSettings) -> None:
    """Raise `ExportError` if the graph does not give the pipeline's probabilities in every area that has all bands."""
    seen = []
    for area in mapped:
        try:
            with RasterScene(area.name, area.rasters, ensemble, "refuse") as scene:
                seen.append(area.name)
                away = check.difference(model, scene, ensemble, settings)
        except SceneError as error:
            print(f"export: {error} The graph was not checked there.")
            continue
        if away > check.TOLERANCE:
            raise ExportError(
                f"In {area.name} the probabilities of the graph differ from the pipeline's by {away:.2g}, and {check.TOLERANCE:g} is"
                " allowed; nothing was written. Use the versions of torch, onnx and onnxruntime in requirements.txt."
            )
        print(f"export: {area.name}: the graph gives the pipeline's probabilities, to {max(away, 1e-9):.0e}")
    if not seen:
        raise ExportError(
            "No area with all bands of the model was mapped, so the graph cannot be checked; map one first."
        )


def _of_area(area: Mapped, polygons: gpd.GeoDataFrame, ensemble: Ensemble) -> Mapping[str, bytes]:
    """The files of an area by their names below data/export; without the stack where a band of the model is missing."""
    table = BytesIO()
    polygons.to_parquet(table, index=False)
    files = {f"{area.name}/landslides.parquet": table.getvalue()}
    stacked = stack.vrt(OUT / area.name / "bands.vrt", area.rasters, ensemble.facts.band_names)
    return files | ({f"{area.name}/bands.vrt": stacked} if stacked else {})


if __name__ == "__main__":
    run(main)
