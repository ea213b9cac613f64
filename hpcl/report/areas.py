"""The sections of one area: how its DEM was laid, its maps, where the network looks."""

from __future__ import annotations

from collections.abc import Sequence

from hpcl.core.codes import OUTSIDE
from hpcl.core.records import BandLook
from hpcl.report.facts import Area, Mapped, Report
from hpcl.report.html import (
    NONE,
    Plates,
    Section,
    callout,
    counted,
    fact_list,
    fixed,
    listed,
    paragraph,
    percent,
    short,
    signed,
    spanned,
    table_html,
    worded,
)
from hpcl.report.maps import BACKGROUND, FALSE_ALARM, HIT, MISS
from hpcl.report.style import layers_of


def image_km2(area: Mapped) -> float:
    """Ground of an area that its image shows."""
    rows, columns = area.ingest.shape
    return float(rows * columns * area.ingest.pixel_m**2 * valid_frac_of(area) / 1e6)


def valid_frac_of(area: Mapped) -> float:
    """Share of the image that has data."""
    return area.ingest.valid_frac.image


def role_of(area: Mapped) -> str:
    """What an area is there for, and with how many blocks."""
    if not isinstance(area, Area) or area.tiles is None:
        return "mapped only"
    blocks = counted(sum(code != OUTSIDE for code in area.tiles.folds), "block")
    return f"test area, {blocks}" if area.tiles.test else f"in folds, {blocks}"


def least_probability(area: Mapped) -> str:
    """From which probability on ground of an area is mapped as landslide."""
    thresholds = area.outline.thresholds
    folds = area.tiles.folds if isinstance(area, Area) and area.tiles else []
    own = {code for code in folds if code < len(thresholds.by_fold)}
    if not own:
        return fixed(thresholds.elsewhere, 2)
    return spanned([thresholds.by_fold[code] for code in own]) + (", by fold" if len(own) > 1 else "")


def figure_key(*parts: str) -> str:
    """An anchor that any area name may be part of."""
    return "-".join("".join(c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in part) for part in parts)


def area_section(area: Area, report: Report) -> Section:
    """All that is said of one area."""
    plates = Plates(report.figures)
    body = [
        callout("Synthetic ground.", "Figures from it prove wiring, not science.", "warn") if area.synthetic else "",
        paragraph(what_was_mapped(area)),
        _answers(area),
        map_beside_image(area, plates),
        _judgement(area, plates),
        _right_and_wrong(area.name, plates),
        _enlarged(area, plates),
    ]
    below = [_coregistration(area, plates), _attention(area, plates)]
    return Section(figure_key("area", area.name), f"Area {area.name}", body, below)


def what_was_mapped(area: Mapped) -> str:
    """Ground, bands, and how many landslides at which threshold."""
    ground = f"{short(image_km2(area))} km² at {area.ingest.pixel_m:.4g} m in {area.ingest.crs_name}"
    intro = f"{ground}; bands {', '.join(band.name for band in area.ingest.bands)}. "
    intro += (
        f"Mapped: {counted(area.outline.landslides, 'landslide')}, {short(area.outline.landslide_area_m2 / 1e6)} km², "
        f"at the operating point {worded(area.outline.operating_point)} (probability at least {least_probability(area)})."
    )
    for way in area.ingest.operations:
        right = "of unknown accuracy" if way.accuracy_m is None else f"right to {way.accuracy_m:.3g} m"
        intro += f" {listed(way.files)}: from {way.from_} to {way.to} by {way.name}, {right}."
    return intro


_DECIDED = {"accept": "accepted", "reject": "rejected", "redraw": "redrawn", "unsure": "left unsure"}
_ASKED = {"doubtful": "doubtful landslides", "next": "places to map next"}


def _answers(area: Area) -> str:
    """What a mapper decided about an earlier map; nothing if there is no review."""
    counts = area.ingest.inventory.review if area.ingest.inventory else []
    if not counts:
        return ""
    rows, followed = sum(one.rows for one in counts), sum(one.applied for one in counts)
    said = listed(
        [
            f"{one.rows:,} of the {_ASKED.get(one.layer, one.layer)} {_DECIDED.get(one.decision, one.decision)}"
            for one in counts
        ]
    )
    text = f"A mapper answered {counted(rows, 'row')} of an earlier audit: {said}."
    if followed < rows:
        text += f" {rows - followed:,} could not be applied; the findings of this area say why."
    return paragraph(text)


def map_beside_image(area: Mapped, plates: Plates) -> str:
    """The landslide map, and what it was made from."""
    name = area.name
    return plates.row(
        plates.one(
            f"{name}_map.png",
            f"Map of {name}: probability of landslide over a hillshade, with {area.outline.landslides} outlined "
            "landslides, scale bar and north arrow.",
            f"Calibrated probability of landslide (0 to 1) over the hillshade of the DEM. Outlines: landslides at "
            f"the operating point {worded(area.outline.operating_point)}, probability ≥ {least_probability(area)}. Coordinates in km, "
            f"{area.ingest.crs_name}.",
        ),
        plates.one(
            f"{name}_image.png",
            f"The image of {name} that the map was made from, on the same frame as the map.",
            "The image, on the same frame. Old landslides are often hard to see in it alone.",
        ),
        plates.one(
            f"{name}_image_before.png",
            f"The earlier image of {name} that the map was made from, on the same frame as the map.",
            "The earlier image, where it was laid on the other. A landslide that it does not show is new.",
        ),
    )


