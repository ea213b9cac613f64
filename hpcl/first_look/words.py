"""A first look in words: a line for each thing, and continued lines indented."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpcl import scale, sensors
from hpcl.first_look.ground import Ground
from hpcl.first_look.polygons import Polygons
from hpcl.first_look.proposals import Proposal, Values, share_kept
from hpcl.ingest.opening import DISK_GB_PER_PX
from hpcl.scale import figure

WIDE, INDENT = 140, 12
FIXED_MINUTES, MINUTES_PER_PX = 2.0, 0.3e-6
"""What all stages but `train` take on two cores without a GPU: a rough guide, from one area of
6.5 million pixels with 3,685 landslides (synthetic), some of whose stages were estimated; docs/benchmarks.md has a scene of 400 million."""


def of_ground(ground: Ground, values: Values) -> Iterator[str]:
    """Image, DEM and inventory."""
    rows, columns = ground.grid.shape
    yield from _line("image", f"{columns} x {rows} px of {figure(ground.pixel_m)} m, {ground.crs}")
    yield from _line("", _bands(ground))
    dem = ground.dem
    ratio = figure(dem.pixel_m / ground.pixel_m)
    covers = f"covers {100 * dem.covered_frac:.4g} % of the image"
    yield from _line("DEM", f"{figure(dem.pixel_m)} m = {ratio} image pixels, {covers}; {dem.heights}")
    if ground.polygons is None:
        yield from _line("inventory", "none: the area is mapped with what other areas taught, and not trained on")
    else:
        yield from _inventory(ground.polygons, ground, values)
    for finding in ground.findings:
        yield from _line("found", finding)


def _bands(ground: Ground) -> str:
    sensor = sensors.recognised(ground.optical, ground.pixel_m)
    shown = sensors.colours(ground.optical, sensor)
    said = f"bands {' '.join(ground.optical)}"
    if shown != ground.optical and any(shown):
        said += f" = {' '.join(colour or '?' for colour in shown)}"
    if sensor:
        said += f" ({sensor.name})"
    if not ground.named:
        said += "; nobody says which is which (`rio edit-info --bidx 1 --description red FILE` names one)"
    return said + (f"; further bands {' '.join(ground.further)}" if ground.further else "")


def _inventory(polygons: Polygons, ground: Ground, values: Values) -> Iterator[str]:
    areas_m2 = polygons.quantiles_m2()
    px, dem_px = (tuple(area / side**2 for area in areas_m2) for side in (ground.pixel_m, ground.dem.pixel_m))
    cell_m = values["model.output_stride"] * ground.pixel_m
    yield from _line(
        "inventory",
        f"{len(polygons.areas_m2)} of {polygons.given} polygons on the image, {100 * polygons.share_frac:.2g} % of it; "
        f"{_trio(areas_m2)} m2 (5 / 50 / 95 %)",
    )
    yield from _line(
        "",
        f"that is {_trio(px)} pixels; {_trio(dem_px)} DEM pixels; {_trio([area / cell_m**2 for area in areas_m2])} hyper-pixels "
        f"(of {figure(cell_m)} m)",
    )
    small_frac = polygons.smaller(cell_m)
    yield from _line(
        "",
        f"{polygons.empty()} hold no pixel, {polygons.shapeless()} fewer than {scale.FEW_PX}, {100 * small_frac:.0f} % are "
        f"smaller than one hyper-pixel: {_verdict(polygons, ground, values)}",
    )
    minimum_m2 = values["outline.minimum_area_m2"]
    kept = share_kept(polygons.areas_m2.tolist(), minimum_m2)
    yield from _line("", f"outline.minimum_area_m2 of {figure(minimum_m2)} m2 keeps {kept}")


def _verdict(polygons: Polygons, ground: Ground, values: Values) -> str:
    """What is too small to be seen, by the bounds of `hpcl.scale`."""
    verdicts = []
    if scale.hyper_pixels(ground.pixel_m, polygons.pixels, output_stride=values["model.output_stride"]):
        verdicts.append(f"most cannot be outlined at {figure(ground.pixel_m)} m, only found")
    hidden = polygons.empty() + polygons.shapeless()
    if hidden > scale.FEW_FRAC * len(polygons.pixels):
        verdicts.append(f"{100 * hidden / len(polygons.pixels):.0f} % have no shape in this image")
    if polygons.smaller(2 * ground.dem.pixel_m) > 0.5:
        verdicts.append(f"most are too small for the DEM ({figure(ground.dem.pixel_m)} m) to show their form")
    return "; ".join(verdicts) or "image and DEM can show most of them"


def of_folds(ground: Ground, values: Values, blocks: int, fold_fracs: Sequence[float]) -> Iterator[str]:
    """How the area's ground will be dealt, unless whole areas are."""
    if not blocks:
        return
    block_px, count = values["tile.block_px"], values["tile.folds"]
    shares = " / ".join(f"{100 * share:.0f}" for share in fold_fracs)
    dealt = f"{count} compact folds" if values["tile.split"] == "regions" else f"{count} folds"
    said = f"{blocks} blocks of {block_px} px ({figure(block_px * ground.pixel_m)} m) in {dealt}"
    yield from _line("folds", f"{said}, with {shares} % of the landslide ground")


