"""A scene whose truth is known: loess relief, old landslides, look-alikes, and what an image and a DEM show of them.

Everything is a function of the coordinates: east and north in metres from the upper left corner of the area (so ``north``
is negative inside it). Noise is hashed from lattice points and features have an end, so any window of a scene can be
computed alone and in any order; only the short tables of features are made for the whole area. No number here was
measured on real ground: shapes follow textbook sketches of loess country and of rotational slides, sizes are chosen.

The files are those of a user's raw area, plus ``truth.json``, which no later stage reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass as record
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from affine import Affine
from scipy.ndimage import map_coordinates
from shapely.geometry import Polygon, box
from skimage.measure import find_contours

from hpcl.geo import raster, vector
from hpcl.settings.synthesize import BANDS, AreaSettings, SynthesizeSettings

Array = npt.NDArray[Any]

CRS = "EPSG:32648"  # UTM zone 48 north: metres, and the zone of the Loess Plateau
MARKER = "truth.json"
OPTICAL_NODATA = 0
DEM_NODATA = -9999.0
BLOCK_PX = 512
DEM_MARGIN_M = 100.0  # a DEM comes from another tile scheme, so it reaches beyond the image


class SynthError(ValueError):
    """A scene that cannot be made, or must not be written where it would go."""


# ---------------------------------------------------------------------------------------------------------------- noise


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
class _Lattice:
    """Two random numbers in [-1, 1) for every integer point around some points: hashed once, then looked up."""

    a: Array
    b: Array
    here: Array
    stride: int

    @staticmethod
    def around(column: Array, row: Array, salt: int) -> _Lattice:
        """The lattice under whole ``column`` and ``row`` numbers and one point beyond."""
        left, bottom = int(column.min()) - 1, int(row.min()) - 1
        columns, rows = np.arange(left, int(column.max()) + 2), np.arange(bottom, int(row.max()) + 2)
        a, b = _halves(_hash(*np.meshgrid(columns, rows), salt).ravel())
        return _Lattice(a, b, ((row - bottom) * len(columns) + (column - left)).astype(np.intp), len(columns))

    def at(self, right: int, up: int) -> Array:
        """Where the numbers of the integer point so far from each point stand in ``a`` and ``b``."""
        return self.here + (right + up * self.stride)


def _noise(x: Array, y: Array, wavelength_m: float, salt: int) -> Array:
    """Gradient noise (Perlin 1985, quintic blend of 2002), about -1 to 1, smooth, with one swing per wavelength.

    Each ``salt`` turns the lattice to a direction of its own, else ridges and valleys would follow the axes.
    """
    east, north = 2 / wavelength_m * math.cos(salt), 2 / wavelength_m * math.sin(salt)
    x, y = x * east - y * north, x * north + y * east
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    lattice = _Lattice.around(column, row, salt)
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


def _fractal(x: Array, y: Array, wavelength_m: float, salt: int, octaves: int, gain: float = 0.5) -> Array:
    """A sum of ever finer and weaker noise."""
    return np.sum([gain**i * _noise(x, y, wavelength_m / 1.9**i, salt + i) for i in range(octaves)], axis=0)


def _interpolated(field: Callable[[Array, Array], Array], x: Array, y: Array, cell_m: float = 8.0) -> Array:
    """A smooth ``field`` (layers first) at many points, from a lattice fixed to the ground, by cubic B-splines."""
    left, bottom = math.floor(x.min() / cell_m) - 2, math.floor(y.min() / cell_m) - 2
    right, top = math.floor(x.max() / cell_m) + 4, math.floor(y.max() / cell_m) + 4
    lattice = field(*np.meshgrid(np.arange(left, right) * cell_m, np.arange(bottom, top) * cell_m))
    at = np.stack([y / cell_m - bottom, x / cell_m - left])
    return np.stack([map_coordinates(layer, at, order=3, prefilter=False) for layer in lattice])


def _grain(x: Array, y: Array, pixel_m: float, salt: int) -> Array:
    """Noise without memory, one draw per pixel, standard deviation 1 (a sum of four uniform numbers)."""
    column, row = np.floor(x / pixel_m), np.floor(y / pixel_m)
    a, b = _halves(_hash(column, row, salt))
    c, d = _halves(_hash(column, row, salt + 1))
    return (a + b + c + d) * math.sqrt(3 / 4)


def _step(value: Array, low: float | Array, high: float | Array) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


# --------------------------------------------------------------------------------------------------------------- relief


def relief(x: Array, y: Array, salt: int) -> Array:
    """Elevation [m] of the bare landform: ridges and remains of a plateau between valleys and their tributaries."""
    bend_x = x + 90 * _noise(x, y, 800, salt + 1) + 30 * _noise(x, y, 300, salt + 2)
    bend_y = y + 90 * _noise(x, y, 800, salt + 3) + 30 * _noise(x, y, 300, salt + 4)
    # Valleys run where a noise is zero; its size grows with the distance from there.
    main = np.abs(_fractal(bend_x, bend_y, 2100, salt + 10, octaves=3, gain=0.45) - 0.1)
    flank = np.clip((main - 0.03) / 0.62, 0, 1)
    height = 116 * (0.55 * flank + 0.45 * _step(flank, 0, 1))
    side = np.abs(_fractal(bend_x, bend_y, 950, salt + 20, octaves=2, gain=0.4) - 0.1)
    # A tributary leaves the divide as a hollow and reaches the main valley at its floor.
    height = height - 0.58 * height * (1 - 0.6 * _step(main, 0.5, 1.0)) * (1 - _step(side, 0.0, 0.62))
    return 1150 + height + 9 * _noise(x, y, 1300, salt + 30) + 3 * _noise(x, y, 230, salt + 31)


def downhill(x: Array, y: Array, salt: int) -> Array:
    """Relief [m] and its fall towards east and north [m per m], ``(3, ...)``."""
    reach_m = 4.0
    here = relief(x, y, salt)
    east = (relief(x - reach_m, y, salt) - relief(x + reach_m, y, salt)) / (2 * reach_m)
    north = (relief(x, y - reach_m, salt) - relief(x, y + reach_m, salt)) / (2 * reach_m)
    return np.stack([here, east, north])


def gullies(x: Array, y: Array, fall_east: Array, fall_north: Array, salt: int) -> Array:
    """Height [m] of rills and gullies that run downhill and join, on slopes only.

    Stripes across the slope are blended from a cell to the next, and finer ones turn towards the coarser ones
    (the idea of R. Johansen's and C. John's procedural erosion).
    """
    fall = np.hypot(fall_east, fall_north)
    total = np.zeros_like(fall)
    for i, (wavelength_m, depth_m) in enumerate(((150.0, 3.0), (72.0, 1.4), (36.0, 0.6))):
        length = np.hypot(fall_east, fall_north) + 1e-6
        across_east, across_north = -fall_north / length, fall_east / length
        cosine, sine = _stripes(x / wavelength_m, y / wavelength_m, across_east, across_north, salt + 40 + i)
        total += depth_m * (cosine - 0.35 * cosine * cosine)
        push = depth_m * 2 * math.pi / wavelength_m * sine
        fall_east, fall_north = fall_east + push * across_east, fall_north + push * across_north
    return total * _step(fall, 0.08, 0.42)


def _stripes(x: Array, y: Array, across_x: Array, across_y: Array, salt: int) -> tuple[Array, Array]:
    """Cosine and sine of stripes of unit width across a direction that may change from place to place."""
    column, row = np.floor(x), np.floor(y)
    lattice = _Lattice.around(column, row, salt)
    jitter_x, jitter_y = (0.5 + 0.25 * n.astype(np.float32) for n in (lattice.a, lattice.b))
    fx, fy, turn_x, turn_y = (
        a.astype(np.float32) for a in (x - column, y - row, 2 * np.pi * across_x, 2 * np.pi * across_y)
    )
    cosine, sine = np.zeros_like(fx), np.full_like(fx, 1e-9)
    for right in (-1, 0, 1):
        for up in (-1, 0, 1):
            at = lattice.at(right, up)
            dx, dy = fx - right - jitter_x[at], fy - up - jitter_y[at]
            weight = np.maximum(1.5625 - dx * dx - dy * dy, 0) ** 2
            phase = dx * turn_x + dy * turn_y
            cosine += weight * np.cos(phase)
            sine += weight * np.sin(phase)
    size = np.hypot(cosine, sine)
    return cosine / size, sine / size


# ----------------------------------------------------------------------------------------------------------- landslides


@record(frozen=True)
class Feature:
    """A landform of limited extent: where its highest point lies, which way it faces, and its size in metres.

    ``depth_m`` is the drop of its wall, ``floor_m`` the elevation below it, ``age`` runs from 0 (fresh) to 1 (faded).
    """

    east_m: float
    north_m: float
    down_east: float
    down_north: float
    length_m: float
    width_m: float
    depth_m: float
    floor_m: float
    age: float
    salt: int

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Distance [m] downhill from the highest point, and sideways from the axis."""
        dx, dy = x - self.east_m, y - self.north_m
        return dx * self.down_east + dy * self.down_north, dy * self.down_east - dx * self.down_north

    @property
    def centre(self) -> tuple[float, float]:
        """The point half way down the axis."""
        return self.east_m + self.down_east * self.length_m / 2, self.north_m + self.down_north * self.length_m / 2

    @property
    def reach_m(self) -> float:
        """A size for spacing; nothing changes farther from `centre` than 1.4 times this."""
        return 0.6 * math.hypot(self.length_m, self.width_m)


