"""Co-registration of an earlier image to the later one: the brightness of one, patch by patch, against the bands of the other.

What `shading` does with the normal of a DEM is done with the bands of the earlier image: the multiple correlation of a band of the
later image with all of them peaks where both lie on each other, whatever the light and the season of either, and gaps are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcl.coregister import shading
from hpcl.coregister.image import as_move_m, even
from hpcl.coregister.sampling import LEAST_LIT_FRAC, patches_of, pixel_size_m
from hpcl.coregister.shift import CERTAIN, Array, Point, size_px
from hpcl.geo import raster
from hpcl.settings.coregister import CoregisterSettings

Read = Callable[[raster.Grid], Array]
"""An image that is asked for its layers ``(band, row, column)`` on a grid, NaN where it has no data."""


@dataclass(frozen=True)
class DateShift:
    """How far the earlier image is moved, and what must be known of that, in sentences."""

    move_m: Point
    """East and north; 0 if no shift was found or believed."""
    findings: tuple[str, ...]


def align_dates(
    now: Read, before: Read, names: Sequence[str], grid: raster.Grid, settings: CoregisterSettings, file: str
) -> DateShift:
    """How far the image ``before``, of the file of this name, must be moved to lie on the image ``now``, whose bands are ``names``.

    ``grid``: of the coarser of the two; shifts are looked for up to ``coregister.maximum_shift_px`` of its pixels.
    """
    bands = dict(zip(names, _patches(now, before, len(names), grid, settings), strict=True))
    looks = {name: _look(patches, settings.maximum_shift_px) for name, patches in bands.items()}
    seen = {name: look for name, look in looks.items() if not isinstance(look, str)}
    if not seen:
        return _unseen(file, str(next(iter(looks.values()))), settings)
    band = max(seen, key=lambda name: seen[name].correlation)
    fit = shading.refine(bands[band], seen[band].shift_px)
    if isinstance(fit, str):
        return _unseen(file, fit, settings)
    return _judged(file, band, fit, grid, settings, _bent(file, bands[band], fit.shift_px, settings.maximum_shift_px))


def _patches(
    now: Read, before: Read, bands: int, grid: raster.Grid, settings: CoregisterSettings
) -> list[list[shading.Patch]]:
    """For every band of the later image, the patches that both images know."""
    reach_px = settings.maximum_shift_px + shading.SPLINE_PX + 2
    found: list[list[shading.Patch]] = [[] for _ in range(bands)]
    for patch in patches_of(grid, settings.sample_patches):
        earlier = [shading.brightness(layer) for layer in before(patch.pad(reach_px + shading.RIM_PX))]
        known = np.logical_and.reduce([of for _, of in earlier])
        texture = np.stack([np.where(known, bright, 0) for bright, _ in earlier])
        for layer, patches in zip(now(patch.pad(shading.RIM_PX)), found, strict=True):
            bright, lit = shading.brightness(layer)
            if (lit & known[reach_px:-reach_px, reach_px:-reach_px]).mean() > LEAST_LIT_FRAC:
                patches.append(shading.Patch(texture, known, bright, lit))
    return [even(patches) for patches in found]


def _look(patches: Sequence[shading.Patch], most_px: int) -> shading.Look | str:
    """Where the patches of both images fit, or why they do not."""
    if patches and not any(patch.normal.any() for patch in patches):
        return "it has no texture there"
    return shading.look(patches, most_px)


def _unseen(file: str, why: str, settings: CoregisterSettings) -> DateShift:
    return DateShift(
        (0.0, 0.0),
        (
            f"{file} was not moved, and nothing says that it lies on optical.tif: {why}. Look at both in a GIS and lay one on the"
            f" other; if they lie further apart than coregister.maximum_shift_px ({settings.maximum_shift_px}), raise that.",
        ),
    )


def _judged(
    file: str, band: str, fit: shading.Fit, grid: raster.Grid, settings: CoregisterSettings, bent: tuple[str, ...]
) -> DateShift:
    """A shift that was found, believed if it is larger than its error and shows in the correlation."""
    move_m = as_move_m(fit.shift_px, grid)
    certain = math.hypot(*fit.shift_px) > CERTAIN * fit.standard_error_px
    accepted = certain and fit.gain_frac >= settings.minimum_gain_frac
    if certain:
        doubt = f"a gain below coregister.minimum_gain_frac ({settings.minimum_gain_frac:g})"
    else:
        doubt = f"but is less than {CERTAIN:g} standard errors"
    moved = f"{file} was {'' if accepted else 'not '}moved onto optical.tif: {math.hypot(*move_m):.2f} m"
    size = f"({size_px(move_m, pixel_size_m(grid)):.2f} px +- {fit.standard_error_px:.2f};"
    size += f" {move_m[0]:+.2f} m east, {move_m[1]:+.2f} m north)"
    raised = f"the correlation with band '{band}' from {fit.correlation_before:.3f} to {fit.correlation_after:.3f}"
    said = f"{moved} {size} {'takes' if accepted else 'would take'} {raised}{'' if accepted else f', {doubt}'}."
    return DateShift(move_m if accepted else (0.0, 0.0), (said, *bent))


def _bent(file: str, patches: Sequence[shading.Patch], at: Point, most_px: int) -> tuple[str, ...]:
    """A sentence if one shift does not lay one image on the other everywhere: groups of patches, spread over the scene, would not
    show it."""
    sums = [shading.scan(patch, most_px) for patch in patches]
    alone = [shading.peak(shading.explained(*of)) for of in sums if of[2] > 0 and np.trace(of[1]) > 0]
    near = sum(max(abs(own[0] - at[0]), abs(own[1] - at[1])) <= shading.NEAR_PX for own in alone)
    if near >= shading.AGREEING_FRAC * len(alone):
        return ()
    return (
        f"{file}: only {near} of {len(alone)} patches of ground fit with the shift that fits best over all, to {shading.NEAR_PX:g} px:"
        " the images are bent or turned against each other, or show other ground; orthorectify both over one DEM.",
    )
