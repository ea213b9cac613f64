"""What every map on paper has: true proportions, a scale bar, an arrow to the north, outlines, a bar of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from hpcl.report.style import INK, WIDTH_IN, Array, data_note


def map_frame(
    extent_km: tuple[float, float, float, float], title: str, source: str, foot_in: float
) -> tuple[Figure, Axes]:
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


def colour_bar(axes: Axes, mapping: ScalarMappable, label: str, foot_in: float, extend: str = "neither") -> None:
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


def stretched(values: Array) -> Array:
    """Values between their 2nd and 98th percentile as 0..1; NaN stays."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    return np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)


def rgba(rgb: Array, known: Array) -> Array:
    """A colour image ``(row, column, 3)`` that is transparent where nothing is known."""
    return np.concatenate([np.nan_to_num(rgb), known[..., None].astype(float)], axis=-1)


def image_rgba(bands: Array) -> Array:
    """An image ``(3 or 1, row, column)`` as it is shown."""
    rgb = np.stack([stretched(band) for band in (bands if len(bands) == 3 else bands[[0, 0, 0]])], axis=-1)
    return rgba(rgb, np.asarray(np.isfinite(bands).all(axis=0)))
