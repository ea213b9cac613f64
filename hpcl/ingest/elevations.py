"""Elevations that no ground has: voids that nobody declared, in the open or smeared, and units that are no metres.

What ground can do is asked of heights, of steps between neighbours and of slopes, all in metres on the ground. A void
stands clear of the ground at one end of its range, or lies beyond any ground of its body, or is one number walled by
steps that no ground has on most of its border. A lake, the sea or a roof is one number too, but has shores or low walls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from hpcl.geo.raster import Grid
from hpcl.ingest.extremes import CLEAR_FRAC, Extremes, is_conspicuous
from hpcl.ingest.grids import crs_of, pixel_of


@dataclass(frozen=True)
class Body:
    """The lowest and the highest elevations [m] that the ground of a planet can have, with room to spare."""

    name: str
    radius_m: float
    low_m: float
    high_m: float


BODIES = (
    Body("Earth", 6.378e6, -11_500, 9_000),
    Body("Mars", 3.396e6, -10_000, 23_000),
    Body("Venus", 6.052e6, -5_000, 14_000),
    Body("Mercury", 2.440e6, -9_000, 9_000),
    Body("the Moon", 1.737e6, -12_000, 13_000),
)
LAND_LOW_M = -500.0
"""Lower than any land of the Earth: deeper is sea floor, which is no neighbour of land across a wall."""

CLEAR_M = 10.0
"""A number that programs write for nodata is nodata in a DEM if it is further from the others than this."""
MEDIAN_SLOPE, MEDIAN_STEP_M = 1.75, 1.0
"""The median slope of no scene is steeper (60 degrees), with a metre a pixel for the canopies of a surface model."""
STEEP_SLOPE, STEEP_STEP_M, STEEP_FRAC = 5.67, 5.0, 0.2
"""No scene is steeper than this (80 degrees, and some metres a pixel for buildings) in this share of its pixels."""
CODED_SLOPE, CODED_M = 2.0, 30.0
"""A plateau of a number that programs write for nodata is a void if most of its border is higher than this."""
WALL_SLOPE, WALL_M = 3.0, 100.0
"""A plateau of any other number is, and a number clear of all others: no lake has such shores all around, no tower such walls."""
CLIFF_M = 300.0
"""Higher single steps are worth a word: cliffs hardly do that, ramps of a void that was resampled do."""
NO_STEP_SLOPE, NO_STEP_M = 5.0, 1500.0
"""No two neighbours on any ground differ by more; the highest sheer drop is 1250 m (Mount Thor)."""
MOST_CODES = 2
"""Different numbers beyond any ground that are marks of nodata each; more are smeared ones, or other units."""
MOST_NUMBERS = 500_000
"""Different numbers beside walls that are kept; where there are more, the walls are not those of a void."""
PLATEAU_PX = 9
"""A void of a number of no renown is larger, and compact."""
BORDER_PAIRS = 4
"""Neighbours of a single pixel."""


def body_of(grid: Grid) -> Body:
    """The planet that a grid lies on, by the size of its ellipsoid; an unknown one bears heights up to a tenth of it."""
    ellipsoid = crs_of(grid).proj.ellipsoid
    radius_m = ellipsoid.semi_major_metre if ellipsoid else BODIES[0].radius_m
    known = [body for body in BODIES if abs(radius_m - body.radius_m) < 0.004 * body.radius_m]
    return known[0] if known else Body("its body", radius_m, -max(0.1 * radius_m, 3e4), max(0.1 * radius_m, 3e4))


def _first(numbers: npt.NDArray[np.float64], more: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The least different numbers of all: one more than the codes that a file may have."""
    return np.unique(np.concatenate([numbers, more.astype(np.float64)]))[: MOST_CODES + 1]


def ground_pixel_m(grid: Grid) -> tuple[float, float]:
    """Metres on the ground from a pixel to the next one in its column, and in its row, in the middle of the grid."""
    row, column = (size / 2 for size in grid.shape)
    geodetic: Any = crs_of(grid).proj.geodetic_crs
    to_degrees = pyproj.Transformer.from_crs(crs_of(grid).proj, geodetic, always_xy=True)
    x, y = grid.affine * (np.array([column, column, column + 1]), np.array([row, row + 1, row]))
    lon, lat = to_degrees.transform(x, y)
    if not np.isfinite([lon, lat]).all():
        return pixel_of(grid), pixel_of(grid)
    _, _, metres = geodetic.get_geod().inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
    return metres[0], metres[1]