class Places(Sequence[Feature]):
    """Features in the order they were placed, which knows those near some ground without asking all."""

    CELL_M = 500.0

    def __init__(self) -> None:
        self._features: list[Feature] = []
        self._cells: dict[tuple[int, int], list[int]] = {}
        self.reach_m = 0.0
        """The largest reach of all."""

    def __getitem__(self, number: Any) -> Any:
        return self._features[number]

    def __len__(self) -> int:
        return len(self._features)

    def add(self, feature: Feature) -> None:
        """Take one more feature."""
        east, north = feature.centre
        cell = math.floor(east / self.CELL_M), math.floor(north / self.CELL_M)
        self._cells.setdefault(cell, []).append(len(self))
        self._features.append(feature)
        self.reach_m = max(self.reach_m, feature.reach_m)

    def around(self, left: float, right: float, bottom: float, top: float) -> list[Feature]:
        """All features, and some more, whose centre lies in a box (metres)."""
        columns, rows = (
            range(math.floor(low / self.CELL_M), math.floor(high / self.CELL_M) + 1)
            for low, high in ((left, right), (bottom, top))
        )
        found = (number for column in columns for row in rows for number in self._cells.get((column, row), ()))
        return [self[number] for number in sorted(found)]


def outline_distance(slide: Feature, x: Array, y: Array) -> Array:
    """About the distance [m] to a landslide's outline, negative inside: arc at the crown, near-parallel sides, round toe."""
    u, v = slide.local(x, y)
    crown, toe = 0.34 * slide.length_m, 0.70 * slide.length_m
    flare = 0.8 + 0.5 * (slide.salt % 97) / 97
    half = slide.width_m / 2 * (1 + (flare - 1) * np.clip((u - crown) / (toe - crown), 0, 1))
    cap_m = np.where(u < crown, crown, slide.length_m - toe)
    cap = np.where(u < crown, crown - u, np.maximum(u - toe, 0)) / cap_m
    v = v + 1e-6
    ring = np.hypot(cap, v / half)
    steepness = np.hypot(cap / cap_m, v / half**2) / ring
    return (ring - 1) / steepness + 0.05 * slide.length_m * _noise(x, y, 0.7 * slide.length_m, slide.salt)


