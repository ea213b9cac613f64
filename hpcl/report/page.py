"""The report as one self-contained HTML page: no script, no file beside it, no address that a browser would fetch.

What the page says is written here, from the facts that the stages left; what it shows comes as PNG bytes. Text that
comes from data (names, findings, reasons) is escaped.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

import pandas as pd

from hpcl.report.figures import BACKGROUND, FALSE_ALARM, HIT, MAPS, MISS, SCORES, layers_of

SYNTHETIC = "synthetic_"
"""Areas whose names begin like this were made by the stage `synthesize`."""

LARGEST = 20
"""Landslides of the test ground that are listed one by one."""

MOST_ROWS = 60
"""Longer tables are cut on the page; the CSV files hold them whole."""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Area:
    """The facts of one area, as the stages wrote them; what a stage did not make of this area is None."""

    name: str
    ingest: Facts
    shift: Facts
    predict: Facts
    explain: Facts
    terrain: Facts
    tiles: Facts | None
    """The area's entry in data/tiles/facts.json; None without an inventory."""
    outcome_km2: Mapping[int, float] | None
    """Test ground by outcome (`hpcl.figures.HIT`...); None where the area has no test ground."""

    @property
    def synthetic(self) -> bool:
        """Whether the ground was invented."""
        return self.name.startswith(SYNTHETIC)


@dataclass(frozen=True)
class Report:
    """All that the page tells. ``figures``: file name to PNG bytes."""

    areas: Sequence[Area]
    figures: Mapping[str, bytes]
    tiles: Facts
    model: Facts
    baselines: Facts
    training: Facts
    metrics: Facts
    objects: pd.DataFrame
    blocks: pd.DataFrame
    """objects.csv and blocks.csv of the stage evaluate."""
    ladder: pd.DataFrame
    """reports/ladder.csv: what each component buys, by ground."""


# ---- numbers and words -----------------------------------------------------------------------------------------------

NONE = "–"


def _number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of decimals and a true minus sign.

    >>> _number(-0.1234), _number(None)
    ('−0.123', '–')
    """
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 3) -> str:
    return _number(value, digits) if value is None or value < 0 else f"+{_number(value, digits)}"


def _short(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, never in powers of ten.

    >>> _short(1234567.0), _short(0.012345), _short(12.3456)
    ('1,230,000', '0.0123', '12.3')
    """
    if value is None or math.isnan(value):
        return NONE
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}".replace("-", "−")


def _interval(bounds: Sequence[float | None] | None, digits: int = 3) -> str:
    low, high = bounds or (None, None)
    return "" if low is None or high is None else f" [{_number(low, digits)}, {_number(high, digits)}]"


