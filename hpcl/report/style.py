"""How all figures look: colours, sizes, legends, and equal bytes whatever the user's settings."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from hpcl.settings.report import ReportSettings

Array = npt.NDArray[Any]

P = ParamSpec("P")

WIDTH_IN = 5.2
"""Width of a figure: two stand side by side on a page, one fills a phone."""

LEGEND_IN, BAR_IN = 0.20, 0.46
"""Height of a row of a legend, and of a colour bar with its label."""

BLUE, ORANGE, VERMILION, YELLOW, GREY = "#0072B2", "#E69F00", "#D55E00", "#F0E442", "#555555"

INK, QUIET = "#222222", "#666666"

COARSE = 8
"""To which steps of red, green and blue, of 256 each, colours are rounded before a palette is chosen."""

STYLE = {
    "font.family": "DejaVu Sans",  # matplotlib brings it along, so a page looks the same on every machine
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

MAPS = {
    "hpcl_net": "HPCL-Net", "polygons": "its polygons", "pixel_classifier": "pixel classifier",
    "slope_threshold": "slope threshold",
}  # fmt: skip
"""The maps that are compared, and their names for readers."""

BASELINES = ("pixel_classifier", "slope_threshold")

MAP_COLOR = {"hpcl_net": BLUE, "polygons": VERMILION, "pixel_classifier": ORANGE, "slope_threshold": GREY}

MAP_MARKER = {"hpcl_net": "o", "polygons": "^", "pixel_classifier": "s", "slope_threshold": "D"}

SCORES = {
    "landslide_iou": "landslide IoU",
    "miou": "mean IoU",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "mcc": "MCC",
    "kappa": "kappa",
    "object_detection_rate": "objects found",
    "boundary_iou": "boundary IoU",
}
"""Scores between 0 and 1 that all maps have, and their names for readers."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style of this project, whatever style the user has set."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return drawn


def pngs(figures: Mapping[str, Figure], settings: ReportSettings) -> dict[str, bytes]:
    """The figures as PNG files, each of which depends on what it shows alone. Pillow lets other threads work while it packs one."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        packed = {name: threads.submit(_packed, _drawn(figure, settings)) for name, figure in figures.items()}
    return {name: file.result() for name, file in packed.items()}


def _drawn(figure: Figure, settings: ReportSettings) -> Array:
    """The figure's pixels ``(row, column, 3)``."""
    with style.context(["default", STYLE]):
        figure.set_dpi(settings.dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _packed(rgb: Array) -> bytes:
    """A picture as PNG in 256 colours, chosen so that even the rarest comes out right (a small legend patch too): a third of the
    bytes, so that the page can be sent by mail.

    They are chosen among rounded colours (`COARSE`), for the time that it takes grows with how many there are: a 25th of it, and
    the picture differs from what was drawn by a tenth more.
    """
    image, coarse = Image.fromarray(rgb), Image.fromarray(rgb // COARSE * COARSE + COARSE // 2)
    palette = Image.new("P", (1, 1))
    colours = coarse.quantize(255, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette.putpalette([255, 255, 255, *colours[: 255 * 3]])
    index = np.array(image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
    index[(rgb == 255).all(axis=-1)] = 0  # Pillow looks colours up roughly, and paper must not turn grey
    reduced = Image.fromarray(index)
    reduced.putpalette(palette.getpalette() or [])
    packed = io.BytesIO()
    reduced.save(packed, "png")
    return packed.getvalue()


def data_note(figure: Figure, source: str) -> None:
    """Where the data come from, small at the foot."""
    width, height = figure.get_size_inches()
    figure.text(0.06 / width, 0.06 / height, f"Data: {source}", size=6, color=QUIET, va="bottom")


def legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """A legend below the drawing."""
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=list(handles), loc="lower center", bbox_to_anchor=(0.5, 0.2 / height), ncols=columns,
        columnspacing=1.4, handletextpad=0.5, borderpad=0.2,
    )  # fmt: skip


def line(colour: str, label: str, width: float = 1.4) -> Line2D:
    """A line for a legend."""
    return Line2D([], [], color=colour, linewidth=width, label=label)


def patch(colour: Any, label: str) -> Patch:
    """A patch for a legend."""
    return Patch(facecolor=colour, edgecolor="#777777", linewidth=0.5, label=label)


def layers_of(attention: Iterable[str]) -> list[str]:
    """The explained layers, without their untrained controls: branches first, then the fused map.

    >>> layers_of(["fused", "optical", "terrain", "untrained_fused", "untrained_optical"])
    ['optical', 'terrain', 'fused']
    """
    return sorted((name for name in attention if not name.startswith("untrained_")), key=lambda n: (n == "fused", n))
