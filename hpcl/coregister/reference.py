"""Where the ground of a DEM lies beside that of a reference DEM or of an image: estimate it, judge it, undo it.

A shift is how far the DEM must be **moved**: metres east, north and up. It is applied to the DEM's position, and the DEM
is resampled once, onto the image grid. With a reference DEM, xDEM finds it (Nuth and Kaab 2011, doi 10.5194/
tc-5-271-2011) on ground that no landslide has changed, in turn with the tilt between the two, of which their method knows
nothing; without one, `hpcl.coregister.shading` looks for the relief in the image. Both look at patches spread over the scene, so
memory and time do not grow with it. A shift that cannot be trusted, or that improves nothing, is refused with a reason,
and is not applied.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from functools import cached_property, partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from rasterio.features import rasterize
from scipy.optimize import OptimizeWarning
from scipy.special import betainc
from shapely.geometry import box

from hpcl.core.spread import nmad
from hpcl.coregister.sampling import (
    LEAST_LIT_FRAC,
    OUTLIER,
    away_from_km,
    elevation_on,
    middle_of,
    patches_of,
    pixel_size_m,
    projected,
)
from hpcl.coregister.shift import CERTAIN, Array, Point, Shift, below_words, rise_m, rounded_m, size_px, size_words
from hpcl.geo import raster
from hpcl.settings.coregister import LEAST_PATCHES, CoregisterError, CoregisterSettings

LEVEL: Point = (0.0, 0.0)
"""No tilt."""

CHANCE = 0.003
"""A tilt that level ground would show more often than this is none: as rare as three standard errors."""

ROUNDS = 3
"""So often are shift and tilt found in turn. Over a small scene of hills, 5 m/km pull the shift by 0.2 px, and each round
leaves a tenth of that."""

PASSES = 5
"""So often is a plane laid through the patches, each time without those that stood off the last one."""

LEAST_PX = 1000
"""Fewer pixels of stable ground fix no shift."""


@dataclasses.dataclass(frozen=True)
class _Ground:
    """Two DEMs, the equal patches in which they are compared, with a margin, and which pixels of them count.

    Arrays are ``(patch, row, column)``.
    """

    reference: raster.Source
    dem: raster.Source
    grids: list[raster.Grid]
    stable: npt.NDArray[np.bool_]

    def elevations(self, source: raster.Source, move_m: Point = (0, 0)) -> Array:
        """Metres of a DEM, moved."""
        return np.stack([elevation_on(source, grid, move_m) for grid in self.grids])

    @cached_property
    def as_they_lie(self) -> tuple[Array, Array]:
        """Elevations of the reference and of the DEM, neither moved."""
        return self.elevations(self.reference), self.elevations(self.dem)

    @cached_property
    def away_km(self) -> Array:
        """How far every pixel lies east and north of the middle of the DEM ``(2, patch, row, column)``."""
        middle = middle_of(self.dem.grid, self.grids[0].crs)
        return np.stack([away_from_km(grid, middle) for grid in self.grids], axis=1)

    def apart(self, reference: Array, dem: Array) -> Array:
        """Metres by which the DEM stands above its reference; NaN where one is unknown or the ground is not stable."""
        return np.where(self.stable, dem - reference, np.nan)

    def without_and_with(self, move_m: Point, pixel_m: Point) -> tuple[Array, Array]:
        """The difference without and with a shift, both after the same interpolation.

        Interpolation between pixels smooths a DEM's noise, which alone can lower the NMAD by a quarter. So the part of
        a pixel is shared: without, both DEMs are moved by half of it, with, one this way and the other that way.
        """
        east, north = ((m - round(m / side) * side) / 2 for m, side in zip(move_m, pixel_m, strict=True))
        without = self.apart(*(self.elevations(source, (east, north)) for source in (self.reference, self.dem)))
        there, here = (-east, -north), (move_m[0] - east, move_m[1] - north)
        return without, self.apart(self.elevations(self.reference, there), self.elevations(self.dem, here))


def align(reference: Path, dem: Path, settings: CoregisterSettings, unstable: gpd.GeoDataFrame | None = None) -> Shift:
    """How far ``dem`` must be moved to lie on the ``reference`` DEM.

    Ground inside the polygons ``unstable`` (the landslides) is left out. Any two DEMs in metres will do: if ``dem`` has a
    geographic CRS, both are brought onto a transverse Mercator centred on it.
    """
    with raster.Source(reference) as still, raster.Source(dem) as moving:
        for path, source in ((reference, still), (dem, moving)):
            if source.grid.crs is None:
                raise CoregisterError(f"{path} has no coordinate reference system; set the one it was made in.")
        return _against(_ground(still, moving, settings, unstable), pixel_size_m(projected(moving.grid)), settings)


def _against(ground: _Ground, pixel_m: Point, settings: CoregisterSettings) -> Shift:
    apart = ground.apart(*ground.as_they_lie)
    if (known := np.isfinite(apart).sum()) < LEAST_PX:
        few = f"Only {known} pixels of stable ground are known in the DEM and in its reference"
        return Shift("reference", False, f"{few}; the DEM was not moved.", pixel_m, quality="nmad_m")
    none = partial(
        Shift, "reference", False, pixel_m=pixel_m, quality="nmad_m", quality_before=nmad(apart),
        vertical_m=_up_m(apart),
    )  # fmt: skip
    tilt = LEVEL
    for _ in range(ROUNDS):
        found = _nuth_kaab(ground, tilt, pixel_m)
        if isinstance(found, str):
            return none(f"xDEM finds no shift to the reference DEM ({found}); the DEM was not moved.")
        move_m = found
        if size_px(move_m, pixel_m) > settings.maximum_shift_px:
            return none(
                f"xDEM's shift of {size_px(move_m, pixel_m):.1f} px is beyond coregister.maximum_shift_px, "
                f"{settings.maximum_shift_px}; the DEM was not moved. Raise that if it may lie so far off."
            )
        without, moved = ground.without_and_with(move_m, pixel_m)
        tilt = _tilt(moved, ground.away_km, settings)
        if tilt == LEVEL:
            break
    levelled = [apart + rise_m(tilt, ground.away_km) for apart in (without, moved)]
    before, after = map(nmad, levelled)
    gains = before > 0 and 1 - after / before >= settings.minimum_gain_frac
    accepted = gains and _certain(*levelled)
    left = moved if accepted else without
    doubt = (
        ", but by chance, for its patches do not agree on that; it was not moved." if gains else below_words(settings)
    )
    reason = (
        f"{size_words(move_m, pixel_m)} takes the NMAD of the difference to the reference DEM from {before:.3g} to {after:.3g} m"
        f"{'.' if accepted else doubt}"
    )
    tilt = _tilt(left, ground.away_km, settings)
    if tilt != LEVEL:
        gone = f"A tilt of {math.hypot(*tilt):.3g} m/km was taken off its elevations"
        reason += f" {gone}, without which the NMAD would be {nmad(left):.3g} m."
    return Shift(
        "reference", accepted, reason, pixel_m, *move_m,
        vertical_m=_up_m(left + rise_m(tilt, ground.away_km)), tilt_east_m_per_km=tilt[0], tilt_north_m_per_km=tilt[1],
        quality="nmad_m", quality_before=nmad(without), quality_after=after,
    )  # fmt: skip


def _certain(without: Array, moved: Array) -> bool:
    """Whether the patches agree, by `CERTAIN` standard errors, that a shift brings the DEM nearer to its reference.

    Over a reference without relief, any shift brings other ground into the patches, of which the NMAD may be lower.
    """
    both = np.isfinite(without).any((1, 2)) & np.isfinite(moved).any((1, 2))
    off_m = [np.nanmedian(np.abs(apart - np.nanmedian(apart))[both], (1, 2)) for apart in (without, moved)]
    gain_m = off_m[0] - off_m[1]
    error_m = gain_m.std() / math.sqrt(max(len(gain_m) - 1, 1))
    return len(gain_m) >= LEAST_PATCHES and bool(gain_m.mean() > CERTAIN * error_m)


def _up_m(apart: Array) -> float:
    """What must be added to a DEM that stands so far above its reference, to a tenth of a millimetre."""
    return 0.0 - round(float(np.nanmedian(apart)), 4)


def _tilt(apart: Array, away_km: Array, settings: CoregisterSettings) -> Point:
    """Metres per kilometre east and north that lay the DEM level with its reference, or `LEVEL` if that is not sure.

    ``apart`` (patch, row, column) is how far the DEM stands above it. A plane is laid through the median of every patch,
    without those that stand off it. Neighbouring pixels err alike, so it is the patches that must agree (F-test).
    """
    known = np.isfinite(apart)
    count = known.sum((1, 2))
    enough = count >= LEAST_LIT_FRAC * count.max()
    at_km = np.where(known, away_km, 0).sum((2, 3))[:, enough] / count[enough]
    height_m, plane = np.nanmedian(apart[enough], (1, 2)), np.stack([np.ones(enough.sum()), *at_km], 1)
    rest_m = height_m
    for _ in range(PASSES):
        used = np.abs(rest_m - np.median(rest_m)) <= OUTLIER * nmad(rest_m)
        # Patches in one row say nothing about the direction across, in which the plane is then level.
        fit, _, rank, _ = np.linalg.lstsq(plane[used], height_m[used], rcond=1e-3)
        rest_m = height_m - plane @ fit
    free, level, tilted = used.sum() - rank, height_m[used].var(), (rest_m[used] ** 2).mean()
    # The share that a plane leaves of the variance has this distribution (of Beta, or F) if there is none.
    if rank < 2 or free < 1 or not level > 0 or betainc(free / 2, (rank - 1) / 2, tilted / level) > CHANCE:
        return LEVEL
    tilt = 0.0 - round(float(fit[1]), 4), 0.0 - round(float(fit[2]), 4)
    before, after = nmad(apart), nmad(apart + rise_m(tilt, away_km))
    return tilt if before > 0 and 1 - after / before >= settings.minimum_gain_frac else LEVEL


def _ground(
    reference: raster.Source, dem: raster.Source, settings: CoregisterSettings, unstable: gpd.GeoDataFrame | None
) -> _Ground:
    halo_px = settings.maximum_shift_px + 2
    grids = [patch.pad(halo_px) for patch in patches_of(projected(dem.grid), settings.sample_patches)]
    stable = np.stack([~_inside(unstable, grid) for grid in grids])
    margin = np.ones(stable.shape[1:], bool)
    margin[halo_px:-halo_px, halo_px:-halo_px] = False
    return _Ground(reference, dem, grids, stable & ~margin)


def _inside(polygons: gpd.GeoDataFrame | None, grid: raster.Grid) -> npt.NDArray[np.bool_]:
    """Which pixels of a grid the polygons touch."""
    out = np.zeros(grid.shape, np.uint8)
    if polygons is not None and len(polygons):
        shapes = polygons.to_crs(str(grid.crs)).geometry
        near = shapes.iloc[shapes.sindex.query(box(*grid.boundingbox.bbox))]
        if len(near):
            rasterize(near, out=out, transform=grid.affine, all_touched=True)
    return out.astype(bool)


def _nuth_kaab(ground: _Ground, tilt: Point, pixel_m: Point) -> Point | str:
    """xDEM's shift of the DEM with a tilt added, metres east and north, or what it says instead.

    The patches are stacked on each other, margins between them, as one tall DEM: xDEM takes whole rasters only.
    """
    from xdem.coreg import NuthKaab  # noqa: PLC0415  (6 s of import that areas without a reference do not need)

    still, moving = ground.as_they_lie
    moving = moving + rise_m(tilt, ground.away_km)
    still, moving, stable = (np.concatenate(patches) for patches in (still, moving, ground.stable))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # of covariances, which nobody asked for
            fit = NuthKaab(subsample=1).fit(
                still, moving, inlier_mask=stable,
                transform=Affine(pixel_m[0], 0, 0, 0, -pixel_m[1], 0),
                crs=pyproj.CRS("EPSG:32631"),  # any metric one: the stack lies nowhere
            )  # fmt: skip
    except (ValueError, RuntimeError) as error:  # what xDEM and SciPy raise when there is nothing to fit
        return str(error).split(".")[0]
    east_m, north_m, _ = fit.to_translations()
    return rounded_m(east_m, north_m) if math.isfinite(east_m + north_m) else "its fit is not finite"
