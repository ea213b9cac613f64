"""Landforms of a loess plateau: relief, gullies, old landslides, and what looks like one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass as record
from typing import Any

import numpy as np

from hpcl.settings.synthesize import AreaSettings, SynthesizeSettings
from hpcl.synth.noise import Array, Lattice, fractal, noise, smoothstep


class SynthError(ValueError):
    """A scene that cannot be made, or must not be written where it would go."""


def relief(x: Array, y: Array, salt: int) -> Array:
    """Elevation [m] of the bare landform: ridges and remains of a plateau between valleys and their tributaries."""
    bend_x = x + 90 * noise(x, y, 800, salt + 1) + 30 * noise(x, y, 300, salt + 2)
    bend_y = y + 90 * noise(x, y, 800, salt + 3) + 30 * noise(x, y, 300, salt + 4)
    # Valleys run where a noise is zero; its size grows with the distance from there.
    main = np.abs(fractal(bend_x, bend_y, 2100, salt + 10, octaves=3, gain=0.45) - 0.1)
    flank = np.clip((main - 0.03) / 0.62, 0, 1)
    height = 116 * (0.55 * flank + 0.45 * smoothstep(flank, 0, 1))
    side = np.abs(fractal(bend_x, bend_y, 950, salt + 20, octaves=2, gain=0.4) - 0.1)
    # A tributary leaves the divide as a hollow and reaches the main valley at its floor.
    height = height - 0.58 * height * (1 - 0.6 * smoothstep(main, 0.5, 1.0)) * (1 - smoothstep(side, 0.0, 0.62))
    return 1150 + height + 9 * noise(x, y, 1300, salt + 30) + 3 * noise(x, y, 230, salt + 31)


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
    return total * smoothstep(fall, 0.08, 0.42)


def _stripes(x: Array, y: Array, across_x: Array, across_y: Array, salt: int) -> tuple[Array, Array]:
    """Cosine and sine of stripes of unit width across a direction that may change from place to place."""
    column, row = np.floor(x), np.floor(y)
    lattice = Lattice.around(column, row, salt)
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


@record(frozen=True)
class Feature:
    """A landform of limited extent: where its highest point lies, which way it faces, and its size in metres.

    ``depth_m`` is the drop of its wall, ``floor_m`` the elevation below it, ``age`` runs from 0 (fresh) over 1 (faded) to 2.
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
    return (ring - 1) / steepness + 0.05 * slide.length_m * noise(x, y, 0.7 * slide.length_m, slide.salt)


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
    drop = slide.depth_m * (1 - smoothstep(along, 0.30, 0.78)) * smoothstep(depth, 0, wall_m)
    bench = 0.22 * slide.depth_m * np.exp(-(((along - 0.40) / 0.13) ** 2)) * smoothstep(depth, 0, wall_m)
    lobe = 0.5 * slide.depth_m * smoothstep(along, 0.40, 0.74) * smoothstep(depth, 0, 0.17 * slide.length_m)
    wave_m = max(40.0, 0.26 * slide.length_m)
    hummocks = noise(u, 0.5 * v, wave_m, slide.salt + 1) + 0.45 * noise(u, 0.7 * v, 0.55 * wave_m, slide.salt + 2)
    hummocks *= (
        (0.012 * slide.length_m + 0.6) * (1 - 0.45 * slide.age) * smoothstep(along, 0.3, 0.5) * smoothstep(depth, 0, 14)
    )
    wiped = (0.92 - 0.35 * slide.age) * smoothstep(depth, -4, 12 + 10 * slide.age)
    return lobe - drop - bench + hummocks, wiped