def of_cost(ground: Ground, values: Values) -> Iterator[str]:
    """Steps, minutes and disk, one digit each."""
    pixels = ground.grid.shape[0] * ground.grid.shape[1]
    steps = values["train.epochs"] * values["train.steps_per_epoch"]
    minutes, disk_gb = FIXED_MINUTES + pixels * MINUTES_PER_PX, pixels * DISK_GB_PER_PX
    training = (
        f"{values['tile.folds']} trainings of {steps} steps (`train` says after ten how long they take); "
        if ground.polygons
        else ""
    )
    yield from _line(
        "cost",
        f"{training}the other stages about {figure(scale.handy(minutes))} minutes on two cores; up to "
        f"{figure(scale.handy(disk_gb))} GB in data, and as much again in DVC's cache",
    )


def of_encoders(ground: Ground, values: Values) -> Iterator[str]:
    """What the encoders start from, if that is nothing."""
    if ground.polygons and not values["model.pretrained"] and not values["model.weights"]:
        yield from _line(
            "encoders",
            "start from random weights; one with ImageNet weights for each source is the best start measured so far (README, With"
            " pretrained encoders)",
        )


def of_proposals(proposals: Sequence[Proposal]) -> Iterator[str]:
    """Every parameter that is to change: now, proposed, why."""
    if not proposals:
        yield from _line("change", "nothing: params.yaml suits this area")
        return
    wide = max(len(proposal.parameter) for proposal in proposals)
    for number, proposal in enumerate(proposals):
        now, proposed = _differing(proposal.now, proposal.proposed)
        said = f"{proposal.parameter:{wide}s}  {now} -> {proposed}   {proposal.reason}"
        yield from _line("" if number else "change", said, hanging=wide + 2)


def of_doubts(sentences: Sequence[str], heading: str = "doubt") -> Iterator[str]:
    """What no parameter mends."""
    for sentence in sentences:
        yield from _line(heading, sentence)


def _differing(now: Any, proposed: Any) -> tuple[str, str]:
    """Two values in words; of lists in which some gave way to others, only those."""
    if isinstance(now, tuple) and isinstance(proposed, tuple):
        lost, won = ([v for v in one if v not in other] for one, other in ((now, proposed), (proposed, now)))
        return (_value(lost), _value(won)) if lost and won else (_value(now), _value(proposed))
    return _value(now), _value(proposed)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(map(str, value)) or "none"
    return figure(value) if isinstance(value, int | float) else str(value)


def _trio(values: Sequence[float]) -> str:
    """Three numbers of two digits."""
    return " / ".join(figure(float(f"{value:.2g}")) for value in values)


def _line(heading: str, said: str, hanging: int = 0) -> Iterator[str]:
    """One thing under its heading, wrapped."""
    lines = textwrap.wrap(
        said, WIDE - INDENT, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
    for number, line in enumerate(lines):
        yield f"{'' if number else heading:{INDENT}s}{line}".rstrip()
