"""Write the trained model and its maps as files that other programs read: data/export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from hpcl.besides import mapped_besides
from hpcl.core import areas, artifacts
from hpcl.core.digest import sha256
from hpcl.core.records import MapFacts, ModelFacts
from hpcl.core.trained import model_facts
from hpcl.export import card, check, crate, deepness, graph, manifest, stack
from hpcl.export.content import Content
from hpcl.export.footprint import footprint
from hpcl.export.form import ExportError
from hpcl.export.origin import CITATION, Origin, software
from hpcl.export.stac.area import MappedArea
from hpcl.export.stac.catalog import catalogue
from hpcl.geo import raster, vector
from hpcl.metrics.records import Metrics
from hpcl.networks.ensemble import Ensemble, load
from hpcl.networks.store import WEIGHTS
from hpcl.raster_scene import RasterScene, SceneError
from hpcl.settings.inference import InferenceSettings
from stages._stage import PARAMS, params, run
from stages.tracking import state

MODEL, METRICS, OUT = Path("data/model"), Path("reports/evaluate/metrics.json"), Path("data/export")


def main() -> None:
    """Write data/export/: model.onnx, checked against the pipeline, and its card; by area map, polygons, inventory and bands.vrt;
    a STAC catalogue, an RO-Crate and manifest.json.

    Takes seconds for small networks, minutes for large ones, and as much disk as the maps. If the graph does not give the
    pipeline's probabilities, nothing is written.
    """
    settings = params("inference", InferenceSettings)
    ensemble, metrics = load(MODEL), artifacts.read_json(METRICS, Metrics)
    if metrics.weights_sha256 != ensemble.weights_sha256:
        raise ExportError(f"{METRICS} has the scores of other weights than those in {MODEL}; run dvc repro first.")
    here = state.here(Path.cwd())
    origin, models = _origin(here), model_facts(MODEL)
    mapped = list(_mapped(ensemble))
    told = deepness.metadata(ensemble.facts, settings.overlap_frac, card.thresholds(metrics), ensemble.weights_sha256)
    model = graph.onnx_model(ensemble, settings, told)
    _check(model, mapped, ensemble, settings)
    of_model = {
        "model.onnx": Content(model),
        "model_card.md": Content(card.card(models, metrics, ensemble.weights_sha256, origin).encode()),
    }
    exported = [_exported(area, ensemble) for area in mapped]
    links = manifest.Manifest(
        commit=origin.commit,
        run=origin.run,
        run_key=here["key"],
        params_sha256=origin.params_sha256,
        weights_sha256=ensemble.weights_sha256,
        networks={f"{MODEL}/{one.fold}/{WEIGHTS}": one.weights_sha256 for one in models},
        areas={area.facts.area: links for area, links in exported},
        files={},
    )
    _write(_all(models[0], of_model, [area for area, _ in exported], links, origin), links)


def _all(
    model: ModelFacts,
    of_model: Mapping[str, Content],
    areas: Sequence[MappedArea],
    links: manifest.Manifest,
    origin: Origin,
) -> dict[str, Content]:
    """All files but the manifest: those of model and areas, the catalogue of them, and the crate of all."""
    files = {**of_model, **{f"{area.facts.area}/{name}": one for area in areas for name, one in area.files.items()}}
    files |= catalogue(model, of_model, areas, origin)
    return files | {crate.NAME: crate.crate(files, links, origin)}


def _write(files: Mapping[str, Content], links: manifest.Manifest) -> None:
    for name, content in files.items():
        content.write(OUT / name)
    written = manifest.of_files(files)
    if gone := manifest.remove_earlier(OUT, written):
        print(
            f"export: {', '.join(gone[:5])}{', ...' * (len(gone) > 5)} of the last export are not part of this one: deleted."
        )
    artifacts.write_json(OUT / manifest.NAME, replace(links, files=written))
    size = sum(content.size for content in files.values())
    print(f"export: {len(files)} files in {OUT}, {size / 2**20:.1f} MiB")


def _origin(here: state.State) -> Origin:
    """Commit, run and software, as git, the parameters and CITATION.cff know them."""
    commit = here["tags"].get("git.commit", "")
    told = software(state.yaml_file(CITATION))
    stamp = state.git("show", "--no-patch", "--format=%ct", commit).strip() if commit else ""
    return Origin(
        commit=f"{commit}+" if commit and here["tags"]["git.dirty_code"] == "true" else commit,
        run=here["name"],
        params_sha256=sha256(PARAMS),
        software=told,
        date=datetime.fromtimestamp(int(stamp), UTC).isoformat() if stamp else told.released,
    )


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
    def probability(self) -> Path:
        """The map."""
        return Path("data/predict") / self.name / "probability.tif"

    @property
    def polygons(self) -> Path:
        """The landslides of the map."""
        return Path("data/outline") / self.name / "landslides.gpkg"

    @property
    def inventory(self) -> Path:
        """The landslides that were there before the map, if anybody mapped any."""
        return Path("data/ingest") / self.name / "landslides.gpkg"


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


def _exported(area: Mapped, ensemble: Ensemble) -> tuple[MappedArea, manifest.AreaLinks]:
    """An area's files, without the stack where a band of the model is missing, and where its polygons come from."""
    polygons = vector.read(area.polygons)
    table = BytesIO()
    polygons.to_parquet(table, index=False)
    files = {
        "probability.tif": Content(area.probability),
        "landslides.gpkg": Content(area.polygons),
        "landslides.parquet": Content(table.getvalue()),
    }
    if area.inventory.exists():
        files["inventory.gpkg"] = Content(area.inventory)
    if stacked := stack.vrt(OUT / area.name / "bands.vrt", area.rasters, ensemble.facts.band_names):
        files["bands.vrt"] = Content(stacked)
    with raster.Source(area.probability) as source:
        made = MappedArea(facts=area.facts, grid=source.grid, bands=source.bands, files=files)
    if footprint(made.grid) is None:
        print(
            f"export: {area.name}: its CRS does not say where on a planet it lies, so its item in the catalogue has no geometry."
        )
    return made, manifest.of_area(polygons, area.rasters, area.facts.input_sha256)


if __name__ == "__main__":
    run(main)
