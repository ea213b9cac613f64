"""Score the map, its polygons and two baselines on the test split of all areas together, with block-bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpcl import metrics, scale
from hpcl.core import artifacts
from hpcl.core.areas import distinct
from hpcl.core.artifacts import write_json
from hpcl.core.records import BaselineFacts, MapFacts, TiledArea
from hpcl.core.scores import AreaScores, Counts, Interval, Metrics, ScoredGround, SizeClass
from hpcl.geo import raster, vector
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


def main() -> None:
    """Read the split, four maps of it and their thresholds; write the scores and the tables behind them."""
    settings = params("evaluate", EvaluateSettings)
    areas = stored.facts().areas
    distinct(areas)
    tallies = {
        name: {area: _tally(name, area, facts, settings) for area, facts in sorted(areas.items())} for name in SCORES
    }
    scores, leads = metrics.summarise(
        {name: metrics.Blocks.join([t.blocks for t in of.values()]) for name, of in tallies.items()}, SCORES, settings
    )
    objects = _objects(tallies, settings)
    tested = {area: areas[area] for area, tally in tallies["hpcl_net"].items() if len(tally.blocks.block)}
    summary = Metrics(
        **scores,
        paired=leads,
        counts=Counts(**vars(_ground(tallies["hpcl_net"])), confidence_frac=settings.confidence_frac),
        areas=_areas(tallies),
        object_sizes=_object_sizes(objects, settings),
        findings=_findings(tested, settings),
    )

    write_json(REPORTS / "metrics.json", summary)
    _write_csv("blocks", _blocks(tallies))
    _write_csv("objects", objects)
    graded = {name: tallies[name] for name in ("hpcl_net", "pixel_classifier")}  # a yes or no has no curve
    _write_csv("precision_recall", _by_map({n: metrics.curve(_total("histogram", of)) for n, of in graded.items()}))
    _write_csv("reliability", _by_map({n: metrics.reliability(_calibration(of)) for n, of in graded.items()}))
    _tell(summary)


def _tally(name: str, area: str, facts: TiledArea, settings: EvaluateSettings) -> metrics.Tally:
    """What the map called ``name`` earned in ``area``."""
    labels, split, block = stored.arrays(area, facts, "labels", "split", "block")
    a, b, _, d, e, _ = facts.transform
    scene = metrics.Scene(labels, split, block, pixel_m2=abs(a * e - b * d))
    with _map(name, area, facts) as (score, threshold):
        return metrics.tally(scene, score, threshold, settings, progress(f"evaluate {name} on {area}"))


@contextmanager
def _map(name: str, area: str, facts: TiledArea) -> Iterator[tuple[Callable[[slice], metrics.Array], float]]:
    """What gives the rows of a map while it is open, and the threshold from which on they mean landslide."""
    grid = stored.grid(facts)
    if name == "polygons":
        yield Drawn(vector.read(OUTLINE / area / "landslides.gpkg"), grid).rows, 0.5
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


def _total(field: str, tallies: dict[str, metrics.Tally]) -> Any:
    return sum(getattr(tally, field) for tally in tallies.values())


def _calibration(tallies: dict[str, metrics.Tally]) -> metrics.Array:
    return np.asarray(metrics.Blocks.join([tally.blocks for tally in tallies.values()]).calibration.sum(0))


def _ground(tallies: dict[str, metrics.Tally]) -> ScoredGround:
    """How much ground the scores stand on."""
    blocks = metrics.Blocks.join([tally.blocks for tally in tallies.values()])
    background_px, landslide_px = blocks.confusion.sum((0, 2))
    return ScoredGround(
        test_blocks=len(blocks.block),
        test_px=background_px + landslide_px,
        landslide_frac=landslide_px / (background_px + landslide_px),
        no_prediction_px=_total("no_prediction_px", tallies),
    )


def _areas(tallies: dict[str, dict[str, metrics.Tally]]) -> list[AreaScores]:
    """Each area's share in the test split and its landslide IoU under every map; a list, for trackers count keys."""
    rows = []
    for area in tallies["hpcl_net"]:
        if not len(tallies["hpcl_net"][area].blocks.block):
            continue
        iou: dict[str, Any] = {
            f"{name}_landslide_iou": float(metrics.scores(of[area].blocks.confusion.sum(0))["landslide_iou"])
            for name, of in tallies.items()
        }
        rows.append(AreaScores(area=area, **vars(_ground({area: tallies["hpcl_net"][area]})), **iou))
    return rows


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


def _by_map(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(map=name) for name, table in tables.items()])[
        ["map", *next(iter(tables.values())).columns]
    ]


def _blocks(tallies: dict[str, dict[str, metrics.Tally]]) -> pd.DataFrame:
    """One row for each map and block of the test split."""
    tables = []
    for name, of in tallies.items():
        for area, tally in of.items():
            blocks = tally.blocks
            pixels = dict(zip(("tn", "fp", "fn", "tp"), blocks.confusion.reshape(-1, 4).T, strict=True))
            both, either = blocks.boundary_px.T
            tables.append(
                pd.DataFrame(
                    {
                        "map": name,
                        "area": area,
                        "block": blocks.block,
                        **pixels,
                        "landslide_iou": metrics.scores(blocks.confusion)["landslide_iou"],
                        "boundary_both_px": both,
                        "boundary_either_px": either,
                        "objects": blocks.objects[:, 0],
                        "objects_found": blocks.objects[:, 1],
                        "false_objects": blocks.false_objects,
                    }
                )
            )
    return pd.concat(tables)


def _objects(tallies: dict[str, dict[str, metrics.Tally]], settings: EvaluateSettings) -> pd.DataFrame:
    """One row for each inventory object of the test split, with the share of it that every map shows."""
    tables = []
    for area, tally in tallies["hpcl_net"].items():
        table = tally.objects.drop(columns="mapped_frac")
        table.insert(0, "area", area)
        table["size_class"] = metrics.size_class(table["area_m2"].to_numpy(), settings.object_size_edges_m2)
        for name, of in tallies.items():
            table[f"{name}_mapped_frac"] = of[area].objects["mapped_frac"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _object_sizes(objects: pd.DataFrame, settings: EvaluateSettings) -> list[SizeClass]:
    """How many objects of each size class every map finds, small ones first."""
    rows = []
    for size, group in objects.sort_values("area_m2").groupby("size_class", sort=False):
        found = {f"{name}_found": (group[f"{name}_mapped_frac"] >= settings.object_found_frac).sum() for name in SCORES}
        rows.append(SizeClass(size_class=size, objects=len(group), **found))
    return rows


def _write_csv(name: str, table: pd.DataFrame) -> None:
    artifacts.write_csv(REPORTS / f"{name}.csv", table, "%.9g")


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