def slide_change(slide: Feature, x: Array, y: Array) -> tuple[Array, Array]:
    """What a landslide does to the ground: change of elevation [m], and share (0 to 1) of older detail that it wiped out.

    Below the crown the ground drops behind an arcuate wall, whose sides die out downhill; a bench, slightly tilted
    back, leads to a lobe with hummocks across the movement. Age widens the walls, flattens the hummocks and lets
    gullies come back.
    """
    u, v = slide.local(x, y)
    depth = -outline_distance(slide, x, y)
    along = u / slide.length_m
    wall_m = 2.6 * slide.depth_m * (1 + 0.5 * slide.age)
    drop = slide.depth_m * (1 - _step(along, 0.30, 0.78)) * _step(depth, 0, wall_m)
    bench = 0.22 * slide.depth_m * np.exp(-(((along - 0.40) / 0.13) ** 2)) * _step(depth, 0, wall_m)
    lobe = 0.5 * slide.depth_m * _step(along, 0.40, 0.74) * _step(depth, 0, 0.17 * slide.length_m)
    wave_m = max(40.0, 0.26 * slide.length_m)
    hummocks = _noise(u, 0.5 * v, wave_m, slide.salt + 1) + 0.45 * _noise(u, 0.7 * v, 0.55 * wave_m, slide.salt + 2)
    hummocks *= (0.012 * slide.length_m + 0.6) * (1 - 0.45 * slide.age) * _step(along, 0.3, 0.5) * _step(depth, 0, 14)
    wiped = (0.92 - 0.35 * slide.age) * _step(depth, -4, 12 + 10 * slide.age)
    return lobe - drop - bench + hummocks, wiped


def place_landslides(area: AreaSettings, settings: SynthesizeSettings, rng: np.random.Generator, salt: int) -> Places:
    """Landslides on slopes that are long enough for them, facing downhill, apart, until their share of ground is reached."""
    width_m, height_m = area.columns * settings.pixel_m, area.rows * settings.pixel_m
    shortest, longest = settings.landslide_length_m
    wanted_m2 = settings.landslide_frac * width_m * height_m
    placed = Places()
    placed_m2 = 0.0
    n = math.ceil(width_m * height_m / 1500)
    for _ in range(4):
        length = 1 / rng.uniform(1 / longest, 1 / shortest, n)
        drawn = _drawn(rng, n, width_m, height_m, length, salt)
        rise = relief(drawn.x - 0.5 * length * drawn.down_east, drawn.y - 0.5 * length * drawn.down_north, salt)
        toe = relief(drawn.x + 0.5 * length * drawn.down_east, drawn.y + 0.5 * length * drawn.down_north, salt)
        low = relief(drawn.x + 0.3 * length * drawn.down_east, drawn.y + 0.3 * length * drawn.down_north, salt)
        fall = (rise - toe) / length
        good = (fall > 0.20) & (fall < 0.50) & (low - toe > 0.0) & (rise - low > 0.6 * (rise - toe))
        for i in np.flatnonzero(good).tolist():
            width, depth = length[i] * rng.uniform(0.45, 0.8), length[i] * rng.uniform(0.075, 0.095)
            slide = _feature(drawn, i, (length[i], width, depth, 0.0), rng, up=0.5)
            if _area_m2(slide) < 1.15 * (wanted_m2 - placed_m2) and _fits(slide, [placed], width_m, height_m, 10.0):
                placed.add(slide)
                placed_m2 += _area_m2(slide)
        if placed_m2 > 0.96 * wanted_m2:
            break
    if not placed:
        raise SynthError(
            f"a scene of {area.rows} x {area.columns} px with seed {area.seed} has no slope for a landslide of "
            f"{shortest:g} m or more; make it larger, or change synthesize.landslide_length_m or the seed."
        )
    return placed


