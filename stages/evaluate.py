"""Score the map, its polygons and two baselines on all labelled ground, each block mapped by what never saw its fold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from hpcl import scale
from hpcl.calibration import counts, out_of_fold, points
from hpcl.core import artifacts
from hpcl.core.areas import distinct
from hpcl.core.artifacts import remedy, write_json
from hpcl.core.records import BaselineFacts, MapFacts, OutlineFacts, Thresholds, TiledArea, TileFacts
from hpcl.geo import raster
from hpcl.metrics import classes, instances, uncertainty
from hpcl.metrics.ground import ground
from hpcl.metrics.intervals import summarise
from hpcl.metrics.records import ClassScores, Counts, Interval, Maps, Metrics, PointScores
from hpcl.metrics.tables import Tallies
from hpcl.metrics.tally import Array, Blocks, Map, MetricsError, Scene, Tally, tally_all
from hpcl.outline.drawn import Drawn
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.outline import AtMisses, AtPrecision, AtRecall, OperatingPoint
from hpcl.tiles import stored
from stages._stage import params, progress, run

INGEST, PREDICT, OUTLINE = Path("data/ingest"), Path("data/predict"), Path("data/outline")
BASELINES = Path("data/baselines")
CALIBRATE = Path("data/calibrate")
REPORTS = Path("reports/evaluate")

PIXEL_SCORES = ["landslide_iou", "miou", "f1", "precision", "recall", "mcc", "kappa"]
SHAPE_SCORES = ["object_detection_rate", "boundary_iou"]
ONE_BY_ONE = ["panoptic_quality", "matched_f1", "matched_iou"]
SCORES = {
    "hpcl_net": [*PIXEL_SCORES, *SHAPE_SCORES, "false_objects_per_km2", "ece", "brier"],
    "polygons": ["landslide_iou", "precision", "recall", *SHAPE_SCORES, "false_objects_per_km2", *ONE_BY_ONE],
    "slope_threshold": PIXEL_SCORES,
    "pixel_classifier": PIXEL_SCORES,
}
GRADED = ("hpcl_net", "pixel_classifier")
"""Maps of probabilities; a yes or no has no curve."""
POINTS: list[OperatingPoint] = ["best_iou", AtPrecision(0.8), AtRecall(0.9), AtMisses(10.0)]
"""Operating points that are scored beside the one in use."""
POINT_SCORES = ["landslide_iou", "precision", "recall", "object_detection_rate", "false_objects_per_km2"]


def main() -> None:
    """Read the labels, four maps of them and their thresholds; write the scores and the tables behind them."""
    settings = params("evaluate", EvaluateSettings)
    tiles = stored.facts()
    areas = {area: tiles.areas[area] for area in distinct(sorted(tiles.areas))}
    counted = _counts(tiles)
    point, thresholds = _in_use(counted, areas)
    drawn_from = _thresholds(tiles, thresholds)
    choices = _choices(counted, point)
    at = {name: of for name, (of, _) in choices.items() if of != thresholds}
    tallies, at_points = _tallies(
        {area: facts for area, facts in areas.items() if not facts.test}, drawn_from | at, settings
    )
    ours = tallies.blocks_of("hpcl_net")
    maps = _maps(tallies, settings)
    summary = Metrics(
        **vars(replace(maps, counts=replace(maps.counts, ground_sha256=stored.ground_sha256(tiles)))),
        folds=tallies.folds(),
        operating_point=points.name_of(point),
        operating_points=_operating_points(choices, at_points, ours, settings),
        uncertainty=uncertainty.scores(ours, settings),
        transfer=_transfer({area: facts for area, facts in areas.items() if facts.test}, drawn_from, settings),
        weights_sha256=_weights_sha256(areas),
        findings=_findings(areas, settings),
        classes=_classes({area: facts for area, facts in areas.items() if not facts.test}, tiles.classes, settings),
    )
    write_json(REPORTS / "metrics.json", summary)
    tables = {
        "blocks": tallies.blocks({area: _ground(area, areas[area]) for area in tallies.maps["hpcl_net"]}),
        "objects": tallies.objects(settings.object_size_edges_m2),
        "precision_recall": tallies.precision_recall(GRADED),
        "reliability": tallies.reliability(GRADED),
        "risk_coverage": uncertainty.risk_coverage(ours.uncertainty.sum(0)),
    }
    for name, table in tables.items():
        artifacts.write_csv(REPORTS / f"{name}.csv", table, "%.9g")
    _tell(summary)


def _counts(tiles: TileFacts) -> counts.Counts:
    """data/calibrate, if it counts the folds of the tiles."""
    found = counts.read(CALIBRATE)
    if found.folds != len(tiles.folds):
        raise MetricsError(
            f"{CALIBRATE} counts {found.folds} folds, but the tiles have {len(tiles.folds)}; run dvc repro, or"
            f" {remedy(CALIBRATE / 'histogram.csv')}."
        )
    return found


def _in_use(counted: counts.Counts, areas: Mapping[str, TiledArea]) -> tuple[OperatingPoint, Thresholds]:
    """The operating point of all maps, and its thresholds.

    Raises `MetricsError` where a map was drawn with others than the ground of the other folds gives: a threshold that was
    chosen on the ground that it is scored on flatters the map.
    """
    names: dict[str, str] = {}
    for area in areas:
        path = OUTLINE / area / "facts.json"
        drawn = artifacts.read_json(path, OutlineFacts)
        thresholds, _ = points.chosen(counted, points.of_name(drawn.operating_point))
        there, due = drawn.thresholds.by_network, thresholds.by_network
        if there.shape != due.shape or not np.allclose(there, due, rtol=0, atol=1e-6):
            raise MetricsError(
                f"{path} has the thresholds {_listed(drawn.thresholds)}, but for {drawn.operating_point} the ground of the other"
                f" folds gives {_listed(thresholds)}: they were chosen on other ground, and the map is not scored with them;"
                f" {remedy(path)}."
            )
        names.setdefault(drawn.operating_point, area)
    if len(names) > 1:
        found = ", ".join(f"{area} at {name}" for name, area in names.items())
        raise MetricsError(
            f"The maps are drawn at different operating points ({found}); run dvc repro to draw them alike."
        )
    return points.of_name(drawn.operating_point), thresholds


def _weights_sha256(areas: Iterable[str]) -> str:
    """Of the networks that made the maps. Raises `MetricsError` if these were others in one area than in another."""
    made = {area: artifacts.read_json(PREDICT / area / "facts.json", MapFacts).weights_sha256 for area in areas}
    first, *others = made
    for other in others:
        if made[other] != made[first]:
            raise MetricsError(
                f"The maps of {first} and {other} are by different networks, so there is no score of both; run dvc repro to map"
                " them alike."
            )
    return made[first]


def _listed(thresholds: Thresholds) -> str:
    by_fold = ", ".join(f"{threshold:g}" for threshold in thresholds.by_fold)
    return f"{by_fold} by fold and {thresholds.elsewhere:g} elsewhere"


def _thresholds(tiles: TileFacts, ours: Thresholds) -> dict[str, Thresholds]:
    """From where on each map says landslide."""
    path, folds = BASELINES / "facts.json", len(tiles.folds)
    classifier = artifacts.read_json(path, BaselineFacts).classifier_thresholds
    if len(classifier.by_fold) != folds:
        raise MetricsError(
            f"{path} knows {len(classifier.by_fold)} folds, but the tiles have {folds}; run dvc repro, or {remedy(path)}."
        )
    yes_or_no = Thresholds(by_fold=[0.5] * folds, elsewhere=0.5)
    return {"hpcl_net": ours, "polygons": yes_or_no, "slope_threshold": yes_or_no, "pixel_classifier": classifier}


def _tallies(
    areas: Mapping[str, TiledArea], thresholds: Mapping[str, Thresholds], settings: EvaluateSettings
) -> tuple[Tallies, dict[str, Blocks]]:
    """What all maps earned in some areas, and HPCL-Net's at other ``thresholds``, by the names that are no map's."""
    found = {area: _area_tallies(area, facts, thresholds, settings) for area, facts in areas.items()}
    by_name = {name: {area: of[name] for area, of in found.items()} for name in thresholds}
    return Tallies({name: by_name[name] for name in SCORES}), {
        name: Tallies({name: by_name[name]}).blocks_of(name) for name in by_name if name not in SCORES
    }


def _area_tallies(
    area: str, facts: TiledArea, thresholds: Mapping[str, Thresholds], settings: EvaluateSettings
) -> dict[str, Tally]:
    """What each map earned in ``area``, and HPCL-Net's at other thresholds."""
    (labels,) = stored.arrays(area, facts, "labels")
    scene = Scene(labels, facts)
    with ExitStack() as files:
        maps = {name: files.enter_context(_map(name, area, facts, thresholds[name])) for name in SCORES}
        maps |= {
            name: replace(maps["hpcl_net"], thresholds=of.by_network, uncertainty=None)
            for name, of in thresholds.items()
            if name not in SCORES
        }
        found = tally_all(scene, maps, settings, progress(f"evaluate {area}"))
    known, mapped = (Drawn(of / area / "landslides.gpkg", stored.grid(facts)).numbers for of in (INGEST, OUTLINE))
    counted = instances.count(scene, known, mapped, settings.object_minimum_area_m2)
    blocks = found["polygons"].blocks
    return found | {"polygons": replace(found["polygons"], blocks=replace(blocks, instances=counted[blocks.block]))}


