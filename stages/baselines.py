"""Two baselines without a network: a slope threshold and a pixel classifier of each fold learn on the others and map its ground."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hpcl import baselines
from hpcl.core import areas
from hpcl.core.artifacts import write_json
from hpcl.core.records import BaselineFacts, TiledArea
from hpcl.geo import cog, raster
from hpcl.settings.baselines import BaselinesSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run

OUT = Path("data/baselines")

LAYERS = {"slope_threshold": raster.Band("landslide"), "pixel_classifier": raster.Band("probability")}


def main() -> None:
    """Read the tiles; write both baselines' maps of the labelled ground of every area, and what they learnt."""
    settings = params("baselines", BaselinesSettings)
    facts = stored.facts()
    names = facts.band_names
    if "slope" not in names:
        raise baselines.BaselinesError(
            f"{stored.TILES} has no band 'slope' among {', '.join(names)}, so there is no slope threshold; "
            "let the stage 'terrain' derive it."
        )
    scenes = {area: _scene(area, facts.areas[area]) for area in areas.distinct(sorted(facts.areas))}
    learnt = baselines.Baselines(list(scenes.values()), names.index("slope"), len(facts.folds), settings)
    for area, scene in scenes.items():
        grid = stored.grid(facts.areas[area])
        with ExitStack() as stack:
            sinks = {
                name: stack.enter_context(cog.create(OUT / area / f"{name}.tif", grid, [band]))
                for name, band in LAYERS.items()
            }
            for rows, maps in learnt.map(scene, progress(f"baselines on {area}")):
                for name, values in maps.items():
                    sinks[name].write(values[None], (rows, slice(0, grid.shape[1])))
    found = BaselineFacts(
        slope=learnt.slope_facts(),
        classifier_thresholds=learnt.thresholds(),
        classifier_pixels=[classifier.pixels for classifier in learnt.classifiers],
        bands=names,
    )
    write_json(OUT / "facts.json", found)
    for fold, slope in enumerate(found.slope, start=1):
        sign = ">=" if slope.direction == "steeper" else "<"
        print(
            f"fold {fold}: slope {sign} {slope.threshold_deg:g} deg (landslide IoU {slope.landslide_iou:.3f} where it was chosen);"
            f" pixel classifier of {found.classifier_pixels[fold - 1]} pixels, threshold"
            f" {found.classifier_thresholds.by_fold[fold - 1]:.3f}"
        )


def _scene(name: str, area: TiledArea) -> baselines.Scene:
    bands, labels, teaches = stored.arrays(name, area, "bands", "labels", "teaches")
    return baselines.Scene(bands, labels, teaches, area)


if __name__ == "__main__":
    run(main)