def _area_m2(slide: Feature) -> float:
    """About the ground inside the outline: what a rectangle loses at its round ends, what the flare adds on average."""
    return 0.82 * slide.length_m * slide.width_m


@record(frozen=True)
class _Drawn:
    """Random places and the direction of the slope there."""

    x: Array
    y: Array
    fall: Array
    down_east: Array
    down_north: Array


def _drawn(rng: np.random.Generator, n: int, width_m: float, height_m: float, reach_m: Array, salt: int) -> _Drawn:
    """``n`` places, with the direction of the slope over two thirds of ``reach_m``."""
    x, y = rng.uniform(0, width_m, n), -rng.uniform(0, height_m, n)
    east = (relief(x - reach_m / 3, y, salt) - relief(x + reach_m / 3, y, salt)) / (reach_m * 2 / 3)
    north = (relief(x, y - reach_m / 3, salt) - relief(x, y + reach_m / 3, salt)) / (reach_m * 2 / 3)
    fall = np.hypot(east, north) + 1e-9
    return _Drawn(x, y, fall, east / fall, north / fall)


def _feature(
    at: _Drawn, i: int, size: tuple[float, float, float, float], rng: np.random.Generator, up: float = 0.0
) -> Feature:
    """A feature of (length, width, depth, floor) whose highest point lies ``up`` of its length uphill of the i-th place."""
    x, y = at.x[i] - up * size[0] * at.down_east[i], at.y[i] - up * size[0] * at.down_north[i]
    length_m, width_m, depth_m, floor_m = map(float, size)
    down_east, down_north = float(at.down_east[i]), float(at.down_north[i])
    age, salt = float(rng.uniform(0, 1)), int(rng.integers(2**31))
    return Feature(float(x), float(y), down_east, down_north, length_m, width_m, depth_m, floor_m, age, salt)


def _fits(
    new: Feature, others: Iterable[Places], width_m: float, height_m: float, margin_m: float, apart_frac: float = 0.82
) -> bool:
    """Whether a feature stays inside the area, less a margin, and far enough from the others."""
    x, y = new.centre
    side = margin_m + new.reach_m * 0.95
    if not (side < x < width_m - side and side < -y < height_m - side):
        return False
    for places in others:
        far_m = apart_frac * (new.reach_m + places.reach_m)
        near = places.around(x - far_m, x + far_m, y - far_m, y + far_m)
        if any(math.dist(new.centre, o.centre) <= apart_frac * (new.reach_m + o.reach_m) for o in near):
            return False
    return True


# ---------------------------------------------------------------------------------------------------------- look-alikes


def terraces(x: Array, y: Array, height: Array, fall: Array, salt: int) -> Array:
    """Change of elevation [m] where people cut the slope into level steps with steep risers."""
    rise_m = 4.5
    worked = _step(_noise(x, y, 700, salt + 60), 0.12, 0.3) * _step(fall, 0.07, 0.14) * (1 - _step(fall, 0.34, 0.5))
    step = (height + 1.5 * _noise(x, y, 180, salt + 61)) / rise_m
    part = step - np.floor(step)
    return worked * rise_m * (_step(part, 0.62, 1.0) - part)


def cut_bank(bank: Feature, x: Array, y: Array, height: Array) -> Array:
    """Change of elevation [m] where a stream undercut the slope: an arcuate wall like a landslide's, but no lobe."""
    u, v = bank.local(x, y)
    ring = np.hypot((u - bank.length_m) / bank.length_m, v / (bank.width_m / 2))
    inside_m = (1 - ring) * bank.length_m
    ground = bank.floor_m + 0.04 * (bank.length_m - u)
    return np.minimum(ground - height, 0) * _step(inside_m, 0, 1.3 * bank.depth_m)


