"""Charts: training curves, precision and recall, reliability, risk and coverage, intervals, attention, label budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from hpcl.core.records import AttentionShares
from hpcl.metrics.records import Metrics
from hpcl.report.style import (
    BLUE,
    GREY,
    LEGEND_IN,
    MAP_COLOR,
    MAP_MARKER,
    MAPS,
    ORANGE,
    SCORES,
    VERMILION,
    WIDTH_IN,
    Array,
    data_note,
    layers_of,
    legend,
    line,
    styled,
)

COLOURS = [BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE]
"""Of lines, in their order."""


def _chart(
    height_in: float, title: str, source: str, left_in: float = 0.62, legend_rows: int = 1
) -> tuple[Figure, Axes]:
    """A figure with one diagram, a title above it, and rows for the legend below."""
    bottom = 0.22 + LEGEND_IN * legend_rows + 0.42
    figure = Figure(figsize=(WIDTH_IN, height_in))
    place = (left_in / WIDTH_IN, bottom / height_in, 1 - (left_in + 0.2) / WIDTH_IN, 1 - (bottom + 0.32) / height_in)
    axes = figure.add_axes(place)
    axes.set_title(title)
    data_note(figure, source)
    return figure, axes


@styled
def attention_shares(area: str, shares: Mapping[str, AttentionShares]) -> Figure:
    """Share of attention at landslide boundaries by layer, trained and untrained, beside the boundary's share of ground."""
    layers = layers_of(shares)
    title, source = f"{area}: attention at boundaries", f"data/explain/{area}/facts.json"
    figure, axes = _chart(1.3 + 0.3 * len(layers), title, source, left_in=0.9)
    at = np.arange(len(layers))
    for prefix, label, fill in (("", "trained", BLUE), ("untrained_", "untrained control", "white")):
        shown = [shares.get(prefix + name) for name in layers]
        values = [layer.boundary_attention_frac if layer else None for layer in shown]
        axes.plot(
            _floats(values) * 100, at, "o", color=BLUE, markerfacecolor=fill, markersize=7, label=label, clip_on=False
        )
    ground = shares[layers[0]].boundary_ground_frac
    if ground is not None:
        axes.axvline(ground * 100, color=VERMILION, linewidth=1.2, label="share of the ground")
    axes.set(yticks=at, yticklabels=layers, ylim=(len(layers) - 0.5, -0.5), xlabel="share at landslide boundaries [%]")
    axes.set_xlim(left=0)
    axes.margins(x=0.1)
    legend(figure, axes.get_legend_handles_labels()[0], 3)
    return figure


def _floats(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


@dataclass(frozen=True)
class Curves:
    """What a chart shows of curves.csv: ``lines`` are columns, with their labels."""

    title: str
    lines: Mapping[str, str]
    unit: str
    logarithmic: bool


@styled
def training(table: pd.DataFrame, shown: Curves) -> Figure:
    """Columns of curves.csv by epoch, those that are there: a line for each fold, in one colour."""
    rows = -(-len(set(shown.lines) & set(table)) // 4)
    figure, axes = _chart(3.1, shown.title, "reports/train/curves.csv", legend_rows=rows)
    marker = "o" if table["epoch"].nunique() < 40 else ""
    handles = []
    for (column, label), colour in zip(shown.lines.items(), COLOURS, strict=False):
        if column in table and table[column].notna().any():
            for _, mine in table.groupby("fold"):
                axes.plot(mine["epoch"] + 1, mine[column], marker=marker, markersize=2.5, linewidth=1.1, color=colour)
            handles.append(line(colour, label))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=shown.unit)
    if shown.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    legend(figure, handles, 4)
    return figure


@styled
def precision_recall(curves: pd.DataFrame, metrics: Metrics) -> Figure:
    """Precision against recall on labelled ground, the maps as shipped as points, and lines of equal landslide IoU."""
    figure, axes = _chart(
        4.4,
        "Precision and recall on labelled ground",
        "reports/evaluate/precision_recall.csv and metrics.json",
        legend_rows=2,
    )
    axes.grid(False)
    recall, precision = np.meshgrid(np.linspace(0.01, 1, 200), np.linspace(0.01, 1, 200))
    iou = 1 / (1 / recall + 1 / precision - 1)
    lines = axes.contour(
        recall, precision, iou, levels=np.arange(1, 10) / 10, colors="#d0d0d0", linewidths=0.7, zorder=1
    )
    axes.clabel(lines, fmt="IoU %.1f", fontsize=6, colors="#999999")
    for name, label in MAPS.items():
        mine = curves[curves["map"] == name]
        if len(mine):
            axes.plot(mine["recall"], mine["precision"], color=MAP_COLOR[name], zorder=2)
        point = metrics.of(name)
        if point.recall is not None and point.precision is not None:
            axes.plot(
                [point.recall], [point.precision], MAP_MARKER[name], color=MAP_COLOR[name],
                markeredgecolor="white", markersize=9, zorder=3, label=f"{label}, as mapped",
            )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="recall (share of landslide ground that is mapped)")
    axes.set_ylabel("precision (share of mapped ground that is landslide)")
    legend(figure, axes.get_legend_handles_labels()[0], 2)
    return figure


