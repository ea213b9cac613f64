"""Noise that is a function of place alone, so that a scene can be made window by window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass as record
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

Array = npt.NDArray[Any]


def _hash(column: Array, row: Array, salt: int) -> Array:
    """Evenly spread 32-bit numbers of integer lattice points (a multiply-xorshift hash, as in Perlin-type noise)."""
    h = column.astype(np.int64).astype(np.uint32) * np.uint32(0x9E3779B1)
    h ^= row.astype(np.int64).astype(np.uint32) * np.uint32(0x85EBCA77) + np.uint32(salt)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 0x9E3779B1)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def _halves(h: Array) -> tuple[Array, Array]:
    """Two independent numbers in [-1, 1) of one hash."""
    return (h & np.uint32(0xFFFF)) / 32768.0 - 1.0, (h >> np.uint32(16)) / 32768.0 - 1.0


@record(frozen=True)
class Lattice:
    """Two random numbers in [-1, 1) for every integer point around some points: hashed once, then looked up."""

    a: Array
    b: Array
    here: Array
    stride: int

    @staticmethod
    def around(column: Array, row: Array, salt: int) -> Lattice:
        """The lattice under whole ``column`` and ``row`` numbers and one point beyond."""
        left, bottom = int(column.min()) - 1, int(row.min()) - 1
        columns, rows = np.arange(left, int(column.max()) + 2), np.arange(bottom, int(row.max()) + 2)
        a, b = _halves(_hash(*np.meshgrid(columns, rows), salt).ravel())
        return Lattice(a, b, ((row - bottom) * len(columns) + (column - left)).astype(np.intp), len(columns))

    def at(self, right: int, up: int) -> Array:
        """Where the numbers of the integer point so far from each point stand in ``a`` and ``b``."""
        return self.here + (right + up * self.stride)


def noise(x: Array, y: Array, wavelength_m: float, salt: int) -> Array:
    """Gradient noise (Perlin 1985, quintic blend of 2002), about -1 to 1, smooth, with one swing per wavelength.

    Each ``salt`` turns the lattice to a direction of its own, else ridges and valleys would follow the axes.
    """
    east, north = 2 / wavelength_m * math.cos(salt), 2 / wavelength_m * math.sin(salt)
    x, y = x * east - y * north, x * north + y * east
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    lattice = Lattice.around(column, row, salt)
    length = np.hypot(lattice.a, lattice.b) + 0.2
    slope_x, slope_y = lattice.a / length, lattice.b / length

    def corner(right: int, up: int) -> Array:
        at = lattice.at(right, up)
        return slope_x[at] * (fx - right) + slope_y[at] * (fy - up)

    sx, sy = (f * f * f * (f * (f * 6 - 15) + 10) for f in (fx, fy))
    low, lower_right, high, upper_right = corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)
    low += sx * (lower_right - low)
    high += sx * (upper_right - high)
    return 1.7 * (low + sy * (high - low))


# Six parameters: the four of `noise`, and the two of the sum.
def fractal(x: Array, y: Array, wavelength_m: float, salt: int, octaves: int, gain: float = 0.5) -> Array:
    """A sum of ever finer and weaker noise."""
    return np.sum([gain**i * noise(x, y, wavelength_m / 1.9**i, salt + i) for i in range(octaves)], axis=0)


def interpolated(field: Callable[[Array, Array], Array], x: Array, y: Array, cell_m: float = 8.0) -> Array:
    """A smooth ``field`` (layers first) at many points, from a lattice fixed to the ground, by cubic B-splines."""
    left, bottom = math.floor(x.min() / cell_m) - 2, math.floor(y.min() / cell_m) - 2
    right, top = math.floor(x.max() / cell_m) + 4, math.floor(y.max() / cell_m) + 4
    lattice = field(*np.meshgrid(np.arange(left, right) * cell_m, np.arange(bottom, top) * cell_m))
    at = np.stack([y / cell_m - bottom, x / cell_m - left])
    return np.stack([map_coordinates(layer, at, order=3, prefilter=False) for layer in lattice])


def grain(x: Array, y: Array, pixel_m: float, salt: int) -> Array:
    """Noise without memory, one draw per pixel, standard deviation 1 (a sum of four uniform numbers)."""
    column, row = np.floor(x / pixel_m), np.floor(y / pixel_m)
    a, b = _halves(_hash(column, row, salt))
    c, d = _halves(_hash(column, row, salt + 1))
    return (a + b + c + d) * math.sqrt(3 / 4)


def smoothstep(value: Array, low: float | Array, high: float | Array) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
