"""Which parameters do not suit an area, and what would: pure functions of sizes, bands and values, without files.

What does not suit is what `hpcl.scale` finds fault with, so that no stage complains later of what was kept here. Three values are
also proposed where scale finds no fault, because a better one is at hand: a minimum area that drops many polygons which the image
could show, size classes of which one is nearly empty, and blocks that divide most of the landslide ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcl import scale
from hpcl.scale import Sizes, figure
from hpcl.tiles import folds

Values = Mapping[str, Any]
"""Values of parameters by their dotted names."""
WIDEST_WINDOW_PX = 512
"""Wider windows are not proposed: a step of training would take minutes on a CPU; the image is to be made coarser."""
WINDOW_MULTIPLE_PX = 32
"""Suits every network."""
KEPT_FRAC = 0.9
"""A minimum area that keeps fewer polygons is lowered, if the image can show smaller ones."""
LEAST_CLASS_FRAC = 0.1
"""A size class with a smaller share of the landslides says nothing of such landslides."""
BLOCKS_PER_FOLD = 2
"""A fold of fewer blocks is one place, and its score has no interval."""


@dataclass(frozen=True)
class Proposal:
    """A parameter, its value now, a value that suits the area, and why."""

    parameter: str
    now: Any
    proposed: Any
    reason: str


Fit = Callable[[Sizes, Values], tuple[Any, str]]


def said(sizes: Sizes, values: Values) -> list[str]:
    """All that `hpcl.scale` has to say of these values on this ground; each sentence begins with its parameter."""
    try:
        ground = scale.terrain(
            sizes,
            smoothing_m=values["terrain.smoothing_m"],
            relief_radii_m=values["terrain.relief_radii_m"],
            roughness_radius_m=values["terrain.roughness_radius_m"],
        )
    except scale.ScaleError as error:
        ground = [str(error)]
    return [
        *scale.ingest(sizes, dem_margin_px=values["ingest.dem_margin_px"]),
        *scale.coregister(sizes, maximum_shift_px=values["coregister.maximum_shift_px"], on_reference=False),
        *ground,
        *scale.tile(
            sizes,
            window_px=values["tile.window_px"],
            stride_px=values["tile.stride_px"],
            block_px=values["tile.block_px"],
            gap_px=values["tile.gap_px"],
        ),
        *scale.outline(
            sizes, minimum_area_m2=values["outline.minimum_area_m2"], simplify_px=values["outline.simplify_px"]
        ),
        *scale.evaluate(
            sizes,
            object_minimum_area_m2=values["evaluate.object_minimum_area_m2"],
            object_size_edges_m2=values["evaluate.object_size_edges_m2"],
            boundary_px=values["evaluate.boundary_px"],
        ),
    ]


def faulty(parameter: str, sizes: Sizes, values: Values) -> bool:
    """Whether `hpcl.scale` finds fault with a parameter."""
    return any(sentence.startswith((f"{parameter} ", f"{parameter}:")) for sentence in said(sizes, values))


def of_sizes(sizes: Sizes, values: Values) -> list[Proposal]:
    """Values in metres, square metres and pixels that suit an area, where those of now do not."""
    now = dict(values)
    found = []
    for parameter, (unsuited, fit) in _RULES.items():
        if unsuited(sizes, now) or faulty(parameter, sizes, now):
            proposed, reason = fit(sizes, now)
            if proposed != now[parameter]:
                found.append(Proposal(parameter, now[parameter], proposed, reason))
                now[parameter] = proposed
    return found


# ---- what else does not suit, beside what scale says -------------------------------------------------------------------


def _never(sizes: Sizes, values: Values) -> bool:
    return False


def _drops_many(parameter: str) -> Callable[[Sizes, Values], bool]:
    def unsuited(sizes: Sizes, values: Values) -> bool:
        areas_m2 = np.array(sizes.landslides_m2)
        kept = float((areas_m2 >= values[parameter]).mean()) if len(areas_m2) else 1.0
        return kept < KEPT_FRAC and scale.fitting_minimum_area_m2(sizes) < values[parameter]

    return unsuited


def _has_empty_class(sizes: Sizes, values: Values) -> bool:
    counted = _counted(sizes, values)
    if not len(counted):
        return False
    edges = sorted(values["evaluate.object_size_edges_m2"])
    classes = np.bincount(np.searchsorted(edges, counted, side="right"), minlength=len(edges) + 1)
    return bool(classes.min() < LEAST_CLASS_FRAC * len(counted))


def _counted(sizes: Sizes, values: Values) -> Any:
    areas_m2 = np.array(sizes.landslides_m2)
    return areas_m2[areas_m2 >= values["evaluate.object_minimum_area_m2"]]


def _too_few_blocks(sizes: Sizes, values: Values) -> bool:
    block_px, window_px = values["tile.block_px"], values["tile.window_px"]
    alone = values["tile.split"] != "areas" and len(values["areas"]) == 1
    return block_px < window_px or (alone and _blocks(sizes, block_px) < BLOCKS_PER_FOLD * values["tile.folds"])


def _blocks(sizes: Sizes, block_px: float) -> int:
    """How many blocks `tile` cuts an area into."""
    rows, columns = (max(1, round(side / block_px)) for side in sizes.shape)
    return rows * columns


def divides_many(sizes: Sizes, values: Values) -> bool:
    """Whether blocks divide most of the landslide ground."""
    return values["tile.split"] == "blocks" and whole_frac(sizes, values) < folds.TAUGHT


def whole_frac(sizes: Sizes, values: Values) -> float:
    """How much of the landslide ground to expect in landslides that lie in one fold, with landslides as squares and blocks anywhere,
    each in any fold."""
    areas_m2 = np.array(sizes.landslides_m2)
    if not len(areas_m2):
        return 1.0
    borders, beyond = np.divmod(np.sqrt(areas_m2) / (values["tile.block_px"] * sizes.pixel_m), 1)
    whole = sum(
        (beyond if more_rows else 1 - beyond)
        * (beyond if more_columns else 1 - beyond)
        * values["tile.folds"] ** (1 - (borders + 1 + more_rows) * (borders + 1 + more_columns))
        for more_rows in (0, 1)
        for more_columns in (0, 1)
    )
    return float((whole * areas_m2).sum() / areas_m2.sum())


# ---- what would fit ----------------------------------------------------------------------------------------------------


def _smoothing(sizes: Sizes, values: Values) -> tuple[float, str]:
    now = values["terrain.smoothing_m"]
    return scale.fitting_smoothing_m(
        sizes
    ), f"about one pixel of the terrain; {figure(now)} m is {sizes.in_detail(now)}"


def _relief(sizes: Sizes, values: Values) -> tuple[tuple[float, ...], str]:
    near = min(values["terrain.relief_radii_m"], default=0.0)
    reason = f"about 4 and 16 pixels of the terrain; {figure(near)} m is {sizes.in_detail(near)}"
    return scale.fitting_relief_radii_m(sizes), reason


def _roughness(sizes: Sizes, values: Values) -> tuple[float, str]:
    now = values["terrain.roughness_radius_m"]
    reason = f"about three pixels of the terrain; {figure(now)} m is {sizes.in_detail(now)}"
    return scale.fitting_roughness_radius_m(sizes), reason


def _margin(sizes: Sizes, values: Values) -> tuple[int, str]:
    return scale.fitting_margin_px(sizes), "as much DEM around the image as alignment and resampling look at"


def _shift(sizes: Sizes, values: Values) -> tuple[int, str]:
    most_px = math.floor(scale.SHARE_OF_IMAGE * sizes.side_m / sizes.detail_m)
    least_px = math.ceil(2 * sizes.pixel_m / sizes.dem_pixel_m)
    now = values["coregister.maximum_shift_px"]
    fits = max(min(now, most_px), 1) if now > most_px else least_px
    return fits, "from one pixel of the image to a quarter of its width"


def _window(sizes: Sizes, values: Values) -> tuple[int, str]:
    """Wide enough for a landslide and for DEM pixels that show a form, within the image."""
    needed_m = max(1.5 * (sizes.across_m or 0), scale.DEM_PIXELS_IN_WINDOW * sizes.dem_pixel_m)
    needed_px = _up(needed_m / sizes.pixel_m)
    fits = min(max(values["tile.window_px"], needed_px), WIDEST_WINDOW_PX, _down(min(sizes.shape)))
    return fits, f"{figure(fits * sizes.pixel_m)} m, for landslides {figure(sizes.across_m or 0)} m across (median)"


def _block(sizes: Sizes, values: Values) -> tuple[int, str]:
    """Twice as wide as landslides, and no wider than leaves each fold some blocks."""
    window_px = values["tile.window_px"]
    fits = max(scale.fitting_block_px(sizes, window_px), values["tile.block_px"], 2 * window_px)
    needed = BLOCKS_PER_FOLD * values["tile.folds"]
    while fits > window_px and _too_few_blocks(sizes, {**values, "tile.block_px": fits}):
        fits -= WINDOW_MULTIPLE_PX
    fits = max(fits, window_px)
    reason = f"{_blocks(sizes, fits)} blocks of {figure(fits * sizes.pixel_m)} m; folds need {needed}"
    return fits, f"{reason}, landslides {figure(2 * (sizes.across_m or 0))} m (twice the median's width)"


def _split(sizes: Sizes, values: Values) -> tuple[str, str]:
    divided = 1 - whole_frac(sizes, values)
    return "regions", (
        f"blocks of {figure(values['tile.block_px'] * sizes.pixel_m)} m divide about {100 * divided:.0f} % of the landslide ground, which"
        " then teaches few networks; regions divide less"
    )


def _gap(sizes: Sizes, values: Values) -> tuple[int, str]:
    block_px = values["tile.block_px"]
    most_px = math.floor(block_px * (1 - math.sqrt(0.5)))
    fits = max(min(values["tile.gap_px"], most_px), scale.fitting_gap_px(sizes))
    return fits, f"one pixel of the terrain ({figure(sizes.detail_m)} m) or more, and most of each block is left"


def _stride(sizes: Sizes, values: Values) -> tuple[int, str]:
    return values["tile.window_px"] // 4, "a quarter of tile.window_px, so that no ground lies between windows"


def _minimum_area(parameter: str) -> Fit:
    def fit(sizes: Sizes, values: Values) -> tuple[float, str]:
        fits = scale.fitting_minimum_area_m2(sizes)
        pixels = figure(fits / sizes.pixel_m**2)
        return (
            fits,
            f"{pixels} pixels; keeps {share_kept(sizes.landslides_m2, fits)}, now {share_kept(sizes.landslides_m2, values[parameter])}",
        )

    return fit


def share_kept(areas_m2: Sequence[float], minimum_area_m2: float) -> str:
    """What a minimum area keeps, in words.

    >>> share_kept([100.0, 300.0, 600.0], 200.0)
    '67 % of the polygons and 90 % of their ground'
    """
    areas = np.array(areas_m2)
    kept = areas >= minimum_area_m2
    if not len(areas):
        return "what is mapped"
    return (
        f"{100 * kept.mean():.0f} % of the polygons and {100 * areas[kept].sum() / areas.sum():.0f} % of their ground"
    )


def _simplify(sizes: Sizes, values: Values) -> tuple[float, str]:
    side_px = math.sqrt(0.1 * (sizes.median_m2 or 0)) / sizes.pixel_m
    fits = math.floor(10 * side_px) / 10
    return (
        fits if fits >= 0.3 else 0.0,
        f"smooths away less than a tenth of the median landslide ({figure(sizes.median_m2 or 0)} m2)",
    )


def _edges(sizes: Sizes, values: Values) -> tuple[tuple[float, ...], str]:
    counted = _counted(sizes, values)
    edges = ", ".join(map(figure, sorted(values["evaluate.object_size_edges_m2"])))
    reason = f"thirds of the inventory (of what is counted); {edges} leave a class nearly empty"
    return scale.fitting_size_edges_m2(counted if len(counted) else sizes.landslides_m2), reason


def _boundary(sizes: Sizes, values: Values) -> tuple[int, str]:
    fits = scale.fitting_boundary_px(sizes)
    across = f"the median landslide is {figure((sizes.across_m or 0) / sizes.pixel_m)} pixels across"
    return max(
        fits, 1
    ), f"a quarter of that, for {across}" if fits else f"the least there is: {across}, do not read Boundary IoU"


def _up(side_px: float) -> int:
    return math.ceil(side_px / WINDOW_MULTIPLE_PX) * WINDOW_MULTIPLE_PX


def _down(side_px: float) -> int:
    return max(math.floor(side_px / WINDOW_MULTIPLE_PX), 1) * WINDOW_MULTIPLE_PX


_RULES: dict[str, tuple[Callable[[Sizes, Values], bool], Fit]] = {
    "ingest.dem_margin_px": (_never, _margin),
    "coregister.maximum_shift_px": (_never, _shift),
    "terrain.smoothing_m": (_never, _smoothing),
    "terrain.relief_radii_m": (_never, _relief),
    "terrain.roughness_radius_m": (_never, _roughness),
    "tile.window_px": (_never, _window),
    "tile.block_px": (_too_few_blocks, _block),
    "tile.split": (divides_many, _split),
    "tile.gap_px": (_never, _gap),
    "tile.stride_px": (_never, _stride),
    "outline.minimum_area_m2": (_drops_many("outline.minimum_area_m2"), _minimum_area("outline.minimum_area_m2")),
    "outline.simplify_px": (_never, _simplify),
    "evaluate.object_minimum_area_m2": (
        _drops_many("evaluate.object_minimum_area_m2"),
        _minimum_area("evaluate.object_minimum_area_m2"),
    ),
    "evaluate.object_size_edges_m2": (_has_empty_class, _edges),
    "evaluate.boundary_px": (_never, _boundary),
}
"""In this order: radii are compared with the smoothing, blocks with windows, size classes with what is counted."""
