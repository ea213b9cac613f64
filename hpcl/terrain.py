"""Elevation to attributes of the ground: one table says what each is, in which unit, and how it turns with the map.

Elevation ``z`` is ``(row, column)`` in metres, NaN where unknown, on a north-up metric grid; x is east, y is north.
An attribute is NaN where the elevation is, and at most where its own 3x3 kernel touches such a pixel or the edge of
the scene. The means (smoothing, relief, roughness) neither spread a gap nor fill it, nor bend the ground beside it.

Horn's differences are written out in NumPy because that was the fastest road measured: slope and hillshade of 36 Mpx
on 2 cores take 0.7 s, a numba kernel 0.5 s after 2 s of compilation, xarray-spatial 1.3 s for slope and aspect after
3 s of import (its hillshade is not that of a surface normal), gdaldem 2.6 s.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from hpcl.core.records import Sun, TerrainBand, TerrainFacts
from hpcl.geo import blocks, cog, raster
from hpcl.settings.terrain import TerrainSettings, names

Array = npt.NDArray[np.floating]
Whole = npt.NDArray[np.int64]
Kind = Literal["scalar", "east", "north", "up", "hillshade"]
"""What a flip of the map does: nothing (scalar), turn a component of the normal, or spoil it (hillshade)."""

QUANTUM_M = 2.0**-12
"""Elevations are summed as whole numbers of 0.24 mm: such sums are exact, so blocks cannot show in a running mean."""
TRUNCATE = 3.0
"""The Gaussian ends at three standard deviations (0.3 % of its weight lies beyond)."""


HILLSHADE_STEPS = 256
"""Between dark and lit. A power of two, so that its floats end in zeros, which take no time to compress."""

MOST_REACH_PX = 4096
"""No band looks further around a pixel: a block with that number of further pixels on every side would hold gigabytes."""


class TerrainError(ValueError):
    """Elevation that cannot be turned into attributes as asked."""


@dataclasses.dataclass(frozen=True)
class Surface:
    """One block of ground with ``margin_px`` more on every side, and what several attributes share of it."""

    elevation_m: Array
    margin_px: int
    pixel_m: tuple[float, float]
    settings: TerrainSettings

    def around(self, rows: int, columns: int) -> Array:
        """The elevation of the block with only this number of rows and columns more on every side."""
        return _trim(self.elevation_m, (self.margin_px - rows, self.margin_px - columns))

    @cached_property
    def ground(self) -> Array:
        """Smoothed elevation in metres, one pixel of margin."""
        rows, columns = smoothing_px(self.settings, self.pixel_m)
        z = self.around(rows + 1, columns + 1)
        across, down = (self.settings.smoothing_m / side for side in self.pixel_m)
        return gaussian_mean(z, (down, across), (rows, columns)) if rows or columns else z

    @cached_property
    def gradient(self) -> tuple[Array, Array]:
        """dz/dx (east) and dz/dy (north), pure numbers: Horn 1981, the mean of three rows or columns weighted 1-2-1."""
        z, (dx, dy) = self.ground, self.pixel_m
        east, north = z[:, 2:] - z[:, :-2], z[:-2] - z[2:]
        return (
            (east[:-2] + east[2:] + 2 * east[1:-1]) * (0.125 / dx),
            (north[:, :-2] + north[:, 2:] + 2 * north[:, 1:-1]) * (0.125 / dy),
        )

    @cached_property
    def steepness2(self) -> Array:
        """Square of the tangent of the slope."""
        p, q = self.gradient
        return p * p + q * q

    @cached_property
    def normal(self) -> Array:
        """Unit vector ``(east, north, up; row, column)`` that stands on the ground; (0, 0, 1) on flat ground."""
        p, q = self.gradient
        up = 1 / np.sqrt(1 + self.steepness2)
        return np.stack([-p * up, -q * up, up])

    @cached_property
    def bending(self) -> tuple[Array, Array, Array]:
        """Second derivatives d2z/dx2, d2z/dxdy, d2z/dy2 in 1/m: Evans 1980, the quadratic that fits 3x3 pixels best."""
        z, (dx, dy) = self.ground, self.pixel_m
        xx = (z[:, 2:] - z[:, 1:-1]) + (z[:, :-2] - z[:, 1:-1])
        yy = (z[:-2] - z[1:-1]) + (z[2:] - z[1:-1])
        return (
            (xx[:-2] + xx[1:-1] + xx[2:]) / (3 * dx**2),
            ((z[:-2, 2:] - z[:-2, :-2]) - (z[2:, 2:] - z[2:, :-2])) / (4 * dx * dy),
            (yy[:, :-2] + yy[:, 1:-1] + yy[:, 2:]) / (3 * dy**2),
        )


def slope(surface: Surface) -> Array:
    """Angle between the ground and the horizontal, 0 to 90 degrees."""
    return np.degrees(np.arctan(np.sqrt(surface.steepness2)))


def hillshade(normal: Array, azimuth_deg: float, altitude_deg: float) -> Array:
    """Cosine of the angle between the ground's ``normal`` and the sun, 0 (turned away) to 1; gdaldem writes 1 + 254 h.

    >>> float(hillshade(np.array([0.0, 0.0, 1.0]), azimuth_deg=315, altitude_deg=90))  # flat ground, sun above it
    1.0
    """
    azimuth, altitude = math.radians(azimuth_deg), math.radians(altitude_deg)
    east, north, up = normal
    level = math.sin(azimuth) * east + math.cos(azimuth) * north
    return np.asarray(np.maximum(math.sin(altitude) * up + math.cos(altitude) * level, 0))


def _in_steps(shade: Array) -> Array:
    """A hillshade in 8 bits, as everyone's is: all that an eye sees of it, in a third of the space and of the time to write it."""
    return np.asarray(np.rint(shade * HILLSHADE_STEPS) / HILLSHADE_STEPS)


