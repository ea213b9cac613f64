"""Two baselines without a network: a slope threshold and a pixel classifier learn on the train split and map scored ground."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hpcl import baselines
from hpcl.core import areas
from hpcl.core.artifacts import write_json
from hpcl.core.records import AreaGrid, BaselineFacts
from hpcl.geo import cog, raster
from hpcl.settings.baselines import BaselinesSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run

OUT = Path("data/baselines")

LAYERS = {"slope_threshold": raster.Band("landslide"), "pixel_classifier": raster.Band("probability")}


def main() -> None:
    """Read the tiles; write both baselines' maps of the validation and test ground of every area, and what they learnt."""
    settings = params("baselines", BaselinesSettings)
    facts = stored.facts()
    names = facts.band_names
    if "slope" not in names:
        raise baselines.BaselinesError(
            f"{stored.TILES} has no band 'slope' among {', '.join(names)}, so there is no slope threshold; "
            "let the stage 'terrain' derive it."
        )
    slope_band = names.index("slope")
    scenes = {area: _scene(area, facts.areas[area]) for area in areas.distinct(sorted(facts.areas))}
    slope = baselines.best_slope(list(scenes.values()), slope_band, settings)
    classifier = baselines.PixelClassifier(list(scenes.values()), settings)
    validation = baselines.ValidationThreshold()
    for area, scene in scenes.items():
        grid = stored.grid(facts.areas[area])
        with ExitStack() as stack:
            sinks = {
                name: stack.enter_context(cog.create(OUT / area / f"{name}.tif", grid, [band]))
                for name, band in LAYERS.items()
            }
            show = progress(f"baselines on {area}")
            for rows, maps in baselines.map_scene(scene, slope_band, slope, classifier, show):
                validation.add(scene, rows, maps["pixel_classifier"])
                for name, values in maps.items():
                    sinks[name].write(values[None], (rows, slice(0, grid.shape[1])))
    threshold, validation_iou = validation.best()
    write_json(
        OUT / "facts.json",
        BaselineFacts(
            slope_threshold_deg=slope.threshold_deg,
            direction=slope.direction,
            slope_threshold_train_landslide_iou=slope.train_landslide_iou,
            pixel_classifier_threshold=threshold,
            pixel_classifier_validation_landslide_iou=validation_iou,
            pixels=classifier.pixels,
            bands=names,
        ),
    )
    sign = ">=" if slope.direction == "steeper" else "<"
    print(f"slope {sign} {slope.threshold_deg:g} deg: landslide IoU {slope.train_landslide_iou:.3f} on the train split")
    print(f"pixel classifier, {classifier.pixels} pixels: landslide IoU {validation_iou:.3f} on the validation split")


def _scene(name: str, area: AreaGrid) -> baselines.Scene:
    return baselines.Scene(*stored.arrays(name, area, "bands", "labels", "split"))


if __name__ == "__main__":
    run(main)