def gully_head(gully: Feature, x: Array, y: Array) -> Array:
    """Change of elevation [m] by a trench that starts in a steep bowl below the shoulder and runs out downhill."""
    u, v = gully.local(x, y)
    along = u / gully.length_m
    v = v - 0.17 * gully.length_m * _noise(u, np.zeros_like(u), 0.8 * gully.length_m, gully.salt) * _step(along, 0, 0.5)
    bowl = 0.8 * np.exp(-(((along - 0.15) / 0.11) ** 2))
    half = gully.width_m / 2 * np.maximum(1 - 0.45 * along + bowl, 0.1)
    side = _step(1 - np.abs(v) / half, 0, 1.1)
    return -gully.depth_m * side * _step(along, 0, 0.14) * (1 - _step(along, 0.25, 1))


def place_look_alikes(
    area: AreaSettings, settings: SynthesizeSettings, slides: Places, rng: np.random.Generator, salt: int
) -> tuple[Places, Places]:
    """Cut banks at the foot of slopes and gully heads below shoulders, as many of each as there are landslides if they fit."""
    width_m, height_m = area.columns * settings.pixel_m, area.rows * settings.pixel_m
    n = int(width_m * height_m / 1500)
    banks = Places()
    size = rng.uniform(45, 95, n)
    at = _drawn(rng, n, width_m, height_m, np.full(n, 60.0), salt)
    foot, beyond = (relief(at.x + k * size * at.down_east, at.y + k * size * at.down_north, salt) for k in (1.0, 1.4))
    drop = relief(at.x, at.y, salt) - foot
    for i in np.flatnonzero((drop > 0.24 * size) & (np.abs(foot - beyond) < 0.06 * size)).tolist():
        bank = _feature(at, i, (size[i], size[i] * rng.uniform(1.6, 3.2), drop[i], foot[i]), rng)
        if len(banks) < len(slides) and _fits(bank, [slides, banks], width_m, height_m, -200.0):
            banks.add(bank)
    heads = Places()
    size = rng.uniform(150, 320, n)
    at = _drawn(rng, n, width_m, height_m, np.full(n, 60.0), salt)
    foot, middle = (relief(at.x + k * size * at.down_east, at.y + k * size * at.down_north, salt) for k in (1.0, 0.5))
    crown = relief(at.x, at.y, salt)
    for i in np.flatnonzero((crown - middle > 0.09 * size) & (middle - foot > 0.06 * size) & (at.fall < 0.45)).tolist():
        head = _feature(at, i, (size[i], rng.uniform(36, 60), rng.uniform(9, 15), foot[i]), rng)
        if len(heads) < len(slides) and _fits(head, [slides, banks, heads], width_m, height_m, -200.0, 0.65):
            heads.add(head)
    return banks, heads


# ---------------------------------------------------------------------------------------------------------------- scene


@record(frozen=True)
class Scene:
    """One area before anything is written: its settings and the tables of its features."""

    area: AreaSettings
    settings: SynthesizeSettings
    salt: int
    corner: tuple[float, float]
    slides: Places
    banks: Places
    heads: Places

    def grid(self, pixel_m: float, margin_m: float = 0.0) -> raster.Grid:
        """The grid of a file that covers the area and ``margin_m`` around it."""
        rows, columns = (
            math.ceil((n * self.settings.pixel_m + 2 * margin_m) / pixel_m) for n in (self.area.rows, self.area.columns)
        )
        transform = Affine(pixel_m, 0, self.corner[0] - margin_m, 0, -pixel_m, self.corner[1] + margin_m)
        return raster.Grid((rows, columns), transform, CRS)

    def coordinates(self, grid: raster.Grid, roi: raster.Roi, halo_px: int = 0) -> tuple[Array, Array]:
        """East and north [m] of the pixel centres of a window of a grid."""
        rows, columns = (np.arange(s.start - halo_px, s.stop + halo_px) + 0.5 for s in roi)
        east = grid.affine.c - self.corner[0] + grid.affine.a * columns
        north = grid.affine.f - self.corner[1] + grid.affine.e * rows
        x, y = np.meshgrid(east, north)
        return x, y

    def elevation(self, x: Array, y: Array) -> Array:
        """True elevation [m]."""
        base, fall_east, fall_north = _interpolated(lambda a, b: downhill(a, b, self.salt), x, y)
        detail = gullies(x, y, fall_east, fall_north, self.salt)
        detail += terraces(x, y, base + detail, np.hypot(fall_east, fall_north), self.salt)
        change, wiped = np.zeros_like(base), np.zeros_like(base)
        for slide, at in _near(self.slides, x, y):
            moved, gone = slide_change(slide, x[at], y[at])
            change[at] += moved
            wiped[at] = np.maximum(wiped[at], gone)
        height = base + detail * (1 - wiped) + change
        for head, at in _near(self.heads, x, y):
            height[at] += gully_head(head, x[at], y[at])
        for bank, at in _near(self.banks, x, y):
            height[at] += cut_bank(bank, x[at], y[at], height[at])
        return height

    def inside(self, x: Array, y: Array, part: float = 0.0) -> Array:
        """Whether a point lies in a landslide (``part`` 0), or in the lower ``1 - part`` of one."""
        found = np.zeros(x.shape, bool)
        for slide, at in _near(self.slides, x, y):
            u, _ = slide.local(x[at], y[at])
            found[at] |= (outline_distance(slide, x[at], y[at]) < 0) & (u >= part * slide.length_m)
        return found