@dataclass
class _Steps:
    """A block's steps to the next pixel along one axis [m], and the stored numbers on either side."""

    size: npt.NDArray[np.floating[Any]]
    here: npt.NDArray[Any]
    there: npt.NDArray[Any]
    pixel_m: float


class Ground:
    """What one pass over a DEM says of its ground. Every pair of neighbours is seen once, whatever the blocks."""

    def __init__(self, grid: Grid, scale: float, offset: float) -> None:
        """Nothing seen yet of a DEM on ``grid`` whose stored numbers times ``scale`` plus ``offset`` are metres."""
        self.body = body_of(grid)
        self.pixel_m = ground_pixel_m(grid)
        self.scale, self.offset = scale, offset
        self.extremes = Extremes()
        self.slopes, self.over_median, self.steep = 0, 0, 0
        self.beyond = 0
        self.beyond_numbers, self.sunken_numbers = np.empty(0), np.empty(0)
        self.cliffs, self.highest_step_m = 0, 0.0
        self.walled: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None = (np.empty(0), np.empty(0, np.int64))

    def add(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], shape: tuple[int, int]) -> None:
        """Look at a block of ``shape``; the stored numbers ``(row, column)`` go on by one row and column if there are any."""
        rows, columns = shape
        own = np.s_[:rows, :columns]
        data = values[own][valid[own]] if not valid[own].all() else values[own].ravel()
        self.extremes.add(data)
        if not data.size:
            return
        self._add_beyond(data)
        with np.errstate(
            all="ignore"
        ):  # marks of nodata near the end of the type become inf, and so do steps from them
            down, across = self._steps(values, valid, rows, columns)
            for steps in (down, across):
                self._add_steps(steps)
            height, width = min(rows, len(down.size)), min(columns, across.size.shape[1])
            squared = np.square(down.size[:height, :width] / down.pixel_m)
            squared += np.square(across.size[:height, :width] / across.pixel_m)
            pixel_m = math.sqrt(down.pixel_m * across.pixel_m)
            self.slopes += squared.size if valid.all() else int(np.count_nonzero(~np.isnan(squared)))
            self.over_median += int(np.count_nonzero(squared > (MEDIAN_SLOPE + MEDIAN_STEP_M / pixel_m) ** 2))
            self.steep += int(np.count_nonzero(squared > (STEEP_SLOPE + STEEP_STEP_M / pixel_m) ** 2))

    def _metres(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        metres: npt.NDArray[Any] = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
        return metres * self.scale + self.offset if (self.scale, self.offset) != (1, 0) else metres

    def _steps(
        self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], rows: int, columns: int
    ) -> tuple[_Steps, _Steps]:
        """Steps down to the next row and across to the next column, NaN where a side has no data."""
        metres = self._metres(values)
        if not valid.all():
            metres[~valid] = np.nan
        down = np.s_[:-1, :columns], np.s_[1:, :columns]
        across = np.s_[:rows, :-1], np.s_[:rows, 1:]
        return (
            _Steps(np.abs(metres[down[1]] - metres[down[0]]), values[down[0]], values[down[1]], self.pixel_m[0]),
            _Steps(
                np.abs(metres[across[1]] - metres[across[0]]), values[across[0]], values[across[1]], self.pixel_m[1]
            ),
        )

    def _add_beyond(self, data: npt.NDArray[Any]) -> None:
        """Count what lies beyond any ground, and keep the first of its numbers."""
        low, high = sorted(float(self._metres(end)) for end in (data.min(), data.max()))
        if low < self.body.low_m or high > self.body.high_m:
            metres = self._metres(data)
            beyond = data[(metres < self.body.low_m) | (metres > self.body.high_m)]
            self.beyond += beyond.size
            self.beyond_numbers = _first(self.beyond_numbers, beyond)

    def _add_steps(self, steps: _Steps) -> None:
        size = steps.size
        wall = np.flatnonzero(size > CODED_M + CODED_SLOPE * steps.pixel_m)
        if not wall.size:
            return
        size, here, there = size.ravel()[wall], steps.here.ravel()[wall], steps.there.ravel()[wall]
        self.highest_step_m = max(self.highest_step_m, float(size.max()))
        self.cliffs += int(np.count_nonzero(size > CLIFF_M + WALL_SLOPE * steps.pixel_m))
        if self.body.name == "Earth":
            high = size > WALL_M + WALL_SLOPE * steps.pixel_m
            for side in (here[high], there[high]):
                self.sunken_numbers = _first(self.sunken_numbers, side[self._metres(side) < LAND_LOW_M])
        if self.walled is not None:
            numbers, counts = np.unique(np.concatenate([here, there]).astype(np.float64), return_counts=True)
            numbers, at = np.unique(np.concatenate([self.walled[0], numbers]), return_inverse=True)
            counts = np.bincount(at, np.concatenate([self.walled[1], counts])).astype(np.int64)
            self.walled = (numbers, counts) if len(numbers) <= MOST_NUMBERS else None

    @property
    def has_other_unit(self) -> bool:
        """Whether slopes are too steep at large, or heights too great, for elevations in metres."""
        beyond = 2 * self.beyond > self.extremes.valid and len(self.beyond_numbers) > MOST_CODES
        return beyond or 2 * self.over_median > self.slopes or self.steep > STEEP_FRAC * self.slopes

    @property
    def is_smeared(self) -> bool:
        """Whether many numbers lie beyond any ground, or, below any land, beside walls: sea floor has none."""
        return max(len(self.beyond_numbers), len(self.sunken_numbers)) > MOST_CODES

    @property
    def has_impossible_step(self) -> bool:
        """Whether two neighbours differ by more than on any ground."""
        return self.highest_step_m > NO_STEP_M + NO_STEP_SLOPE * max(self.pixel_m)

    def wall_m(self, number: float) -> tuple[float, float]:
        """How high the border of a plateau of ``number`` is if it is a void, down columns and along rows."""
        if is_conspicuous(number) and number != 0:  # the sea may lie below cliffs
            return CODED_M + CODED_SLOPE * self.pixel_m[0], CODED_M + CODED_SLOPE * self.pixel_m[1]
        return WALL_M + WALL_SLOPE * self.pixel_m[0], WALL_M + WALL_SLOPE * self.pixel_m[1]

    def stray(self) -> tuple[float, float] | None:
        """A number that stands clear of all ground at one end, and its share; None if there is none."""
        if (only := self.extremes.only()) is not None:
            return (only, 1.0) if is_conspicuous(only) else None
        pixel_m = max(self.pixel_m)
        for number, count, gap, others in self.extremes.gaps():
            gap_m, others_m = gap * abs(self.scale), others * abs(self.scale)
            wall_m = WALL_M + WALL_SLOPE * pixel_m
            clear_m = wall_m if count > 1 else max(wall_m, others_m)
            if number == 0:  # the sea is lower than quays and cliffs too, by less than half of all relief
                clear_m = min(wall_m, 0.5 * others_m)
            elif is_conspicuous(number):
                clear_m = min(clear_m, CLEAR_M, CLEAR_FRAC * others_m)
            if gap_m > clear_m:
                return number, count / self.extremes.valid
        return None

    def suspects(self) -> list[float]:
        """Up to three numbers that most often lie beside a wall, most often first."""
        if self.walled is None:
            return []
        numbers, counts = self.walled
        order = np.lexsort((numbers, -counts))[:3]
        return [float(numbers[i]) for i in order if counts[i] >= BORDER_PAIRS]

    def plateau(
        self, blocks: Iterable[tuple[Any, npt.NDArray[np.bool_], tuple[int, int]]]
    ) -> tuple[float, float] | None:
        """Of the suspects, one whose border is a wall in most places, and its share; goes over the ``blocks`` again."""
        suspects = self.suspects()
        found = np.zeros((len(suspects), 3), np.int64)  # pixels, pairs of neighbours along the border, walls among them
        for values, valid, (rows, columns) in blocks:
            with np.errstate(all="ignore"):
                pairs = self._steps(values, valid, rows, columns)
                for i, number in enumerate(suspects):
                    code = values.dtype.type(number)
                    found[i, 0] += np.count_nonzero((values[:rows, :columns] == code) & valid[:rows, :columns])
                    for steps, wall_m in zip(pairs, self.wall_m(number), strict=True):
                        border = ((steps.here == code) != (steps.there == code)) & ~np.isnan(steps.size)
                        found[i, 1] += np.count_nonzero(border)
                        found[i, 2] += np.count_nonzero(steps.size[border] > wall_m)
        for number, (pixels, border, walls) in zip(suspects, found, strict=True):
            # A few pixels alone may be pits or spikes of the measurement, unless programs write such numbers.
            is_plateau = is_conspicuous(number) or (pixels >= PLATEAU_PX and border < 2 * pixels)
            if is_plateau and 2 * walls > border:
                return number, pixels / self.extremes.valid
        return None