@styled
def reliability(bins: pd.DataFrame) -> Figure:
    """Share of landslide among pixels of equal probability, and how many pixels have it."""
    figure, axes = _chart(4.4, "Calibration on labelled ground", "reports/evaluate/reliability.csv")
    x, y, width, height = axes.get_position().bounds
    below = figure.add_axes((x, y, width, 0.2 * height), sharex=axes)
    axes.set_position((x, y + 0.27 * height, width, 0.73 * height))
    axes.tick_params(labelbottom=False)
    axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, linestyle="--", label="perfect")
    for name, mine in bins.groupby("map", sort=False):
        marker, colour = MAP_MARKER[name], MAP_COLOR[name]
        axes.plot(mine["mean_probability"], mine["landslide_frac"], marker=marker, color=colour, label=MAPS[name])
        edges = np.append(mine["from_probability"].to_numpy(), mine["to_probability"].iloc[-1])
        below.stairs(mine["pixels"] / mine["pixels"].sum() * 100, edges, color=colour, linewidth=1.4)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of landslide")
    below.set(xlabel="predicted probability of landslide", ylabel="pixels [%]", yscale="log")
    below.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    below.minorticks_off()
    legend(figure, axes.get_legend_handles_labels()[0], 3)
    return figure


@styled
def risk_coverage(table: pd.DataFrame) -> Figure:
    """Share of wrong pixels on the most certain part of the ground, by the size of that part: ``coverage`` and ``error_frac``."""
    figure, axes = _chart(3.6, "Errors on the most certain ground", "reports/evaluate/risk_coverage.csv")
    mine = table.sort_values("coverage")
    coverage, error = mine["coverage"].to_numpy(), mine["error_frac"].to_numpy()
    everywhere = error[-1]
    axes.plot(coverage * 100, error * 100, color=BLUE, label="left out by uncertainty")
    axes.axhline(everywhere * 100, color=GREY, linewidth=1.2, label="left out at random")
    part = np.linspace(0.005, 1, 400)
    ideal = np.clip(everywhere - (1 - part), 0, None) / part
    axes.plot(part * 100, ideal * 100, color="#aaaaaa", linewidth=1, linestyle="--", label="all errors left out first")
    axes.set(xlim=(0, 100), xlabel="ground that is kept, the most certain first [%]", ylabel="wrong pixels [%]")
    axes.set_ylim(bottom=0)
    legend(figure, axes.get_legend_handles_labels()[0], 3)
    return figure


@styled
def score_intervals(metrics: Metrics) -> Figure:
    """Every score of every map with its interval."""
    figure, axes = _chart(4.4, "Scores on labelled ground", "reports/evaluate/metrics.json", left_in=1.05)
    for offset, (name, label) in zip((-0.27, -0.09, 0.09, 0.27), MAPS.items(), strict=True):
        for row, score in enumerate(SCORES):
            value = metrics.of(name).of(score)
            low, high = metrics.of(name).interval_of(score)
            if value is None:
                continue
            if low is not None and high is not None:
                axes.plot([low, high], [row + offset] * 2, color=MAP_COLOR[name], linewidth=1.8, alpha=0.55)
            axes.plot(
                [value], [row + offset], MAP_MARKER[name], color=MAP_COLOR[name], label=label if row == 0 else None
            )
    for row in range(1, len(SCORES), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", lw=0, zorder=0)
    axes.set(yticks=range(len(SCORES)), yticklabels=list(SCORES.values()), ylim=(len(SCORES) - 0.5, -0.5))
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1)
    axes.set_xlabel("score, with block-bootstrap interval [-]")
    axes.grid(False, axis="y")
    legend(figure, axes.get_legend_handles_labels()[0], 4)
    return figure


@styled
def label_budget(curves: pd.DataFrame) -> Figure:
    """Landslide IoU of each variant by the landslides that its networks learnt from, with intervals; curves of one ground."""
    groups = list(curves.groupby("label", sort=False))
    figure, axes = _chart(
        3.6, "Landslide IoU by landslides learnt from", "reports/budget.csv", legend_rows=-(-len(groups) // 2)
    )
    span = curves["landslides"].max()
    for number, (label, mine) in enumerate(groups):
        colour, marker = COLOURS[number % len(COLOURS)], "os^Dv"[number % 5]
        at = mine["landslides"] + 0.006 * span * (
            number - (len(groups) - 1) / 2
        )  # so that intervals stand side by side
        axes.plot(at, mine["landslide_iou"], marker=marker, markersize=5, color=colour, label=label)
        axes.vlines(at, mine["iou_low"], mine["iou_high"], color=colour, linewidth=1.4, alpha=0.55)
    shares = curves.drop_duplicates("percent")
    for percent, landslides in zip(shares["percent"], shares["landslides"], strict=True):
        axes.annotate(
            f"{percent:.0f} %",
            (landslides, 0.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            color=GREY,
            fontsize=7,
        )
    axes.set(xlabel="landslides that each network learnt from (mean over folds and seeds)", ylabel="landslide IoU [-]")
    axes.set_xlim(0, 1.04 * span)
    axes.margins(y=0.1)  # room for the shares below the intervals
    legend(figure, axes.get_legend_handles_labels()[0], 2)
    return figure