def place_landslides(area: AreaSettings, settings: SynthesizeSettings, rng: np.random.Generator, salt: int) -> Places:
    """Landslides on slopes that are long enough for them, facing downhill, apart, until their share of ground is reached."""
    ground = _Ground(area.columns * settings.pixel_m, area.rows * settings.pixel_m, salt)
    shortest, longest = settings.landslide_length_m
    wanted_m2 = settings.landslide_frac * ground.width_m * ground.height_m
    placed = Places()
    placed_m2 = 0.0
    n = math.ceil(ground.width_m * ground.height_m / 1500)
    for _ in range(4):
        length = 1 / rng.uniform(1 / longest, 1 / shortest, n)
        drawn = ground.drawn(rng, n, length)
        rise = relief(drawn.x - 0.5 * length * drawn.down_east, drawn.y - 0.5 * length * drawn.down_north, salt)
        toe = relief(drawn.x + 0.5 * length * drawn.down_east, drawn.y + 0.5 * length * drawn.down_north, salt)
        low = relief(drawn.x + 0.3 * length * drawn.down_east, drawn.y + 0.3 * length * drawn.down_north, salt)
        fall = (rise - toe) / length
        good = (fall > 0.20) & (fall < 0.50) & (low - toe > 0.0) & (rise - low > 0.6 * (rise - toe))
        for i in np.flatnonzero(good).tolist():
            width, depth = length[i] * rng.uniform(0.45, 0.8), length[i] * rng.uniform(0.075, 0.095)
            slide = _feature(drawn, i, (length[i], width, depth, 0.0), rng, up=0.5, ages=settings.landslide_age)
            small = area_m2(slide) < 1.15 * (wanted_m2 - placed_m2)
            if small and ground.holds(slide, 10.0) and _is_apart(slide, [placed]):
                placed.add(slide)
                placed_m2 += area_m2(slide)
        if placed_m2 > 0.96 * wanted_m2:
            break
    if not placed:
        raise SynthError(
            f"a scene of {area.rows} x {area.columns} px with seed {area.seed} has no slope for a landslide of "
            f"{shortest:g} m or more; make it larger, or change synthesize.landslide_length_m or the seed."
        )
    return placed


def area_m2(slide: Feature) -> float:
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


@record(frozen=True)
class _Ground:
    """The ground of an area, from (0, 0) to the east and to the south, on which landforms are placed."""

    width_m: float
    height_m: float
    salt: int

    def drawn(self, rng: np.random.Generator, n: int, reach_m: Array) -> _Drawn:
        """``n`` places, with the direction of the slope over two thirds of ``reach_m``."""
        x, y = rng.uniform(0, self.width_m, n), -rng.uniform(0, self.height_m, n)
        step_m, salt = reach_m / 3, self.salt
        east = (relief(x - step_m, y, salt) - relief(x + step_m, y, salt)) / (reach_m * 2 / 3)
        north = (relief(x, y - step_m, salt) - relief(x, y + step_m, salt)) / (reach_m * 2 / 3)
        fall = np.hypot(east, north) + 1e-9
        return _Drawn(x, y, fall, east / fall, north / fall)

    def holds(self, new: Feature, margin_m: float) -> bool:
        """Whether a feature stays inside, less a margin."""
        x, y = new.centre
        side = margin_m + new.reach_m * 0.95
        return side < x < self.width_m - side and side < -y < self.height_m - side


def _feature(
    at: _Drawn,
    i: int,
    size: tuple[float, float, float, float],
    rng: np.random.Generator,
    up: float = 0.0,
    ages: tuple[float, float] = (0.0, 1.0),
) -> Feature:
    """A feature of (length, width, depth, floor) whose highest point lies ``up`` of its length uphill of the i-th place."""
    x, y = at.x[i] - up * size[0] * at.down_east[i], at.y[i] - up * size[0] * at.down_north[i]
    length_m, width_m, depth_m, floor_m = map(float, size)
    down_east, down_north = float(at.down_east[i]), float(at.down_north[i])
    age, salt = float(rng.uniform(*ages)), int(rng.integers(2**31))
    return Feature(float(x), float(y), down_east, down_north, length_m, width_m, depth_m, floor_m, age, salt)


def _is_apart(new: Feature, others: Iterable[Places], apart_frac: float = 0.82) -> bool:
    """Whether a feature stays far enough from the others."""
    x, y = new.centre
    for places in others:
        far_m = apart_frac * (new.reach_m + places.reach_m)
        near = places.around(x - far_m, x + far_m, y - far_m, y + far_m)
        if any(math.dist(new.centre, o.centre) <= apart_frac * (new.reach_m + o.reach_m) for o in near):
            return False
    return True


