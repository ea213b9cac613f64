"""Maps: an area's image, probability, outcomes, folds, uncertainty, residuals, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from hpcl.core.codes import OUTSIDE, TEST_AREA, UNKNOWN
from hpcl.core.records import Thresholds, TiledArea
from hpcl.core.spread import nmad
from hpcl.report.style import (
    BAR_IN,
    BLUE,
    INK,
    LEGEND_IN,
    VERMILION,
    WIDTH_IN,
    YELLOW,
    Array,
    data_note,
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


def stretched(values: Array) -> Array:
    """Values between their 2nd and 98th percentile as 0..1; NaN stays."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    return np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)


def _rgba(rgb: Array, known: Array) -> Array:
    """A colour image ``(row, column, 3)`` that is transparent where nothing is known."""
    return np.concatenate([np.nan_to_num(rgb), known[..., None].astype(float)], axis=-1)


def _shade(ground: Ground, pale: float = 0.0) -> tuple[Array, Array]:
    """The relief as greys ``(row, column, 3)``, paler on demand, and where it is known."""
    grey = 0.38 + 0.57 * stretched(ground.hillshade)
    grey = grey + pale * (1 - grey)
    return np.repeat(grey[..., None], 3, axis=-1), np.isfinite(ground.hillshade)


def _over(base: Array, known: Array, colour: Array, alpha: Array) -> Array:
    """``colour`` laid over ``base`` with ``alpha``; where there is no base, over white."""
    base = np.where(known[..., None], base, 0.95)
    return base + alpha[..., None] * (colour - base)


def _map(extent_km: tuple[float, float, float, float], title: str, source: str, foot_in: float) -> tuple[Figure, Axes]:
    """A figure with one map of true proportions, and ``foot_in`` inches below it for a legend."""
    west, east, south, north = extent_km
    left, right, top, axis = 0.62, 0.20, 0.32, 0.40
    width = WIDTH_IN - left - right
    height = width * (north - south) / (east - west)
    if height > 1.45 * width:
        width, height = 1.45 * width * width / height, 1.45 * width
    total = top + height + axis + foot_in + 0.22
    figure = Figure(figsize=(WIDTH_IN, total))
    x0 = left + (WIDTH_IN - left - right - width) / 2
    axes = figure.add_axes(
        (x0 / WIDTH_IN, (0.22 + foot_in + axis) / total, width / WIDTH_IN, height / total), facecolor="white"
    )
    axes.patch.set(hatch="////", edgecolor="#cccccc", linewidth=0)
    axes.set(xlim=(west, east), ylim=(south, north), xlabel="east [km]", ylabel="north [km]")
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", labelrotation=90)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("center")
    figure.text(x0 / WIDTH_IN, 1 - 0.1 / total, title, va="top", weight="bold", size=9, color=INK)
    data_note(figure, source)
    scale_bar(axes, extent_km)
    _north_arrow(axes)
    return figure, axes


def scale_length_km(width_km: float) -> float:
    """The longest of 1, 2, 5 times a power of ten that is at most a quarter of a map's width.

    >>> scale_length_km(2.38), scale_length_km(900)
    (0.5, 200.0)
    """
    power = 10.0 ** np.floor(np.log10(width_km / 4))
    return float(max(step * power for step in (1, 2, 5) if step * power <= width_km / 4))


def scale_bar(axes: Axes, extent_km: tuple[float, float, float, float]) -> None:
    """How long a round distance is, at the lower left."""
    width_km = extent_km[1] - extent_km[0]
    length = scale_length_km(width_km)
    label = f"{length:g} km" if length >= 1 else f"{length * 1000:g} m"
    share = length / width_km
    high = 0.052 * axes.bbox.width / axes.bbox.height
    box = Rectangle(
        (0.02, 0.02), share + 0.04, high * 1.35, transform=axes.transAxes, color="white", alpha=0.8, lw=0, zorder=5
    )
    axes.add_patch(box)
    for half, colour in ((0, INK), (1, "white")):
        axes.add_patch(
            Rectangle(
                (0.04 + half * share / 2, 0.02 + high * 0.25), share / 2, high * 0.22,
                transform=axes.transAxes, facecolor=colour, edgecolor=INK, lw=0.6, zorder=6,
            )
        )  # fmt: skip
    axes.text(
        0.04 + share / 2,
        0.02 + high * 0.55,
        label,
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        size=7,
        zorder=6,
    )