def _near(features: Places, x: Array, y: Array) -> Iterator[tuple[Feature, tuple[Array, ...]]]:
    """The features that reach any of the points, each with the indices of those points."""
    left, right, bottom, top = x.min(), x.max(), y.min(), y.max()
    far_m = 1.4 * features.reach_m
    for feature in features.around(left - far_m, right + far_m, bottom - far_m, top + far_m):
        (east, north), r = feature.centre, feature.reach_m * 1.4
        if left - r < east < right + r and bottom - r < north < top + r:
            at = np.nonzero((np.abs(x - east) < r) & (np.abs(y - north) < r))
            if at[0].size:
                yield feature, at


def scene(area: AreaSettings, settings: SynthesizeSettings) -> Scene:
    """Draw the tables of an area; the same settings always give the same scene."""
    rng = np.random.default_rng(area.seed)
    salt = int(rng.integers(2**31))
    corner = (400_000.0 + 2000.0 * int(rng.integers(100)), 3_900_000.0 + 2000.0 * int(rng.integers(100)))
    slides = place_landslides(area, settings, rng, salt)
    banks, heads = place_look_alikes(area, settings, slides, rng, salt)
    return Scene(area, settings, salt, corner, slides, banks, heads)


# -------------------------------------------------------------------------------------------------------------- optical


def parcels(x: Array, y: Array, salt: int) -> tuple[Array, Array]:
    """Two random numbers in [-1, 1) per field: cells of a jittered net, long across and narrow along."""
    along = (0.9 * x + 0.44 * y + 45 * _noise(x, y, 500, salt + 70)) / 75
    across = (0.9 * y - 0.44 * x + 45 * _noise(x, y, 500, salt + 71)) / 32
    column, row = np.floor(along), np.floor(across)
    lattice = _Lattice.around(column, row, salt + 72)
    fx, fy = along - column - 0.5, across - row - 0.5
    nearest, owner = np.full(x.shape, np.inf), np.zeros(x.shape, np.intp)
    for right in (-1, 0, 1):
        for up in (-1, 0, 1):
            at = lattice.at(right, up)
            gap = (fx - right - 0.3 * lattice.a[at]) ** 2 + (fy - up - 0.3 * lattice.b[at]) ** 2
            closer = gap < nearest
            nearest, owner = np.where(closer, gap, nearest), np.where(closer, at, owner)
    # The fraction bits of the jitter that placed a field are as good as new numbers for it.
    return np.mod(lattice.a * 64, 2)[owner] - 1, np.mod(lattice.b * 64, 2)[owner] - 1


def optical(world: Scene, grid: raster.Grid, roi: raster.Roi) -> Array:
    """Red, green, blue and near-infrared reflectance x 10,000 of a window, 0 where there is no data.

    Light falls on soil and plants under one sun. Plants follow moisture (hollows, shaded slopes, a little the lobes),
    patches and fields, so a landslide hardly shows.
    """
    pixel_m, salt, settings = world.settings.pixel_m, world.salt, world.settings
    x, y = world.coordinates(grid, roi, halo_px=1)
    height = world.elevation(x, y)
    south, east = np.gradient(height, pixel_m)
    x, y, east, north = x[1:-1, 1:-1], y[1:-1, 1:-1], east[1:-1, 1:-1], -south[1:-1, 1:-1]
    steep = np.hypot(east, north)
    azimuth, altitude = math.radians(settings.sun_azimuth_deg), math.radians(settings.sun_altitude_deg)
    light = math.sin(altitude) - math.cos(altitude) * (math.sin(azimuth) * east + math.cos(azimuth) * north)
    light = 0.30 + 0.70 * np.maximum(light / np.sqrt(1 + steep**2), 0) / math.sin(altitude)

    farmed = 1 - _step(steep, 0.10, 0.30)
    crop, tilled = parcels(x, y, salt)
    patches = _fractal(x, y, 420, salt + 80, octaves=4, gain=0.6)
    shrubs = _step(_fractal(x, y, 22, salt + 90, octaves=2, gain=0.7), 0.1, 0.7)
    plants = 0.30 + 0.22 * patches - 0.25 * north + 0.11 * world.inside(x, y, part=0.45)
    plants = np.clip(
        plants * (1 - 0.6 * farmed) + 0.30 * farmed * (crop + 0.6) + 0.28 * shrubs * (1 - farmed), 0.02, 0.95
    )
    soil = 1 + 0.10 * _fractal(x, y, 260, salt + 100, octaves=4, gain=0.6) + 0.12 * farmed * tilled
    values = np.empty((4, *x.shape))
    for i, (bare, green, haze) in enumerate(
        ((0.27, 0.06, 0.02), (0.21, 0.09, 0.03), (0.14, 0.05, 0.045), (0.33, 0.44, 0.01))
    ):
        surface = bare * soil * (1 - plants) + green * plants
        values[i] = surface * light + haze + 0.006 * _grain(x, y, pixel_m, salt + 110 + 2 * i)
    values = np.clip(np.rint(values * 10_000), 1, 65_535)
    values[:, ~_seen(world, x, y)] = OPTICAL_NODATA
    return values.astype(np.uint16)