def profile_curvature(surface: Surface) -> Array:
    """Curvature of the ground cut along its steepest line, 1/m, positive where convex (Minar et al. 2020).

    -(p2 r + 2 p q s + q2 t) / ((p2 + q2) (1 + p2 + q2)^1.5), where p, q are the gradient and r, s, t the bending xx,
    xy, yy; on level ground, where no line is the steepest, the mean of both.
    """
    (p, q), (r, s, t), g2 = surface.gradient, surface.bending, surface.steepness2
    along = _over(p * p * r + 2 * p * q * s + q * q * t, g2, (r + t) / 2)
    return np.asarray(-along / (1 + g2) ** 1.5)


def plan_curvature(surface: Surface) -> Array:
    """Curvature of the ground cut along its contour, square to it, 1/m, positive where convex (Minar et al. 2020).

    -(q2 r - 2 p q s + p2 t) / ((p2 + q2) (1 + p2 + q2)^0.5): the normal contour (tangential) curvature, because the
    curvature of the contour on the map has a pole on level ground.
    """
    (p, q), (r, s, t), g2 = surface.gradient, surface.bending, surface.steepness2
    across = _over(q * q * r - 2 * p * q * s + p * p * t, g2, (r + t) / 2)
    return -across / np.sqrt(1 + g2)


def _over(above: Array, below: Array, otherwise: Array) -> Array:
    """``above / below``, and ``otherwise`` where ``below`` is 0."""
    level = below == 0
    return np.where(level, otherwise, above / np.where(level, 1, below))


def relief(surface: Surface, radius_m: float) -> Array:
    """Smoothed elevation minus the mean elevation of the square within ``radius_m``, in metres; 0 on a plane."""
    half_px = radius_px(radius_m, surface.pixel_m)
    return surface.ground[1:-1, 1:-1] - square_mean(surface.around(*half_px), half_px)


def roughness(surface: Surface) -> Array:
    """Root mean square, within the radius, of what the unsmoothed ground departs from its own mean there, in metres."""
    rows, columns = half_px = radius_px(surface.settings.roughness_radius_m, surface.pixel_m)
    z = surface.around(2 * rows, 2 * columns)
    departure = _trim(z, half_px) - square_mean(z, half_px)
    known = np.isfinite(departure)
    whole = _whole(departure, known)
    count = np.maximum(_square_moment(known.astype(np.int64), half_px=half_px), 1)
    rms = np.sqrt(_square_moment(whole * whole, half_px=half_px) / count) * QUANTUM_M
    return np.where(_trim(known, half_px), rms, np.nan)


