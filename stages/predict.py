"""Map one area with the trained model: the probability of a landslide, and how uncertain it is."""

import hashlib
from pathlib import Path

import numpy as np

from hpcl import likeness, qgis, raster_scene
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.digest import sha256
from hpcl.core.records import AreaFacts, MapFacts
from hpcl.geo import cog, raster
from hpcl.inference import adabn, predict
from hpcl.networks import store
from hpcl.networks.device import described, unused_gpu
from hpcl.settings.inference import InferenceSettings
from stages._stage import params, progress, run


def main(area: str) -> None:
    """Write data/predict/<area>/: probability.tif with its QGIS style, and facts.json."""
    settings = params("inference", InferenceSettings)
    out = Path("data/predict") / area
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    trained = store.load(Path("data/model"))
    classes = trained.facts.classes
    names = ["probability", "uncertainty", *(f"probability_{name}" for name in classes if len(classes) > 1)]
    with raster_scene.RasterScene(area, files, trained, settings.missing_bands) as ground:
        findings = _other_scale(abs(ground.grid.affine.a), trained.facts.pixel_m)
        findings += _unlike_training(area, ground, trained)
        if ground.absent:
            findings.append(f"The area lacks {', '.join(ground.absent)}; the network saw the mean there.")
        if adabn.too_small(ground, trained.facts.window_px, settings.adapt_windows):
            findings.append(
                f"The network kept its batch statistics as trained: {adabn.BATCH * adabn.LEAST_BATCHES} windows of "
                f"{trained.facts.window_px} px are needed to measure them again, and the area (or adapt_windows) has fewer."
            )
        for finding in findings:  # before the hours that a large map takes
            print(f"predict: {finding}")
        print(f"predict: {area} on {described()}")
        if unused := unused_gpu():
            print(f"predict: {unused}")
        bands = [raster.Band(name) for name in names]
        with cog.create(out / "probability.tif", ground.grid, bands) as sink:
            for part in predict.predict(ground, trained, settings, progress(f"predict {area}")):
                layers = [part.probability[None], part.uncertainty[None], *([part.classes] if len(classes) > 1 else [])]
                sink.write(np.concatenate(layers), part.roi)
    artifacts.write_bytes(out / "probability.qml", qgis.probability().encode())
    facts = MapFacts(
        area=area,
        threshold=trained.facts.threshold,
        temperature=trained.facts.temperature,
        weights_sha256=trained.weights_sha256,
        input_sha256=_sha256(files),
        classes=classes,
        training_landslide_m2=trained.facts.landslide_m2 or [],
        findings=findings,
    )
    write_json(out / "facts.json", facts)


def _other_scale(pixel_m: float, trained_pixel_m: list[float]) -> list[str]:
    """A network knows shapes in pixels: on another pixel size it meets them at another scale."""
    if any(0.8 < pixel_m / known < 1.25 for known in trained_pixel_m):
        return []
    known = ", ".join(f"{size:g}" for size in trained_pixel_m)
    return [f"The pixels are {pixel_m:g} m, but the model was trained at {known} m; resample the area for a fair map."]


def _unlike_training(area: str, ground: raster_scene.RasterScene, trained: store.Trained) -> list[str]:
    """In what the area's bands and its DEM differ from those of the training, beyond what other ground does."""
    facts = trained.facts
    if facts.dem_pixel_m is None or facts.ground is None:
        return [
            "The model says too little of its training ground to compare the area with it, for it was trained before that was"
            " kept; run train again to have it said where an area's bands or DEM are unlike."
        ]
    dem_pixel_m = artifacts.read_json(Path("data/ingest") / area / "facts.json", AreaFacts).dem_pixel_m
    told = _other_dem(dem_pixel_m, facts.dem_pixel_m)
    names = [band.name for band in ground.bands]
    return told + likeness.findings(facts.ground, likeness.sample(ground.read, ground.shape), names)


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


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


if __name__ == "__main__":
    run(main)