def _north_arrow(axes: Axes) -> None:
    """North is up on every grid of this project."""
    x, y = (inches * axes.figure.dpi / side for inches, side in zip((0.2, 0.42), axes.bbox.size, strict=True))
    corner = (1 - 1.15 * x, 1 - 1.1 * y)
    axes.add_patch(Rectangle(corner, x, y, transform=axes.transAxes, color="white", alpha=0.8, lw=0, zorder=5))
    middle = 1 - 0.65 * x
    axes.annotate(
        "", (middle, 1 - 0.12 * y), (middle, 1 - 0.62 * y), xycoords="axes fraction", zorder=6,
        arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    axes.text(
        middle, 1 - 1.06 * y, "N", transform=axes.transAxes, ha="center", va="bottom", size=7.5, weight="bold", zorder=6
    )


def draw_outlines(axes: Axes, shapes: Sequence[Array], colour: str, width: float) -> None:
    """Rings of polygons, in the coordinates of the map."""
    axes.add_collection(LineCollection(shapes, colors=colour, linewidths=width, zorder=3), autolim=False)


def _colour_bar(axes: Axes, mapping: ScalarMappable, label: str, foot_in: float, extend: str = "neither") -> None:
    """A horizontal bar at the top of a foot of ``foot_in`` inches."""
    figure = cast(Figure, axes.figure)
    height = figure.get_size_inches()[1]
    place = axes.get_position()
    at = (place.x0 + 0.12 * place.width, (0.22 + foot_in - 0.12) / height, 0.76 * place.width, 0.09 / height)
    bar = figure.add_axes(at)
    drawn = figure.colorbar(mapping, cax=bar, orientation="horizontal", extend=extend)
    drawn.outline.set_linewidth(0.5)
    drawn.set_label(label, size=7.5, labelpad=1)
    bar.tick_params(length=2, pad=1, labelsize=7)
    bar.grid(False)


INVENTORY = "#332288"


@styled
def image_map(ground: Ground, bands: Array, names: Sequence[str]) -> Figure:
    """The image: ``bands`` ``(3 or 1, row, column)`` as red, green, blue or as grey, each stretched on its own."""
    source = f"data/ingest/{ground.area}/image.tif ({', '.join(names)}; stretched 2-98 %)"
    figure, axes = _map(ground.extent_km, f"{ground.area}: image", source, LEGEND_IN if ground.inventory else 0.0)
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
    figure, axes = _map(ground.extent_km, f"{ground.area}: landslide map", source, BAR_IN + LEGEND_IN)
    base, known = _shade(ground)
    colours = _probability_colours()
    rgb = _over(base, known, colours(np.nan_to_num(probability))[..., :3], _probability_alpha(probability))
    axes.imshow(
        _rgba(rgb, known | np.isfinite(probability)),
        extent=ground.extent_km,
        aspect="auto",
        interpolation="antialiased",
    )
    draw_outlines(axes, ground.mapped, INK, 0.9)
    steps = np.linspace(0, 1, 256)
    blended = 0.75 + _probability_alpha(steps)[:, None] * (colours(steps)[:, :3] - 0.75)
    _colour_bar(
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
    return _rgba(rgb, shown)


@styled
def outcome_map(ground: Ground, codes: Array, area_km2: Mapping[int, float]) -> Figure:
    """Hits, misses and false alarms ``codes`` ``(row, column)`` on labelled ground; ``area_km2`` of each code."""
    source = f"data/predict/{ground.area}/probability.tif against data/tiles/{ground.area}.labels.npy"
    figure, axes = _map(ground.extent_km, f"{ground.area}: right and wrong", source, 2 * LEGEND_IN)
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
    figure, axes = _map(ground.extent_km, f"{ground.area}: folds", source, foot_in)
    rgb, known = _shade(ground)
    for code in shown:
        rgb = _over(rgb, known, np.array(to_rgb(_FOLD_COLOR[code])), _FOLD_ALPHA * (folds == code))
    axes.imshow(
        _rgba(rgb, known | (folds != OUTSIDE)), extent=ground.extent_km, aspect="auto", interpolation="antialiased"
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
    figure, axes = _map(ground.extent_km, f"{ground.area}: uncertainty", source, BAR_IN + LEGEND_IN)
    known = uncertainty[np.isfinite(uncertainty)]
    most = float(np.percentile(known, 99.5)) if known.size else 0.0
    shown = axes.imshow(
        uncertainty, extent=ground.extent_km, aspect="auto", interpolation="antialiased", cmap="cividis",
        vmin=0, vmax=most or 1.0,
    )  # fmt: skip
    draw_outlines(axes, ground.mapped, "white", 0.5)
    _colour_bar(axes, shown, "standard deviation of the probability", BAR_IN + LEGEND_IN, "max")
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
    figure, axes = _map(residual.extent_km, title, source, BAR_IN)
    shown = axes.imshow(
        residual.values, extent=residual.extent_km, aspect="auto", interpolation="antialiased", cmap="RdBu_r",
        vmin=-limit, vmax=limit,
    )  # fmt: skip
    if known.size:
        middle = float(np.median(known))
        digits = max(0, 2 - int(np.floor(np.log10(limit))))
        label += f"; median {middle:+.{digits}f}, spread (NMAD) {nmad(known):.{digits}f}"
    _colour_bar(axes, shown, label, BAR_IN, "both")
    return figure


def image_rgba(bands: Array) -> Array:
    """An image ``(3 or 1, row, column)`` as it is shown."""
    rgb = np.stack([stretched(band) for band in (bands if len(bands) == 3 else bands[[0, 0, 0]])], axis=-1)
    return _rgba(rgb, np.asarray(np.isfinite(bands).all(axis=0)))