def _ground(area: str, facts: TiledArea) -> pd.DataFrame:
    """What the blocks of ``area`` are recognised by in another run."""
    (labels,) = stored.arrays(area, facts, "labels")
    return ground(Scene(labels, facts))


@contextmanager
def _map(name: str, area: str, facts: TiledArea, thresholds: Thresholds) -> Iterator[Map]:
    """A map while its files are open."""
    grid = stored.grid(facts)
    if name == "polygons":
        yield Map(Drawn(OUTLINE / area / "landslides.gpkg", grid).rows, thresholds.by_network)
        return
    if name == "hpcl_net":
        with _ours(area, facts, thresholds) as of:
            yield of
        return
    band = "probability" if name == "pixel_classifier" else "landslide"
    with _opened(BASELINES / area / f"{name}.tif", grid) as source:
        yield Map(lambda rows: _rows(source, rows, band), thresholds.by_network)


@contextmanager
def _ours(area: str, facts: TiledArea, thresholds: Thresholds) -> Iterator[Map]:
    """HPCL-Net's map, of which each row is refused where a network mapped ground that it learnt from."""
    grid, network = stored.grid(facts), PREDICT / area / "network.tif"
    with _opened(PREDICT / area / "probability.tif", grid) as source, _opened(network, grid) as networks:

        def score(rows: slice) -> Array:
            out_of_fold.check_own(network, _rows(networks, rows), facts, rows)
            return _rows(source, rows, "probability")

        yield Map(score, thresholds.by_network, lambda rows: _rows(source, rows, "uncertainty"))