def _percent(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{_number(value * 100, digits)} %"


def _count(number: int, thing: str) -> str:
    """``1 block``, ``2 blocks``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), *words[-1:]])


# ---- HTML ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; ``body`` is HTML."""

    key: str
    title: str
    body: Sequence[str]
    subsections: Sequence[Section] = ()


def _paragraph(text: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{escape(text)}</p>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _callout(title: str, text: str, kind: str) -> str:
    return f'<aside class="callout {kind}"><p><strong>{escape(title)}</strong> {escape(text)}</p></aside>'


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, note: str = "") -> str:
    """A table whose first ``words`` columns are words; the others are numbers and stand flush right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{_class('' if i < words else 'n')}>{escape(c)}</{tag}>" for i, c in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        note = f"The first {MOST_ROWS} of {len(rows)} rows. {note}".strip()
    foot = _paragraph(note, "note") if note else ""
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{foot}"
    )


def _facts(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """A list of names and what they are, as a table of words."""
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows)
    return f'<div class="table"><table class="facts"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table></div>'


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


class _Plates:
    """Figures by file name; a name that was not drawn gives nothing."""

    def __init__(self, figures: Mapping[str, bytes]) -> None:
        self._figures = figures

    def one(self, name: str, alt: str, caption: str, kind: str = "") -> str:
        if name not in self._figures:
            return ""
        png = self._figures[name]
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # the PNG header says so
        data = base64.b64encode(png).decode("ascii")
        return (
            f'<figure{_class(kind)}><div><img src="data:image/png;base64,{data}" width="{width}" height="{height}"'
            f' alt="{escape(alt)}"></div><figcaption>{escape(caption)}</figcaption></figure>'
        )

    @staticmethod
    def row(*plates: str) -> str:
        drawn = [plate for plate in plates if plate]
        return f'<div class="plates">{"".join(drawn)}</div>' if drawn else ""


STYLE = """
:root { --ink: #1d2329; --quiet: #5b6570; --line: #d9dee3; --soft: #f5f7f8; --accent: #0b5a8c; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
.frame { max-width: 74rem; margin: 0 auto; padding: 0 1.25rem 4rem; }
header { padding: 2.2rem 0 0; border-top: 4px solid var(--accent); }
header .kind { color: var(--quiet); margin: 0; font-size: .9rem; letter-spacing: .02em; }
h1 { font-size: 2rem; line-height: 1.2; margin: .15rem 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 3rem 0 .8rem; padding-top: .7rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, ul { max-width: 46rem; margin: .6rem 0; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; }
.lead { font-size: 1.12rem; }
.note { color: var(--quiet); font-size: .88rem; }
.top { display: grid; grid-template-columns: minmax(0, 46rem) minmax(12rem, 18rem); gap: 1rem 3rem;
  justify-content: space-between; align-items: start; }
nav { font-size: .92rem; border-left: 1px solid var(--line); padding-left: 1.2rem; margin-top: .8rem; }
nav p { margin: 0 0 .3rem; font-weight: 600; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav li { margin: .2rem 0; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.callout { border-left: 4px solid var(--quiet); background: var(--soft); padding: .55rem 1rem; margin: 1rem 0; max-width: 46rem; }
.callout p { margin: .2rem 0; }
.callout.warn { border-color: #d58a00; background: #fdf6e8; }
.callout.bad { border-color: #b3401a; background: #fcf0ec; }
.callout.good { border-color: #0b7a55; background: #edf7f3; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.2rem 0; }
.card { border: 1px solid var(--line); border-radius: 3px; padding: .55rem .8rem .6rem; }
.card b { display: block; font-size: 1.65rem; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span { display: block; font-size: .82rem; color: var(--quiet); line-height: 1.35; }
.card .name { color: var(--ink); font-weight: 600; }
.plates { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem 1.6rem;
  align-items: start; margin: 1rem 0; }
figure { margin: 0; break-inside: avoid; }
figure.wide { margin: 1rem 0 1.6rem; max-width: 58rem; }
figure.wide div { overflow-x: auto; }
figure.wide img { min-width: 36rem; }
img { display: block; width: 100%; height: auto; }
.plates figure { max-width: 36rem; }
figcaption { font-size: .88rem; color: var(--quiet); line-height: 1.45; margin-top: .3rem; max-width: 46rem; }
.table { overflow-x: auto; margin: 1rem 0 .4rem; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; }
caption { text-align: left; font-weight: 600; padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .85rem .3rem 0; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid #9aa5af; font-weight: 600; vertical-align: bottom; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; color: var(--quiet); font-size: .88rem; }
@media (max-width: 56rem) { .top { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 40rem) {
  h1 { font-size: 1.55rem; } h2 { font-size: 1.25rem; } header { padding-top: 1.2rem; }
  .facts th { white-space: normal; }
}
@media print {
  body { font-size: 10pt; } .frame { max-width: none; padding: 0; } nav { display: none; }
  .plates { grid-template-columns: 1fr 1fr; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  .table { overflow: visible; }
}
"""


def render(report: Report) -> str:
    """The whole page."""
    title = f"Landslide map of {_listed([area.name for area in report.areas])}"
    sections = [
        *[_area(area, report) for area in report.areas],
        _scores(report),
        _training(report),
        _ladder(report),
        _judged(report),
        _provenance(report),
        _reading(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<div class="frame">\n{_header(report, title, sections)}\n<main>\n'
        + "\n".join(_section(section, 2) for section in sections)
        + "\n</main>\n<footer>Made by the stage <code>report</code>. The figures are in <code>reports/figures</code>, the numbers"
        " in <code>reports/evaluate</code> and <code>reports/train</code>, the maps in <code>data/predict</code>."
        "</footer>\n</div>\n</body>\n</html>\n"
    )


def _section(section: Section, level: int) -> str:
    inner = "\n".join(part for part in section.body if part)
    below = "\n".join(_section(part, level + 1) for part in section.subsections)
    return f'<section id="{section.key}">\n<h{level}>{escape(section.title)}</h{level}>\n{inner}\n{below}\n</section>'


def _contents(sections: Sequence[Section]) -> str:
    entries = "".join(f'<li><a href="#{section.key}">{escape(section.title)}</a></li>' for section in sections)
    return f'<nav aria-label="Contents"><p>On this page</p><ol>{entries}</ol></nav>'


# ---- the top of the page ---------------------------------------------------------------------------------------------


def _header(report: Report, title: str, sections: Sequence[Section]) -> str:
    return "\n".join(
        [
            '<header><p class="kind">HPCL-Net: old landslides from imagery and terrain</p>',
            f"<h1>{escape(title)}</h1>",
            f'<div class="top"><div>{_paragraph(_what(report), "lead")}{_paragraph(_how_well(report), "lead")}',
            *_warnings(report),
            f"</div>{_contents(sections)}</div>",
            _cards(report),
            _overview(report),
            "</header>",
        ]
    )


def _ground_km2(area: Area) -> float:
    rows, columns = area.ingest["shape"]
    return float(rows * columns * area.ingest["pixel_m"] ** 2 * _valid_frac(area) / 1e6)


def _valid_frac(area: Area) -> float:
    return float(area.ingest["valid_frac"]["image"])


def _what(report: Report) -> str:
    slides = sum(area.predict["landslides"] for area in report.areas)
    mapped_km2 = sum(area.predict["landslide_area_m2"] for area in report.areas) / 1e6
    ground_km2 = sum(_ground_km2(area) for area in report.areas)
    branches = report.model["settings"]["branches"]
    bands = "; ".join(f"{name}: {', '.join(names)}" for name, names in branches.items())
    return (
        f"HPCL-Net outlines {_count(slides, 'landslide')} on {_short(mapped_km2)} km², {_percent(mapped_km2 / ground_km2)} "
        f"of the {_short(ground_km2)} km² imaged in {_count(len(report.areas), 'area')}. It reads {bands}."
    )


def _how_well(report: Report) -> str:
    ours, counts = report.metrics["hpcl_net"], report.metrics["counts"]
    judged = (
        f"On {_count(counts['test_blocks'], 'test block')} ({_percent(counts['landslide_frac'])} landslide) that had no part in "
        f"training or in choosing the threshold, its landslide IoU is "
        f"{_number(ours['landslide_iou'], 2)}{_interval(ours['landslide_iou_interval'], 2)}. "
    )
    return judged + _leads(report)


def _leads(report: Report) -> str:
    """How far our map is ahead of the floors, in words that the intervals bear out."""
    gaps, open_ = [], []
    for name, paired in report.metrics["paired"].items():
        gap, (low, high) = paired["landslide_iou_difference"], paired["interval"]
        if low is None or high is None or low <= 0 <= high:
            open_.append(MAPS[name])
        bounds = (low, high)
        if gap < 0 and low is not None and high is not None:
            bounds = (-high, -low)
        floor = f"the {MAPS[name]} ({_number(report.metrics[name]['landslide_iou'], 2)})"
        side = "above" if gap >= 0 else "below"
        gaps.append(f"{_number(abs(gap), 2)}{_interval(bounds, 2)} {side} {floor}")
    said = f"That is {_listed(gaps)}."
    if open_:
        said += f" Whether it is better than the {_listed(open_)} cannot be told from these blocks."
    return said


def _warnings(report: Report) -> list[str]:
    out = []
    made_up = [area.name for area in report.areas if area.synthetic]
    if made_up:
        are = "are synthetic areas" if len(made_up) > 1 else "is a synthetic area"
        out.append(
            _callout(
                "Synthetic ground.",
                f"{_listed(made_up)} {are}: relief, image, landslides and inventory were invented by a program. Figures "
                "from synthetic ground prove that the wiring works. They are no science: they say nothing about real "
                "landslides.",
                "warn",
            )
        )
    rejected = [area.name for area in report.areas if not area.shift["accepted"]]
    if rejected:
        out.append(
            _callout(
                "Terrain used as delivered.",
                f"The alignment of the DEM with the image was rejected for {_listed(rejected)}; the reasons are below.",
                "warn",
            )
        )
    bare = [area.name for area in report.areas if area.tiles is None]
    if bare:
        out.append(
            _callout(
                "Not scored.", f"There is no inventory of {_listed(bare)}: mapped, but nothing to judge by.", "warn"
            )
        )
    if report.metrics["counts"]["test_blocks"] < 2:
        out.append(
            _callout("One test block.", "It says nothing about the spread between places: no intervals.", "warn")
        )
    return out


def _cards(report: Report) -> str:
    ours = report.metrics["hpcl_net"]
    cards = []
    for score in ("landslide_iou", "f1", "precision", "recall", "object_detection_rate", "boundary_iou"):
        bounds = _interval(ours[f"{score}_interval"], 2).strip() or "no interval"
        cards.append(
            f'<div class="card"><span class="name">{escape(SCORES[score])}</span><b>{_number(ours[score], 2)}</b>'
            f"<span>{escape(bounds)}</span></div>"
        )
    confidence = report.metrics["counts"].get("confidence_frac")
    level = f"{confidence:.0%} intervals" if confidence else "intervals"
    note = f"HPCL-Net on test ground, 0 to 1, higher is better; {level} from resampling test blocks."
    return f'<div class="cards">{"".join(cards)}</div>{_paragraph(note, "note")}'


def _overview(report: Report) -> str:
    rows = [
        [
            area.name,
            "synthetic" if area.synthetic else "as delivered",
            _role(area),
            _short(_ground_km2(area)),
            f"{area.ingest['pixel_m']:.4g} / {area.ingest['dem_pixel_m']:.4g}",
            f"{area.ingest['inventory']['n']:,}" if area.ingest["inventory"] else "none",
            f"{area.predict['landslides']:,}",
            _short(area.predict["landslide_area_m2"] / 1e6),
            _percent(area.predict["landslide_area_m2"] / 1e6 / _ground_km2(area)),
        ]
        for area in report.areas
    ]
    head = [
        "area",
        "ground",
        "blocks",
        "imaged [km²]",
        "pixel / DEM [m]",
        "inventory",
        "mapped",
        "mapped [km²]",
        "share",
    ]
    note = "Inventory and mapped: numbers of landslides. Share: mapped ground of imaged ground."
    return _table("What was mapped", head, rows, words=3, note=note)


def _role(area: Area) -> str:
    if area.tiles is None:
        return "mapped only"
    splits = [block["split"] for block in area.tiles["blocks"]]
    counts = {name: splits.count(name) for name in ("train", "val", "test")}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


# ---- one area --------------------------------------------------------------------------------------------------------


def _key(*parts: str) -> str:
    """An anchor that any area name may be part of."""
    return "-".join("".join(c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in part) for part in parts)


def _area(area: Area, report: Report) -> Section:
    plates, name = _Plates(report.figures), area.name
    ground = f"{_short(_ground_km2(area))} km² at {area.ingest['pixel_m']:.4g} m in {area.ingest['crs_name']}"
    intro = f"{ground}; bands {', '.join(band['name'] for band in area.ingest['bands'])}. "
    intro += (
        f"Mapped: {_count(area.predict['landslides'], 'landslide')}, {_short(area.predict['landslide_area_m2'] / 1e6)} km², "
        f"where the probability is at least {_number(area.predict['threshold'], 2)}."
    )
    for way in area.ingest.get("operations", []):
        right = "of unknown accuracy" if way["accuracy_m"] is None else f"right to {way['accuracy_m']:.3g} m"
        intro += f" {_listed(way['files'])}: from {way['from']} to {way['to']} by {way['name']}, {right}."
    body = [
        _callout("Synthetic ground.", "Figures from it prove wiring, not science.", "warn") if area.synthetic else "",
        _paragraph(intro),
        plates.row(
            plates.one(
                f"{name}_map.png",
                f"Map of {name}: probability of landslide over a hillshade, with {area.predict['landslides']} outlined "
                "landslides, scale bar and north arrow.",
                f"Calibrated probability of landslide (0 to 1) over the hillshade of the DEM. Outlines: landslides at "
                f"probability ≥ {_number(area.predict['threshold'], 2)}. Coordinates in km, {area.ingest['crs_name']}.",
            ),
            plates.one(
                f"{name}_image.png",
                f"The image of {name} that the map was made from, on the same frame as the map.",
                "The image, on the same frame. Old landslides are often hard to see in it alone.",
            ),
        ),
        _judgement(area, plates),
        plates.row(
            plates.one(
                f"{name}_outcomes.png",
                f"Test ground of {name} with hits in blue, misses in vermilion and false alarms in yellow.",
                "The map against the inventory on test ground, pixel by pixel: hit (both landslide), miss (inventory only), "
                "false alarm (map only). Areas in km² of all scored pixels. The pale rest is not scored.",
            ),
            plates.one(
                f"{name}_split.png",
                f"Split map of {name}: blocks for training, validation and test with gaps between them.",
                "Split by place. The network learns on train blocks; weights, threshold and calibration are chosen on "
                "validation blocks; scores come from test blocks (numbered). No label of a gap is used.",
            ),
            plates.one(
                f"{name}_uncertainty.png",
                f"Map of {name}: how much the overlapping windows of the network disagree.",
                "Standard deviation of the probability (0 to 0.5) between overlapping windows. High where the answer "
                "depends on what else a window shows; it is 0 at the rim, which one window alone sees, and it is not the error.",
            ),
        ),
    ]
    below = [_coregistration(area, plates), _attention(area, plates)]
    return Section(_key("area", name), f"Area {name}", body, below)


def _judgement(area: Area, plates: _Plates) -> str:
    """What the test split says about this area, or why it says nothing."""
    if area.tiles is None:
        return _callout(
            "No inventory.", "This area was mapped, but there are no labels: no hits, no misses, no split.", "warn"
        )
    if area.outcome_km2 is None:
        return _callout("No test ground here.", "All labelled blocks of this area served training or validation.", "")
    km2 = area.outcome_km2
    truth, mapped = km2[HIT] + km2[MISS], km2[HIT] + km2[FALSE_ALARM]
    union = km2[HIT] + km2[MISS] + km2[FALSE_ALARM]
    total = union + km2[BACKGROUND]
    sentence = f"On {_short(total)} km² of test ground, "
    if not truth:
        return _paragraph(sentence + f"which holds no landslide, the map shows {_short(mapped)} km² of false alarms.")
    sentence += f"{_short(km2[HIT])} of {_short(truth)} km² of landslide are found ({_percent(km2[HIT] / truth, 0)})"
    if mapped:
        sentence += f"; {_percent(km2[HIT] / mapped, 0)} of the mapped {_short(mapped)} km² are landslide"
    return _paragraph(sentence + f"; landslide IoU {_number(km2[HIT] / union, 2)}.")


_METHODS = {
    "reference": "against a reference DEM",
    "image": "hillshade against the image",
    "none": "no alignment was tried",
}
_QUALITIES = {
    "nmad_m": "spread of the elevation difference (NMAD) [m]",
    "correlation": "correlation of brightness with shading",
}
_RESIDUALS = {
    "reference": "DEM minus reference DEM, in metres",
    "image": "brightness minus shading, in standard deviations of the brightness",
}
_KEPT = "Sideways, the DEM stays where it was."


def _coregistration(area: Area, plates: _Plates) -> Section:
    shift, name = area.shift, area.name
    verdict = (
        _callout("Accepted.", shift["reason"], "good")
        if shift["accepted"]
        else _callout("REJECTED.", f"{shift['reason']} {_KEPT}", "bad")
    )
    rows: list[tuple[str, str]] = [("method", str(_METHODS.get(shift["method"], shift["method"])))]
    label = "shift" if shift["accepted"] else "shift that was found, and not applied"
    if shift["accepted"] or shift["east_m"] or shift["north_m"]:
        east, north = _signed(shift["east_m"], 2), _signed(shift["north_m"], 2)
        rows.append((label, f"{east} m east, {north} m north"))
        east, north = _signed(shift["east_px"], 3), _signed(shift["north_px"], 3)
        rows.append((f"{label}, in DEM pixels", f"{east} east, {north} north"))
    if shift.get("standard_error_px") is not None:
        rows.append(("standard error", f"{_number(shift['standard_error_px'], 3)} DEM pixels"))
    if shift["vertical_m"]:
        rows.append(("added to the elevation", f"{_signed(shift['vertical_m'], 2)} m"))
    if shift["tilt_east_m_per_km"] or shift["tilt_north_m_per_km"]:
        east, north = _signed(shift["tilt_east_m_per_km"], 2), _signed(shift["tilt_north_m_per_km"], 2)
        rows.append(("and for every kilometre from the middle of the DEM", f"{east} m east, {north} m north"))
    if shift["quality_before"] is not None:
        name_of = _QUALITIES.get(str(shift.get("quality")), "quality")
        rows.append((name_of, f"{_short(shift['quality_before'])} before, {_short(shift['quality_after'])} after"))
    if shift["sun"]:
        azimuth, altitude = shift["sun"]["azimuth_deg"], shift["sun"]["altitude_deg"]
        high = "altitude unknown" if altitude is None else f"altitude {_number(altitude, 0)}°"
        rows.append(("estimated sun of the image", f"azimuth {_number(azimuth, 0)}°, {high}"))
    pictures = [
        plates.one(
            f"{name}_residual_{when}.png",
            f"Residuals of {name} {when} the alignment of the DEM.",
            f"Residual {when} the alignment{tail}: {_RESIDUALS.get(shift['method'], 'what the two disagree about')}. The same "
            "colours before and after; hatched: no data. The smaller and the more random, the better.",
        )
        for when, tail in (("before", ""), ("after", "" if shift["accepted"] else " (nothing was moved)"))
    ]
    missing = "" if any(pictures) else _paragraph("There are no residual rasters: nothing was compared.", "note")
    table = _facts("The alignment of the DEM with the image", rows)
    body = [verdict, table, _band_looks(shift.get("bands", [])), plates.row(*pictures), missing]
    return Section(_key("area", name, "coregistration"), "Alignment of the terrain", body)


def _band_looks(bands: Sequence[Facts]) -> str:
    """What each band of the image says by itself; nothing if a reference DEM decided."""
    if not bands:
        return ""
    rows = [
        [
            band["name"],
            "yes" if band["counts"] else "no",
            _signed(band["east_m"], 1),
            _signed(band["north_m"], 1),
            _number(band["correlation"], 3),
        ]
        for band in bands
    ]
    unseen = [f"{band['name']}: {band['unseen']}." for band in bands if band["unseen"] is not None]
    return _table(
        "What each band of the image says by itself",
        ["band", "counts", "DEM moved east [m]", "north [m]", "correlation"],
        rows,
        words=2,
        note=" ".join(["To about a quarter of a pixel. coregister.bands names the bands that count.", *unseen]),
    )


def _attention(area: Area, plates: _Plates) -> Section:
    name, shares = area.name, area.explain["attention"]
    title = "Where the network looks"
    key = _key("area", name, "attention")
    if not area.explain["windows"]:
        return Section(
            key, title, [_paragraph("No window of this area was explained: it has no landslide on test ground.")]
        )
    pictures = []
    for number, _ in enumerate(area.explain["windows"], start=1):
        pictures.append(
            plates.one(
                f"{name}_attention_{number}.png",
                f"Attention maps of explained window {number} of {name}: each branch and the fused map, for the trained "
                "network above and an untrained control below.",
                f"Window {number}: Grad-CAM of each branch and after fusion, for the trained network (above) and for the "
                "same network with random weights (below). A map that looks alike in both rows explains nothing.",
                "wide",
            )
        )
    shown = sum(bool(picture) for picture in pictures)
    intro = (
        f"{_count(len(area.explain['windows']), 'window')} of {area.explain['window_px']} pixels were explained, "
        f"{shown} are shown. Grad-CAM tells which places raise the landslide score, not why."
    )
    head = ["layer", "trained", "untrained control", "share of the ground", "blank maps"]
    rows = []
    for layer in layers_of(shares):
        ours, control = shares[layer], shares.get(f"untrained_{layer}", {})
        rows.append(
            [
                layer,
                _percent(ours["boundary_attention_frac"]),
                _percent(control.get("boundary_attention_frac")),
                _percent(ours["boundary_ground_frac"]),
                f"{ours['blank_windows']} / {control.get('blank_windows', NONE)}",
            ]
        )
    note = "Share of attention within one block of a landslide boundary. Above the boundary's share of the ground and above "
    note += "the control, attention seeks boundaries. Blank: all weights negative (trained / control)."
    known = any(shares[layer]["boundary_ground_frac"] is not None for layer in shares)
    numbers = (
        [
            plates.row(
                plates.one(
                    f"{name}_attention_shares.png",
                    f"Share of attention at landslide boundaries in {name}, by layer, trained and untrained, beside the "
                    "boundary's share of the ground.",
                    "Share of attention within one block of a landslide boundary, in % of all attention on test ground.",
                )
            ),
            _table("Attention at landslide boundaries (shares of test ground)", head, rows, note=note),
        ]
        if known
        else [_paragraph("Without an inventory there is no boundary to measure attention against.", "note")]
    )
    return Section(key, title, [_paragraph(intro), *pictures, *numbers])


# ---- scores ----------------------------------------------------------------------------------------------------------


def _scores(report: Report) -> Section:
    counts, plates = report.metrics["counts"], _Plates(report.figures)
    areas = [row["area"] for row in report.metrics["areas"]]
    intro = (
        f"The shipped maps of {_listed(areas)} are scored on {counts['test_px']:,} pixels of "
        f"{_count(counts['test_blocks'], 'test block')}, {_percent(counts['landslide_frac'])} of them landslide. Every score "
        "comes from counts summed over all of this ground. Two floors are made on the same split: the best slope threshold"
        f"{_slope_rule(report)}, and a gradient-boosted pixel classifier that sees all bands but no neighbourhood."
    )
    table = [
        [label, *(_scored(report.metrics[name], score) for name in MAPS)]
        for score, label in {**SCORES, **_MORE}.items()
        if any(score in report.metrics[name] for name in MAPS)
    ]
    paired = [
        [
            f"HPCL-Net minus {MAPS[name]}",
            _signed(lead["landslide_iou_difference"]),
            _interval(lead["interval"]).strip() or NONE,
        ]
        for name, lead in report.metrics["paired"].items()
    ]
    body = [
        _paragraph(intro),
        _paragraph(f"{counts['no_prediction_px']:,} test pixels have no prediction and count as background.")
        if counts["no_prediction_px"]
        else "",
        plates.row(
            plates.one(
                "scores.png",
                "Scores of HPCL-Net, pixel classifier and slope threshold with their intervals.",
                "Scores (0 to 1) on test ground with intervals from resampling test blocks. Overlapping bars do not mean "
                "that two maps are equal: the paired differences below tell.",
            ),
            plates.one(
                "precision_recall.png",
                "Precision against recall for HPCL-Net and pixel classifier, with points for all three maps.",
                "Precision and recall at every threshold; marks: the maps as shipped, at thresholds chosen away from "
                "test ground. Grey lines: equal landslide IoU.",
            ),
            plates.one(
                "reliability.png",
                "Reliability diagram: share of landslide by predicted probability.",
                "Is a probability of 0.7 right in 7 of 10 pixels? On the dashed line, yes. Below: share of pixels by "
                "predicted probability (logarithmic).",
            ),
        ),
        _table("Scores on test ground, with intervals", ["score", *MAPS.values()], table, note=_UNITS),
        _table(
            "Paired differences in landslide IoU", ["difference", "landslide IoU", "interval"], paired, note=_PAIRED
        ),
        _objects(report),
        _by_area(report),
        _by_block(report),
    ]
    return Section("scores", "Scores on test ground", body)


_MORE = {"false_objects_per_km2": "false objects per km²", "ece": "calibration error (ECE)", "brier": "Brier score"}
_UNITS = (
    "All are pure numbers, except false objects per km². Higher is better, except for the last three. From "
    "reports/evaluate/metrics.json."
)
_PAIRED = (
    "Each resample draws the same blocks for both maps. An interval that includes 0 leaves open which map is better."
)


def _slope_rule(report: Report) -> str:
    threshold = report.baselines.get("slope_threshold_deg")
    if threshold is None:
        return ""
    return f" ({'≥' if report.baselines.get('direction') == 'steeper' else '<'} {_short(threshold)}°)"


def _scored(scores: Facts, score: str) -> str:
    if scores.get(score) is None:
        return NONE
    return f"{_number(scores[score])}{_interval(scores.get(f'{score}_interval'))}"


def _objects(report: Report) -> str:
    sizes = report.metrics["object_sizes"]
    rows = [
        [
            row["size_class"].replace("m2", "m²"),
            str(row["objects"]),
            *(f"{row[f'{name}_found']} ({_percent(row[f'{name}_found'] / row['objects'], 0)})" for name in MAPS),
        ]
        for row in sizes
    ]
    head = ["size of the landslide", "in the inventory", *MAPS.values()]
    return _table("Landslides found, by size", head, rows) + _largest(report)


def _largest(report: Report) -> str:
    """The landslides that matter most, one by one, with a place to look at."""
    rows = []
    for found in report.objects.nlargest(LARGEST, "area_m2").to_dict("records"):
        a, b, c, d, e, f = report.tiles["areas"][found["area"]]["transform"]
        column, row = found["column_px"], found["row_px"]
        rows.append(
            [
                str(found["area"]),
                str(found["block"]),
                _number((a * column + b * row + c) / 1e3, 2),
                _number((d * column + e * row + f) / 1e3, 2),
                _short(found["area_m2"] / 1e4),
                *(_percent(found[f"{name}_mapped_frac"], 0) for name in MAPS),
            ]
        )
    head = ["area", "block", "east [km]", "north [km]", "size [ha]", *(f"{label}: shown" for label in MAPS.values())]
    note = "East, north: the northernmost pixel. Shown: share of the landslide that a map shows. All: "
    table = _table("The largest landslides of the test ground", head, rows, note=note + "reports/evaluate/objects.csv.")
    return _details(f"The largest landslides, one by one ({len(rows)})", table)


def _by_area(report: Report) -> str:
    rows = [
        [
            row["area"],
            str(row["test_blocks"]),
            f"{row['test_px']:,}",
            _percent(row["landslide_frac"]),
            *(_number(row[f"{name}_landslide_iou"]) for name in MAPS),
        ]
        for row in report.metrics["areas"]
    ]
    head = ["area", "test blocks", "pixels", "landslide", *(f"{label}: IoU" for label in MAPS.values())]
    return _table("By area", head, rows)


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
                f"{int(pixels):,}",
                _percent((ours["tp"] + ours["fn"]) / pixels),
                *(_number(of[name]["landslide_iou"]) if name in of else NONE for name in MAPS),
                f"{int(ours['objects_found'])} of {int(ours['objects'])}",
                str(int(ours["false_objects"])),
            ]
        )
    head = ["area", "block", "pixels", "landslide", *(f"{label}: IoU" for label in MAPS.values())]
    head += ["landslides found", "false objects"]
    note = "Numbers as on the split maps. A block without landslide has no IoU. Whole: reports/evaluate/blocks.csv."
    return _details(
        f"Block by block ({_count(len(rows), 'test block')})", _table("By test block", head, rows, note=note)
    )


# ---- training --------------------------------------------------------------------------------------------------------


def _training(report: Report) -> Section:
    facts, plates = report.training, _Plates(report.figures)
    intro = (
        f"{_count(facts['epochs'], 'epoch')}; the weights of epoch {facts['best_epoch'] + 1} were kept, the best on validation "
        f"ground (landslide IoU {_number(facts['val_iou'], 2)}). {facts['parameters']:,} parameters."
    )
    body = [
        _paragraph(intro),
        *(_callout("The training failed.", finding, "warn") for finding in facts.get("training_findings", ())),
        plates.row(
            plates.one(
                "training_loss.png",
                "Training and validation loss by epoch.",
                "Loss of the segmentation on training and validation ground, and the contrastive loss before its weight "
                "(pure numbers, logarithmic axis).",
            ),
            plates.one(
                "training_watch.png",
                "Validation IoU and watches of the contrast by epoch.",
                "Validation landslide IoU, and watches of the contrast (all pure numbers): the spread of keys, 1 when they "
                "fill their space and near 0 when they have collapsed; the filled share of the queues; their purity, the "
                "share of queued keys whose nearest other key is of the same class; and how much more alike keys of one "
                "class are than keys of two, in mean cosine.",
            ),
        ),
    ]
    return Section("training", "Training", body)


# ---- what each component buys ----------------------------------------------------------------------------------------


def steps_of(ran: pd.DataFrame) -> str:
    """How many optimiser steps the rows of the ladder took.

    >>> steps_of(pd.DataFrame({"steps": [120.0, 135.0]})), steps_of(pd.DataFrame({"steps": [120.0]}))
    ('120 to 135 steps', '120 steps')
    """
    low, high = int(ran["steps"].min()), int(ran["steps"].max())
    return f"{low} steps" if low == high else f"{low} to {high} steps"


def verdict(low: float, high: float) -> str:
    """What a paired interval of a difference says.

    >>> verdict(0.01, 0.05), verdict(-0.02, 0.03), verdict(-0.05, -0.01)
    ('pays', 'no difference seen', 'costs')
    """
    if math.isnan(low):
        return ""
    return "pays" if low > 0 else "costs" if high < 0 else "no difference seen"


def _ladder(report: Report) -> Section:
    """One table per ground that the ladder was run on; which rows were not run is said below it."""
    intro = (
        "Every row is trained by the same loop on the same tiles with the same steps unless its name says "
        "otherwise, each with several seeds, and scored on "
        "the same test blocks. The difference is to the row it builds upon; its interval resamples seeds and blocks, both "
        "paired. A rival is behind HPCL-Net where its difference is negative."
    )
    table = report.ladder
    labels = dict(zip(table["row"], table["label"], strict=True))
    tables, paid, tried = [], set(), set()
    for ground, rung in table.groupby("ground", sort=False):
        ran, idle = rung[rung["status"] == "run"], rung[rung["status"] != "run"]
        if ran.empty:
            continue
        rows = []
        for line in ran.to_dict("records"):
            compared = isinstance(line["against"], str)
            said = verdict(line["low"], line["high"]) if compared else ""
            if compared:
                tried.add(line["row"])
                paid |= {line["row"]} if said == "pays" else set()
            lead = f"{_signed(line['difference'])}{_interval((line['low'], line['high']))}" if compared else NONE
            iou = f"{_number(line['landslide_iou'])} ± {_number(line['sd'])}"
            other = labels.get(line["against"], "") if compared else NONE
            parameters = f"{int(line['parameters']):,}"
            rows.append(
                [
                    line["label"],
                    said or "–",
                    other,
                    iou,
                    lead,
                    _number(line["probe_auc"]),
                    parameters,
                    f"{int(line['seeds'])}",
                ]
            )
        invented = SYNTHETIC in str(ground)
        note = f"{steps_of(ran)} of training each. " + ("Synthetic ground: wiring, not science. " if invented else "")
        note += f"Not run: {'; '.join(idle['label'])}." if len(idle) else ""
        head = [
            "row",
            "verdict",
            "against",
            "landslide IoU (mean ± sd)",
            "difference [interval]",
            "boundary probe",
            "parameters",
            "seeds",
        ]
        tables.append(_table(str(ground), head, rows, words=3, note=note))
    if not tables:
        return Section("ladder", "What each component buys", [_paragraph("The ladder has not been run: make ladder.")])
    vain = [labels[name] for name in labels if name in tried - paid]
    told = _paragraph(f"Paid on no ground at this budget: {'; '.join(vain)}.") if vain else ""
    probe = _paragraph(
        "Boundary probe: area under the ROC curve of a linear classifier of boundary against background hyper-pixels on the "
        "frozen fused map; .5 is chance.",
        "note",
    )
    return Section("ladder", "What each component buys", [_paragraph(intro), *tables, told, probe])


# ---- what was rejected, repaired or assumed --------------------------------------------------------------------------


def findings(report: Report) -> list[tuple[str, str, str]]:
    """What was rejected, repaired, left out or is special: area, step and sentence."""
    out = []
    for area in report.areas:

        def tell(step: str, sentence: str, name: str = area.name) -> None:
            out.append((name, step, sentence))

        for sentence in area.ingest["findings"]:
            tell("ingest", sentence)
        for what in area.ingest["reprojected"]:
            tell("ingest", what if " " in str(what) else f"{what} was reprojected.")
        if (frac := _valid_frac(area)) < 1:
            tell("ingest", f"{_percent(1 - frac)} of the image has no data: not mapped.")
        if area.ingest["inventory"] and (unknown := area.ingest["inventory"].get("unknown_frac")):
            tell("ingest", f"Of {_percent(unknown)} of the grid nobody knows whether it is landslide: not scored.")
        tell("coregister", f"{'Accepted' if area.shift['accepted'] else 'REJECTED'}: {area.shift['reason']}")
        for sentence in area.shift.get("findings", []):
            tell("coregister", sentence)
        for sentence in area.terrain.get("findings", []):
            tell("terrain", sentence)
        if area.tiles is None:
            tell("tile", "No inventory: not trained on, not scored.")
        elif divided := area.tiles.get("divided_landslides"):
            tell(
                "tile",
                f"{_count(divided, 'landslide')} across a border of the split: given to one side, else to the gap.",
            )
        for sentence in (area.tiles or {}).get("findings", []):
            tell("tile", sentence)
        for sentence in report.training.get("findings", {}).get(area.name, []):
            tell("train", sentence)
        for sentence in area.predict.get("findings", []):
            tell("predict", sentence)
        for sentence in report.metrics.get("findings", {}).get(area.name, []):
            tell("evaluate", sentence)
        blank = {name: share["blank_windows"] for name, share in area.explain["attention"].items()}
        if any(blank.values()):
            which = _listed([f"{name} ({count})" for name, count in blank.items() if count])
            tell("explain", f"Blank attention maps, all of whose weights are negative: {which}.")
    return out


def _judged(report: Report) -> Section:
    rows = [
        [name if first else "", step, sentence]
        for name, group in groupby(findings(report), key=lambda found: found[0])
        for first, (_, step, sentence) in ((i == 0, found) for i, found in enumerate(group))
    ]
    assumed = [
        "Outside a labelled extent nobody knows: such ground is neither background nor scored.",
        f"The threshold ({_number(report.model['threshold'], 2)}) and the temperature "
        f"({_number(report.model['temperature'], 2)}) that calibrates the probabilities were chosen on validation ground.",
        f"Between splits, {report.tiles['gap_px']} pixels of labels are left out; neighbouring pixels are alike.",
        "The inventory counts as the truth. Where a mapper missed a landslide or drew loosely, the scores blame the map.",
        "Intervals come from resampling test blocks of these areas. They do not cover other regions, other sensors or "
        "another training run.",
        "Figures published for HPCL-Net are from other, private data; they cannot be compared with those on this page.",
    ]
    body = [
        _table("Findings of the stages", ["area", "stage", "finding"], rows or [["", "", "none"]], words=3),
        "<h3>Assumed</h3>",
        _list(assumed),
    ]
    return Section("judged", "What was rejected, repaired or assumed", body)


# ---- provenance ------------------------------------------------------------------------------------------------------


def _provenance(report: Report) -> Section:
    model = report.model
    rows: list[tuple[str, str]] = [
        ("weights (SHA-256)", model["weights_sha256"]),
        ("threshold", _number(model["threshold"], 4)),
        ("temperature", _number(model["temperature"], 4)),
        ("parameters", f"{report.training['parameters']:,}"),
        ("classes", ", ".join(model["classes"])),
        ("window", f"{model['window_px']} pixels"),
        *((f"model: {name}", _plain(value)) for name, value in sorted(model["settings"].items())),
        (
            "sun of the hillshade",
            f"azimuth {report.tiles['sun']['azimuth_deg']:g}°, {report.tiles['sun']['altitude_deg']:g}° high",
        ),
    ]
    inputs = [
        [
            area.name,
            area.predict.get("input_sha256", NONE),
            area.predict.get("weights_sha256", NONE),
            _number(area.predict["threshold"], 4),
        ]
        for area in report.areas
    ]
    bands = [
        [band["name"], band["kind"], band.get("unit") or "-", _short(band["mean"]), _short(band["std"])]
        for band in report.tiles["bands"]
    ]
    grids = [
        [
            area.name,
            area.ingest["crs_name"],
            " × ".join(map(str, area.ingest["shape"])),
            f"{area.ingest['pixel_m']:.6g}",
        ]
        for area in report.areas
    ]
    stale = [a.name for a in report.areas if a.predict.get("weights_sha256") not in (None, model["weights_sha256"])]
    body = [
        _callout("Not of one piece.", f"The maps of {_listed(stale)} were made with other weights; run dvc repro.", "bad")
        if stale
        else "",
        _facts("The model", rows),
        _table("The maps", ["area", "input (SHA-256)", "weights (SHA-256)", "threshold"], [_abridged(r) for r in inputs], words=3),
        _table("The grids", ["area", "CRS", "rows × columns", "pixel [m]"], grids, words=2),
        _details(
            f"The bands ({len(bands)})",
            _table(
                "Bands, with the normalisation from training ground", ["band", "kind", "unit", "mean", "standard deviation"],
                bands, words=3,
            ),
        ),
        _paragraph("All parameters: params.yaml. All versions of inputs and outputs: dvc.lock.", "note"),
    ]  # fmt: skip
    return Section("provenance", "Provenance", body)


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
        ("interval", "where a score falls when the test blocks are drawn anew, with replacement."),
    ]
    method = (
        "HPCL-Net (Zhou et al. 2023, arXiv 2308.01251) fuses imagery and terrain in the semantic space and sharpens "
        "landslide boundaries by contrast of hyper-pixels against queues of each class. Where the paper leaves a part open, "
        "this software chose for itself (ARCHITECTURE.md tells what). Attention: Grad-CAM (Selvaraju et al. 2017, "
        "arXiv 1610.02391), with the random-weights control of Adebayo et al. 2018 (arXiv 1810.03292)."
    )
    return Section("reading", "How to read this page", [_facts("Terms", terms), _paragraph(method)])
