"""Map one area with the trained model: probability and uncertainty as a raster, landslides as polygons."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcl import likeness, scale
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.codes import UNMAPPED
from hpcl.geo import cog, raster, vector
from hpcl.inference import adabn, predict
from hpcl.maps import polygons, qgis, raster_scene
from hpcl.networks import store
from hpcl.settings.predict import PolygonSettings, PredictSettings
from stages._stage import params, progress, run

MOST_LANDSLIDE_FRAC = 0.9
"""Of an area. An image cut to one landslide's bounding box shows three quarters of it."""


def main(area: str) -> None:
    """Write data/predict/<area>/: probability.tif, class.tif, landslides.gpkg (each with its QGIS style), facts.json."""
    settings = params("predict", PredictSettings)
    out = Path("data/predict") / area
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    trained = store.load(Path("data/model"))
    classes = trained.facts["classes"]
    names = ["probability", "uncertainty", *(f"probability_{name}" for name in classes if len(classes) > 1)]
    with raster_scene.RasterScene(area, files, trained, settings.missing_bands) as ground:
        findings = _other_scale(abs(ground.grid.affine.a), trained.facts["pixel_m"])
        findings += _unlike_training(area, ground, trained)
        findings += _unfit_polygons(area, trained, settings.polygons)
        if ground.absent:
            findings.append(f"The area lacks {', '.join(ground.absent)}; the network saw the mean there.")
        if adabn.too_small(ground, trained.facts["window_px"], settings.windows.adapt_windows):
            findings.append(
                f"The network kept its batch statistics as trained: {adabn.BATCH * adabn.LEAST_BATCHES} windows of "
                f"{trained.facts['window_px']} px are needed to measure them anew, and the area (or adapt_windows) has fewer."
            )
        for finding in findings:  # before the hours that a large map takes
            print(f"predict: {finding}")
        bands = [raster.Band(name) for name in names]
        with (
            cog.create(out / "probability.tif", ground.grid, bands) as sink,
            cog.create(out / "class.tif", ground.grid, [raster.Band("class")], "uint8", UNMAPPED) as coded,
        ):
            seen = _Seen()
            for part in predict.predict(ground, trained, settings.windows, progress(f"predict {area}")):
                seen.add(part.probability, trained.facts["threshold"])
                layers = [part.probability[None], part.uncertainty[None], *([part.classes] if len(classes) > 1 else [])]
                sink.write(np.concatenate(layers), part.roi)
                coded.write(_codes(part, trained.facts["threshold"])[None], part.roi)
    told = seen.findings(trained.facts["threshold"])
    for finding in told:
        print(f"predict: {finding}")
    facts = {
        "area": area,
        "threshold": trained.facts["threshold"],
        "temperature": trained.facts["temperature"],
        "weights_sha256": trained.facts["weights_sha256"],
        "input_sha256": _sha256(files),
        "classes": classes,
        "findings": findings + told,
    }
    table = polygons.landslides(
        out / "probability.tif",
        trained.facts["threshold"],
        settings.polygons,
        classes=classes,
        terrain=files[1],
        elevation=Path("data/coregister") / area / "dem.tif",
        provenance={key: facts[key] for key in ("weights_sha256", "input_sha256", "threshold")},
    )
    vector.write(out / "landslides.gpkg", table)
    looks = {"probability": qgis.probability(), "class": qgis.classes(classes), "landslides": qgis.landslides()}
    for name, style in looks.items():
        artifacts.write_bytes(out / f"{name}.qml", style.encode())
    write_json(
        out / "facts.json", facts | {"landslides": len(table), "landslide_area_m2": float(table["area_m2"].sum())}
    )
    print(f"predict: {len(table)} landslides, {table['area_m2'].sum() / 1e4:.1f} ha in {area}")


