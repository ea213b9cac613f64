"""Where the ground of a DEM lies beside that of a reference DEM or of an image: estimate it, judge it, undo it.

A shift is how far the DEM must be **moved**: metres east, north and up. It is applied to the DEM's position, and the DEM
is resampled once, onto the image grid. With a reference DEM, xDEM finds it (Nuth and Kaab 2011, doi 10.5194/
tc-5-271-2011) on ground that no landslide has changed; without one, `hpcl.shading` looks for the relief in the image.
Both look at patches spread over the scene, so memory and time do not grow with it. A shift that cannot be trusted, or
that improves nothing, is refused with a reason, and is not applied.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.warp import calculate_default_transform, reproject, transform, transform_bounds
from scipy.optimize import OptimizeWarning
from shapely.geometry import box

from hpcl import raster, shading

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


PATCH_PX = (24, 128)
"""Smallest and largest side of a patch; in between, a scene is cut into about 16."""
OUTLIER = 4.0
"""Brightness is held within so many robust standard deviations of its median: one glint must not decide."""
CERTAIN = 3.0
"""A shift of fewer standard errors is none."""
LEAST_LIT_FRAC = 0.2
"""A patch counts if so much of it is known in both."""
BANDS_APART_PX, BANDS_NEAR_FRAC = 0.5, 0.5
"""Bands that show the relief at least by this share of the best correlation may not lie further apart than this."""
LEAST_PX = 1000
"""Fewer pixels of stable ground fix no shift."""
MOST_PX = 4 * 1024 * 1024
"""Largest source window that is resampled at once, in pixels and bands."""


class CoregisterError(ValueError):
    """Rasters that cannot be laid on each other at all."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class CoregisterSettings:
    """When a shift is believed.

    ``minimum_gain_frac``: by which share it must lower the NMAD of the elevation difference, or how much of what shading
    explains of the image must be owed to it. ``maximum_shift_px``: how far is searched, in pixels of the DEM.
    ``sample_patches``: on how many patches of at most 128 x 128 pixels.
    """

    minimum_gain_frac: Annotated[float, Field(ge=0, lt=1)]
    maximum_shift_px: Annotated[int, Field(ge=1)]
    sample_patches: Annotated[int, Field(ge=shading.LEAST_PATCHES)]


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
class Shift:
    """How far the DEM must be moved, and whether that is believed.

    ``east_m`` and ``north_m`` are what was found, and are applied only if ``accepted``. ``vertical_m``, which is added to
    the elevation, is minus the median difference to the reference DEM; it needs no gain and is always applied (0
    without reference). ``quality_before`` and ``_after`` are what ``quality`` names: ``nmad_m`` of the elevation difference
    (less is better) or ``correlation`` of brightness with shading (more is better).
    """

    method: Literal["reference", "image"]
    accepted: bool
    reason: str
    pixel_m: tuple[float, float]
    east_m: float = 0.0
    north_m: float = 0.0
    vertical_m: float = 0.0
    quality: Literal["nmad_m", "correlation"] | None = None
    quality_before: float | None = None
    quality_after: float | None = None
    standard_error_px: float | None = None
    light: Light | None = None

    @property
    def move_m(self) -> tuple[float, float]:
        """Metres east and north by which the DEM is moved: what was found, or nothing."""
        return (self.east_m, self.north_m) if self.accepted else (0.0, 0.0)

    def facts(self) -> dict[str, Any]:
        """What shift.json says; ``_px`` are pixels of the DEM."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        width_m, height_m = facts.pop("pixel_m")
        light = facts.pop("light")
        return facts | {
            "east_px": self.east_m / width_m,
            "north_px": self.north_m / height_m,
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
    scale = round(zoom, 4) if zoom < 0.9 else 1.0
    reproject(
        source.read(window, bands), out, src_transform=grid[window].affine, src_crs=str(grid.crs), src_nodata=np.nan,
        dst_transform=target.affine, dst_crs=str(target.crs), dst_nodata=np.nan, resampling=how,
        tolerance=0,                 # pixels; GDAL's 0.125 is more than what is measured here
        XSCALE=scale, YSCALE=scale,  # else guessed from the window, and another one in every block
        UNIFIED_SRC_NODATA="NO",     # else a hole in one layer is data where another layer has some
    )  # fmt: skip
    return out


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


def _moved(grid: raster.Grid, move_m: tuple[float, float]) -> raster.Grid:
    """The grid on which a raster shows what it would show on ``grid`` after it were moved east and north."""
    return raster.Grid(grid.shape, Affine.translation(-move_m[0], -move_m[1]) * grid.affine, grid.crs)


def _pixel_m(grid: raster.Grid) -> tuple[float, float]:
    """Width and height of a pixel."""
    return abs(grid.affine.a), abs(grid.affine.e)


def _metric(grid: raster.Grid) -> raster.Grid:
    """The grid itself if it is projected, else one in a transverse Mercator centred on it."""
    if grid.crs is None:
        raise CoregisterError("A DEM has no coordinate reference system; set the one it was made in.")
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
    """Two DEMs, the patches in which they are compared, with a margin, and which pixels of them count."""

    reference: raster.Source
    dem: raster.Source
    grids: list[raster.Grid]
    stable: list[npt.NDArray[np.bool_]]

    @cached_property
    def as_they_lie(self) -> tuple[list[Array], list[Array]]:
        """Elevations of the reference and of the DEM in every patch, neither moved."""
        return [_elevation(self.reference, g) for g in self.grids], [_elevation(self.dem, g) for g in self.grids]

    def apart(self, reference: Iterable[Array], dem: Iterable[Array]) -> Array:
        """Metres by which the DEM stands above its reference, wherever both are known on stable ground."""
        joined = np.concatenate([(z - r)[m] for r, z, m in zip(reference, dem, self.stable, strict=True)])
        return joined[np.isfinite(joined)]

    def without_and_with(self, move_m: tuple[float, float], pixel_m: tuple[float, float]) -> tuple[Array, Array]:
        """The difference without and with a shift, both after the same interpolation.

        Interpolation between pixels smooths a DEM's noise, which alone can lower the NMAD by a quarter. So the part of
        a pixel is shared: without, both DEMs are moved by half of it, with, one this way and the other that way.
        """
        half = np.array([(m - round(m / side) * side) / 2 for m, side in zip(move_m, pixel_m, strict=True)])

        def moved(source: raster.Source, by_m: Array) -> list[Array]:
            return [_elevation(source, grid, (float(by_m[0]), float(by_m[1]))) for grid in self.grids]

        without = self.apart(moved(self.reference, half), moved(self.dem, half))
        return without, self.apart(moved(self.reference, -half), moved(self.dem, np.array(move_m) - half))


def align(reference: Path, dem: Path, settings: CoregisterSettings, unstable: gpd.GeoDataFrame | None = None) -> Shift:
    """How far ``dem`` must be moved to lie on the ``reference`` DEM.

    Ground inside the polygons ``unstable`` (the landslides) is left out. Any two DEMs in metres will do: if ``dem`` has a
    geographic CRS, both are brought onto a transverse Mercator centred on it.
    """
    with raster.Source(reference) as still, raster.Source(dem) as moving:
        return _against(_ground(still, moving, settings, unstable), _pixel_m(_metric(moving.grid)), settings)


def _against(ground: _Ground, pixel_m: tuple[float, float], settings: CoregisterSettings) -> Shift:
    apart = ground.apart(*ground.as_they_lie)
    if len(apart) < LEAST_PX:
        few = f"Only {len(apart)} pixels of stable ground are known in the DEM and in its reference"
        return Shift("reference", False, f"{few}; the DEM was not moved.", pixel_m, quality="nmad_m")
    none = partial(
        Shift, "reference", False, pixel_m=pixel_m, quality="nmad_m", quality_before=nmad(apart),
        vertical_m=_up_m(apart),
    )  # fmt: skip
    move_m = _nuth_kaab(ground, pixel_m)
    if isinstance(move_m, str):
        return none(f"xDEM finds no shift to the reference DEM ({move_m}); the DEM was not moved.")
    if _size_px(move_m, pixel_m) > settings.maximum_shift_px:
        return none(
            f"xDEM's shift of {_size_px(move_m, pixel_m):.1f} px is beyond coregister.maximum_shift_px, "
            f"{settings.maximum_shift_px}; the DEM was not moved. Raise that if it may lie so far off."
        )
    without, moved = ground.without_and_with(move_m, pixel_m)
    before, after = nmad(without), nmad(moved)
    accepted = before > 0 and 1 - after / before >= settings.minimum_gain_frac
    reason = (
        f"{_size(move_m, pixel_m)} takes the NMAD of the difference to the reference DEM from {before:.3g} to {after:.3g} m"
        f"{'.' if accepted else _below(settings)}"
    )
    return Shift(
        "reference", accepted, reason, pixel_m, *move_m, quality="nmad_m", quality_before=before, quality_after=after,
        vertical_m=_up_m(moved if accepted else without),
    )  # fmt: skip


def _up_m(apart: Array) -> float:
    """What must be added to a DEM that stands so far above its reference, to a tenth of a millimetre."""
    return 0.0 - round(float(np.median(apart)), 4)


def _ground(
    reference: raster.Source, dem: raster.Source, settings: CoregisterSettings, unstable: gpd.GeoDataFrame | None
) -> _Ground:
    halo_px = settings.maximum_shift_px + 2
    grids = [patch.pad(halo_px) for patch in _patches(_metric(dem.grid), settings.sample_patches)]
    stable = []
    for grid in grids:
        mask = np.zeros(grid.shape, bool)
        mask[halo_px:-halo_px, halo_px:-halo_px] = True
        stable.append(mask & ~_inside(unstable, grid))
    return _Ground(reference, dem, grids, stable)


def _elevation(dem: raster.Source, grid: raster.Grid, move_m: tuple[float, float] = (0, 0)) -> Array:
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


def _nuth_kaab(ground: _Ground, pixel_m: tuple[float, float]) -> tuple[float, float] | str:
    """xDEM's shift, metres east and north, or what it says instead.

    The patches are stacked on each other, margins between them, as one tall DEM: xDEM takes whole rasters only.
    """
    from xdem.coreg import NuthKaab  # noqa: PLC0415  (6 s of import that areas without a reference do not need)

    still, moving = (np.concatenate(patches) for patches in ground.as_they_lie)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # of covariances, which nobody asked for
            fit = NuthKaab(subsample=1).fit(
                still, moving, inlier_mask=np.concatenate(ground.stable),
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

    Every band is looked at by itself, for bands may come from different images under different suns; the one that shows
    the relief best decides, unless another one, nearly as good, lies elsewhere.
    """
    with raster.Source(image) as seen, raster.Source(dem) as ground:
        grid, dem_px = _common(ground.grid, seen.grid), _pixel_m(ground.grid)
        names = [band.name for band in seen.bands]
        bands = dict(zip(names, _lit_patches(seen, ground, grid, settings), strict=True))
    looks = {name: shading.look(patches, settings.maximum_shift_px) for name, patches in bands.items()}
    found = {name: look for name, look in looks.items() if not isinstance(look, str)}
    if not found:
        why = " or ".join(dict.fromkeys(str(look) for look in looks.values()))
        return _unseen(
            bands, f"No band of the image shows the relief of the DEM ({why}); the DEM was not moved.", dem_px
        )
    band = max(found, key=lambda name: found[name].correlation)
    best = {band: bands[band]}
    for name, look in found.items():
        apart = math.dist(look.shift_px, found[band].shift_px)
        if look.correlation >= BANDS_NEAR_FRAC * found[band].correlation and apart > BANDS_APART_PX:
            why = f"The bands '{band}' and '{name}' of the image show the same relief {apart:.1f} px apart, so the DEM"
            return _unseen(best, f"{why} cannot lie on both; it was not moved.", dem_px)
    fit = shading.refine(bands[band], found[band].shift_px)
    if isinstance(fit, str):
        return _unseen(best, f"Band '{band}' shows the relief of the DEM, but {fit}; the DEM was not moved.", dem_px)
    return _judged(fit, band, bands[band], grid, dem_px, settings)


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


