"""What was rejected, repaired, left out or is special, as stages told it."""

from __future__ import annotations

from collections.abc import Iterator

from hpcl.report.areas import valid_frac_of
from hpcl.report.facts import Area, Mapped, Report
from hpcl.report.html import counted, listed, percent


def findings(report: Report) -> list[tuple[str, str, str]]:
    """Of all areas that params.yaml lists: area, stage and sentence."""
    out = [(area.name, *told) for area in report.areas for told in of_area(area, report)]
    out += [("all areas", "tile", sentence) for sentence in report.tiles.findings]
    out += [("all areas", "calibrate", sentence) for sentence in report.calibration.findings]
    return out + [("all areas", "audit", sentence) for sentence in report.audit.findings]


def of_area(area: Area, report: Report) -> Iterator[tuple[str, str]]:
    """Of one of them: stage and sentence."""
    yield from _of_terrain(area)
    if area.tiles is None:
        yield "tile", "No inventory: not trained on, not scored."
    elif divided := area.tiles.divided_landslides:
        yield (
            "tile",
            f"{counted(divided, 'landslide')} across blocks of several folds: none of these folds' networks learnt from them.",
        )
    for sentence in area.tiles.findings if area.tiles else []:
        yield "tile", sentence
    for sentence in report.training.findings.get(area.name, []):
        yield "train", sentence
    yield from _of_map(area)
    for sentence in report.metrics.findings.get(area.name, []):
        yield "evaluate", sentence
    blank = {name: share.blank_windows for name, share in area.explain.attention.items()}
    if any(blank.values()):
        which = listed([f"{name} ({count})" for name, count in blank.items() if count])
        yield "explain", f"Blank attention maps, all of whose weights are negative: {which}."


def of_mapped(area: Mapped) -> Iterator[tuple[str, str]]:
    """Of an area that was only mapped: stage and sentence."""
    yield from _of_terrain(area)
    yield from _of_map(area)


def _of_terrain(area: Mapped) -> Iterator[tuple[str, str]]:
    for sentence in area.ingest.findings:
        yield "ingest", sentence
    for what in area.ingest.reprojected:
        yield "ingest", what if " " in what else f"{what} was reprojected."
    if (frac := valid_frac_of(area)) < 1:
        yield "ingest", f"{percent(1 - frac)} of the image has no data: not mapped."
    if area.ingest.inventory and (unknown := area.ingest.inventory.unknown_frac):
        yield "ingest", f"Of {percent(unknown)} of the grid nobody knows whether it is landslide: not scored."
    yield "coregister", f"{'Accepted' if area.shift.accepted else 'REJECTED'}: {area.shift.reason}"
    for sentence in area.shift.findings:
        yield "coregister", sentence
    for sentence in area.terrain.findings:
        yield "terrain", sentence


def _of_map(area: Mapped) -> Iterator[tuple[str, str]]:
    for sentence in area.predict.findings:
        yield "predict", sentence
    for sentence in area.outline.findings:
        yield "outline", sentence