@contextmanager
def _opened(path: Path, grid: raster.Grid) -> Iterator[raster.Source]:
    with raster.Source(path) as source:
        raster.common_grid({stored.FACTS: grid, path: source.grid})
        yield source


def _rows(source: raster.Source, rows: slice, band: str | None = None) -> Array:
    """Some rows of a band, or of the first one."""
    return np.asarray(source.read((rows, slice(0, source.grid.shape[1])), band and [band])[0])


def _maps(tallies: Tallies, settings: EvaluateSettings) -> Maps:
    """The scores of all maps."""
    scores, leads = summarise({name: tallies.blocks_of(name) for name in SCORES}, SCORES, settings)
    return Maps(
        **scores,
        paired=leads,
        counts=Counts(**vars(tallies.ground), confidence_frac=settings.confidence_frac),
        areas=tallies.areas(),
        object_sizes=tallies.object_sizes(settings),
        instances=tallies.instances("polygons"),
    )


def _transfer(
    areas: Mapping[str, TiledArea], thresholds: Mapping[str, Thresholds], settings: EvaluateSettings
) -> Maps | None:
    """The scores on test areas, which no network saw; None where there are none, or none with a landslide."""
    if not areas:
        return None
    tallies, _ = _tallies(areas, thresholds, settings)
    if not tallies.ground.landslide_frac:
        print(f"{', '.join(areas)}: no landslide is labelled there, so there is nothing to score transfer by")
        return None
    return _maps(tallies, settings)


