"""Count what the maps of all folds say against the labels: each by the network that never saw it. Thresholds come from these counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcl.calibration import counts, out_of_fold, points
from hpcl.core.areas import distinct
from hpcl.core.artifacts import write_json
from hpcl.core.records import CalibrationFacts, TiledArea
from hpcl.geo import raster
from hpcl.metrics.tally import Array, Scene
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run

PREDICT, OUT = Path("data/predict"), Path("data/calibrate")


def main() -> None:
    """Write data/calibrate/: histogram.csv, objects.csv and facts.json."""
    settings = params("evaluate", EvaluateSettings)
    tiles = stored.facts()
    counter = out_of_fold.Counter(len(tiles.folds), settings)
    names = [area for area in distinct(sorted(tiles.areas)) if not tiles.areas[area].test]
    for area in names:
        _count(area, tiles.areas[area], counter)
    found = counter.counts
    counts.write(OUT, found)
    chosen, _ = points.chosen(found, "best_iou")
    findings = points.told_nothing(found)
    facts = CalibrationFacts(areas=names, objects=int(found.objects[0].sum()), findings=findings)
    write_json(OUT / "facts.json", facts)
    for finding in findings:
        print(f"calibrate: {finding}")
    by_fold = ", ".join(f"{threshold:.3f}" for threshold in chosen.by_fold)
    print(f"calibrate: best thresholds by fold, each by the others: {by_fold}; elsewhere {chosen.elsewhere:.3f}")


def _count(area: str, facts: TiledArea, counter: out_of_fold.Counter) -> None:
    """Add an area, of which every pixel in a fold must have been mapped by that fold's network."""
    (labels,) = stored.arrays(area, facts, "labels")
    probability, network = (PREDICT / area / f"{name}.tif" for name in ("probability", "network"))
    with raster.Source(probability) as source, raster.Source(network) as networks:
        grids = {stored.FACTS: stored.grid(facts), probability: source.grid, network: networks.grid}
        width = raster.common_grid(grids).shape[1]

        def rows_of(rows: slice) -> Array:
            roi = rows, slice(0, width)
            out_of_fold.check_own(network, networks.read(roi)[0], facts, rows)
            return np.asarray(source.read(roi, ["probability"])[0])

        counter.add(Scene(labels, facts), rows_of, progress(f"calibrate {area}"))


if __name__ == "__main__":
    run(main)
