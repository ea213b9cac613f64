"""What the numbers of a raw raster say against it: units, nodata that nobody declared, no data at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl import raster
from hpcl.ingest import remedies
from hpcl.ingest.grids import crs_of
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError
from hpcl.raster import Roi

METRES = ("m", "metre", "metres", "meter", "meters")

# What a check looks for is part of the check, not a knob of the pipeline.
SENTINELS = (
    -32768, -32767, -9999, -99999, -999, 9999, 99999, 32767, 65535,
    float(np.finfo("f4").min), float(np.finfo("f4").max), float(np.finfo("f8").min), float(np.finfo("f8").max),
    -1e38, 1e38, 1e20, -1e20,
)  # fmt: skip
"""Numbers that programs write for "no data"."""
CLEAR_FRAC, CLEAR_M = 0.1, 10.0
"""A sentinel stands clear of the data: by this share of their range; no natural surface jumps by more metres either."""
EDGE_FRAC, EDGE_JUMP_FRAC = 0.05, 0.3
"""Fill of an image: this share of its edge, and the scene beside it has this share of its mean brightness at least."""


def check_unit(dem: Raw) -> None:
    """Refuse elevations that are not metres, by the band's unit, else the vertical axis, else the horizontal unit."""
    remedy = f"convert them to metres and set `{remedies.edit_info(dem.path, '--bidx', '1', '--units', 'metre')}`"
    unit = dem.bands[0].unit
    if unit:
        if unit.strip().lower() not in METRES:
            raise IngestError(f"{dem.path} has elevations in '{unit}' by the unit of its band; {remedy}.")
        return
    axes = dem.crs.axis_info
    vertical = [axis for axis in axes if axis.direction in ("up", "down")]
    horizontal = [axis for axis in axes if axis.direction in ("east", "north") and crs_of(dem.grid).projected]
    what = "by its vertical CRS" if vertical else "like its map, as far as one can tell"
    for axis in vertical or horizontal:
        if abs(axis.unit_conversion_factor - 1) > 1e-9:
            raise IngestError(
                f"{dem.path} has elevations in {axis.unit_name} {what}; {remedy}"
                " (if they are metres already, set that alone)."
            )


@dataclass
class _Seen:
    """What a pass over one layer has met so far, in stored numbers."""

    valid: int = 0
    low: float = math.inf
    high: float = -math.inf
    codes: dict[float, int] | None = None

    def add(self, values: npt.NDArray[Any], codes: Sequence[float]) -> None:
        """Count the ``values`` (data only, any shape): suspicious codes one by one, the others by their range."""
        self.codes = self.codes if self.codes is not None else {}
        if not values.size:
            return
        self.valid += values.size
        low, high = values.min(), values.max()
        for code in codes:
            if low <= code <= high and (count := int(np.count_nonzero(values == values.dtype.type(code)))):
                self.codes[code] = self.codes.get(code, 0) + count
                values = values[values != values.dtype.type(code)]
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def sentinel(self, elevation: bool) -> tuple[float, float] | None:
        """A code that stands clear of the other values, and its share; None if there is no such code."""
        clear = CLEAR_FRAC * (self.high - self.low)
        clear = min(clear, CLEAR_M) if elevation else clear
        for code, count in (self.codes or {}).items():
            alone = self.low > self.high
            if alone or max(self.low - code, code - self.high) > clear:
                return code, count / self.valid
        return None


def _representable(codes: Iterable[float], dtype: np.dtype[Any]) -> list[float]:
    if dtype.kind == "f":
        return [c for c in codes if abs(c) <= float(np.finfo(dtype).max)]
    info = np.iinfo(dtype)
    return [c for c in codes if float(c).is_integer() and info.min <= c <= info.max]


