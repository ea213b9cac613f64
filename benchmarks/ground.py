"""Ground that can be asked for its height and its light anywhere: what a DEM or an image shows of it has no error of its own.

Coordinates are metres, arrays are ``(row, column)`` on north-up grids.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from scipy.ndimage import gaussian_filter

from hpcl.geo import cog, raster

Array = npt.NDArray[Any]

ELEVATION = (raster.Band("elevation", "m"),)
WEST, NORTH = 600_000.0, 4_000_000.0
SUN_AZIMUTH_DEG, SUN_ALTITUDE_DEG = 140.0, 40.0


class Ground:
    """Hills: plane waves of 40 to 900 m length and random direction."""

    def __init__(self, seed: int = 0, height_m: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        length, direction = np.exp(rng.uniform(np.log(40), np.log(900), 120)), rng.uniform(0, 2 * np.pi, 120)
        self.k = 2 * np.pi / length * np.array([np.cos(direction), np.sin(direction)])
        self.wave = height_m * 0.012 * length * np.exp(1j * rng.uniform(0, 2 * np.pi, 120))

    def _waves(self, east: Array, north: Array, wave: Array) -> Array:
        """Sum of the waves at every ``north`` (rows) and ``east`` (columns)."""
        rows, columns = np.exp(1j * np.outer(north - NORTH, self.k[1])), np.exp(1j * np.outer(east - WEST, self.k[0]))
        return ((rows * wave) @ columns.T).real

    def elevation(self, east: Array, north: Array) -> Array:
        """Metres at every ``north`` (rows) and ``east`` (columns)."""
        return 500 + self._waves(east, north, self.wave)

    def light(
        self, east: Array, north: Array, azimuth_deg: float = SUN_AZIMUTH_DEG, altitude_deg: float = SUN_ALTITUDE_DEG
    ) -> Array:
        """Cosine of the angle between the true normal and the sun."""
        p, q = (self._waves(east, north, 1j * k * self.wave) for k in self.k)
        azimuth, altitude = math.radians(azimuth_deg), math.radians(altitude_deg)
        level = math.sin(azimuth) * p + math.cos(azimuth) * q
        return np.maximum(math.sin(altitude) - math.cos(altitude) * level, 0) / np.sqrt(1 + p * p + q * q)


def grid_of(shape: tuple[int, int], pixel_m: float, west: float = WEST, north: float = NORTH) -> raster.Grid:
    """A grid whose north-west corner is there."""
    return raster.Grid(shape, Affine(pixel_m, 0, west, 0, -pixel_m, north), "EPSG:32649")


def centres(grid: raster.Grid) -> tuple[Array, Array]:
    """East of every column, north of every row."""
    rows, columns = (np.arange(size) + 0.5 for size in grid.shape)
    return grid.affine.c + grid.affine.a * columns, grid.affine.f + grid.affine.e * rows


DEM_M, IMAGE_M = 5.0, 2.0
DEM_GRID = grid_of((150, 170), DEM_M, WEST - 50, NORTH + 50)
IMAGE_GRID = grid_of((325, 375), IMAGE_M)


def displaced(
    ground: Ground, move_m: tuple[float, float], noise_m: float = 0.2, up_m: float = 0.0,
    grid: raster.Grid = DEM_GRID, seed: int = 5,
) -> Array:  # fmt: skip
    """A DEM that must be moved by ``move_m`` east and north, and down by ``up_m``, to lie right."""
    east, north = centres(grid)
    noise = noise_m * np.random.default_rng(seed).normal(size=grid.shape)
    return ground.elevation(east + move_m[0], north + move_m[1]) + up_m + noise


def tilted(z: Array, grid: raster.Grid, east_m_per_km: float, north_m_per_km: float) -> Array:
    """Elevations on a grid, risen by that much more for every kilometre from its middle."""
    east, north = (axis - axis.mean() for axis in centres(grid))
    return z + (east_m_per_km * east + north_m_per_km * north[:, None]) / 1000


def picture(
    ground: Ground, grid: raster.Grid = IMAGE_GRID, albedo: float = 0.3, noise: float = 0.03, seed: int = 7,
    azimuth_deg: float = SUN_AZIMUTH_DEG, altitude_deg: float = SUN_ALTITUDE_DEG,
) -> Array:  # fmt: skip
    """The ground in that light, with blotches of soil and with grain."""
    rng = np.random.default_rng(seed)
    blotches = gaussian_filter(rng.normal(size=grid.shape), 12)
    soil = 1 + albedo * blotches / blotches.std()
    return (
        1000 * (soil * ground.light(*centres(grid), azimuth_deg, altitude_deg) + noise * rng.normal(size=grid.shape))
        + 100
    )


def colours(*names: str) -> tuple[raster.Band, ...]:
    """Bands of an image."""
    return tuple(raster.Band(name) for name in names)


def save(path: Path, grid: raster.Grid, *layers: Array, bands: tuple[raster.Band, ...] = ELEVATION) -> Path:
    """Write layers on a grid; returns the path."""
    cog.write(path, raster.Raster(np.stack(layers).astype(np.float32), grid, bands))
    return path
