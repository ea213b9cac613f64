"""A scene, and what an image and a DEM show of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass as record
from dataclasses import replace

import numpy as np
from affine import Affine

from hpcl.geo import raster
from hpcl.settings.synthesize import AreaSettings, SynthesizeSettings
from hpcl.synth.landforms import (
    Feature,
    Places,
    SynthError,
    cut_bank,
    downhill,
    gullies,
    gully_head,
    outline_distance,
    place_landslides,
    place_look_alikes,
    slide_change,
    terraces,
)
from hpcl.synth.noise import Array, Lattice, fractal, grain, interpolated, noise, smoothstep

CRS = "EPSG:32648"  # UTM zone 48 north: metres, and the zone of the Loess Plateau

OPTICAL_NODATA = 0

DEM_NODATA = -9999.0

BARE_AGE = 0.35
"""Landslides younger than this, of an age from 0 to 1, are still bare where there are images of two dates."""


@record(frozen=True)
class Date:
    """What tells the image of a date from that of another: where it lies, its noise and clouds (``salt``), what stands on the fields
    (``crop``: which bits of a field's number tell it), its sun and its haze."""

    shift_m: tuple[float, float] = (0.0, 0.0)
    salt: int = 0
    crop: int = 64
    sun_turned_deg: float = 0.0
    haze: float = 0.0


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
    new: frozenset[int] = frozenset()
    """Which of the slides are younger than the image of the earlier date and the DEM."""
    date: Date = Date()

    def earlier(self) -> Scene:
        """The area at the earlier date, if it has one: without the new landslides, in other light, with other crops."""
        if self.area.before is None:
            return self
        old = Places()
        for number, slide in enumerate(self.slides):
            if number not in self.new:
                old.add(slide)
        date = Date((self.area.before.shift_east_m, self.area.before.shift_north_m), 400, 1024, -15.0, 0.01)
        return replace(self, slides=old, new=frozenset(), date=date)

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
        base, fall_east, fall_north = interpolated(lambda a, b: downhill(a, b, self.salt), x, y)
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

    def bare(self, x: Array, y: Array) -> Array:
        """Share of the plants that fresh landslides took, 0 to 1: new ones all do, old ones only if they did not fade, so that one
        image does not tell which are new."""
        share = np.zeros(x.shape)
        if self.area.before is not None:
            for slide, at in _near(self.slides, x, y):
                depth = -outline_distance(slide, x[at], y[at])
                share[at] = np.maximum(share[at], (slide.age < BARE_AGE) * 0.8 * smoothstep(depth, 0, 6))
        return share

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
    plain = Scene(area, settings, salt, corner, slides, banks, heads)
    return plain if area.before is None else _with_new(plain, area.before.new_frac)


def _with_new(world: Scene, new_frac: float) -> Scene:
    """The scene with a share of its landslides, at least one, made fresh and younger than the earlier date; one stays old."""
    count = len(world.slides)
    if count < 2:
        raise SynthError(
            f"a scene of {world.area.rows} x {world.area.columns} px has a single landslide, which cannot be both old and new; make it"
            " larger, or take 'before' out of its settings."
        )
    chosen = np.random.default_rng([world.area.seed, 2]).permutation(count)
    new = frozenset(chosen[: min(max(round(new_frac * count), 1), count - 1)].tolist())
    slides = Places()
    for number, slide in enumerate(world.slides):
        slides.add(replace(slide, age=0.0) if number in new else slide)
    return replace(world, slides=slides, new=new)


def parcels(x: Array, y: Array, salt: int, crop: int) -> tuple[Array, Array]:
    """Two random numbers in [-1, 1) per field: cells of a jittered net, long across and narrow along."""
    along = (0.9 * x + 0.44 * y + 45 * noise(x, y, 500, salt + 70)) / 75
    across = (0.9 * y - 0.44 * x + 45 * noise(x, y, 500, salt + 71)) / 32
    column, row = np.floor(along), np.floor(across)
    lattice = Lattice.around(column, row, salt + 72)
    fx, fy = along - column - 0.5, across - row - 0.5
    nearest, owner = np.full(x.shape, np.inf), np.zeros(x.shape, np.intp)
    for right in (-1, 0, 1):
        for up in (-1, 0, 1):
            at = lattice.at(right, up)
            gap = (fx - right - 0.3 * lattice.a[at]) ** 2 + (fy - up - 0.3 * lattice.b[at]) ** 2
            closer = gap < nearest
            nearest, owner = np.where(closer, gap, nearest), np.where(closer, at, owner)
    # The fraction bits of the jitter that placed a field are as good as new numbers for it.
    return np.mod(lattice.a * crop, 2)[owner] - 1, np.mod(lattice.b * crop, 2)[owner] - 1


def optical(world: Scene, grid: raster.Grid, roi: raster.Roi) -> Array:
    """Red, green, blue and near-infrared reflectance x 10,000 of a window, 0 where there is no data.

    Light falls on soil and plants under one sun. Plants follow moisture (hollows, shaded slopes, a little the lobes),
    patches and fields, so a landslide hardly shows; where there are images of two dates, fresh ones are bare (`Scene.bare`).
    """
    pixel_m, salt, settings, date = world.settings.pixel_m, world.salt, world.settings, world.date
    x, y = world.coordinates(grid, roi, halo_px=1)
    x, y = x - date.shift_m[0], y - date.shift_m[1]
    height = world.elevation(x, y)
    south, east = np.gradient(height, pixel_m)
    x, y, east, north = x[1:-1, 1:-1], y[1:-1, 1:-1], east[1:-1, 1:-1], -south[1:-1, 1:-1]
    steep = np.hypot(east, north)
    azimuth, altitude = (
        math.radians(settings.sun_azimuth_deg + date.sun_turned_deg),
        math.radians(settings.sun_altitude_deg),
    )
    light = math.sin(altitude) - math.cos(altitude) * (math.sin(azimuth) * east + math.cos(azimuth) * north)
    light = 0.30 + 0.70 * np.maximum(light / np.sqrt(1 + steep**2), 0) / math.sin(altitude)

    farmed = 1 - smoothstep(steep, 0.10, 0.30)
    crop, tilled = parcels(x, y, salt, date.crop)
    patches = fractal(x, y, 420, salt + 80, octaves=4, gain=0.6)
    shrubs = smoothstep(fractal(x, y, 22, salt + 90, octaves=2, gain=0.7), 0.1, 0.7)
    plants = 0.30 + 0.22 * patches - 0.25 * north + 0.11 * world.inside(x, y, part=0.45)
    plants = np.clip(
        plants * (1 - 0.6 * farmed) + 0.30 * farmed * (crop + 0.6) + 0.28 * shrubs * (1 - farmed), 0.02, 0.95
    )
    plants *= 1 - world.bare(x, y)
    soil = 1 + 0.10 * fractal(x, y, 260, salt + 100, octaves=4, gain=0.6) + 0.12 * farmed * tilled
    values = np.empty((4, *x.shape))
    for i, (bare, green, haze) in enumerate(
        ((0.27, 0.06, 0.02), (0.21, 0.09, 0.03), (0.14, 0.05, 0.045), (0.33, 0.44, 0.01))
    ):
        surface = bare * soil * (1 - plants) + green * plants
        values[i] = surface * light + haze + date.haze + 0.006 * grain(x, y, pixel_m, salt + 110 + 2 * i + date.salt)
    values = np.clip(np.rint(values * 10_000), 1, 65_535)
    values[:, ~_seen(world, x, y)] = OPTICAL_NODATA
    return values.astype(np.uint16)


def _seen(world: Scene, x: Array, y: Array) -> Array:
    """Whether the image has data: not beyond the slanting edge of the swath, not under a masked cloud."""
    width_m, height_m = (n * world.settings.pixel_m for n in (world.area.columns, world.area.rows))
    swath = x / width_m + 0.06 * (-y / height_m) < 1.03
    clouds = fractal(x, y, 900, world.salt + 120 + world.date.salt, octaves=3) > 0.75
    return swath & ~clouds


def dem(world: Scene, grid: raster.Grid, roi: raster.Roi, *, shifted: bool) -> Array:
    """Elevation [m], in centimetres, as a DEM of a window has it: with noise and voids and, if ``shifted``, moved.

    A point of the ground at X appears at X + shift. Of two dates it is of the earlier: DEMs of whole countries are older than
    the landslides that are looked for.
    """
    area, settings, world = world.area, world.settings, world.earlier()
    x, y = world.coordinates(grid, roi)
    if shifted:
        height = world.elevation(x - area.shift_east_m, y - area.shift_north_m) + area.shift_up_m
        noise_m, pixel_m, salt = settings.dem_noise_m, settings.dem_pixel_m, world.salt + 130
    else:
        height = world.elevation(x, y)
        noise_m, pixel_m, salt = settings.reference_noise_m, settings.reference_pixel_m, world.salt + 150
    height += noise_m * (0.7 * grain(x, y, pixel_m, salt) + 1.2 * noise(x, y, 12 * pixel_m, salt + 2))
    height = np.round(height, 2)
    height[fractal(x, y, 260, salt + 5, octaves=3) > 0.75] = DEM_NODATA
    return height.astype(np.float32)[None]