class Attribute(NamedTuple):
    """One row of the table. ``compute`` takes a `Surface`, and a radius in metres where the name holds a ``{}``."""

    compute: Callable[..., Array]
    unit: str
    kind: Kind
    source: str


ATTRIBUTES: Mapping[str, Attribute] = {
    "slope": Attribute(slope, "deg", "scalar", "Horn 1981"),
    "n_east": Attribute(lambda surface: surface.normal[0], "", "east", "unit normal from Horn's gradient"),
    "n_north": Attribute(lambda surface: surface.normal[1], "", "north", "unit normal from Horn's gradient"),
    "n_up": Attribute(lambda surface: surface.normal[2], "", "up", "unit normal from Horn's gradient"),
    "hillshade": Attribute(
        lambda surface: _in_steps(
            hillshade(surface.normal, surface.settings.sun_azimuth_deg, surface.settings.sun_altitude_deg)
        ),
        "", "hillshade", "Lambert's cosine of the unit normal and the sun, clipped at 0, in steps of 1/256",
    ),
    "profile_curvature": Attribute(profile_curvature, "1/m", "scalar", "Minar et al. 2020, Evans 1980"),
    "plan_curvature": Attribute(plan_curvature, "1/m", "scalar", "Minar et al. 2020 (tangential), Evans 1980"),
    "relief_{}m": Attribute(relief, "m", "scalar", "elevation minus its mean within the radius (Weiss 2001)"),
    "roughness": Attribute(roughness, "m", "scalar", "rms departure from the mean within the radius"),
}  # fmt: skip
"""What each of `BANDS` is."""


def _row(name: str) -> tuple[Attribute, float | None]:
    """The table's row for a band, and the radius in metres that the band's name holds."""
    if name in ATTRIBUTES:
        return ATTRIBUTES[name], None
    parts = re.fullmatch(r"(.*_)([0-9.]+)(m)", name)
    row = ATTRIBUTES.get(f"{parts[1]}{{}}{parts[3]}") if parts else None
    if parts is None or row is None:
        raise TerrainError(f"'{name}' is no attribute of the ground; there are {', '.join(ATTRIBUTES)}.")
    return row, float(parts[2])


def kind(band: str) -> Kind:
    """What a flip of the map does to a band of terrain.tif.

    >>> kind("n_north"), kind("relief_20m")
    ('north', 'scalar')
    """
    return _row(band)[0].kind


def facts(settings: TerrainSettings, findings: list[str]) -> TerrainFacts:
    """What later stages must know of terrain.tif: its bands with unit, kind and source, the hillshade's sun, and findings."""
    rows = {name: _row(name)[0] for name in names(settings)}
    return TerrainFacts(
        bands=[TerrainBand(name, row.unit, row.kind, row.source) for name, row in rows.items()],
        smoothing_m=settings.smoothing_m,
        sun=Sun(settings.sun_azimuth_deg, settings.sun_altitude_deg),
        findings=findings,
    )