def _unseen(bands: dict[str, list[shading.Patch]], reason: str, dem_px: tuple[float, float]) -> Shift:
    """No shift; with the light that explains most as things are, in the band where it explains most."""
    lights = {name: shading.light(patches, (0.0, 0.0)) for name, patches in bands.items()}
    band = max(lights, key=lambda name: lights[name][1])
    coefficients, correlation = lights[band]
    return Shift(
        "image", False, reason, dem_px, quality="correlation", quality_before=correlation,
        light=Light(band, _spread(bands[band]), tuple(map(float, coefficients)), None),
    )  # fmt: skip


def _judged(
    fit: shading.Fit, band: str, patches: list[shading.Patch], grid: raster.Grid, dem_px: tuple[float, float],
    settings: CoregisterSettings,
) -> Shift:  # fmt: skip
    """A shift that was found, believed if it is larger than its error and shows in the correlation."""
    move_m = _rounded(-fit.shift_px[1] * _pixel_m(grid)[0], fit.shift_px[0] * _pixel_m(grid)[1])
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


def _rounded(east_m: float, north_m: float) -> tuple[float, float]:
    """To a tenth of a millimetre: beyond it, the order of sums decides, which differs between machines."""
    return round(float(east_m), 4) + 0.0, round(float(north_m), 4) + 0.0


