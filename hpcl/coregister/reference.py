"""Where the ground of a DEM lies beside that of a reference DEM or of an image: estimate it, judge it, undo it.

A shift is how far the DEM must be **moved**: metres east, north and up. It is applied to the DEM's position, and the DEM
is resampled once, onto the image grid. With a reference DEM, xDEM finds it (Nuth and Kaab 2011, doi 10.5194/
tc-5-271-2011) on ground that no landslide has changed, in turn with the tilt between the two, of which their method knows
nothing; without one, `hpcl.shading` looks for the relief in the image. Both look at patches spread over the scene, so
memory and time do not grow with it. A shift that cannot be trusted, or that improves nothing, is refused with a reason,
and is not applied.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.warp import calculate_default_transform, transform, transform_bounds
from scipy.optimize import OptimizeWarning
from scipy.special import betainc
from shapely.geometry import box

from hpcl.coregister import shading
from hpcl.geo import raster
from hpcl.geo.resample import pipeline_between, resample
from hpcl.settings.coregister import LEAST_PATCHES, CoregisterError, CoregisterSettings, counting_bands, quoted

Array = npt.NDArray[Any]
Point = tuple[float, float]
"""East and north."""
Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


PATCH_PX = (24, 128)
"""Smallest and largest side of a patch; in between, a scene is cut into about 16."""
OUTLIER = 4.0
"""Brightness is held within so many robust standard deviations of its median, and patches that stand further off a tilt
have no say in it: neither one glint nor one unmapped landslide must decide."""
CERTAIN = 3.0
"""A shift of fewer standard errors is none."""
LEAST_LIT_FRAC = 0.2
"""A patch counts if so much of it is known in both."""
BANDS_APART_PX, BANDS_NEAR_FRAC = 0.5, 0.5
"""Bands that show the relief at least by this share of the best correlation may not lie further apart than this."""
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
MOST_PX = 4 * 1024 * 1024
"""Largest source window that is resampled at once, in pixels and bands."""


@dataclasses.dataclass(frozen=True)
class Light:
    """How the image was lit: brightness = ``before`` (or ``after``) . normal, both in the band that `shading` looks at.

    The coefficients belong to the normal (east, north, up) where the DEM was and where it was found to lie (None if it
    was not found); ``spread`` is the standard deviation of the brightness, ``band`` the layer of the image.
    """

    band: str
    spread: float
    before: tuple[float, ...]
    after: tuple[float, ...] | None

    @property
    def sun(self) -> dict[str, float | None] | None:
        """Where the sun stood; its altitude rests on the weak upward component, and is None where that makes no sense."""
        if self.after is None:
            return None
        east, north, up = self.after
        altitude_deg = math.degrees(math.atan2(up, math.hypot(east, north)))
        azimuth_deg = math.degrees(math.atan2(east, north)) % 360
        return {"azimuth_deg": azimuth_deg, "altitude_deg": altitude_deg if altitude_deg > 0 else None}


@dataclasses.dataclass(frozen=True)
class BandLook:
    """How far the DEM must be moved to lie on one band of the image, to about a quarter of a pixel, and its correlation.

    The three are None where the band does not show the relief, and ``unseen`` says why. A band that does not ``count`` decides
    nothing.
    """

    name: str
    counts: bool
    east_m: float | None = None
    north_m: float | None = None
    correlation: float | None = None
    unseen: str | None = None


@dataclasses.dataclass(frozen=True)
class Shift:
    """How far the DEM must be moved, and whether that is believed.

    ``east_m`` and ``north_m`` are what was found, and are applied only if ``accepted``. A plane is always added to the
    elevation: ``vertical_m`` in the middle of the grid on which the DEM came, and ``tilt_*_m_per_km`` more for every
    kilometre east and north of it. The first is minus the median difference to the reference DEM and needs no gain, the
    tilt is 0 unless it is sure; both are 0 without reference. ``quality_before`` and ``_after`` are what ``quality`` names,
    as things are and with what was found: ``nmad_m`` of the elevation difference (less is better) or ``correlation`` of
    brightness with shading (more is better). ``bands`` is what each band of the image says by itself, ``findings`` are
    sentences on what is not wrong but must be known; both are empty with a reference DEM.
    """

    method: Literal["reference", "image"]
    accepted: bool
    reason: str
    pixel_m: Point
    east_m: float = 0.0
    north_m: float = 0.0
    vertical_m: float = 0.0
    tilt_east_m_per_km: float = 0.0
    tilt_north_m_per_km: float = 0.0
    quality: Literal["nmad_m", "correlation"] | None = None
    quality_before: float | None = None
    quality_after: float | None = None
    standard_error_px: float | None = None
    light: Light | None = None
    bands: tuple[BandLook, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def move_m(self) -> Point:
        """Metres east and north by which the DEM is moved: what was found, or nothing."""
        return (self.east_m, self.north_m) if self.accepted else (0.0, 0.0)

    def lift_m(self, away_km: Array) -> Array:
        """Metres ``(row, column)`` that are added to the elevation of pixels which lie `_away_km` from its middle."""
        return self.vertical_m + _rise_m((self.tilt_east_m_per_km, self.tilt_north_m_per_km), away_km)

    def facts(self) -> dict[str, Any]:
        """What shift.json says; ``_px`` are pixels of the DEM, ``dem_pixel_m`` the side of one."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        width_m, height_m = facts.pop("pixel_m")
        light = facts.pop("light")
        return facts | {
            "bands": [dataclasses.asdict(band) for band in self.bands],
            "east_px": self.east_m / width_m,
            "north_px": self.north_m / height_m,
            "dem_pixel_m": math.sqrt(width_m * height_m),
            "sun": light.sun if light else None,
            "band": light.band if light else None,
        }