def _right_and_wrong(name: str, plates: Plates) -> str:
    """Where the map is right, which network made it, and where it is unsure."""
    return plates.row(
        plates.one(
            f"{name}_outcomes.png",
            f"Labelled ground of {name} with hits in blue, misses in vermilion and false alarms in yellow.",
            "The map against the inventory, pixel by pixel: hit (both landslide), miss (inventory only), false alarm (map "
            "only), each at the threshold of its fold. Areas in km² of all labelled pixels. The pale rest has no label.",
        ),
        plates.one(
            f"{name}_folds.png",
            f"Fold map of {name}: numbered blocks, coloured by the fold that they belong to.",
            "Folds by place. Each fold is mapped, and judged, by a network that never saw it and learnt on the others; what "
            "lies outside folds, by the mean of all networks (inference.networks). Numbers: the blocks of the tables, none "
            "where blocks are drawn too small.",
        ),
        plates.one(
            f"{name}_uncertainty.png",
            f"Map of {name}: how much windows and networks disagree.",
            "Standard deviation of the probability (0 to 0.5): between overlapping windows on ground in folds, between "
            "windows and networks elsewhere. Ground in folds is 0 at the rim, which one window alone sees. Whether it is high where "
            "the map errs, a section below says.",
        ),
    )


def _enlarged(area: Area, plates: Plates) -> str:
    """Some blocks, so large that landslides can be recognised."""
    said = [
        f"{block.why.capitalize()}: block {block.number} around {fixed(block.east_km, 2)} km east, {fixed(block.north_km, 2)} km north, "
        f"landslide IoU {fixed(block.landslide_iou, 2)} ({short(block.landslide_km2)} km² of landslide)."
        for block in area.enlarged
    ]
    return plates.one(
        f"{area.name}_enlarged.png",
        f"Blocks of {area.name} enlarged: the image above, and below it hits, misses and false alarms, both with the outlines of the "
        "inventory.",
        f"{' '.join(said)} Above the image, below what became of its pixels; outlines: the inventory. Chosen by landslide IoU among "
        "the blocks that hold landslides; numbers as on the fold map. With little landslide in it, a block may be best or worst by luck.",
        "wide" if len(said) > 1 else "",
    )


def _judgement(area: Area, plates: Plates) -> str:
    """What the inventory says about the map of this area, or why it says nothing."""
    if area.outcome_km2 is None:
        return callout(
            "No inventory.", "This area was mapped, but there are no labels: no hits, no misses, no folds.", "warn"
        )
    km2 = area.outcome_km2
    truth, mapped = km2[HIT] + km2[MISS], km2[HIT] + km2[FALSE_ALARM]
    union = km2[HIT] + km2[MISS] + km2[FALSE_ALARM]
    total = union + km2[BACKGROUND]
    saw = "this area" if area.tiles and area.tiles.test else "the ground that it maps"
    sentence = f"On {short(total)} km² of labelled ground, where no network saw {saw}, "
    if not truth:
        return paragraph(sentence + f"which holds no landslide, the map shows {short(mapped)} km² of false alarms.")
    sentence += f"{short(km2[HIT])} of {short(truth)} km² of landslide are found ({percent(km2[HIT] / truth, 0)})"
    if mapped:
        sentence += f"; {percent(km2[HIT] / mapped, 0)} of the mapped {short(mapped)} km² are landslide"
    return paragraph(sentence + f"; landslide IoU {fixed(km2[HIT] / union, 2)}.")


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


