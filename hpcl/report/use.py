"""The sections for who uses the map: which threshold, whether it knows where it errs, and what it is worth on new ground."""

from __future__ import annotations

from hpcl.metrics.records import PointScores, UncertaintyScores
from hpcl.passport import SCALE, passport, yardstick
from hpcl.report.facts import Mapped, Report
from hpcl.report.html import (
    Plates,
    Section,
    callout,
    fixed,
    interval,
    listed,
    paragraph,
    percent,
    spanned,
    table_html,
    worded,
)
from hpcl.report.results import all_scores, by_area, ground_of, one_by_one, paired, score_cell

_POINT_SCORES = {
    "precision": "precision",
    "recall": "recall",
    "landslide_iou": "landslide IoU",
    "object_detection_rate": "objects found",
    "false_objects_per_km2": "false objects per km²",
}


def points_section(report: Report) -> Section:
    """What other thresholds would give, and how to have them."""
    metrics = report.metrics
    how = (
        "Choose by what a mistake costs: outline.operating_point: {precision: 0.8} where every mapped landslide will be visited, "
        "{recall: 0.9} or {misses_one_in: 10} where a missed one is worse than a false one, best_iou where neither is; then dvc "
        "repro, which trains nothing again."
    )
    made = worded(metrics.operating_point)
    rows = [_point_row(point, metrics.operating_point) for point in metrics.operating_points]
    head = ["operating point", "reached", "probability from", *_POINT_SCORES.values()]
    note = (
        f"This map was made at {made} (*). Each fold is scored at the threshold that the other folds give, so a point is not met to "
        "the digit. Not reached: no threshold gives what was asked for; the nearest was taken."
    )
    table = table_html("Operating points, with intervals", head, rows, words=2, note=note)
    return Section("points", "Operating points", [paragraph(how), table])


def _point_row(point: PointScores, made: str) -> list[str]:
    return [
        worded(point.point) + (" *" if point.point == made else ""),
        "yes" if point.reached else "NO",
        spanned([*point.thresholds.by_fold, point.thresholds.elsewhere]),
        *(score_cell(point.scores, score) for score in _POINT_SCORES),
    ]


def doubt_section(report: Report) -> Section:
    """Whether uncertainty is high where the map errs."""
    scores = report.metrics.uncertainty
    figure = Plates(report.figures).one(
        "risk_coverage.png",
        "Share of wrong pixels on the part of the ground that is kept, when the most uncertain ground is left out.",
        "Share of wrong pixels on the most certain part of the ground. The more the curve sinks to the left, the better "
        "uncertainty tells where the map errs; on the level line it tells nothing.",
    )
    body = [callout(*_knows(scores)), paragraph(_how_much(scores)), Plates.row(figure)]
    return Section("doubt", "Does the map know where it errs?", body)


def _knows(scores: UncertaintyScores) -> tuple[str, str, str]:
    """What the interval of the AUROC bears out: title, sentence and kind of a callout."""
    low, high = scores.error_auroc_interval
    if scores.error_auroc is None:
        return "Cannot be told.", "The map is right, or wrong, on all of this ground.", ""
    if low is None or high is None:
        return "Cannot be told.", "One block says nothing about the spread between places.", "warn"
    if low > 0.5:
        return "Yes.", "Where uncertainty is high, the map errs more often than by chance.", "good"
    if high < 0.5:
        return "No.", "Where uncertainty is high, the map errs less often than by chance. Do not go by it.", "bad"
    return (
        "No.",
        "It is not shown that uncertainty tells where the map errs better than chance would. Do not go by it.",
        "warn",
    )


def _how_much(scores: UncertaintyScores) -> str:
    auroc = f"{fixed(scores.error_auroc, 2)}{interval(scores.error_auroc_interval, 2)}"
    low, high = scores.top_tenth_error_frac_interval
    ends = "" if low is None or high is None else f" [{percent(low, 0)}, {percent(high, 0)}]"
    return (
        f"Area under the ROC curve of uncertainty for wrong against right pixels: {auroc}; 0.5 is chance. The most uncertain tenth of "
        f"the ground holds {percent(scores.top_tenth_error_frac, 0)}{ends} of the errors; 10 % is chance."
    )


def transfer_section(report: Report) -> Section:
    """What the map is worth on areas that lie outside all folds, or that nobody knows."""
    transfer = report.metrics.transfer
    title = "On new ground"
    if transfer is None:
        unknown = callout("Nothing vouches for new ground.", _unknown(report), "warn")
        return Section("transfer", title, [unknown, *_passports(report)])
    intro = (
        f"{listed([row.area for row in transfer.areas])}: outside all folds, mapped as any new area is and scored as transfer, on "
        f"{ground_of(transfer)}. No network saw this ground, and nothing was chosen on it. Another region may differ more."
    )
    body = [
        paragraph(intro),
        all_scores(transfer, "Scores as transfer, with intervals"),
        one_by_one(transfer),
        paired(transfer),
        by_area(transfer),
        *_passports(report),
    ]
    return Section("transfer", title, body)


def _passports(report: Report) -> list[str]:
    """What is known of each area without labels."""
    return [said for area in report.areas if area.tiles is None for said in passport_of(area, report)]


def passport_of(area: Mapped, report: Report) -> list[str]:
    """How far an area lies off the ground that the networks learnt, and what to expect there; nothing in areas with folds."""
    if area.predict.distances is None:
        return []
    known = passport(area.predict.distances, report.models, report.metrics)
    rows = [
        [row.branch, fixed(row.mean, 2), f"{row.band} ({fixed(row.band_distance, 2)})", yardstick(row)]
        for row in known.branches
    ]
    head = ["branch", "distance", "farthest band", "to compare with"]
    caption = f"{area.name}: how far its bands lie from the ground that the networks learnt"
    kind = "good" if known.promises else "warn"
    return [
        callout(f"{area.name}.", f"{known.expectation} {known.warning}".strip(), kind),
        table_html(caption, head, rows, words=4, note=f"{SCALE}."),
    ]


def _unknown(report: Report) -> str:
    """What no scores on new ground mean; folds of whole areas come nearest to it."""
    said = "No area was kept outside all folds (tile.test_areas). "
    if all(len(area.fold_codes) < 2 for area in report.tiles.areas.values()):
        return said + (
            "But folds are whole areas: each is scored by a network that saw none of it, which is nearest to what a new area like "
            "these would get."
        )
    return said + (
        "The scores are of ground whose networks learnt from other blocks of the same areas; on areas that no network knows, "
        "expect less."
    )