class _Edge:
    """Evidence that an image is filled with one number where it has no data: 0 or the largest of its type.

    Dark pixels are no fill: they lie anywhere, have other values in some band, and dark neighbours. Fill begins at the
    edge, is the same in all bands, and where it ends the scene is as bright as elsewhere. So look at the first and the
    last pixel of each row and column, and at the first and the last that are not fill. Memory is that of the outline.
    """

    def __init__(self, code: float, shape: tuple[int, int]) -> None:
        """Nothing seen yet of a scene of ``shape`` (row, column)."""
        self.code = code
        # For rows (0) and columns (1), from their beginning (0) and their end (1): is the edge pixel fill, and how far
        # from fill is the outermost pixel that is not.
        self.filled = [np.zeros((2, size), bool) for size in shape]
        self.beside = [np.full((2, size), np.nan, np.float32) for size in shape]
        self.scene, self.scene_sum = 0, 0.0

    def add(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], roi: Roi) -> None:
        """Look at the block ``(band, row, column)`` at ``roi``; blocks come row by row."""
        distance = np.abs(values.astype(np.float32) - self.code).max(axis=0)
        known = valid.all(axis=0)
        fill, scene = known & (distance == 0), known & (distance > 0)
        self.scene += int(scene.sum())
        self.scene_sum += float(distance[scene].sum(dtype=np.float64))
        for axis, lines in enumerate(roi):
            across = roi[1 - axis]
            fill_lines, scene_lines, far = (a if axis == 0 else a.T for a in (fill, scene, distance))
            some = scene_lines.any(axis=1)
            for end, outermost in enumerate((scene_lines.argmax(axis=1), -1 - scene_lines[:, ::-1].argmax(axis=1))):
                met = np.where(some, far[np.arange(len(far)), outermost], np.nan)
                before = self.beside[axis][end, lines]
                # The first scene pixel of a line stays, the last is the latest.
                kept = np.where(np.isnan(before), met, before) if end == 0 else np.where(np.isnan(met), before, met)
                self.beside[axis][end, lines] = kept
            if across.start == 0:
                self.filled[axis][0, lines] = fill_lines[:, 0]
            if across.stop == len(self.filled[1 - axis][0]):
                self.filled[axis][1, lines] = fill_lines[:, -1]

    @property
    def filled_frac(self) -> float:
        """Share of the edge that is fill, 0 if it looks like part of the scene."""
        filled = np.concatenate([lines.ravel() for lines in self.filled])
        beside = np.concatenate([lines.ravel() for lines in self.beside])[filled]
        beside = beside[np.isfinite(beside)]
        if filled.mean() < EDGE_FRAC:
            return 0.0
        if beside.size and beside.mean(dtype=np.float64) < EDGE_JUMP_FRAC * self.scene_sum / self.scene:
            return 0.0
        return float(filled.mean())


def check_values(raw: Raw, window: Roi, core: Roi, elevation: bool, tick: Callable[[], None]) -> None:
    """Read a window of a raw file once: is it whole, has it data where the image lies (``core``), is nodata declared?"""
    codes = _representable([*SENTINELS, 0] if elevation else SENTINELS, raw.dtype)
    layers = [_Seen() for _ in raw.bands]
    top, left = window[0].start, window[1].start
    shape = window[0].stop - top, window[1].stop - left
    edges = []
    if not (elevation or raw.declares_nodata):
        fills = [0.0] + ([float(np.iinfo(raw.dtype).max)] if raw.dtype.kind == "u" else [])
        edges = [_Edge(fill, shape) for fill in fills]
    covered = False
    for roi in raster.blocks(shape):
        rows, columns = slice(top + roi[0].start, top + roi[0].stop), slice(left + roi[1].start, left + roi[1].stop)
        values, valid = raw.read_native((rows, columns))
        for layer, layer_values, layer_valid in zip(layers, values, valid, strict=True):
            layer.add(layer_values[layer_valid], codes)
        for edge in edges:
            edge.add(values, valid, roi)
        inside = (
            slice(max(core[0].start - rows.start, 0), max(core[0].stop - rows.start, 0)),
            slice(max(core[1].start - columns.start, 0), max(core[1].stop - columns.start, 0)),
        )
        covered |= bool(valid[:, inside[0], inside[1]].any())
        tick()
    for layer in layers:
        if found := layer.sentinel(elevation):
            _refuse_sentinel(raw.path, found[0], f"at {found[1]:.2%} of its pixels, far from all its other values")
    for edge in edges:
        if edge.filled_frac:
            _refuse_sentinel(raw.path, edge.code, f"in all bands along {edge.filled_frac:.0%} of its edge")
    if not covered:
        raise IngestError(f"{raw.path} has no data where the image lies; give a file that covers the area.")


def _refuse_sentinel(path: Path, code: float, where: str) -> None:
    raise IngestError(
        f"{path} is {code:.9g} {where}, which looks like nodata that is not declared; declare it, as in"
        f" `{remedies.edit_info(path, '--nodata', f'{code:.9g}')}`."
    )


def count_blocks(shape: Any) -> int:
    """How many blocks a (row, column) shape makes: the steps of a progress bar."""
    return sum(1 for _ in raster.blocks(shape))
