"""Co-registration to an image: the relief that its bands show, patch by patch, against the DEM's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling

from hpcl.core.records import BandLook
from hpcl.core.spread import nmad
from hpcl.coregister import shading
from hpcl.coregister.sampling import (
    LEAST_LIT_FRAC,
    OUTLIER,
    common_resolution,
    elevation_on,
    patches_of,
    pixel_size_m,
    read_on,
)
from hpcl.coregister.shift import CERTAIN, Light, Point, Shift, below_words, rounded_m, size_words
from hpcl.geo import raster
from hpcl.settings.coregister import CoregisterSettings, counting_bands, quoted

BANDS_APART_PX, BANDS_NEAR_FRAC = 0.5, 0.5
"""Bands that show the relief at least by this share of the best correlation may not lie further apart than this."""


def align_to_image(image: Path, dem: Path, settings: CoregisterSettings) -> Shift:
    """How far ``dem`` must be moved for its relief to lie on the relief that the ``image`` shows.

    Every band is looked at by itself, for bands may come from different images under different suns; of those that count
    the one that shows the relief best decides, unless another one, nearly as good, lies elsewhere. Raises `CoregisterError`
    if the image has none of the bands that should count.
    """
    with raster.Source(image) as seen, raster.Source(dem) as ground:
        grid, dem_px = common_resolution(ground.grid, seen.grid), pixel_size_m(ground.grid)
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
    before, after = (tuple(map(float, light)) for light in (fit.light_before, fit.light_after))
    return _judged(fit, Light(band, _spread(bands[band]), before, after), grid, dem_px, settings)


def as_move_m(shift_px: Point, grid: raster.Grid) -> Point:
    """Metres east and north by which a raster must be moved if what stands at ``x + shift_px`` in it stands at ``x``."""
    return rounded_m(-shift_px[1] * pixel_size_m(grid)[0], shift_px[0] * pixel_size_m(grid)[1])


def _band_look(name: str, counts: bool, look: shading.Look | str, grid: raster.Grid) -> BandLook:
    if isinstance(look, str):
        return BandLook(name, counts, unseen=look)
    return BandLook(name, counts, *as_move_m(look.shift_px, grid), correlation=look.correlation)


def _overruled(counting: Collection[str], looks: Mapping[str, shading.Look | str], grid: raster.Grid) -> Iterator[str]:
    """A sentence on every band that does not count and shows the relief elsewhere than the best of those that do."""
    band, best = next(iter(_seen(looks, counting).items()), ("", None))
    for name, look in _seen(looks, looks.keys() - set(counting)).items():
        if best is not None and _elsewhere(look, best):
            east_m, north_m = as_move_m(look.shift_px, grid)
            yield (
                f"Band '{name}' shows the relief {math.dist(look.shift_px, best.shift_px):.1f} px from where '{band}' shows "
                f"it, and would have the DEM moved by {east_m:+.1f} m east and {north_m:+.1f} m north; it is not in "
                "coregister.bands, so it did not count."
            )


def _lit_patches(
    image: raster.Source, dem: raster.Source, grid: raster.Grid, settings: CoregisterSettings
) -> list[list[shading.Patch]]:
    """For every band of the image, the patches in which both the ground and its brightness are known."""
    reach = settings.maximum_shift_px + shading.SPLINE_PX + 2
    bands: list[list[shading.Patch]] = [[] for _ in image.bands]
    for patch in patches_of(grid, settings.sample_patches):
        normal, known = shading.relief(elevation_on(dem, patch.pad(reach + shading.RIM_PX)), pixel_size_m(grid))
        values = read_on(image, patch.pad(shading.RIM_PX), Resampling.bilinear)
        for layer, patches in zip(values, bands, strict=True):
            bright, lit = shading.brightness(layer)
            if (lit & known[reach:-reach, reach:-reach]).mean() > LEAST_LIT_FRAC:
                patches.append(shading.Patch(normal, known, bright, lit))
    return [even(patches) for patches in bands]


def even(patches: Sequence[shading.Patch]) -> list[shading.Patch]:
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


def _judged(fit: shading.Fit, light: Light, grid: raster.Grid, dem_px: Point, settings: CoregisterSettings) -> Shift:
    """A shift that was found, believed if it is larger than its error and shows in the correlation."""
    move_m = as_move_m(fit.shift_px, grid)
    coarser = pixel_size_m(grid)[0] / dem_px[0]
    error_px = fit.standard_error_px * coarser
    certain = math.hypot(*fit.shift_px) > CERTAIN * fit.standard_error_px
    accepted = certain and fit.gain_frac >= settings.minimum_gain_frac
    raised = (
        f"{size_words(move_m, dem_px)} +- {error_px:.2f} px takes the correlation of the shaded relief with band '{light.band}' "
        f"from {fit.correlation_before:.3f} to {fit.correlation_after:.3f}"
    )
    doubt = below_words(settings) if certain else f", but is less than {CERTAIN:g} standard errors; it was not moved."
    return Shift(
        "image", accepted, raised + ("." if accepted else doubt), dem_px, *move_m, quality="correlation",
        quality_before=fit.correlation_before, quality_after=fit.correlation_after, standard_error_px=error_px,
        light=light,
    )  # fmt: skip