def _coregistration(area: Area, plates: Plates) -> Section:
    shift, name = area.shift, area.name
    verdict = (
        callout("Accepted.", shift.reason, "good")
        if shift.accepted
        else callout("REJECTED.", f"{shift.reason} {_KEPT}", "bad")
    )
    rows: list[tuple[str, str]] = [("method", str(_METHODS.get(shift.method, shift.method)))]
    label = "shift" if shift.accepted else "shift that was found, and not applied"
    if shift.accepted or shift.east_m or shift.north_m:
        east, north = signed(shift.east_m, 2), signed(shift.north_m, 2)
        rows.append((label, f"{east} m east, {north} m north"))
        east, north = signed(shift.east_px, 3), signed(shift.north_px, 3)
        rows.append((f"{label}, in DEM pixels", f"{east} east, {north} north"))
    if shift.standard_error_px is not None:
        rows.append(("standard error", f"{fixed(shift.standard_error_px, 3)} DEM pixels"))
    if shift.vertical_m:
        rows.append(("added to the elevation", f"{signed(shift.vertical_m, 2)} m"))
    if shift.tilt_east_m_per_km or shift.tilt_north_m_per_km:
        east, north = signed(shift.tilt_east_m_per_km, 2), signed(shift.tilt_north_m_per_km, 2)
        rows.append(("and for every kilometre from the middle of the DEM", f"{east} m east, {north} m north"))
    if shift.quality_before is not None:
        name_of = _QUALITIES.get(str(shift.quality), "quality")
        rows.append((name_of, f"{short(shift.quality_before)} before, {short(shift.quality_after)} after"))
    if shift.sun:
        azimuth, altitude = shift.sun.azimuth_deg, shift.sun.altitude_deg
        high = "altitude unknown" if altitude is None else f"altitude {fixed(altitude, 0)}°"
        rows.append(("estimated sun of the image", f"azimuth {fixed(azimuth, 0)}°, {high}"))
    pictures = [
        plates.one(
            f"{name}_residual_{when}.png",
            f"Residuals of {name} {when} the alignment of the DEM.",
            f"Residual {when} the alignment{tail}: {_RESIDUALS.get(shift.method, 'what the two disagree about')}. The same "
            "colours before and after; hatched: no data. The smaller and the more random, the better.",
        )
        for when, tail in (("before", ""), ("after", "" if shift.accepted else " (nothing was moved)"))
    ]
    missing = "" if any(pictures) else paragraph("There are no residual rasters: nothing was compared.", "note")
    table = fact_list("The alignment of the DEM with the image", rows)
    body = [verdict, table, _band_looks(shift.bands), plates.row(*pictures), missing]
    return Section(figure_key("area", name, "coregistration"), "Alignment of the terrain", body)


def _band_looks(bands: Sequence[BandLook]) -> str:
    """What each band of the image says by itself; nothing if a reference DEM decided."""
    if not bands:
        return ""
    rows = [
        [
            band.name,
            "yes" if band.counts else "no",
            signed(band.east_m, 1),
            signed(band.north_m, 1),
            fixed(band.correlation, 3),
        ]
        for band in bands
    ]
    unseen = [f"{band.name}: {band.unseen}." for band in bands if band.unseen is not None]
    return table_html(
        "What each band of the image says by itself",
        ["band", "counts", "DEM moved east [m]", "north [m]", "correlation"],
        rows,
        words=2,
        note=" ".join(["To about a quarter of a pixel. coregister.bands names the bands that count.", *unseen]),
    )


def _attention(area: Area, plates: Plates) -> Section:
    title, key = "Where the network looks", figure_key("area", area.name, "attention")
    windows = area.explain.windows
    if not windows:
        return Section(
            key, title, [paragraph("No window of this area was explained: none in a fold shows a landslide.")]
        )
    pictures = [
        _explained_window(area.name, number, window.network, plates) for number, window in enumerate(windows, start=1)
    ]
    shown = sum(bool(picture) for picture in pictures)
    intro = (
        f"{counted(len(windows), 'window')} of {area.explain.window_px} pixels were explained, "
        f"{shown} are shown. Grad-CAM tells which places raise the landslide score, not why."
    )
    return Section(key, title, [paragraph(intro), *pictures, *_attention_shares(area, plates)])


def _explained_window(name: str, number: int, fold: int, plates: Plates) -> str:
    return plates.one(
        f"{name}_attention_{number}.png",
        f"Attention maps of explained window {number} of {name}: each branch and the fused map, for the trained "
        "network above and an untrained control below.",
        f"Window {number}: Grad-CAM of each branch and after fusion, for the trained network of fold {fold} (above) and for the "
        "same network with random weights (below). A map that looks alike in both rows explains nothing.",
        "wide",
    )


def _attention_shares(area: Area, plates: Plates) -> list[str]:
    """How much of the attention lies at landslide boundaries, by layer, as a figure and a table."""
    shares = area.explain.attention
    layers = layers_of(shares)
    if all(shares[layer].boundary_ground_frac is None for layer in layers):
        return [paragraph("Without an inventory there is no boundary to measure attention against.", "note")]
    rows = []
    for layer in layers:
        ours, control = shares[layer], shares.get(f"untrained_{layer}")
        rows.append(
            [
                layer,
                percent(ours.boundary_attention_frac),
                percent(control.boundary_attention_frac if control else None),
                percent(ours.boundary_ground_frac),
                f"{ours.blank_windows} / {control.blank_windows if control else NONE}",
            ]
        )
    figure = plates.one(
        f"{area.name}_attention_shares.png",
        f"Share of attention at landslide boundaries in {area.name}, by layer, trained and untrained, beside the "
        "boundary's share of the ground.",
        "Share of attention within one block of a landslide boundary, in % of all attention in the explained windows.",
    )
    head = ["layer", "trained", "untrained control", "share of the ground", "blank maps"]
    note = "Share of attention within one block of a landslide boundary. Above the boundary's share of the ground and above "
    note += "the control, attention seeks boundaries. Blank: all weights negative (trained / control)."
    return [
        plates.row(figure),
        table_html("Attention at landslide boundaries (shares of the explained windows)", head, rows, note=note),
    ]