def _size(move_m: tuple[float, float], pixel_m: tuple[float, float]) -> str:
    return f"Moving the DEM by {math.hypot(*move_m):.2f} m ({_size_px(move_m, pixel_m):.2f} px)"


def _size_px(move_m: tuple[float, float], pixel_m: tuple[float, float]) -> float:
    return math.hypot(move_m[0] / pixel_m[0], move_m[1] / pixel_m[1])


def _below(settings: CoregisterSettings) -> str:
    return f", a gain below coregister.minimum_gain_frac ({settings.minimum_gain_frac:g}); it was not moved."


# ---------------------------------------------------------------------------------------------------- what is written


def apply(
    dem: Path, image: Path, shift: Shift, out: Path, *, block_px: int = raster.BLOCK_PX, progress: Progress = _silent
) -> None:
    """Write the DEM, moved as far as `Shift` is believed, on the grid of the image: its only resampling."""
    with raster.Source(image) as source:
        grid = source.grid
    with raster.Source(dem) as ground:
        _write(
            out, grid, raster.Band("elevation", "m"), block_px, progress,
            lambda block: _elevation(ground, block, shift.move_m) + np.float32(shift.vertical_m),
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
    move_m, lift_m = (shift.move_m, shift.vertical_m) if moved else ((0.0, 0.0), 0.0)
    with raster.Source(dem) as ground, raster.Source(other) as still:
        if shift.light is None:
            band, grid = raster.Band("dem_minus_reference", "m"), _metric(ground.grid)

            def compute(block: raster.Grid) -> Array:
                return _elevation(ground, block, move_m) + np.float32(lift_m) - _elevation(still, block)
        else:
            band, grid = raster.Band("brightness_minus_shading"), _common(ground.grid, still.grid)
            light = shift.light
            # A shift that was not applied leaves the light as it was.
            coefficients = light.after if moved and shift.accepted and light.after else light.before

            def compute(block: raster.Grid) -> Array:
                around = block.pad(shading.RIM_PX)
                normal, known = shading.relief(_elevation(ground, around, move_m), _pixel_m(grid))
                bright, lit = shading.brightness(read_on(still, around, Resampling.bilinear, [light.band])[0])
                rest = (bright - np.tensordot(coefficients, normal, 1)) / light.spread
                return np.where(known & lit, rest, np.nan)

        _write(out, grid, band, block_px, progress, compute)


def _write(
    out: Path, grid: raster.Grid, band: raster.Band, block_px: int, progress: Progress,
    compute: Callable[[raster.Grid], Array],
) -> None:  # fmt: skip
    rois = list(raster.blocks(grid.shape, block_px))
    with raster.create(out, grid, [band]) as sink:
        for done, roi in enumerate(rois):
            sink.write(compute(grid[roi])[None], roi)
            progress(done + 1, len(rois))


def in_pixels(dem: Path, shift: Shift) -> tuple[float, float]:
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