# ------------------------------------------------------------------------------------------------- one grid for both


def read_on(source: raster.Source, target: raster.Grid, how: Resampling, bands: Sequence[str] | None = None) -> Array:
    """Layers ``(band, row, column)`` of a file on another grid, NaN where it has no data.

    Copied where the two share their pixels. Otherwise GDAL's kernel weighs what is known alone, and a pixel whose
    centre falls on nodata stays nodata, so gaps neither grow nor close.
    """
    grid, (height, width) = source.grid, target.shape
    out = np.full((len(source.bands if bands is None else bands), height, width), np.nan, np.float32)
    offset = _offset_px(grid, target)
    if offset is not None:
        under = [(start, start + size) for start, size in zip(offset, target.shape, strict=True)]
        if (window := _clip(under, grid.shape)) is not None:
            rows, columns = (slice(w.start - start, w.stop - start) for w, start in zip(window, offset, strict=True))
            out[:, rows, columns] = source.read(window, bands)
        return out
    spans = _spans_px(grid, target)
    zoom = math.sqrt(height * width / math.prod(b - a for a, b in spans))  # target pixels per source pixel
    reach = 4 * max(1 / zoom, 1)  # source pixels that a cubic kernel needs, and a spare
    if (window := _clip([(a - reach, b + reach) for a, b in spans], grid.shape)) is None:
        return out
    if len(out) * math.prod(w.stop - w.start for w in window) > MOST_PX and max(height, width) > 1:
        axis = int(width > height)
        half = target.shape[axis] // 2
        parts = (target[:half], target[half:]) if axis == 0 else (target[:, :half], target[:, half:])
        return np.concatenate([read_on(source, part, how, bands) for part in parts], axis=1 + axis)
    # Rounded, for every block measures a slightly different one.
    zoom, way = round(zoom, 4) if zoom < 0.9 else 1.0, pipeline_between(grid.crs, target.crs)
    return resample(source.read(window, bands), grid[window], target, how, zoom, way)


def _offset_px(source: raster.Grid, target: raster.Grid) -> tuple[int, int] | None:
    """Row and column of ``source`` at which ``target`` begins, if both are cut from one lattice of pixels."""
    there = ~source.affine * target.affine
    offset = round(there.f), round(there.c)
    bent = max(abs(there.a - 1), abs(there.e - 1), abs(there.b), abs(there.d)) * max(target.shape)
    aside = max(abs(there.f - offset[0]), abs(there.c - offset[1]))
    return offset if source.crs == target.crs and max(bent, aside) < 1e-3 else None


