"""The sections of results: scores, objects, folds, blocks, training."""

from __future__ import annotations

from collections.abc import Sequence

from hpcl.core.codes import MAX_FOLDS
from hpcl.metrics.records import ClassScores, Maps, MapScores, PartScores
from hpcl.report.facts import Report
from hpcl.report.html import (
    NONE,
    Plates,
    Section,
    callout,
    counted,
    details,
    fixed,
    interval,
    listed,
    paragraph,
    percent,
    short,
    signed,
    table_html,
)
from hpcl.report.style import MAPS, SCORES

LARGEST = 20
"""Landslides of the inventory that are listed one by one."""


def scores_section(report: Report) -> Section:
    """The scores, whole and by fold, area and block, with their intervals."""
    metrics = report.metrics
    intro = (
        f"The shipped maps of {listed([row.area for row in metrics.areas])} are scored on {ground_of(metrics)}, each mapped by a "
        "network that never saw it. Every score comes from counts summed over all of this ground. Its polygons are scored as they "
        "are delivered, after threshold, minimum area and generalising. Two baselines without a network are made on the same "
        f"folds: the best slope threshold ({_slope_rules(report)}), and a gradient-boosted pixel classifier that sees all bands "
        "but no neighbourhood."
    )
    body = [
        paragraph(intro),
        _score_figures(Plates(report.figures)),
        all_scores(metrics, "Scores on labelled ground, with intervals"),
        one_by_one(metrics),
        _by_class(metrics.classes),
        paired(metrics),
        _objects(report),
        _by_fold(report),
        by_area(metrics),
        _by_block(report),
    ]
    return Section("scores", "Scores on labelled ground", body)


def ground_of(maps: Maps) -> str:
    """The ground that scores stand on, in words."""
    counts = maps.counts
    said = (
        f"{counts.px:,} pixels of {counted(counts.blocks, 'block')}, {percent(counts.landslide_frac)} of them landslide"
    )
    if counts.no_prediction_px:
        said += f" ({counts.no_prediction_px:,} without a prediction count as background)"
    return said


def _score_figures(plates: Plates) -> str:
    return plates.row(
        plates.one(
            "scores.png",
            "Scores of HPCL-Net, its polygons, pixel classifier and slope threshold with their intervals.",
            "Scores (0 to 1) on labelled ground with intervals from resampling blocks. Overlapping bars do not mean "
            "that two maps are equal: the paired differences below tell.",
        ),
        plates.one(
            "precision_recall.png",
            "Precision against recall for HPCL-Net and pixel classifier, with points for all four maps.",
            "Precision and recall at every threshold; marks: the maps as shipped, each fold at the threshold chosen on the "
            "other folds. Grey lines: equal landslide IoU.",
        ),
        plates.one(
            "reliability.png",
            "Reliability diagram: share of landslide by predicted probability.",
            "Is a probability of 0.7 right in 7 of 10 pixels? On the dashed line, yes. Below: share of pixels by "
            "predicted probability (logarithmic).",
        ),
    )


def all_scores(scored: Maps, caption: str) -> str:
    """Every score of every map."""
    maps = [scored.of(name) for name in MAPS]
    rows = [
        [label, *(score_cell(scores, score) for scores in maps)]
        for score, label in {**SCORES, **_MORE}.items()
        if any(scores.has(score) for scores in maps)
    ]
    return table_html(caption, ["score", *MAPS.values()], rows, note=_UNITS)


def one_by_one(scored: Maps) -> str:
    """How many polygons are a landslide each."""
    rows = [
        [of.area, *(str(count) for count in (of.landslides, of.polygons, of.matched, of.split, of.merging))]
        for of in scored.instances
    ]
    head = ["area", "landslides", "polygons", "match", "landslides split", "polygons that merge"]
    note = "Split: several polygons lie mostly in one landslide. Merge: several landslides lie mostly in one polygon."
    return table_html("Polygons and landslides, one by one", head, rows, note=note)


