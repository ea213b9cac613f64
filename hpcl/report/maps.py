"""Maps: an area's image, probability, outcomes, folds, uncertainty, residuals, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure

from hpcl.core.codes import OUTSIDE, TEST_AREA, UNKNOWN
from hpcl.core.records import Thresholds, TiledArea
from hpcl.core.spread import nmad
from hpcl.report.cartography import colour_bar, draw_outlines, image_rgba, map_frame, rgba, stretched
from hpcl.report.style import (
    BAR_IN,
    BLUE,
    INK,
    LEGEND_IN,
    VERMILION,
    YELLOW,
    Array,
    legend,
    line,
    patch,
    styled,
)

_FOLD_COLORS = (
    "#88CCEE", "#DDCC77", "#CC6677", "#117733", "#AA4499", "#44AA99", "#EE8866", "#999933", "#882255", "#4477AA",
)  # fmt: skip
"""By code of the fold; as many as there can be."""
_FOLD_COLOR = dict(enumerate(_FOLD_COLORS)) | {TEST_AREA: "#FFFFFF", OUTSIDE: "#9A9A9A"}
_FOLD_ALPHA = 0.55

_NUMBERED_IN = 0.22
"""Blocks that are drawn smaller than this bear no number: it would not fit."""

NOT_SCORED, BACKGROUND, HIT, MISS, FALSE_ALARM = range(5)

OUTCOME_COLOR = {HIT: BLUE, MISS: VERMILION, FALSE_ALARM: YELLOW}
OUTCOME_NAMES = {HIT: "hit", MISS: "miss", FALSE_ALARM: "false alarm"}


def outcomes(probability: Array, labels: Array, networks: Array, thresholds: Thresholds) -> npt.NDArray[np.uint8]:
    """What became of every labelled pixel: `HIT`, `MISS`, `FALSE_ALARM`, `BACKGROUND`; others are `NOT_SCORED`.

    As the scores count it: at the threshold of the pixel's network, whose code is in ``networks``; unknown ground (label 255)
    is not scored, and ground without a prediction was mapped as background. All arrays are ``(row, column)``.

    >>> seen = np.array([[0.9, 0.2, 0.7, 0.7, 0.9]])
    >>> truth, networks = np.array([[1, 1, 0, 0, 255]]), np.array([[1, 1, 0, 2, 1]])
    >>> outcomes(seen, truth, networks, Thresholds(by_fold=[0.5, 0.8], elsewhere=0.6)).tolist()
    [[2, 3, 4, 1, 0]]
    """
    mapped, truth = probability >= thresholds.by_network[networks], labels >= 1
    codes = np.select([mapped & truth, truth, mapped], [HIT, MISS, FALSE_ALARM], BACKGROUND)
    return np.where(labels != UNKNOWN, codes, NOT_SCORED).astype(np.uint8)


def sample(length: int, longest: int, max_px: int) -> npt.NDArray[np.int64]:
    """Which pixels of one side stand for a raster that is shown with at most ``max_px`` on its ``longest`` side.

    >>> sample(10, 20, 10).tolist()
    [1, 3, 5, 7, 9]
    """
    shown = max(1, round(length / max(1.0, longest / max_px)))
    return ((np.arange(shown) + 0.5) * length / shown).astype(np.int64)


@dataclass(frozen=True)
class Ground:
    """What all maps of one area share.

    ``extent_km``: west, east, south, north. ``hillshade``: ``(row, column)``, NaN where there is no terrain.
    ``mapped`` and ``inventory``: outlines of the landslides, each ``(point, 2)`` in km.
    """

    area: str
    crs_name: str
    extent_km: tuple[float, float, float, float]
    hillshade: Array
    mapped: Sequence[Array] = ()
    inventory: Sequence[Array] = ()


def _shade(ground: Ground, pale: float = 0.0) -> tuple[Array, Array]:
    """The relief as greys ``(row, column, 3)``, paler on demand, and where it is known."""
    grey = 0.38 + 0.57 * stretched(ground.hillshade)
    grey = grey + pale * (1 - grey)
    return np.repeat(grey[..., None], 3, axis=-1), np.isfinite(ground.hillshade)


def _over(base: Array, known: Array, colour: Array, alpha: Array) -> Array:
    """``colour`` laid over ``base`` with ``alpha``; where there is no base, over white."""
    base = np.where(known[..., None], base, 0.95)
    return base + alpha[..., None] * (colour - base)


INVENTORY = "#332288"


@styled
def image_map(ground: Ground, bands: Array, names: Sequence[str], title: str = "image") -> Figure:
    """An image: ``bands`` ``(3 or 1, row, column)`` as red, green, blue or as grey, each stretched on its own."""
    source = f"data/ingest/{ground.area}/image.tif ({', '.join(names)}; stretched 2-98 %)"
    figure, axes = map_frame(
        ground.extent_km, f"{ground.area}: {title}", source, LEGEND_IN if ground.inventory else 0.0
    )
    axes.imshow(image_rgba(bands), extent=ground.extent_km, aspect="auto", interpolation="antialiased")
    if ground.inventory:
        draw_outlines(axes, ground.inventory, "white", 1.5)
        draw_outlines(axes, ground.inventory, INVENTORY, 0.8)
        legend(figure, [line(INVENTORY, "landslides of the inventory")], 1)
    return figure


def _probability_colours() -> Colormap:
    return colormaps["YlOrRd"]


def _probability_alpha(probability: Array) -> Array:
    """Low probabilities let the relief through."""
    return np.clip(np.nan_to_num(probability) / 0.3, 0, 1) * 0.66


@styled
def landslide_map(ground: Ground, probability: Array, point: str) -> Figure:
    """The map: probability of landslide ``(row, column)`` over the relief, and the polygons made of it at an operating point."""
    source = f"{ground.area} in data/predict and data/outline, over its data/terrain"
    figure, axes = map_frame(ground.extent_km, f"{ground.area}: landslide map", source, BAR_IN + LEGEND_IN)
    base, known = _shade(ground)
    colours = _probability_colours()
    rgb = _over(base, known, colours(np.nan_to_num(probability))[..., :3], _probability_alpha(probability))
    axes.imshow(
        rgba(rgb, known | np.isfinite(probability)),
        extent=ground.extent_km,
        aspect="auto",
        interpolation="antialiased",
    )
    draw_outlines(axes, ground.mapped, INK, 0.9)
    steps = np.linspace(0, 1, 256)
    blended = 0.75 + _probability_alpha(steps)[:, None] * (colours(steps)[:, :3] - 0.75)
    colour_bar(
        axes,
        ScalarMappable(Normalize(0, 1), ListedColormap(blended)),
        "probability of landslide",
        BAR_IN + LEGEND_IN,
    )
    legend(figure, [line(INK, f"mapped landslide (operating point: {point})")], 1)
    return figure


def _area(area_km2: float) -> str:
    """An area in words.

    >>> _area(51123.4), _area(22.14), _area(0.0123)
    ('51,123 km²', '22.1 km²', '0.0123 km²')
    """
    return f"{area_km2:,.0f} km²" if area_km2 >= 1000 else f"{area_km2:.3g} km²"


def outcome_rgba(ground: Ground, codes: Array) -> Array:
    """Hits, misses and false alarms ``codes`` ``(row, column)`` over the relief."""
    base, known = _shade(ground, pale=0.1)
    pale, _ = _shade(ground, pale=0.72)
    rgb = np.where((codes == NOT_SCORED)[..., None], pale, base)
    for code, colour in OUTCOME_COLOR.items():
        rgb = _over(rgb, known, np.array(to_rgb(colour)), 0.82 * (codes == code))
    shown = known | (codes != NOT_SCORED)
    return rgba(rgb, shown)


@styled
def outcome_map(ground: Ground, codes: Array, area_km2: Mapping[int, float]) -> Figure:
    """Hits, misses and false alarms ``codes`` ``(row, column)`` on labelled ground; ``area_km2`` of each code."""
    source = f"data/predict/{ground.area}/probability.tif against data/tiles/{ground.area}.labels.npy"
    figure, axes = map_frame(ground.extent_km, f"{ground.area}: right and wrong", source, 2 * LEGEND_IN)
    axes.imshow(outcome_rgba(ground, codes), extent=ground.extent_km, aspect="auto", interpolation="antialiased")
    handles = [patch(OUTCOME_COLOR[code], f"{name}, {_area(area_km2[code])}") for code, name in OUTCOME_NAMES.items()]
    handles.append(patch("#c9c9c9", f"rightly left out, {_area(area_km2[BACKGROUND])}"))
    handles.append(patch("#f4f4f4", "not labelled"))
    legend(figure, handles, 3)
    return figure


@styled
def fold_map(ground: Ground, area: TiledArea, folds: Array) -> Figure:
    """Which ground is mapped by the network that never saw it: codes of ``folds`` ``(row, column)``, and the blocks of ``area``."""
    source = f"data/tiles/facts.json and {ground.area}.labels.npy"
    shown = [code for code in _FOLD_COLOR if (folds == code).any()]
    names = [patch(_mixed(code), _fold_name(code)) for code in shown]
    handles = [*names, line(INVENTORY, "landslides of the inventory")]
    columns = 4 if len(handles) > 6 else 3
    foot_in = LEGEND_IN * -(-len(handles) // columns)
    figure, axes = map_frame(ground.extent_km, f"{ground.area}: folds", source, foot_in)
    rgb, known = _shade(ground)
    for code in shown:
        rgb = _over(rgb, known, np.array(to_rgb(_FOLD_COLOR[code])), _FOLD_ALPHA * (folds == code))
    axes.imshow(
        rgba(rgb, known | (folds != OUTSIDE)), extent=ground.extent_km, aspect="auto", interpolation="antialiased"
    )
    draw_outlines(axes, ground.inventory, INVENTORY, 0.8)
    _blocks(axes, ground, area)
    legend(figure, handles, columns)
    return figure


def _fold_name(code: int) -> str:
    return {TEST_AREA: "test area", OUTSIDE: "not labelled"}.get(code, f"fold {code + 1}")


def _mixed(code: int) -> Array:
    """The colour of a fold over middling relief, for the legend."""
    return 0.72 + _FOLD_ALPHA * (np.array(to_rgb(_FOLD_COLOR[code])) - 0.72)


def _blocks(axes: Axes, ground: Ground, area: TiledArea) -> None:
    """Where there is room, the borders of the blocks, and in the middle of each one with labels its number."""
    west, east, south, north = ground.extent_km
    rows, columns = area.shape
    tops, lefts = np.array([*area.tops, rows]), np.array([*area.lefts, columns])
    wide_in = axes.bbox.width / axes.figure.dpi * np.diff(lefts).max() / columns
    tall_in = axes.bbox.height / axes.figure.dpi * np.diff(tops).max() / rows
    if min(wide_in, tall_in) < _NUMBERED_IN:
        return
    axes.vlines(west + lefts[1:-1] / columns * (east - west), south, north, colors="white", linewidths=0.6, zorder=2)
    axes.hlines(north - tops[1:-1] / rows * (north - south), west, east, colors="white", linewidths=0.6, zorder=2)
    for number, code in enumerate(area.folds):
        down, across = divmod(number, len(area.lefts))
        if code == OUTSIDE:
            continue
        x = west + (lefts[across] + lefts[across + 1]) / 2 / columns * (east - west)
        y = north - (tops[down] + tops[down + 1]) / 2 / rows * (north - south)
        axes.text(
            x, y, str(number), ha="center", va="center", size=7.5, weight="bold", color=INK, zorder=4,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.7, "lw": 0},
        )  # fmt: skip


@styled
def uncertainty_map(ground: Ground, uncertainty: Array) -> Figure:
    """How much the looks at a pixel ``(row, column)`` disagree."""
    source = f"data/predict/{ground.area}/probability.tif, band uncertainty"
    figure, axes = map_frame(ground.extent_km, f"{ground.area}: uncertainty", source, BAR_IN + LEGEND_IN)
    known = uncertainty[np.isfinite(uncertainty)]
    most = float(np.percentile(known, 99.5)) if known.size else 0.0
    shown = axes.imshow(
        uncertainty, extent=ground.extent_km, aspect="auto", interpolation="antialiased", cmap="cividis",
        vmin=0, vmax=most or 1.0,
    )  # fmt: skip
    draw_outlines(axes, ground.mapped, "white", 0.5)
    colour_bar(axes, shown, "standard deviation of the probability", BAR_IN + LEGEND_IN, "max")
    legend(figure, [line("#bbbbbb", "mapped landslide")], 1)
    return figure


def residual_limit(*residuals: Array) -> float:
    """A colour scale for residuals that are compared: the largest of their 98th percentiles of size."""
    known = [np.abs(r[np.isfinite(r)]) for r in residuals]
    return max((float(np.percentile(k, 98)) for k in known if k.size), default=0.0) or 1.0


@dataclass(frozen=True)
class Residual:
    """What a DEM and what it is compared with disagree about, ``when`` the DEM was not aligned ('before') or was ('after')."""

    area: str
    when: str
    values: Array
    """``(row, column)``."""
    extent_km: tuple[float, float, float, float]
    name: str
    unit: str


@styled
def residual_map(residual: Residual, limit: float) -> Figure:
    """Residuals of the coregistration, coloured from minus ``limit`` to ``limit``."""
    known = residual.values[np.isfinite(residual.values)]
    source = f"data/coregister/{residual.area}/residual_{residual.when}.tif"
    label = f"{residual.name.replace('_', ' ').replace('dem', 'DEM')} [{residual.unit or '-'}]"
    title = f"{residual.area}: residual {residual.when} alignment"
    figure, axes = map_frame(residual.extent_km, title, source, BAR_IN)
    shown = axes.imshow(
        residual.values, extent=residual.extent_km, aspect="auto", interpolation="antialiased", cmap="RdBu_r",
        vmin=-limit, vmax=limit,
    )  # fmt: skip
    if known.size:
        middle = float(np.median(known))
        digits = max(0, 2 - int(np.floor(np.log10(limit))))
        label += f"; median {middle:+.{digits}f}, spread (NMAD) {nmad(known):.{digits}f}"
    colour_bar(axes, shown, label, BAR_IN, "both")
    return figure