def _seen(world: Scene, x: Array, y: Array) -> Array:
    """Whether the image has data: not beyond the slanting edge of the swath, not under a masked cloud."""
    width_m, height_m = (n * world.settings.pixel_m for n in (world.area.columns, world.area.rows))
    swath = x / width_m + 0.06 * (-y / height_m) < 1.03
    clouds = _fractal(x, y, 900, world.salt + 120, octaves=3) > 0.75
    return swath & ~clouds


# ------------------------------------------------------------------------------------------------------------------ DEM


def dem(world: Scene, grid: raster.Grid, roi: raster.Roi, *, shifted: bool) -> Array:
    """Elevation [m], in centimetres, as a DEM of a window has it: with noise and voids and, if ``shifted``, moved.

    A point of the ground at X appears at X + shift.
    """
    area, settings = world.area, world.settings
    x, y = world.coordinates(grid, roi)
    if shifted:
        height = world.elevation(x - area.shift_east_m, y - area.shift_north_m) + area.shift_up_m
        noise_m, pixel_m, salt = settings.dem_noise_m, settings.dem_pixel_m, world.salt + 130
    else:
        height = world.elevation(x, y)
        noise_m, pixel_m, salt = settings.reference_noise_m, settings.reference_pixel_m, world.salt + 150
    height += noise_m * (0.7 * _grain(x, y, pixel_m, salt) + 1.2 * _noise(x, y, 12 * pixel_m, salt + 2))
    height = np.round(height, 2)
    height[_fractal(x, y, 260, salt + 5, octaves=3) > 0.75] = DEM_NODATA
    return height.astype(np.float32)[None]


# ------------------------------------------------------------------------------------------------------------ inventory


def outline(slide: Feature) -> Array:
    """True outline of a landslide as closed ``(vertex, [east, north])`` in metres, every 3 m or less."""
    cell_m = 3.0
    (east, north), r = slide.centre, slide.reach_m * 1.2
    line = np.arange(-r, r + cell_m, cell_m)
    x, y = np.meshgrid(east + line, north + line)
    longest = max(find_contours(outline_distance(slide, x, y), 0.0), key=len)
    return np.column_stack([east - r + cell_m * longest[:, 1], north - r + cell_m * longest[:, 0]])