def _by_class(classes: Sequence[ClassScores]) -> str:
    """Each of several classes by itself; nothing where there is one."""
    if not classes:
        return ""
    shares = list(classes[0].mapped_as)
    rows = [
        [
            of.name,
            f"{fixed(of.iou)}{interval(of.iou_interval)}",
            f"{of.found} of {of.objects}",
            *(percent(of.mapped_as[name]) for name in shares),
        ]
        for of in classes
    ]
    head = ["class", "IoU", "found as such", *(f"its ground: as {name}" for name in shares)]
    note = (
        "A landslide that is mapped as another class is a mistake here, and none in the scores above, which are of landslide against "
        "the rest."
    )
    return table_html("Class by class", head, rows, note=note)


def paired(scored: Maps) -> str:
    """How far HPCL-Net is ahead of the other maps."""
    rows = [
        [
            f"HPCL-Net minus {MAPS[name]}",
            signed(lead.landslide_iou_difference),
            interval(lead.interval).strip() or NONE,
        ]
        for name, lead in scored.paired.items()
    ]
    head = ["difference", "landslide IoU", "interval"]
    return table_html("Paired differences in landslide IoU", head, rows, note=_PAIRED)


_MORE = {
    "panoptic_quality": "panoptic quality (PQ)", "matched_f1": "F1 of matches (RQ)", "matched_iou": "IoU of matches (SQ)",
    "false_objects_per_km2": "false objects per km²", "ece": "calibration error (ECE)", "brier": "Brier score",
}  # fmt: skip

_UNITS = (
    "All are pure numbers, except false objects per km². Higher is better, except for the last three. PQ, RQ "
    "and SQ hold polygons against landslides one by one: they match where their IoU is above 0.5. From "
    "reports/evaluate/metrics.json."
)

_PAIRED = (
    "Each resample draws the same blocks for both maps. An interval that includes 0 leaves open which map is better."
)


def _slope_rules(report: Report) -> str:
    """What the slope threshold of each fold is; once where they agree."""
    rules = dict.fromkeys(
        f"{'≥' if learnt.direction == 'steeper' else '<'} {short(learnt.threshold_deg)}°"
        for learnt in report.baselines.slope
    )
    return listed(list(rules)) + (" by fold" if len(rules) > 1 else "")


def score_cell(scores: MapScores, score: str) -> str:
    """A score with its interval."""
    if scores.of(score) is None:
        return NONE
    return f"{fixed(scores.of(score))}{interval(scores.interval_of(score))}"


def _objects(report: Report) -> str:
    sizes = report.metrics.object_sizes
    rows = [
        [
            row.size_class.replace("m2", "m²"),
            str(row.objects),
            *(f"{row.found_by(name)} ({percent(row.found_by(name) / row.objects, 0)})" for name in MAPS),
        ]
        for row in sizes
    ]
    head = ["size of the landslide", "in the inventory", *MAPS.values()]
    return table_html("Landslides found, by size", head, rows) + _largest(report)


def _largest(report: Report) -> str:
    """The landslides that matter most, one by one, with a place to look at."""
    rows = []
    for found in report.objects.nlargest(LARGEST, "area_m2").to_dict("records"):
        a, b, c, d, e, f = report.tiles.areas[found["area"]].transform
        column, row = found["column_px"], found["row_px"]
        rows.append(
            [
                str(found["area"]),
                str(found["block"]),
                fixed((a * column + b * row + c) / 1e3, 2),
                fixed((d * column + e * row + f) / 1e3, 2),
                short(found["area_m2"] / 1e4),
                *(percent(found[f"{name}_mapped_frac"], 0) for name in MAPS),
            ]
        )
    head = ["area", "block", "east [km]", "north [km]", "size [ha]", *(f"{label}: shown" for label in MAPS.values())]
    note = "East, north: the northernmost pixel. Shown: share of the landslide that a map shows. All: "
    table = table_html(
        "The largest landslides of the inventory", head, rows, note=note + "reports/evaluate/objects.csv."
    )
    return details(f"The largest landslides, one by one ({len(rows)})", table)