def _classes(areas: Mapping[str, TiledArea], names: Sequence[str], settings: EvaluateSettings) -> list[ClassScores]:
    """The map of each class by itself, where there are several."""
    if len(names) < 2:
        return []
    found = []
    for area, facts in areas.items():
        (labels,) = stored.arrays(area, facts, "labels")
        grid = stored.grid(facts)
        known = Drawn(INGEST / area / "landslides.gpkg", grid).numbers
        with _opened(OUTLINE / area / "class.tif", grid) as source:
            found.append(classes.count(Scene(labels, facts), partial(_rows, source), known, len(names), settings))
    return classes.scores(found, names, settings)


def _choices(counted: counts.Counts, in_use: OperatingPoint) -> dict[str, tuple[Thresholds, bool]]:
    """The thresholds of each operating point that is scored, by its name, and whether they reach it. Without the points for which
    there is nothing to choose by."""
    found = {}
    for point in POINTS + [in_use] * (in_use not in POINTS):
        try:
            found[points.name_of(point)] = points.chosen(counted, point)
        except counts.CalibrationError as error:
            print(f"{points.name_of(point)} is not scored: {error}")
    return found


def _operating_points(
    choices: Mapping[str, tuple[Thresholds, bool]], at: Mapping[str, Blocks], in_use: Blocks, settings: EvaluateSettings
) -> list[PointScores]:
    """What HPCL-Net's map gives at each operating point; where ``at`` has no blocks of one, the thresholds are those in use."""
    rows = []
    for name, (thresholds, reached) in choices.items():
        scores, _ = summarise({"hpcl_net": at.get(name, in_use)}, {"hpcl_net": POINT_SCORES}, settings)
        rows.append(PointScores(point=name, thresholds=thresholds, reached=reached, scores=scores["hpcl_net"]))
    return rows


def _findings(areas: Mapping[str, TiledArea], settings: EvaluateSettings) -> dict[str, list[str]]:
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
    print(f"operating point: {summary.operating_point}")
    _tell_maps("ground in folds", summary)
    for row in summary.operating_points:
        nearest = "" if row.reached else " (not reached: the nearest)"
        scores = row.scores
        print(
            f"at {row.point}{nearest}: precision {scores.precision:.3f}, recall {scores.recall:.3f}, landslides found"
            f" {scores.object_detection_rate:.3f}"
        )
    for of in summary.classes:
        shares = ", ".join(f"{share:.1%} as {name}" for name, share in of.mapped_as.items())
        iou = "not defined" if of.iou is None else f"{of.iou:.3f}{_interval(of.iou_interval)}"
        print(
            f"class {of.name}: IoU {iou}; {of.found} of {of.objects} landslides found as such; of its ground {shares}"
        )
    unsure = summary.uncertainty
    print(f"uncertainty tells wrong pixels from right ones with an AUROC of {unsure.error_auroc:.3f}")
    if summary.transfer:
        _tell_maps("test areas", summary.transfer)
    for area, findings in summary.findings.items():
        for finding in findings:
            print(f"{area}: {finding}")


def _tell_maps(ground: str, maps: Maps) -> None:
    counts = maps.counts
    print(f"{ground}: {counts.blocks} blocks, {counts.px} pixels, {counts.landslide_frac:.1%} landslide")
    if counts.blocks < 2:
        print("one block says nothing about the spread between places: there are no intervals")
    if counts.no_prediction_px:
        print(f"{counts.no_prediction_px} pixels have no prediction and count as background")
    for name in SCORES:
        scores = maps.of(name)
        print(f"{name}: landslide IoU {scores.landslide_iou:.3f}{_interval(scores.interval_of('landslide_iou'))}")
    quality, interval = maps.polygons.panoptic_quality, _interval(maps.polygons.interval_of("panoptic_quality"))
    told = (
        f"{quality:.3f}{interval}"
        if quality is not None and np.isfinite(quality)
        else "not defined: nothing on either side is large enough"
    )
    print(f"polygons, one by one: panoptic quality {told}")
    for one in maps.instances:
        print(
            f"{one.area}: {one.landslides} landslides, {one.polygons} polygons, {one.matched} match; {one.split} landslides are"
            f" split, {one.merging} polygons merge landslides"
        )
    for name, lead in maps.paired.items():
        print(f"hpcl_net minus {name}: {lead.landslide_iou_difference:+.3f}{_interval(lead.interval, '+')}")


def _interval(ends: Interval, sign: str = "") -> str:
    """Behind a score; nothing where there is none."""
    low, high = ends
    return "" if low is None or math.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    run(main)
