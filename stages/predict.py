"""Map one area with the trained networks: the probability of a landslide, how uncertain it is, and which network says so."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hpcl import distance, likeness, qgis, raster_scene
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.codes import NO_NETWORK
from hpcl.core.digest import joint_bytes, sha256
from hpcl.core.records import AreaFacts, MapFacts, TrainedFacts
from hpcl.geo import cog, raster
from hpcl.inference import adabn, predict
from hpcl.networks import temperature
from hpcl.networks.device import described, unused_gpu
from hpcl.networks.ensemble import Ensemble, load
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import InferenceSettings
from stages._stage import params, progress, run


def main(area: str) -> None:
    """Write data/predict/<area>/: probability.tif with its QGIS style, network.tif, and facts.json."""
    settings = params("inference", InferenceSettings)
    out = Path("data/predict") / area
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    ensemble = load(Path("data/model"))
    classes = ensemble.facts.classes
    with raster_scene.RasterScene(area, files, ensemble, settings.missing_bands) as ground:
        pixels = likeness.sample(ground.read, ground.shape)
        findings = _findings(area, ground, pixels, ensemble, settings)
        for finding in findings:  # before the hours that a large map takes
            print(f"predict: {finding}")
        passes = predict.passes_per_window(ground, ensemble, settings)
        print(
            f"predict: {area} on {described()}, {_told(len(ensemble.members))}, about {passes:.1f} forward passes per window"
        )
        if unused := unused_gpu():
            print(f"predict: {unused}")
        parts = predict.predict(ground, ensemble, settings, progress(f"predict {area}"))
        _write(out, ground.grid, classes, parts)
    artifacts.write_bytes(out / "probability.qml", qgis.probability().encode())
    facts = MapFacts(
        area=area,
        temperatures=ensemble.temperatures,
        weights_sha256=ensemble.weights_sha256,
        input_sha256=joint_bytes(map(sha256, files)),
        classes=classes,
        training_landslide_m2=ensemble.facts.landslide_m2 or [],
        distances=_distances(area, pixels, ensemble),
        findings=findings,
    )
    write_json(out / "facts.json", facts)


def _told(networks: int) -> str:
    return f"{networks} network{'s' if networks > 1 else ''}"


def _write(out: Path, grid: raster.Grid, classes: list[str], parts: Iterable[predict.Part]) -> None:
    """Write the rasters part by part."""
    several = len(classes) > 1
    names = ["probability", "uncertainty", *(f"probability_{name}" for name in classes if several)]
    bands, network = [raster.Band(name) for name in names], [raster.Band("network")]
    with (
        cog.create(out / "probability.tif", grid, bands) as sink,
        cog.create(out / "network.tif", grid, network, "uint8", NO_NETWORK) as codes,
    ):
        for part in parts:
            layers = [part.probability[None], part.uncertainty[None], *([part.classes] if several else [])]
            sink.write(np.concatenate(layers), part.roi)
            codes.write(part.networks[None], part.roi)


def _findings(
    area: str, ground: raster_scene.RasterScene, pixels: Float32, ensemble: Ensemble, settings: InferenceSettings
) -> list[str]:
    """What the map of the area should not be read without."""
    findings = _other_scale(abs(ground.grid.affine.a), ensemble.facts.pixel_m)
    findings += _unlike_training(area, pixels, ensemble.facts)
    findings += temperature.findings(ensemble.temperatures)
    if ground.absent:
        findings.append(f"The area lacks {', '.join(ground.absent)}; the networks saw the mean there.")
    if adabn.too_small(ensemble, ground, settings.adapt_windows):
        findings.append(
            f"The networks kept their batch statistics as trained: {adabn.BATCH * adabn.LEAST_BATCHES} windows of "
            f"{ensemble.facts.window_px} px are needed to measure them again, and the area (or adapt_windows) has fewer."
        )
    return findings


def _other_scale(pixel_m: float, trained_pixel_m: list[float]) -> list[str]:
    """A network knows shapes in pixels: on another pixel size it meets them at another scale."""
    if any(0.8 < pixel_m / known < 1.25 for known in trained_pixel_m):
        return []
    known = ", ".join(f"{size:g}" for size in trained_pixel_m)
    return [f"The pixels are {pixel_m:g} m, but the model was trained at {known} m; resample the area for a fair map."]


def _unlike_training(area: str, pixels: Float32, facts: TrainedFacts) -> list[str]:
    """In what the area's bands and its DEM differ from those of the training, beyond what other ground does."""
    if facts.dem_pixel_m is None or facts.ground is None:
        return [
            "The model says too little of its training ground to compare the area with it, for it was trained before that was"
            " kept; run train again to have it said where an area's bands or DEM are unlike."
        ]
    dem_pixel_m = artifacts.read_json(Path("data/ingest") / area / "facts.json", AreaFacts).dem_pixel_m
    told = _other_dem(dem_pixel_m, facts.dem_pixel_m)
    return told + likeness.findings(facts.ground, pixels, facts.band_names)


def _distances(area: str, pixels: Float32, ensemble: Ensemble) -> distance.Distances | None:
    """How far the bands of a new area lie from the ground that the networks learnt; None in areas that lie in folds."""
    if area in ensemble.areas:
        return None
    here = distance.described(
        ensemble.facts.band_names, [band.kind for band in ensemble.facts.bands], pixels, pixels.shape[1]
    )
    return distance.from_ground(here, distance.learnt(ensemble.facts), ensemble.members[0].network.settings.branches)


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


if __name__ == "__main__":
    run(main)