def terraces(x: Array, y: Array, height: Array, fall: Array, salt: int) -> Array:
    """Change of elevation [m] where people cut the slope into level steps with steep risers."""
    rise_m = 4.5
    worked = (
        smoothstep(noise(x, y, 700, salt + 60), 0.12, 0.3)
        * smoothstep(fall, 0.07, 0.14)
        * (1 - smoothstep(fall, 0.34, 0.5))
    )
    step = (height + 1.5 * noise(x, y, 180, salt + 61)) / rise_m
    part = step - np.floor(step)
    return worked * rise_m * (smoothstep(part, 0.62, 1.0) - part)


def cut_bank(bank: Feature, x: Array, y: Array, height: Array) -> Array:
    """Change of elevation [m] where a stream undercut the slope: an arcuate wall like a landslide's, but no lobe."""
    u, v = bank.local(x, y)
    ring = np.hypot((u - bank.length_m) / bank.length_m, v / (bank.width_m / 2))
    inside_m = (1 - ring) * bank.length_m
    ground = bank.floor_m + 0.04 * (bank.length_m - u)
    return np.minimum(ground - height, 0) * smoothstep(inside_m, 0, 1.3 * bank.depth_m)


def gully_head(gully: Feature, x: Array, y: Array) -> Array:
    """Change of elevation [m] by a trench that starts in a steep bowl below the shoulder and runs out downhill."""
    u, v = gully.local(x, y)
    along = u / gully.length_m
    v = v - 0.17 * gully.length_m * noise(u, np.zeros_like(u), 0.8 * gully.length_m, gully.salt) * smoothstep(
        along, 0, 0.5
    )
    bowl = 0.8 * np.exp(-(((along - 0.15) / 0.11) ** 2))
    half = gully.width_m / 2 * np.maximum(1 - 0.45 * along + bowl, 0.1)
    side = smoothstep(1 - np.abs(v) / half, 0, 1.1)
    return -gully.depth_m * side * smoothstep(along, 0, 0.14) * (1 - smoothstep(along, 0.25, 1))


def place_look_alikes(
    area: AreaSettings, settings: SynthesizeSettings, slides: Places, rng: np.random.Generator, salt: int
) -> tuple[Places, Places]:
    """Cut banks at the foot of slopes and gully heads below shoulders, as many of each as there are landslides if they fit."""
    ground = _Ground(area.columns * settings.pixel_m, area.rows * settings.pixel_m, salt)
    n = int(ground.width_m * ground.height_m / 1500)
    banks = Places()
    size = rng.uniform(45, 95, n)
    at = ground.drawn(rng, n, np.full(n, 60.0))
    foot, beyond = (relief(at.x + k * size * at.down_east, at.y + k * size * at.down_north, salt) for k in (1.0, 1.4))
    drop = relief(at.x, at.y, salt) - foot
    for i in np.flatnonzero((drop > 0.24 * size) & (np.abs(foot - beyond) < 0.06 * size)).tolist():
        bank = _feature(at, i, (size[i], size[i] * rng.uniform(1.6, 3.2), drop[i], foot[i]), rng)
        if len(banks) < len(slides) and ground.holds(bank, -200.0) and _is_apart(bank, [slides, banks]):
            banks.add(bank)
    heads = Places()
    size = rng.uniform(150, 320, n)
    at = ground.drawn(rng, n, np.full(n, 60.0))
    foot, middle = (relief(at.x + k * size * at.down_east, at.y + k * size * at.down_north, salt) for k in (1.0, 0.5))
    crown = relief(at.x, at.y, salt)
    for i in np.flatnonzero((crown - middle > 0.09 * size) & (middle - foot > 0.06 * size) & (at.fall < 0.45)).tolist():
        head = _feature(at, i, (size[i], rng.uniform(36, 60), rng.uniform(9, 15), foot[i]), rng)
        if len(heads) < len(slides) and ground.holds(head, -200.0) and _is_apart(head, [slides, banks, heads], 0.65):
            heads.add(head)
    return banks, heads