def _spans_px(source: raster.Grid, target: raster.Grid) -> list[tuple[float, float]]:
    """First and last row, first and last column of ``source`` under ``target``."""
    bounds = target.boundingbox.bbox
    if source.crs != target.crs:
        bounds = transform_bounds(str(target.crs), str(source.crs), *bounds, densify_pts=21)
    left, bottom, right, top = bounds
    columns, rows = ~source.affine * (np.array([left, right]), np.array([top, bottom]))
    return [(float(rows.min()), float(rows.max())), (float(columns.min()), float(columns.max()))]


def _clip(spans: Sequence[tuple[float, float]], shape: Sequence[int]) -> raster.Roi | None:
    """The part of some rows and columns that a shape has."""
    rows, columns = (slice(max(math.floor(a), 0), min(math.ceil(b), n)) for (a, b), n in zip(spans, shape, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _moved(grid: raster.Grid, move_m: Point) -> raster.Grid:
    """The grid on which a raster shows what it would show on ``grid`` after it were moved east and north."""
    return raster.Grid(grid.shape, Affine.translation(-move_m[0], -move_m[1]) * grid.affine, grid.crs)


def _pixel_m(grid: raster.Grid) -> Point:
    """Width and height of a pixel."""
    return abs(grid.affine.a), abs(grid.affine.e)


def _away_km(grid: raster.Grid, middle: Point, roi: raster.Roi | None = None) -> Array:
    """Kilometres east and north of a point ``(2, row, column)``, for the pixels of a grid or of a part of it.

    The pixels are counted from the grid's corner: a part gives, bit for bit, what the whole does.
    """
    rows, columns = (index + 0.5 for index in np.ogrid[roi or tuple(map(slice, grid.shape))])
    east, north = grid.affine * (columns, rows)
    return np.stack(np.broadcast_arrays(east - middle[0], north - middle[1])).astype(np.float32) / np.float32(1000)


def _middle(grid: raster.Grid, crs: Any) -> Point:
    """East and north, in a CRS, of the middle of a grid."""
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    if grid.crs != crs:
        (x,), (y,) = transform(str(grid.crs), str(crs), [x], [y])
    return x, y


def _rise_m(tilt_m_per_km: Point, away_km: Array) -> Array:
    """Metres by which a tilted plane rises over the point that ``away_km`` counts from; of the shape of one direction."""
    return tilt_m_per_km[0] * away_km[0] + tilt_m_per_km[1] * away_km[1]


def _metric(grid: raster.Grid) -> raster.Grid:
    """The grid itself if it is projected, else one in a transverse Mercator centred on it."""
    assert grid.crs is not None  # `ingest` and `align` see to that
    if grid.crs.projected:
        return grid
    geodetic = pyproj.CRS(str(grid.crs)).to_2d()
    lon, lat = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    centred = TransverseMercatorConversion(round(lat, 3), round(lon, 3), scale_factor_natural_origin=1.0)
    local = ProjectedCRS(centred, name=f"centred on {geodetic.name}", geodetic_crs=geodetic).to_wkt()
    height, width = grid.shape
    affine, width, height = calculate_default_transform(str(grid.crs), local, width, height, *grid.boundingbox.bbox)
    return raster.Grid((height, width), affine, local)


def _patches(grid: raster.Grid, most: int) -> list[raster.Grid]:
    """At most so many square parts of a grid, evenly spread, apart from each other."""
    height, width = grid.shape
    side = round(min(max(math.sqrt(height * width / 16), PATCH_PX[0]), PATCH_PX[1]))
    down, across = (max(size // side, 1) for size in (height, width))
    if down * across > most:
        thin = math.sqrt(most / (down * across))
        down = min(max(round(down * thin), 1), most)
        across = max(min(round(across * thin), most // down), 1)
    tops = np.linspace(0, max(height - side, 0), down).astype(int)
    lefts = np.linspace(0, max(width - side, 0), across).astype(int)
    return [grid[top : min(top + side, height), left : min(left + side, width)] for top in tops for left in lefts]


# ----------------------------------------------------------------------------------------------- against a reference


def nmad(values: Array) -> float:
    """Normalised median absolute deviation: the standard deviation of normal noise, whatever the outliers.

    >>> nmad(np.array([1.0, 2.0, 3.0, 4.0, 1000.0, np.nan]))
    1.4826
    """
    known = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(known - np.median(known)))) if known.size else math.nan


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
        return np.stack([_elevation(source, grid, move_m) for grid in self.grids])

    @cached_property
    def as_they_lie(self) -> tuple[Array, Array]:
        """Elevations of the reference and of the DEM, neither moved."""
        return self.elevations(self.reference), self.elevations(self.dem)

    @cached_property
    def away_km(self) -> Array:
        """How far every pixel lies east and north of the middle of the DEM ``(2, patch, row, column)``."""
        middle = _middle(self.dem.grid, self.grids[0].crs)
        return np.stack([_away_km(grid, middle) for grid in self.grids], axis=1)

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
        return _against(_ground(still, moving, settings, unstable), _pixel_m(_metric(moving.grid)), settings)


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
        if _size_px(move_m, pixel_m) > settings.maximum_shift_px:
            return none(
                f"xDEM's shift of {_size_px(move_m, pixel_m):.1f} px is beyond coregister.maximum_shift_px, "
                f"{settings.maximum_shift_px}; the DEM was not moved. Raise that if it may lie so far off."
            )
        without, moved = ground.without_and_with(move_m, pixel_m)
        tilt = _tilt(moved, ground.away_km, settings)
        if tilt == LEVEL:
            break
    levelled = [apart + _rise_m(tilt, ground.away_km) for apart in (without, moved)]
    before, after = map(nmad, levelled)
    gains = before > 0 and 1 - after / before >= settings.minimum_gain_frac
    accepted = gains and _certain(*levelled)
    left = moved if accepted else without
    doubt = ", but by chance, for its patches do not agree on that; it was not moved." if gains else _below(settings)
    reason = (
        f"{_size(move_m, pixel_m)} takes the NMAD of the difference to the reference DEM from {before:.3g} to {after:.3g} m"
        f"{'.' if accepted else doubt}"
    )
    tilt = _tilt(left, ground.away_km, settings)
    if tilt != LEVEL:
        gone = f"A tilt of {math.hypot(*tilt):.3g} m/km was taken off its elevations"
        reason += f" {gone}, without which the NMAD would be {nmad(left):.3g} m."
    return Shift(
        "reference", accepted, reason, pixel_m, *move_m,
        vertical_m=_up_m(left + _rise_m(tilt, ground.away_km)), tilt_east_m_per_km=tilt[0], tilt_north_m_per_km=tilt[1],
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
    before, after = nmad(apart), nmad(apart + _rise_m(tilt, away_km))
    return tilt if before > 0 and 1 - after / before >= settings.minimum_gain_frac else LEVEL


def _ground(
    reference: raster.Source, dem: raster.Source, settings: CoregisterSettings, unstable: gpd.GeoDataFrame | None
) -> _Ground:
    halo_px = settings.maximum_shift_px + 2
    grids = [patch.pad(halo_px) for patch in _patches(_metric(dem.grid), settings.sample_patches)]
    stable = np.stack([~_inside(unstable, grid) for grid in grids])
    margin = np.ones(stable.shape[1:], bool)
    margin[halo_px:-halo_px, halo_px:-halo_px] = False
    return _Ground(reference, dem, grids, stable & ~margin)


def _elevation(dem: raster.Source, grid: raster.Grid, move_m: Point = (0, 0)) -> Array:
    """Metres ``(row, column)`` of a DEM, moved, on a grid."""
    layer: Array = read_on(dem, _moved(grid, move_m), Resampling.cubic)[0]
    return layer


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
    moving = moving + _rise_m(tilt, ground.away_km)
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
    return _rounded(east_m, north_m) if math.isfinite(east_m + north_m) else "its fit is not finite"


# ------------------------------------------------------------------------------------------------- against the image


def align_to_image(image: Path, dem: Path, settings: CoregisterSettings) -> Shift:
    """How far ``dem`` must be moved for its relief to lie on the relief that the ``image`` shows.

    Every band is looked at by itself, for bands may come from different images under different suns; of those that count
    the one that shows the relief best decides, unless another one, nearly as good, lies elsewhere. Raises `CoregisterError`
    if the image has none of the bands that should count.
    """
    with raster.Source(image) as seen, raster.Source(dem) as ground:
        grid, dem_px = _common(ground.grid, seen.grid), _pixel_m(ground.grid)
        names = [band.name for band in seen.bands]
        counting, findings = counting_bands(names, settings.bands)
        bands = dict(zip(names, _lit_patches(seen, ground, grid, settings), strict=True))
    looks = {name: shading.look(patches, settings.maximum_shift_px) for name, patches in bands.items()}
    shift = _decided({name: bands[name] for name in counting}, looks, grid, dem_px, settings)
    told = tuple(_band_look(name, name in counting, look, grid) for name, look in looks.items())
    return dataclasses.replace(shift, bands=told, findings=(*findings, *_overruled(counting, looks, grid)))


def _seen(looks: Mapping[str, shading.Look | str], names: Collection[str]) -> dict[str, shading.Look]:
    """Those of some bands that show the relief, the best one first."""
    found = {name: look for name, look in looks.items() if name in names and not isinstance(look, str)}
    return dict(sorted(found.items(), key=lambda item: -item[1].correlation))


def _elsewhere(look: shading.Look, best: shading.Look) -> bool:
    """Whether a band shows the relief nearly as well as the best one, in another place."""
    near = look.correlation >= BANDS_NEAR_FRAC * best.correlation
    return near and math.dist(look.shift_px, best.shift_px) > BANDS_APART_PX


def _decided(
    bands: Mapping[str, list[shading.Patch]], looks: Mapping[str, shading.Look | str], grid: raster.Grid, dem_px: Point,
    settings: CoregisterSettings,
) -> Shift:  # fmt: skip
    """The shift that the bands which count agree on, or why there is none."""
    found = _seen(looks, bands)
    if not found:
        why = " or ".join(dict.fromkeys(str(looks[name]) for name in bands))
        which = f"No band in coregister.bands ({quoted(bands)})" if settings.bands else "No band of the image"
        return _unseen(bands, f"{which} shows the relief of the DEM ({why}); the DEM was not moved.", dem_px)
    band, best = next(iter(found.items()))
    alone = {band: bands[band]}
    for name in bands:
        if name in found and _elsewhere(found[name], best):
            apart_px = math.dist(found[name].shift_px, best.shift_px)
            why = (
                f"The bands '{band}' and '{name}' of the image show the same relief {apart_px:.1f} px apart, so the DEM"
            )
            remedy = "if you know which of them lies right, name it in coregister.bands"
            return _unseen(alone, f"{why} cannot lie on both; it was not moved. Remedy: {remedy}.", dem_px)
    fit = shading.refine(bands[band], best.shift_px)
    if isinstance(fit, str):
        return _unseen(alone, f"Band '{band}' shows the relief of the DEM, but {fit}; the DEM was not moved.", dem_px)
    return _judged(fit, band, bands[band], grid, dem_px, settings)


def _move_m(shift_px: Point, grid: raster.Grid) -> Point:
    """Metres east and north by which the DEM must be moved if what stands at ``x + shift_px`` in it stands at ``x``."""
    return _rounded(-shift_px[1] * _pixel_m(grid)[0], shift_px[0] * _pixel_m(grid)[1])


def _band_look(name: str, counts: bool, look: shading.Look | str, grid: raster.Grid) -> BandLook:
    if isinstance(look, str):
        return BandLook(name, counts, unseen=look)
    return BandLook(name, counts, *_move_m(look.shift_px, grid), correlation=look.correlation)


def _overruled(counting: Collection[str], looks: Mapping[str, shading.Look | str], grid: raster.Grid) -> Iterator[str]:
    """A sentence on every band that does not count and shows the relief elsewhere than the best of those that do."""
    band, best = next(iter(_seen(looks, counting).items()), ("", None))
    for name, look in _seen(looks, looks.keys() - set(counting)).items():
        if best is not None and _elsewhere(look, best):
            east_m, north_m = _move_m(look.shift_px, grid)
            yield (
                f"Band '{name}' shows the relief {math.dist(look.shift_px, best.shift_px):.1f} px from where '{band}' shows "
                f"it, and would have the DEM moved by {east_m:+.1f} m east and {north_m:+.1f} m north; it is not in "
                "coregister.bands, so it did not count."
            )


def _common(dem: raster.Grid, image: raster.Grid) -> raster.Grid:
    """The grid of the DEM, made as coarse as the image if that is coarser."""
    coarser = min(a / b for a, b in zip(_pixel_m(image), _pixel_m(dem), strict=True))
    return dem.zoom_out(coarser) if coarser > 1.1 else dem


def _lit_patches(
    image: raster.Source, dem: raster.Source, grid: raster.Grid, settings: CoregisterSettings
) -> list[list[shading.Patch]]:
    """For every band of the image, the patches in which both the ground and its brightness are known."""
    reach = settings.maximum_shift_px + shading.SPLINE_PX + 2
    bands: list[list[shading.Patch]] = [[] for _ in image.bands]
    for patch in _patches(grid, settings.sample_patches):
        normal, known = shading.relief(_elevation(dem, patch.pad(reach + shading.RIM_PX)), _pixel_m(grid))
        values = read_on(image, patch.pad(shading.RIM_PX), Resampling.bilinear)
        for layer, patches in zip(values, bands, strict=True):
            bright, lit = shading.brightness(layer)
            if (lit & known[reach:-reach, reach:-reach]).mean() > LEAST_LIT_FRAC:
                patches.append(shading.Patch(normal, known, bright, lit))
    return [_even(patches) for patches in bands]


def _even(patches: Sequence[shading.Patch]) -> list[shading.Patch]:
    """Patches whose brightness is held within `OUTLIER` robust standard deviations of all of them."""
    spread = nmad(np.concatenate([patch.bright[patch.lit] for patch in patches])) if patches else 0.0
    most = OUTLIER * spread if spread > 0 else math.inf
    return [dataclasses.replace(patch, bright=patch.bright.clip(-most, most)) for patch in patches]


def _spread(patches: Sequence[shading.Patch]) -> float:
    """Standard deviation of the brightness; 1 where there is none."""
    values = np.concatenate([patch.bright[patch.lit] for patch in patches]) if patches else np.zeros(1)
    return float(values.std()) or 1.0


def _unseen(bands: Mapping[str, list[shading.Patch]], reason: str, dem_px: Point) -> Shift:
    """No shift; with the light that explains most as things are, in the band where it explains most."""
    lights = {name: shading.light(patches, (0.0, 0.0)) for name, patches in bands.items()}
    band = max(lights, key=lambda name: lights[name][1])
    coefficients, correlation = lights[band]
    return Shift(
        "image", False, reason, dem_px, quality="correlation", quality_before=correlation,
        light=Light(band, _spread(bands[band]), tuple(map(float, coefficients)), None),
    )  # fmt: skip


def _judged(
    fit: shading.Fit, band: str, patches: list[shading.Patch], grid: raster.Grid, dem_px: Point,
    settings: CoregisterSettings,
) -> Shift:  # fmt: skip
    """A shift that was found, believed if it is larger than its error and shows in the correlation."""
    move_m = _move_m(fit.shift_px, grid)
    coarser = _pixel_m(grid)[0] / dem_px[0]
    error_px = fit.standard_error_px * coarser
    certain = math.hypot(*fit.shift_px) > CERTAIN * fit.standard_error_px
    accepted = certain and fit.gain_frac >= settings.minimum_gain_frac
    raised = (
        f"{_size(move_m, dem_px)} +- {error_px:.2f} px takes the correlation of the shaded relief with band '{band}' "
        f"from {fit.correlation_before:.3f} to {fit.correlation_after:.3f}"
    )
    doubt = _below(settings) if certain else f", but is less than {CERTAIN:g} standard errors; it was not moved."
    before, after = (tuple(map(float, light)) for light in (fit.light_before, fit.light_after))
    return Shift(
        "image", accepted, raised + ("." if accepted else doubt), dem_px, *move_m, quality="correlation",
        quality_before=fit.correlation_before, quality_after=fit.correlation_after, standard_error_px=error_px,
        light=Light(band, _spread(patches), before, after),
    )  # fmt: skip


def _rounded(east_m: float, north_m: float) -> Point:
    """To a tenth of a millimetre: beyond it, the order of sums decides, which differs between machines."""
    return round(float(east_m), 4) + 0.0, round(float(north_m), 4) + 0.0


def _size(move_m: Point, pixel_m: Point) -> str:
    return f"Moving the DEM by {math.hypot(*move_m):.2f} m ({_size_px(move_m, pixel_m):.2f} px)"


def _size_px(move_m: Point, pixel_m: Point) -> float:
    return math.hypot(move_m[0] / pixel_m[0], move_m[1] / pixel_m[1])


def _below(settings: CoregisterSettings) -> str:
    return f", a gain below coregister.minimum_gain_frac ({settings.minimum_gain_frac:g}); it was not moved."


# ---------------------------------------------------------------------------------------------------- what is written


def apply(
    dem: Path, image: Path, shift: Shift, out: Path, *, block_px: int = raster.BLOCK_PX, progress: Progress = _silent
) -> None:
    """Write the DEM, moved and lifted as far as `Shift` is believed, on the grid of the image: its only resampling."""
    with raster.Source(image) as source:
        grid = source.grid
    with raster.Source(dem) as ground:
        middle = _middle(ground.grid, grid.crs)
        _write(
            out, grid, raster.Band("elevation", "m"), block_px, progress,
            lambda roi: _elevation(ground, grid[roi], shift.move_m) + shift.lift_m(_away_km(grid, middle, roi)),
        )  # fmt: skip


def residuals(
    dem: Path, other: Path, shift: Shift, out: Path, *, moved: bool,
    block_px: int = raster.BLOCK_PX, progress: Progress = _silent,
) -> None:  # fmt: skip
    """Write what the DEM and the ``other`` raster disagree about, before or after the DEM was ``moved``.

    Against a reference DEM: DEM minus reference, in metres. Against the image: brightness minus shading, both in the
    band of forms that `shading` looks at, in standard deviations of the brightness. The grid is the DEM's, or as coarse as
    the image if that is coarser.
    """
    move_m = shift.move_m if moved else (0.0, 0.0)
    with raster.Source(dem) as ground, raster.Source(other) as still:
        if shift.light is None:
            band, grid = raster.Band("dem_minus_reference", "m"), _metric(ground.grid)
            middle = _middle(ground.grid, grid.crs)

            def compute(roi: raster.Roi) -> Array:
                z = _elevation(ground, grid[roi], move_m)
                return (z + shift.lift_m(_away_km(grid, middle, roi)) if moved else z) - _elevation(still, grid[roi])
        else:
            band, grid = raster.Band("brightness_minus_shading"), _common(ground.grid, still.grid)
            light = shift.light
            # A shift that was not applied leaves the light as it was.
            coefficients = light.after if moved and shift.accepted and light.after else light.before

            def compute(roi: raster.Roi) -> Array:
                around = grid[roi].pad(shading.RIM_PX)
                normal, known = shading.relief(_elevation(ground, around, move_m), _pixel_m(grid))
                bright, lit = shading.brightness(read_on(still, around, Resampling.bilinear, [light.band])[0])
                rest = (bright - np.tensordot(coefficients, normal, 1)) / light.spread
                return np.where(known & lit, rest, np.nan)

        _write(out, grid, band, block_px, progress, compute)


def _write(
    out: Path, grid: raster.Grid, band: raster.Band, block_px: int, progress: Progress,
    compute: Callable[[raster.Roi], Array],
) -> None:  # fmt: skip
    rois = list(raster.blocks(grid.shape, block_px))
    with raster.create(out, grid, [band]) as sink:
        for done, roi in enumerate(rois):
            sink.write(compute(roi)[None], roi)
            progress(done + 1, len(rois))


def in_pixels(dem: Path, shift: Shift) -> Point:
    """Columns (to the right) and rows (down) of the DEM's own grid by which it must be moved, whatever its CRS."""
    with raster.Source(dem) as source:
        grid = source.grid
    metric = _metric(grid)
    x, y = metric.affine * (metric.shape[1] / 2, metric.shape[0] / 2)
    xs, ys = [x, x + shift.east_m], [y, y + shift.north_m]
    if metric.crs != grid.crs:
        xs, ys = transform(str(metric.crs), str(grid.crs), xs, ys)
    columns, rows = ~grid.affine * (np.array(xs), np.array(ys))
    return float(np.diff(columns)[0]), float(np.diff(rows)[0])