class _Seen:
    """Whether a map says everything or nothing."""

    def __init__(self) -> None:
        self._known_px = self._landslide_px = 0
        self._highest = 0.0

    def add(self, probability: npt.NDArray[np.float32], threshold: float) -> None:
        """Count a part of the map."""
        known = probability[~np.isnan(probability)]
        self._known_px += known.size
        self._landslide_px += int((known >= threshold).sum())
        self._highest = max(self._highest, float(known.max(initial=0)))

    def findings(self, threshold: float) -> list[str]:
        """A sentence for a map whose landslide share no ground has."""
        if not self._known_px:
            return [
                "Nothing was mapped: no pixel has data for every branch of the network; look at the area's rasters."
            ]
        share = self._landslide_px / self._known_px
        look = (
            "the findings on the area's bands, probability.tif, and reports/train/curves.csv with train.learning_rate"
        )
        if share == 0:
            return [
                f"The map shows no landslide: no pixel reaches the threshold of {threshold:.3g} (the highest probability is"
                f" {self._highest:.3g}); unless the area has none, look at {look}."
            ]
        if share > MOST_LANDSLIDE_FRAC:
            return [
                f"The map calls {share:.1%} of the area a landslide, at a threshold of {threshold:.3g}, which no ground is; look at"
                f" {look}."
            ]
        return []


def _codes(part: predict.Part, threshold: float) -> npt.NDArray[np.uint8]:
    """0 below the threshold, else 1 + the most probable landslide class; where nothing is known, nodata."""
    code = np.where(part.probability >= threshold, 1 + np.nan_to_num(part.classes).argmax(0), 0)
    return np.where(np.isnan(part.probability), UNMAPPED, code).astype(np.uint8)


def _other_scale(pixel_m: float, trained_pixel_m: list[float]) -> list[str]:
    """A network knows shapes in pixels: on another pixel size it meets them at another scale."""
    if any(0.8 < pixel_m / known < 1.25 for known in trained_pixel_m):
        return []
    known = ", ".join(f"{size:g}" for size in trained_pixel_m)
    return [f"The pixels are {pixel_m:g} m, but the model was trained at {known} m; resample the area for a fair map."]


def _unlike_training(area: str, ground: raster_scene.RasterScene, trained: store.Trained) -> list[str]:
    """In what the area's bands and its DEM differ from those of the training, beyond what other ground does."""
    if not {"dem_pixel_m", "ground"} <= trained.facts.keys():
        return [
            "The model says too little of its training ground to compare the area with it, for it was trained before that was"
            " kept; run train again to have it said where an area's bands or DEM are unlike."
        ]
    dem_pixel_m = artifacts.read_json(Path("data/ingest") / area / "facts.json", artifacts.AreaSizes)["dem_pixel_m"]
    told = _other_dem(dem_pixel_m, trained.facts["dem_pixel_m"])
    names = [band.name for band in ground.bands]
    return told + likeness.findings(trained.facts["ground"], likeness.sample(ground.read, ground.shape), names)


def _other_dem(pixel_m: float, trained_pixel_m: list[float]) -> list[str]:
    """Slopes, curvatures and roughness are those of the DEM's own pixel, whatever grid it was resampled to.

    The factor is wider than the image's: pixels of one global DEM differ by 1.4 between the equator and 60 degrees.
    """
    if any(1 / 1.5 < pixel_m / known < 1.5 for known in trained_pixel_m):
        return []
    known = ", ".join(f"{size:g}" for size in trained_pixel_m)
    return [
        f"The DEM's pixels are {pixel_m:g} m, but the model was trained with DEMs of {known} m, so slopes and curvatures are"
        " not those that it knows; give a DEM of like resolution for a fair map."
    ]


def _unfit_polygons(area: str, trained: store.Trained, settings: PolygonSettings) -> list[str]:
    """Where polygons are generalised to another scale than that of the landslides: the area's own, or those trained on."""
    folder = Path("data/ingest") / area
    inventory = folder / "landslides.gpkg"
    known = (
        (vector.read(inventory)["area_m2"], "the inventory")
        if inventory.exists()
        else (
            trained.facts.get("landslide_m2", ()),
            "the training areas",
        )  # a model made before they were kept has none
    )
    sizes = scale.Sizes.of(artifacts.read_json(folder / "facts.json", artifacts.AreaSizes), *known)
    return scale.polygons(sizes, minimum_area_m2=settings.minimum_area_m2, simplify_px=settings.simplify_px)


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


if __name__ == "__main__":
    run(main)