def inventory(world: Scene, rng: np.random.Generator) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """The landslides as a mapper drew them, and what that mapper did wrong.

    Vertices lie about 14 m apart and off the line, each polygon is a little too large or too small, some of the
    smallest are missed, and one polygon crosses itself.
    """
    by_size = sorted(range(len(world.slides)), key=lambda i: _area_m2(world.slides[i]))
    missed = sorted(by_size[: len(by_size) // 10])
    crossed = by_size[-1]
    rows = []
    for i, slide in enumerate(world.slides):
        if i in missed:
            continue
        drawn = _sloppy(outline(slide), world.settings.mapper_jitter_m, rng)
        rows.append({"id": i + 1, "geometry": Polygon(_crossed(drawn) if i == crossed else drawn)})
    table = gpd.GeoDataFrame(rows, geometry="geometry", crs=CRS)
    table.geometry = table.translate(*world.corner)
    return table, {"mapped": len(rows), "missed_ids": [i + 1 for i in missed], "invalid_ids": [crossed + 1]}


def _sloppy(line: Array, jitter_m: float, rng: np.random.Generator) -> Array:
    """Fewer vertices, each off by ``jitter_m``, the whole up to 7 % too wide or too narrow."""
    centre = line.mean(axis=0)
    length_m = np.hypot(*np.diff(line, axis=0).T).sum()
    kept = line[np.linspace(0, len(line) - 1, max(9, int(length_m / 14)), endpoint=False).astype(int)]
    kept = centre + (kept - centre) * rng.uniform(0.93, 1.07)
    for _ in range(20):
        drawn = kept + rng.normal(0, jitter_m, kept.shape)
        if Polygon(drawn).is_valid:
            return drawn
    return kept


def _crossed(ring: Array) -> Array:
    """The ring with two neighbouring vertices in the wrong order, so that it crosses itself near them."""
    for i in range(len(ring) - 1):
        swapped = ring.copy()
        swapped[[i, i + 1]] = ring[[i + 1, i]]
        if not Polygon(swapped).is_valid:
            return swapped
    raise SynthError("no two vertices of the largest landslide make it cross itself; change the seed.")


def labelled_extent(world: Scene) -> gpd.GeoDataFrame:
    """The ground that the mapper looked at: the area without a strip along its edge."""
    x, y = world.corner
    width_m, height_m = world.area.columns * world.settings.pixel_m, world.area.rows * world.settings.pixel_m
    return gpd.GeoDataFrame({"id": [1]}, geometry=[box(x + 12, y - height_m + 16, x + width_m - 12, y - 20)], crs=CRS)


# ---------------------------------------------------------------------------------------------------------------- files


def refuse_foreign(folder: Path) -> None:
    """Raise `SynthError` unless ``folder`` is absent or holds nothing but what `synthesize` wrote there, unchanged."""
    if not folder.exists() and not folder.is_symlink():
        return
    name = folder.name
    remedy = f"rename it, or take '{name}' out of synthesize.areas"
    marker = folder / MARKER
    if folder.is_symlink() or not folder.is_dir() or not marker.is_file():
        raise SynthError(f"{folder} is not a synthetic area ({MARKER} is missing), so it is not overwritten; {remedy}.")
    try:
        written = json.loads(marker.read_text())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise SynthError(
            f"{marker} was not written by synthesize, so {folder} is not overwritten; {remedy}."
        ) from error
    for path in sorted(folder.rglob("*")):
        if path != marker and (path.is_dir() or written.get(path.name) != _sha256(path)):
            raise SynthError(f"{path} was not written by synthesize, so {folder} is not overwritten; {remedy}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synthesize(
    folder: Path,
    name: str,
    settings: SynthesizeSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the area ``name`` to ``folder``, whole or not at all, in place of an earlier synthetic one; return its truth.

    Raises `SynthError` if there is no such area, or if ``folder`` holds anything else.
    """
    if name not in settings.areas:
        known = ", ".join(settings.areas) or "none"
        raise SynthError(f"synthesize.areas has no area '{name}' (it has: {known}); name one of them.")
    refuse_foreign(folder)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        truth = _write(draft, scene(settings.areas[name], settings), progress)
        truth["sha256"] = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
        (draft / MARKER).write_text(json.dumps(truth, sort_keys=True, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
        return truth
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _counted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def _write(folder: Path, world: Scene, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Write all files of an area but the truth, which is returned."""
    area, settings = world.area, world.settings
    image, elevation = world.grid(settings.pixel_m), world.grid(settings.dem_pixel_m, DEM_MARGIN_M)
    reference = world.grid(settings.reference_pixel_m, DEM_MARGIN_M)
    metres = (raster.Band("elevation", "m"),)
    colours = tuple(raster.Band(n, "reflectance x 10000") for n in BANDS)
    files: dict[str, tuple[raster.Grid, tuple[raster.Band, ...], str, float, Callable[[raster.Roi], Array]]] = {
        "optical": (image, colours, "uint16", OPTICAL_NODATA, partial(optical, world, image)),
        "dem": (elevation, metres, "float32", DEM_NODATA, partial(dem, world, elevation, shifted=True)),
        "reference_dem": (reference, metres, "float32", DEM_NODATA, partial(dem, world, reference, shifted=False)),
    }
    if not area.reference_dem:
        del files["reference_dem"]
    sizes = [len(list(raster.blocks(grid.shape, BLOCK_PX))) for grid, *_ in files.values()]
    before = 0
    for (name, (grid, bands, dtype, nodata, compute)), size in zip(files.items(), sizes, strict=True):
        with raster.create(folder / f"{name}.tif", grid, bands, dtype, nodata) as sink:
            raster.fill(sink, compute, block_px=BLOCK_PX, progress=_counted(progress, before, sum(sizes)))
        before += size
    slides, mistakes = inventory(world, np.random.default_rng([area.seed, 1]))
    vector.write(folder / "landslides.gpkg", slides)
    vector.write(folder / "labelled_extent.gpkg", labelled_extent(world))
    ground_m2 = area.rows * area.columns * settings.pixel_m**2
    return {
        "seed": area.seed,
        "shift": {"east_m": area.shift_east_m, "north_m": area.shift_north_m, "up_m": area.shift_up_m},
        "sun": {"azimuth_deg": settings.sun_azimuth_deg, "altitude_deg": settings.sun_altitude_deg},
        "landslides": {
            "planted": len(world.slides),
            "frac": round(sum(Polygon(outline(s)).area for s in world.slides) / ground_m2, 6),
            **mistakes,
        },
        "look_alikes": {"cut_banks": len(world.banks), "gully_heads": len(world.heads)},
    }
