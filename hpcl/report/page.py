"""The report as one self-contained HTML page: no script, no file beside it, no address that a browser would fetch.

What the page says is written here, from the facts that the stages left; what it shows comes as PNG bytes. Text that
comes from data (names, findings, reasons) is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from hpcl.report.ablation import ablation_section
from hpcl.report.areas import area_section, image_km2, role_of
from hpcl.report.besides import besides_section
from hpcl.report.budget import budget_section
from hpcl.report.facts import Report
from hpcl.report.findings import findings
from hpcl.report.html import (
    Section,
    bullets,
    callout,
    contents,
    counted,
    details,
    fact_list,
    fixed,
    interval,
    listed,
    paragraph,
    percent,
    section_html,
    short,
    spanned,
    table_html,
    worded,
)
from hpcl.report.results import scores_section, training_section
from hpcl.report.review import review_section
from hpcl.report.style import BASELINES, MAPS, SCORES
from hpcl.report.use import doubt_section, points_section, transfer_section

STYLE = Path(__file__).with_name("page.css")


def render(report: Report) -> str:
    """The whole page."""
    title = f"Landslide map of {listed([area.name for area in report.areas])}"
    sections = [
        *[area_section(area, report) for area in report.areas],
        *[besides_section(area, report) for area in report.besides],
        scores_section(report),
        points_section(report),
        doubt_section(report),
        transfer_section(report),
        review_section(report),
        training_section(report),
        ablation_section(report),
        budget_section(report),
        _judged(report),
        _provenance(report),
        _reading(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f'<div class="frame">\n{_header(report, title, sections)}\n<main>\n'
        + "\n".join(section_html(section, 2) for section in sections)
        + "\n</main>\n<footer>Made by the stage <code>report</code>. The figures are in <code>reports/figures</code>, the numbers"
        " in <code>reports/evaluate</code> and <code>reports/train</code>, the maps in "
        "<code>data/predict</code> and <code>data/outline</code>."
        "</footer>\n</div>\n</body>\n</html>\n"
    )


def _header(report: Report, title: str, sections: Sequence[Section]) -> str:
    return "\n".join(
        [
            '<header><p class="kind">HPCL-Net: old landslides from imagery and terrain</p>',
            f"<h1>{escape(title)}</h1>",
            f'<div class="top"><div>{paragraph(_what(report), "lead")}{paragraph(_how_well(report), "lead")}',
            *_warnings(report),
            f"</div>{contents(sections)}</div>",
            _cards(report),
            _overview(report),
            "</header>",
        ]
    )


def _what(report: Report) -> str:
    slides = sum(area.outline.landslides for area in report.areas)
    mapped_km2 = sum(area.outline.landslide_area_m2 for area in report.areas) / 1e6
    ground_km2 = sum(image_km2(area) for area in report.areas)
    branches = report.models[0].branches
    bands = "; ".join(f"{name}: {', '.join(names)}" for name, names in branches.items())
    return (
        f"HPCL-Net outlines {counted(slides, 'landslide')} on {short(mapped_km2)} km², {percent(mapped_km2 / ground_km2)} "
        f"of the {short(ground_km2)} km² imaged in {counted(len(report.areas), 'area')}. It reads {bands}."
    )


def _how_well(report: Report) -> str:
    ours, counts = report.metrics.hpcl_net, report.metrics.counts
    judged = (
        f"On {counted(counts.blocks, 'block')}, all labelled ground{_but_transfer(report)} ({percent(counts.landslide_frac)} "
        "landslide), each mapped by a network that never saw it, its landslide IoU is "
        f"{fixed(ours.landslide_iou, 2)}{interval(ours.interval_of('landslide_iou'), 2)}. "
    )
    return f"{judged}{_leads(report)} {_delivered(report)}"


def _but_transfer(report: Report) -> str:
    return " but the test areas'" if report.metrics.transfer else ""


def _delivered(report: Report) -> str:
    """What the polygons are worth, which is what leaves the project."""
    scores, found = report.metrics.polygons, report.metrics.object_sizes
    objects, there = sum(row.polygons_found for row in found), sum(row.objects for row in found)
    return (
        f"Its polygons, after minimum area and generalising, reach {fixed(scores.landslide_iou, 2)}"
        f"{interval(scores.interval_of('landslide_iou'), 2)}, find {objects} of {counted(there, 'landslide')} and show"
        f" {short(scores.false_objects_per_km2)} false ones per km²."
    )


def _leads(report: Report) -> str:
    """How far our map is ahead of the baselines, in words that the intervals bear out."""
    gaps, open_ = [], []
    for name, paired in report.metrics.paired.items():
        if name not in BASELINES:
            continue
        gap, (low, high) = paired.landslide_iou_difference, paired.interval
        if low is None or high is None or low <= 0 <= high:
            open_.append(MAPS[name])
        bounds = (low, high)
        if gap < 0 and low is not None and high is not None:
            bounds = (-high, -low)
        other = f"the {MAPS[name]} ({fixed(report.metrics.of(name).landslide_iou, 2)})"
        side = "above" if gap >= 0 else "below"
        gaps.append(f"{fixed(abs(gap), 2)}{interval(bounds, 2)} {side} {other}")
    said = f"That is {listed(gaps)}."
    if open_:
        said += f" Whether it is better than the {listed(open_)} cannot be told from these blocks."
    return said


def _warnings(report: Report) -> list[str]:
    out = []
    made_up = [area.name for area in report.areas if area.synthetic]
    if made_up:
        are = "are synthetic areas" if len(made_up) > 1 else "is a synthetic area"
        out.append(
            callout(
                "Synthetic ground.",
                f"{listed(made_up)} {are}: relief, image, landslides and inventory were invented by a program. Figures "
                "from synthetic ground prove that the wiring works. They are no science: they say nothing about real "
                "landslides.",
                "warn",
            )
        )
    rejected = [area.name for area in report.areas if not area.shift.accepted]
    if rejected:
        out.append(
            callout(
                "Terrain used as delivered.",
                f"The alignment of the DEM with the image was rejected for {listed(rejected)}; the reasons are below.",
                "warn",
            )
        )
    bare = [area.name for area in report.areas if area.tiles is None]
    if bare:
        out.append(
            callout("Not scored.", f"There is no inventory of {listed(bare)}: mapped, but nothing to judge by.", "warn")
        )
    if report.metrics.counts.blocks < 2:
        out.append(callout("One block.", "It says nothing about the spread between places: no intervals.", "warn"))
    return out


def _cards(report: Report) -> str:
    ours = report.metrics.hpcl_net
    cards = []
    for score in ("landslide_iou", "f1", "precision", "recall", "object_detection_rate", "boundary_iou"):
        bounds = interval(ours.interval_of(score), 2).strip() or "no interval"
        cards.append(
            f'<div class="card"><span class="name">{escape(SCORES[score])}</span><b>{fixed(ours.of(score), 2)}</b>'
            f"<span>{escape(bounds)}</span></div>"
        )
    confidence = report.metrics.counts.confidence_frac
    level = f"{confidence:.0%} intervals" if confidence else "intervals"
    note = (
        f"HPCL-Net on labelled ground, 0 to 1, higher is better; {level} from resampling blocks.{_other_ground(report)}"
    )
    return f'<div class="cards">{"".join(cards)}</div>{paragraph(note, "note")}'


def _other_ground(report: Report) -> str:
    """What the scores must not be held against; the comparison itself asks git or MLflow, which are no input of this page."""
    digest = report.metrics.counts.ground_sha256
    if digest is None:
        return ""
    return (
        f" The digest of this ground is {digest[:12]}: scores under another digest are of other ground, and"
        " python -m stages.compare A (a commit, an experiment or a run in MLflow) compares them on what both have in common."
    )


def _overview(report: Report) -> str:
    rows = [
        [
            area.name,
            "synthetic" if area.synthetic else "as delivered",
            role_of(area),
            short(image_km2(area)),
            f"{area.ingest.pixel_m:.4g} / {area.ingest.dem_pixel_m:.4g}",
            f"{area.ingest.inventory.n:,}" if area.ingest.inventory else "none",
            f"{area.outline.landslides:,}",
            short(area.outline.landslide_area_m2 / 1e6),
            percent(area.outline.landslide_area_m2 / 1e6 / image_km2(area)),
        ]
        for area in [*report.areas, *report.besides]
    ]
    head = [
        "area",
        "ground",
        "role",
        "imaged [km²]",
        "pixel / DEM [m]",
        "inventory",
        "mapped",
        "mapped [km²]",
        "share",
    ]
    note = "Inventory and mapped: numbers of landslides. Share: mapped ground of imaged ground."
    return table_html("What was mapped", head, rows, words=3, note=note)


def _judged(report: Report) -> Section:
    rows = [
        [name if first else "", step, sentence]
        for name, group in groupby(findings(report), key=lambda found: found[0])
        for first, (_, step, sentence) in ((i == 0, found) for i, found in enumerate(group))
    ]
    assumed = [
        "Outside a labelled extent nobody knows: such ground is neither background nor scored.",
        "The threshold and the temperature that calibrates the probabilities were chosen, for the ground of each fold, on that of the "
        "others; for ground outside folds, on that of all.",
        f"A network learns nothing nearer than {report.tiles.gap_px} pixels to the fold that it maps; neighbouring pixels are alike.",
        "The inventory counts as the truth. Where a mapper missed a landslide or drew loosely, the scores blame the map.",
        f"Intervals come from resampling blocks of these areas, mapped by {counted(len(report.models), 'training')}. They do not cover "
        "other regions, other sensors or trainings with another seed.",
        "Figures published for HPCL-Net are from other, private data; they cannot be compared with those on this page.",
    ]
    body = [
        table_html("Findings of the stages", ["area", "stage", "finding"], rows or [["", "", "none"]], words=3),
        "<h3>Assumed</h3>",
        bullets(assumed),
    ]
    return Section("judged", "What was rejected, repaired or assumed", body)


def _provenance(report: Report) -> Section:
    body = [
        *_not_of_one_piece(report),
        fact_list("The model", _of_the_model(report)),
        _networks(report),
        _maps(report),
        _grids(report),
        _bands(report),
        paragraph("All parameters: params.yaml. All versions of inputs and outputs: dvc.lock.", "note"),
    ]
    return Section("provenance", "Provenance", body)


def _not_of_one_piece(report: Report) -> list[str]:
    """A callout for maps that do not belong to these networks, or were not made alike."""
    first = report.areas[0]
    made = {
        "other weights": [a.name for a in report.areas if a.predict.weights_sha256 != report.weights_sha256],
        "other temperatures": [a.name for a in report.areas if a.predict.temperatures != first.predict.temperatures],
        "other thresholds": [a.name for a in report.areas if a.outline.thresholds != first.outline.thresholds],
    }
    return [
        callout("Not of one piece.", f"The maps of {listed(names)} were made with {what}; run dvc repro.", "bad")
        for what, names in made.items()
        if names
    ]


def _of_the_model(report: Report) -> list[tuple[str, str]]:
    model, sun = report.models[0], report.tiles.sun
    return [
        ("weights of all networks (SHA-256 of theirs)", report.weights_sha256),
        ("networks", f"{len(report.models)}, one for each fold"),
        ("parameters of each", f"{report.training.parameters:,}"),
        ("classes", ", ".join(model.classes)),
        ("window", f"{model.window_px} pixels"),
        *((f"model: {name}", _plain(value)) for name, value in sorted(model.settings.items())),
        ("sun of the hillshade", f"azimuth {sun.azimuth_deg:g}°, {sun.altitude_deg:g}° high"),
    ]


def _networks(report: Report) -> str:
    """Which weights map which ground, at which temperature and threshold."""
    temperatures, thresholds = report.areas[0].predict.temperatures, report.areas[0].outline.thresholds
    rows = [
        [f"fold {model.fold}", model.weights_sha256, fixed(temperature, 4), fixed(threshold, 4)]
        for model, temperature, threshold in zip(
            report.models,
            temperatures.by_fold,
            thresholds.by_fold,
            strict=False,  # unlike where maps are stale
        )
    ]
    rows.append(["outside folds", "all", fixed(temperatures.elsewhere, 4), fixed(thresholds.elsewhere, 4)])
    head = ["ground", "weights of its network (SHA-256)", "temperature", "threshold"]
    note = "The network of a fold never saw it. Its temperature and threshold come from the other folds."
    return table_html("The networks", head, [_abridged(row) for row in rows], words=2, note=note)


def _maps(report: Report) -> str:
    rows = [
        _abridged(
            [area.name, area.predict.input_sha256, area.predict.weights_sha256, worded(area.outline.operating_point)]
        )
        for area in [*report.areas, *report.besides]
    ]
    return table_html("The maps", ["area", "input (SHA-256)", "weights (SHA-256)", "operating point"], rows, words=4)


def _grids(report: Report) -> str:
    rows = [
        [
            area.name,
            area.ingest.crs_name,
            " × ".join(map(str, area.ingest.shape)),
            f"{area.ingest.pixel_m:.6g}",
        ]
        for area in [*report.areas, *report.besides]
    ]
    return table_html("The grids", ["area", "CRS", "rows × columns", "pixel [m]"], rows, words=2)


def _bands(report: Report) -> str:
    learnt = [{band.name: band for band in fold.bands} for fold in report.tiles.folds]
    rows = [
        [
            band.name,
            band.kind,
            band.unit or "-",
            spanned([fold[band.name].mean for fold in learnt], 3),
            spanned([fold[band.name].std for fold in learnt], 3),
        ]
        for band in report.tiles.bands
    ]
    title = "Bands, with the normalisation from what each network learns from"
    head = ["band", "kind", "unit", "mean", "standard deviation"]
    return details(f"The bands ({len(rows)})", table_html(title, head, rows, words=3))


def _abridged(row: Sequence[str]) -> list[str]:
    """Hashes by their first 16 digits; the whole ones stand in the facts."""
    return [f"{cell[:16]}…" if len(cell) == 64 else cell for cell in row]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def _reading(report: Report) -> Section:
    terms = [
        ("landslide IoU", "of all ground that map or inventory call landslide, the share on which they agree."),
        (
            "precision, recall, F1",
            "share of mapped ground that is landslide; share of landslide that is mapped; their harmonic mean.",
        ),
        ("mean IoU", "mean of the IoU of landslide and of background."),
        ("MCC, kappa", "agreement beyond chance; 0 for a map that knows nothing."),
        (
            "objects found",
            "share of the inventory's landslides of which the map shows enough (evaluate.object_found_frac).",
        ),
        ("boundary IoU", "IoU of the bands along the outlines (Cheng et al. 2021, arXiv 2103.16562)."),
        ("ECE", "mean distance between predicted probability and share of landslide."),
        ("fold", "a share of the labelled blocks; the network that maps it learnt on the other folds alone."),
        ("operating point", "from which probability on ground is mapped as landslide, by what that is to achieve."),
        ("interval", "where a score falls when the blocks are drawn again, with replacement."),
    ]
    method = (
        "HPCL-Net (Zhou et al. 2023, arXiv 2308.01251) fuses imagery and terrain in the semantic space and sharpens "
        "landslide boundaries by contrast of hyper-pixels against queues of each class. Where the paper leaves a part open, "
        "this software chose for itself (ARCHITECTURE.md tells what). Attention: Grad-CAM (Selvaraju et al. 2017, "
        "arXiv 1610.02391), with the random-weights control of Adebayo et al. 2018 (arXiv 1810.03292)."
    )
    return Section("reading", "How to read this page", [fact_list("Terms", terms), paragraph(method)])