def _by_fold(report: Report) -> str:
    rows = report.metrics.folds
    note = "The network of a fold maps it and learnt on the others. How far apart they are is the luck of the ground and the training."
    return _by_part("fold", [str(row.fold) for row in rows], rows, note)


def by_area(scored: Maps) -> str:
    """The landslide IoU of each map in each area."""
    return _by_part("area", [row.area for row in scored.areas], scored.areas)


def _by_part(kind: str, names: Sequence[str], parts: Sequence[PartScores], note: str = "") -> str:
    rows = [
        [
            name,
            str(part.blocks),
            f"{part.px:,}",
            percent(part.landslide_frac),
            *(fixed(part.landslide_iou_of(shown)) for shown in MAPS),
        ]
        for name, part in zip(names, parts, strict=True)
    ]
    head = [kind, "blocks", "pixels", "landslide", *(f"{label}: IoU" for label in MAPS.values())]
    return table_html(f"By {kind}", head, rows, note=note)


def _by_block(report: Report) -> str:
    blocks = report.blocks.set_index(["area", "block", "map"])
    rows = []
    for area, block in dict.fromkeys((a, b) for a, b, _ in blocks.index):
        of = {name: blocks.loc[(area, block, name)] for name in MAPS if (area, block, name) in blocks.index}
        ours = of["hpcl_net"]
        pixels = ours[["tn", "fp", "fn", "tp"]].sum()
        rows.append(
            [
                str(area),
                str(block),
                _fold_of(report, str(area), int(block)),
                f"{int(pixels):,}",
                percent((ours["tp"] + ours["fn"]) / pixels),
                *(fixed(of[name]["landslide_iou"]) if name in of else NONE for name in MAPS),
                f"{int(ours['objects_found'])} of {int(ours['objects'])}",
                str(int(ours["false_objects"])),
            ]
        )
    head = ["area", "block", "fold", "pixels", "landslide", *(f"{label}: IoU" for label in MAPS.values())]
    head += ["landslides found", "false objects"]
    note = "Numbers as on the fold maps. A block without landslide has no IoU. Whole: reports/evaluate/blocks.csv."
    return details(f"Block by block ({counted(len(rows), 'block')})", table_html("By block", head, rows, note=note))


def _fold_of(report: Report, area: str, block: int) -> str:
    """The fold of a block, by name."""
    code = report.tiles.areas[area].folds[block]
    return str(code + 1) if code < MAX_FOLDS else "test"


def training_section(report: Report) -> Section:
    """How the training went."""
    facts, plates = report.training, Plates(report.figures)
    intro = (
        f"{counted(len(facts.folds), 'network')} of {facts.parameters:,} parameters each, one for each fold, which learns on the other "
        f"folds for {counted(facts.epochs, 'epoch')}. The last weights are kept: the curves of held-out folds are watched and choose "
        "nothing."
    )
    reached = [[str(row.fold), fixed(row.held_iou)] for row in facts.folds]
    body = [
        paragraph(intro),
        *(
            callout("The training failed.", f"Fold {row.fold}: {finding}", "warn")
            for row in facts.folds
            for finding in row.findings
        ),
        plates.row(
            plates.one(
                "training_loss.png",
                "Loss on training ground and on held-out folds by epoch, a line for each fold.",
                "Loss of the segmentation on training ground and on the fold that is held out, and the contrastive loss before its "
                "weight (pure numbers, logarithmic axis). A line for each fold.",
            ),
            plates.one(
                "training_watch.png",
                "Landslide IoU on held-out folds and watches of the contrast by epoch, a line for each fold.",
                "Landslide IoU on the fold that is held out, at its best threshold, and watches of the contrast (all pure numbers; "
                "a line for each fold): the spread of keys, 1 when they "
                "fill their space and near 0 when they have collapsed; the filled share of the queues; their purity, the "
                "share of queued keys whose nearest other key is of the same class; and how much more alike keys of one "
                "class are than keys of two, in mean cosine.",
            ),
        ),
        table_html("The trainings", ["held-out fold", "landslide IoU of its windows, at the best threshold"], reached),
    ]
    return Section("training", "Training", body)
