"""Score the map, its polygons and two baselines on the test split of all areas together, with block-bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hpcl import scale
from hpcl.core import artifacts
from hpcl.core.areas import distinct
from hpcl.core.artifacts import write_json
from hpcl.core.records import BaselineFacts, MapFacts, TiledArea
from hpcl.geo import raster
from hpcl.metrics.intervals import summarise
from hpcl.metrics.records import Counts, Interval, Metrics
from hpcl.metrics.tables import Tallies
from hpcl.metrics.tally import Array, Scene, Tally, tally
from hpcl.outline.drawn import Drawn
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run

PREDICT, OUTLINE, BASELINES = Path("data/predict"), Path("data/outline"), Path("data/baselines")
REPORTS = Path("reports/evaluate")

PIXEL_SCORES = ["landslide_iou", "miou", "f1", "precision", "recall", "mcc", "kappa"]
SHAPE_SCORES = ["object_detection_rate", "boundary_iou"]
SCORES = {
    "hpcl_net": [*PIXEL_SCORES, *SHAPE_SCORES, "false_objects_per_km2", "ece", "brier"],
    "polygons": ["landslide_iou", "precision", "recall", *SHAPE_SCORES, "false_objects_per_km2"],
    "slope_threshold": PIXEL_SCORES,
    "pixel_classifier": PIXEL_SCORES,
}
GRADED = ("hpcl_net", "pixel_classifier")
"""Maps of probabilities; a yes or no has no curve."""


def main() -> None:
    """Read the split, four maps of it and their thresholds; write the scores and the tables behind them."""
    settings = params("evaluate", EvaluateSettings)
    areas = stored.facts().areas
    distinct(areas)
    tallies = Tallies(
        {name: {area: _tally(name, area, facts, settings) for area, facts in sorted(areas.items())} for name in SCORES}
    )
    scores, leads = summarise({name: tallies.blocks_of(name) for name in SCORES}, SCORES, settings)
    summary = Metrics(
        **scores,
        paired=leads,
        counts=Counts(**vars(tallies.ground), confidence_frac=settings.confidence_frac),
        areas=tallies.areas(),
        object_sizes=tallies.object_sizes(settings),
        findings=_findings({area: areas[area] for area in tallies.scored_areas}, settings),
    )
    write_json(REPORTS / "metrics.json", summary)
    tables = {
        "blocks": tallies.blocks(),
        "objects": tallies.objects(settings.object_size_edges_m2),
        "precision_recall": tallies.precision_recall(GRADED),
        "reliability": tallies.reliability(GRADED),
    }
    for name, table in tables.items():
        artifacts.write_csv(REPORTS / f"{name}.csv", table, "%.9g")
    _tell(summary)


def _tally(name: str, area: str, facts: TiledArea, settings: EvaluateSettings) -> Tally:
    """What the map called ``name`` earned in ``area``."""
    labels, split, block = stored.arrays(area, facts, "labels", "split", "block")
    a, b, _, d, e, _ = facts.transform
    scene = Scene(labels, split, block, pixel_m2=abs(a * e - b * d))
    with _map(name, area, facts) as (score, threshold):
        return tally(scene, score, threshold, settings, progress(f"evaluate {name} on {area}"))


@contextmanager
def _map(name: str, area: str, facts: TiledArea) -> Iterator[tuple[Callable[[slice], Array], float]]:
    """What gives the rows of a map while it is open, and the threshold from which on they mean landslide."""
    grid = stored.grid(facts)
    if name == "polygons":
        yield Drawn(OUTLINE / area / "landslides.gpkg", grid).rows, 0.5
        return
    if name == "hpcl_net":
        path, band = PREDICT / area / "probability.tif", "probability"
        threshold = artifacts.read_json(PREDICT / area / "facts.json", MapFacts).threshold
    elif name == "pixel_classifier":
        path, band = BASELINES / area / "pixel_classifier.tif", "probability"
        threshold = artifacts.read_json(BASELINES / "facts.json", BaselineFacts).pixel_classifier_threshold
    else:
        path, band, threshold = BASELINES / area / "slope_threshold.tif", "landslide", 0.5  # its pixels are 0 and 1
    with raster.Source(path) as source:
        raster.common_grid({stored.FACTS: grid, path: source.grid})
        yield lambda rows: np.asarray(source.read((rows, slice(0, grid.shape[1])), [band])[0]), threshold


def _findings(areas: dict[str, TiledArea], settings: EvaluateSettings) -> dict[str, list[str]]:
    """What is counted, and how closely, against the landslides of each area."""
    polygons = artifacts.read_csv(stored.TILES / "landslides.csv", {"area": str, "area_m2": float})
    return {
        area: scale.evaluate(
            scale.Sizes.of(facts, polygons.loc[polygons["area"] == area, "area_m2"]),
            object_minimum_area_m2=settings.object_minimum_area_m2,
            object_size_edges_m2=settings.object_size_edges_m2,
            boundary_px=settings.boundary_px,
        )
        for area, facts in areas.items()
    }


def _tell(summary: Metrics) -> None:
    counts = summary.counts
    share = f"{counts.landslide_frac:.1%} landslide"
    print(f"test split: {counts.test_blocks} blocks, {counts.test_px} pixels, {share}")
    if counts.test_blocks < 2:
        print("one test block says nothing about the spread between places: there are no intervals")
    if counts.no_prediction_px:
        print(f"{counts.no_prediction_px} pixels have no prediction and count as background")
    for name in SCORES:
        scores = summary.of(name)
        print(f"{name}: landslide IoU {scores.landslide_iou:.3f}{_interval(scores.interval_of('landslide_iou'))}")
    for area, findings in summary.findings.items():
        for finding in findings:
            print(f"{area}: {finding}")
    for name, lead in summary.paired.items():
        print(f"hpcl_net minus {name}: {lead.landslide_iou_difference:+.3f}{_interval(lead.interval, '+')}")


def _interval(ends: Interval, sign: str = "") -> str:
    """Behind a score; nothing where there is none."""
    low, high = ends
    return "" if low is None or math.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    run(main)
