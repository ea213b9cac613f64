"""Pictures side by side: what networks look at in a window, and blocks of ground looked at closely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcl.report.cartography import draw_outlines, image_rgba, scale_bar, stretched
from hpcl.report.maps import INVENTORY, OUTCOME_COLOR, OUTCOME_NAMES, Ground, outcome_rgba
from hpcl.report.style import INK, WIDTH_IN, YELLOW, Array, data_note, layers_of, legend, line, patch, styled


@dataclass(frozen=True)
class Explained:
    """One explained window."""

    title: str
    image: Array
    """``(1 or 3, row, column)``."""
    hillshade: Array
    landslide: Array
    """The truth, bool ``(row, column)``; drawn as an outline."""
    cams: Mapping[str, Array]
    """``<layer>`` and ``untrained_<layer>`` to attention in 0..1, NaN where there is no data."""
    source: str


@dataclass(frozen=True)
class _Sheet:
    """Two rows of pictures of one size, in inches, with room for a title above and a colour bar below."""

    columns: int
    cell: float
    tall: float

    @classmethod
    def of(cls, columns: int, shape: tuple[int, int], least: tuple[int, float]) -> _Sheet:
        """For pictures of this shape in pixels; ``least``: for how many columns there is room, and the width of one."""
        room, wide = least
        cell = max((2 * WIDTH_IN - 0.5) / max(columns, room) - 0.08, wide)
        return cls(columns, cell, cell * shape[0] / shape[1])

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        return 0.35 + self.columns * (self.cell + 0.08), 0.55 + 2 * (self.tall + 0.08) + 0.62

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Of a picture, as shares of the figure."""
        wide, total = self.size
        left, bottom = 0.32 + column * (self.cell + 0.08), 0.62 + (1 - row) * (self.tall + 0.08)
        return left / wide, bottom / total, self.cell / wide, self.tall / total


@styled
def attention(window: Explained) -> Figure:
    """Image and relief, and beside each other the attention of the trained network, of the untrained one below it."""
    layers = layers_of(window.cams)
    sheet = _Sheet.of(1 + len(layers), window.hillshade.shape, least=(4, 0.0))
    wide, total = sheet.size
    figure = Figure(figsize=(wide, total))
    drawn = None
    for row, prefix in enumerate(("", "untrained_")):
        axes = _picture(figure, sheet.place(row, 0))
        axes.set_ylabel(("trained", "untrained control")[row], size=8)
        if row == 0:
            axes.imshow(image_rgba(window.image), interpolation="antialiased")
            axes.set_title("image / relief", size=8, weight="normal", loc="center")
        else:
            axes.imshow(stretched(window.hillshade), cmap="gray", vmin=-0.3, vmax=1, interpolation="antialiased")
        _truth(axes, window.landslide, YELLOW)
        for column, layer in enumerate(layers, start=1):
            axes = _picture(figure, sheet.place(row, column))
            cam = window.cams[prefix + layer]
            drawn = axes.imshow(cam, cmap="magma", vmin=0, vmax=1, interpolation="antialiased")
            if not np.nan_to_num(cam).any():
                axes.text(0.5, 0.5, "blank", transform=axes.transAxes, ha="center", va="center", color="white")
            _truth(axes, window.landslide, "#56F0FF")
            if row == 0:
                axes.set_title(layer, size=8, weight="normal", loc="center")
    figure.text(0.32 / wide, 1 - 0.1 / total, window.title, va="top", weight="bold", size=9, color=INK)
    if drawn is not None:
        bar = figure.add_axes(((wide - 3.2) / wide, 0.42 / total, 3.1 / wide, 0.09 / total))
        scale = figure.colorbar(drawn, cax=bar, orientation="horizontal")
        scale.set_label("attention (Grad-CAM; largest value of a window = 1)", size=7.5, labelpad=1)
        bar.tick_params(length=2, pad=1, labelsize=7)
        bar.grid(False)
    if window.landslide.any():
        figure.text(0.32 / wide, 0.40 / total, "outline: landslide of the inventory", size=7.5, color=INK)
    data_note(figure, window.source)
    return figure


@dataclass(frozen=True)
class View:
    """One block of ground: its image ``(1 or 3, row, column)``, and codes of outcomes ``(row, column)``."""

    title: str
    ground: Ground
    image: Array
    codes: Array


@styled
def enlarged(views: Sequence[View], source: str, dpi: float) -> Figure:
    """Blocks beside each other: the image of each, and below it what became of its pixels, with the outlines of the inventory.

    However large a block is, each of its pixels has one of the figure, if that is drawn at ``dpi``.
    """
    height_px, width_px = (max(sides) for sides in zip(*(view.codes.shape for view in views), strict=True))
    sheet = _Sheet.of(len(views), (height_px, width_px), least=(2, width_px / dpi))
    wide, total = sheet.size
    figure = Figure(figsize=(wide, total))
    for column, view in enumerate(views):
        extent = view.ground.extent_km
        for row, (name, seen) in enumerate(
            {"image": image_rgba(view.image), "map": outcome_rgba(view.ground, view.codes)}.items()
        ):
            axes = _picture(figure, sheet.place(row, column))
            axes.imshow(seen, extent=extent, interpolation="nearest")
            draw_outlines(axes, view.ground.inventory, "white", 1.5)
            draw_outlines(axes, view.ground.inventory, INVENTORY, 0.8)
            if column == 0:
                axes.set_ylabel(name, size=8)
            if row == 0:
                axes.set_title(view.title, size=8, weight="normal", loc="center")
                scale_bar(axes, extent)
    figure.text(
        0.32 / wide,
        1 - 0.1 / total,
        f"{views[0].ground.area}: blocks enlarged",
        va="top",
        weight="bold",
        size=9,
        color=INK,
    )
    colours = {name: OUTCOME_COLOR[code] for code, name in OUTCOME_NAMES.items()} | {"not labelled": "#f4f4f4"}
    handles = [patch(colour, name) for name, colour in colours.items()]
    legend(figure, [*handles, line(INVENTORY, "landslides of the inventory")], 5 if len(views) > 1 else 3)
    data_note(figure, source)
    return figure


def _picture(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """A frame for one picture."""
    axes = figure.add_axes(place, xticks=[], yticks=[], facecolor="white")
    axes.patch.set(hatch="////", edgecolor="#cccccc", linewidth=0)
    axes.spines[["top", "right"]].set_visible(True)
    axes.grid(False)
    return axes


def _truth(axes: Axes, landslide: Array, colour: str) -> None:
    if landslide.any():
        axes.contour(landslide, levels=[0.5], colors=[colour], linewidths=0.9)