def derive(
    elevation: Path,
    terrain: Path,
    settings: TerrainSettings,
    *,
    bands: Iterable[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the attributes of an elevation raster (all of them, or only the ``bands`` named) on its own grid.

    The result does not depend on `blocks.BLOCK_PX`, bit for bit; memory depends on it and not on the scene.
    """
    wanted = names(settings) if bands is None else tuple(bands)
    rows = [_row(name)[0] for name in wanted]
    with raster.Source(elevation) as source:
        grid = source.grid
    pixel_m = _pixel_m(grid, elevation)
    margin_px = _margin_px(wanted, settings, pixel_m)
    described = [raster.Band(name, row.unit) for name, row in zip(wanted, rows, strict=True)]
    compute = partial(attributes, margin_px=margin_px, pixel_m=pixel_m, settings=settings, bands=wanted)
    with cog.create(terrain, grid, described, compression=settings.compression) as sink:
        blocks.map_blocks(compute, [elevation], sink, halo_px=margin_px, progress=progress)


def attributes(
    elevation: Array, *, margin_px: int, pixel_m: tuple[float, float], settings: TerrainSettings, bands: tuple[str, ...]
) -> npt.NDArray[np.float32]:
    """Attributes ``(band, row, column)`` of a block whose elevation ``(1, row, column)`` has a margin on every side."""
    surface = Surface(elevation[0], margin_px, pixel_m, settings)
    out = np.empty((len(bands), *(side - 2 * margin_px for side in elevation.shape[1:])), np.float32)
    for i, name in enumerate(bands):
        row, radius_m = _row(name)
        out[i] = row.compute(surface) if radius_m is None else row.compute(surface, radius_m)
    out[:, np.isnan(surface.around(0, 0))] = np.nan  # Horn's kernel does not look at its own centre
    return out


def _pixel_m(grid: raster.Grid, path: Path) -> tuple[float, float]:
    """Width and height of a pixel in metres."""
    across, turn_x, _, turn_y, down, _ = grid.affine[:6]
    if turn_x or turn_y or across <= 0 or down >= 0:
        raise TerrainError(f"{path} is not on a north-up grid, so its slopes have no direction; warp it to one.")
    return across, -down


def _margin_px(bands: Iterable[str], settings: TerrainSettings, pixel_m: tuple[float, float]) -> int:
    """How far beyond a block the bands look."""
    reach = 1 + max(smoothing_px(settings, pixel_m))
    for name in bands:
        row, radius_m = _row(name)
        if row.compute is relief and radius_m is not None:
            reach = max(reach, *radius_px(radius_m, pixel_m))
        elif row.compute is roughness:
            reach = max(reach, 2 * max(radius_px(settings.roughness_radius_m, pixel_m)))
    if reach > MOST_REACH_PX:
        raise TerrainError(
            f"The terrain's bands would look {reach} pixels around each pixel, and every block be held with as many more; at "
            f"most {MOST_REACH_PX} are held. Lower the largest of smoothing_m, relief_radii_m and roughness_radius_m in params.yaml."
        )
    return reach


def smoothing_px(settings: TerrainSettings, pixel_m: tuple[float, float]) -> tuple[int, int]:
    """Half length of the Gaussian in rows and columns."""
    down, across = (int(TRUNCATE * settings.smoothing_m / side + 0.5) for side in pixel_m[::-1])
    return down, across


def radius_px(radius_m: float, pixel_m: tuple[float, float]) -> tuple[int, int]:
    """Half side of a square in rows and columns; a radius below one pixel is refused."""
    down, across = (round(radius_m / side) for side in pixel_m[::-1])
    if min(down, across) < 1:
        raise TerrainError(
            f"terrain has a radius of {radius_m:g} m, less than the pixel of {max(pixel_m):g} m; name a larger one in"
            " terrain.relief_radii_m or terrain.roughness_radius_m."
        )
    return down, across


def _gaussian(sigma_px: float, half_px: int) -> Array:
    """Weights that sum to 1."""
    weights = np.exp(-0.5 * (np.arange(-half_px, half_px + 1) / max(sigma_px, 1e-9)) ** 2)
    return np.asarray(weights / weights.sum())


def gaussian_mean(z: Array, sigma_px: tuple[float, float], half_px: tuple[int, int]) -> Array:
    """Mean of ``z`` under a Gaussian, float64, without the rim of ``half_px`` that the window does not reach.

    Beside a gap it is the value, at the window's centre, of the plane that fits the known part of the window best: a
    plain mean would pull a slope towards the level there. NaN where ``z`` is, and nowhere else.
    """
    weights = [_gaussian(sigma, half) for sigma, half in zip(sigma_px, half_px, strict=True)]

    def window(values: Array, power_y: int, power_x: int) -> Array:
        for axis, power in enumerate((power_y, power_x)):
            half = half_px[axis]
            moment = weights[axis] * np.arange(-half, half + 1.0) ** power
            values = correlate1d(values, moment, axis=axis, output=np.float64, mode="constant")
        return _trim(values, half_px)

    known = np.isfinite(z)
    mean = _plane_mean(np.where(known, z, 0), known, window, full=1.0, rim_px=half_px)
    return np.where(_trim(known, half_px), mean, np.nan)


def square_mean(z: Array, half_px: tuple[int, int]) -> Array:
    """Mean of ``z`` in the square of half sides ``half_px`` (rows, columns), to 0.1 mm, by running sums.

    Gaps and rim are treated as in `gaussian_mean`. Elevations are summed as whole numbers, hence without rounding.
    """
    known = np.isfinite(z)
    full = math.prod(2 * half + 1 for half in half_px)
    window = partial(_square_moment, half_px=half_px)
    mean = _plane_mean(_whole(z, known), known, window, full=full, rim_px=half_px) * QUANTUM_M
    return np.where(_trim(known, half_px), mean, np.nan)


def _trim(values: npt.NDArray[Any], rim_px: tuple[int, int]) -> npt.NDArray[Any]:
    rows, columns = rim_px
    return values[rows : values.shape[0] - rows, columns : values.shape[1] - columns]


def _whole(z: Array, known: npt.NDArray[np.bool_]) -> Whole:
    """Elevations as whole numbers of `QUANTUM_M`, 0 where unknown."""
    return np.rint(np.where(known, z, 0) / QUANTUM_M).astype(np.int64)


def _square_moment(values: Whole, power_y: int = 0, power_x: int = 0, *, half_px: tuple[int, int]) -> Whole:
    """Sum over a square of ``values * y**power_y * x**power_x``, with y and x in pixels from the square's centre."""
    for axis, power in enumerate((power_y, power_x)):
        values = np.moveaxis(_running_moment(np.moveaxis(values, axis, 0), power, half_px[axis]), 0, axis)
    return values


def _running_moment(values: Whole, power: int, half: int) -> Whole:
    """Sum of ``values * u**power`` along the first axis, u from ``-half`` to ``half`` around each pixel; power 0 to 2.

    Differences of prefix sums: exact in whole numbers, wherever the prefix begins and even where it overflows.
    """
    at = np.arange(len(values))[:, None]
    sums = []
    for k in range(power + 1):
        prefix = np.cumsum(values * at**k if k else values, axis=0)
        windowed = prefix[2 * half :].copy()
        windowed[1:] -= prefix[: -2 * half - 1]
        sums.append(windowed)
    here = at[half : len(values) - half]
    total = sums[power]
    for k in range(power):
        total = total + math.comb(power, k) * (-here) ** (power - k) * sums[k]
    return total


def _plane_mean(
    values: npt.NDArray[Any],
    known: npt.NDArray[np.bool_],
    window: Callable[[npt.NDArray[Any], int, int], npt.NDArray[Any]],
    *,
    full: float,
    rim_px: tuple[int, int],
) -> Array:
    """Mean of ``values`` (0 where unknown) in a window of total weight ``full``; beside a gap, a plane's centre.

    ``window(values, power_y, power_x)`` gives the moments of the values about each window's centre.
    """
    mean: Array = window(values, 0, 0) / full
    if known.all():
        return mean
    seen = known.astype(values.dtype)
    weight = window(seen, 0, 0)
    partly = _trim(known, rim_px) & (weight < full * (1 - 1e-9))
    moment = {
        (name, y, x): window(layer, y, x)[partly].astype(np.float64)
        for name, layer, most in (("n", seen, 2), ("z", values, 1))
        for y in range(most + 1)
        for x in range(most + 1 - y)
    }
    n, z = moment["n", 0, 0], moment["z", 0, 0]
    y, x = moment["n", 1, 0] / n, moment["n", 0, 1] / n
    yy, xy, xx = moment["n", 2, 0] / n - y * y, moment["n", 1, 1] / n - x * y, moment["n", 0, 2] / n - x * x
    yz, xz = (moment["z", 1, 0] - y * z) / n, (moment["z", 0, 1] - x * z) / n
    spread = yy * xx - xy * xy
    fits = spread > 1e-3  # px^4; less is a handful of pixels in a row, through which no plane is fixed
    spread = np.where(fits, spread, 1)
    down, across = (yz * xx - xz * xy) / spread, (xz * yy - yz * xy) / spread
    mean[partly] = z / n - np.where(fits, down * y + across * x, 0)
    return mean
