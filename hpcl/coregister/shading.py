"""Relief in an image: find how far the ground of a DEM lies from the ground of an image, and the sun with it.

Under one sun the brightness of even ground is a linear function of its surface normal (Lambert). Its multiple correlation
with the three components of the DEM's normal, as a function of the shift between the two, therefore has its peak where
both lie on each other, whatever the sun; the regression coefficients there point to the sun. The peak is looked for on
whole pixels by convolution and then refined by least squares on the normal and the gradient of the shading (the method
of Lucas and Kanade 1981), with gaps left out.

scikit-image's phase correlation is not used: below the pixel it takes no mask, and gaps pull its answer to 0.
Arrays in, numbers out: no file is opened here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.ndimage import shift as interpolate
from scipy.signal import fftconvolve

from hpcl.settings.coregister import LEAST_PATCHES

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]
"""Rows and columns: what stands at ``x + point`` in the DEM stands at ``x`` in the image."""

SMOOTH_PX, BAND_PX = 1.0, 2.0
"""Normals are smoothed by the first Gaussian, and what the second one leaves is taken off them and off the brightness.
Albedo is a red noise and that of a DEM a blue one; of the bands tried on synthetic ground this one, of forms about 9 px
long, stood best between them."""
RIM_PX = 3 + 1 + 6
"""What the Gaussians (to three standard deviations) and the gradient between them need around a patch."""
SPLINE_PX = 4
"""What cubic splines need around a patch."""
GROUPS, AGREEING_FRAC, NEAR_PX = 8, 0.75, 1.5
"""Patches are dealt to this number of groups; how many of them must find the common shift; and to within how many pixels."""
"""Fewer patches cannot contradict each other."""


@dataclass(frozen=True)
class Patch:
    """A piece of ground: band-passed ``normal`` (east, north, up; row, column) with a margin, and ``bright`` (row, column).

    Both are 0 where they are not ``known`` or not ``lit``. Between images of two dates the bands of one stand for the normal, as
    many as there are (`hpcl.coregister.dates`).
    """

    normal: Array
    known: Mask
    bright: Array
    lit: Mask

    @property
    def margin_px(self) -> int:
        """By how much the normal reaches beyond the brightness on every side."""
        return (self.known.shape[0] - self.lit.shape[0]) // 2


@dataclass(frozen=True)
class Look:
    """Where patches show the relief, to about a quarter of a pixel, and the correlation there."""

    shift_px: Point
    correlation: float


@dataclass(frozen=True)
class Fit:
    """The best shift, its standard error (of the worse direction), and what shading explains without and with it.

    ``light`` are the coefficients of the normal (east, north, up): they point to the sun.
    """

    shift_px: Point
    standard_error_px: float
    correlation_before: float
    correlation_after: float
    light_before: Array
    light_after: Array

    @property
    def gain_frac(self) -> float:
        """Share of the variance explained with the shift that is not explained without it."""
        return 1 - (self.correlation_before / self.correlation_after) ** 2 if self.correlation_after > 0 else 0.0


def _blur(values: Array, known: Mask, sigma_px: float) -> Array:
    """Gaussian mean of what is known; 0 where nothing is."""
    weight = gaussian_filter(known.astype(np.float64), sigma_px, truncate=3.0, mode="constant")
    total = gaussian_filter(np.where(known, values, 0).astype(np.float64), sigma_px, truncate=3.0, mode="constant")
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0)


def _band_pass(values: Array, known: Mask) -> Array:
    """What the wider Gaussian does not leave, 0 where unknown."""
    return np.where(known, np.where(known, values, 0) - _blur(values, known, BAND_PX), 0)


def _trim(values: Array, rim_px: int) -> Array:
    return values[..., rim_px : values.shape[-2] - rim_px, rim_px : values.shape[-1] - rim_px]


def relief(elevation_m: Array, pixel_m: Point) -> tuple[Array, Mask]:
    """Band-passed normal ``(3, row, column)`` of an elevation and where it is known, without the rim of `RIM_PX`."""
    known = np.isfinite(elevation_m)
    south, east = np.gradient(_blur(elevation_m, known, SMOOTH_PX))
    p, q = east / pixel_m[0], -south / pixel_m[1]
    up = 1 / np.sqrt(1 + p * p + q * q)
    whole = binary_erosion(known, np.ones((3, 3)), iterations=2)
    normal = np.stack([_band_pass(part, whole) for part in (-p * up, -q * up, up)])
    return _trim(normal, RIM_PX), _trim(whole, RIM_PX)


def brightness(values: Array) -> tuple[Array, Mask]:
    """Band-passed brightness ``(row, column)`` and where it is known, without the rim of `RIM_PX`."""
    known = np.isfinite(values)
    return _trim(_band_pass(values, known), RIM_PX), _trim(known, RIM_PX)


# ------------------------------------------------------------------------------------------------------ whole pixels


def scan(patch: Patch, most_px: int) -> tuple[Array, Array, float]:
    """Sums of brightness x normal for every whole shift up to ``most_px`` ``(3, row, column)``, normal x normal, brightness^2."""
    normal = _trim(patch.normal, patch.margin_px - most_px)
    lag = np.stack([fftconvolve(part, patch.bright[::-1, ::-1], mode="valid") for part in normal])
    own = _trim(normal, most_px)[:, patch.lit]
    return lag, own @ own.T, float((patch.bright**2).sum())


def explained(lag: Array, own: Array, power: float) -> Array:
    """Share of the brightness that shading explains at every shift: the square of the multiple correlation."""
    return np.einsum("kij,kl,lij->ij", lag, np.linalg.pinv(own, rcond=1e-9, hermitian=True), lag) / power


def peak(surface: Array) -> Point:
    """Where a surface over shifts is highest, by the parabola through its neighbours; on the edge, that pixel."""
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    most = surface.shape[0] // 2
    at = [row - most, column - most]
    if max(map(abs, at)) < most:
        for axis, line in enumerate((surface[row - 1 : row + 2, column], surface[row, column - 1 : column + 2])):
            at[axis] += (line[0] - line[2]) / (2 * (line[0] - 2 * line[1] + line[2]))
    return float(at[0]), float(at[1])


def look(patches: Sequence[Patch], most_px: int) -> Look | str:
    """The shift at which the patches show the relief best, or why there is none to be seen."""
    if len(patches) < LEAST_PATCHES:
        return f"only {len(patches)} patches of ground are known in both, and {LEAST_PATCHES} are needed"
    sums = [scan(patch, most_px) for patch in patches]
    groups = [sums[i::GROUPS] for i in range(min(GROUPS, len(sums)))]
    totals = [tuple(sum(part) for part in zip(*group, strict=True)) for group in groups]
    lag, own, power = (sum(part) for part in zip(*totals, strict=True))
    if not np.trace(own) > 0:
        return "the DEM has no relief there"
    if not power > 0:
        return "the image has no texture there"
    surface = explained(lag, own, power)
    common = peak(surface)
    alone = [peak(explained(*total)) for total in totals if total[2] > 0 and np.trace(total[1]) > 0]
    near = sum(max(abs(a[0] - common[0]), abs(a[1] - common[1])) <= NEAR_PX for a in alone)
    if near < AGREEING_FRAC * len(groups):
        return f"only {near} of {len(groups)} groups of patches find the same shift, as over ground without texture"
    if max(map(abs, common)) >= most_px:
        return f"the best shift lies on the edge of the {most_px} px that were searched"
    return Look(common, math.sqrt(surface.max()))


# ------------------------------------------------------------------------------------------------- parts of a pixel


def _shaded(patch: Patch, at: Point) -> tuple[Array, Mask]:
    """Normal ``(3, row + 2, column + 2)`` at ``x + at``, one pixel of margin, and where normal and brightness are known."""
    whole = [round(part) for part in at]
    keep = SPLINE_PX + 1

    def cut(values: Array, margin: int) -> Array:
        start = [patch.margin_px + part - margin for part in whole]
        height, width = (size + 2 * margin for size in patch.lit.shape)
        return values[..., start[0] : start[0] + height, start[1] : start[1] + width]

    rest = [part - full for part, full in zip(at, whole, strict=True)]
    normal = np.stack(
        [interpolate(part, [-r for r in rest], order=3, mode="nearest") for part in cut(patch.normal, keep)]
    )
    return _trim(normal, SPLINE_PX), patch.lit & cut(patch.known, 0)


def _equations(patch: Patch, at: Point, toward: Array) -> tuple[Array, Array]:
    """Least squares of one patch: normal and gradient of the shading ``(3 + 2, pixel)``, brightness ``(pixel)``."""
    normal, seen = _shaded(patch, at)
    shade = np.tensordot(toward, normal, 1)
    down, across = (shade[2:, 1:-1] - shade[:-2, 1:-1]) / 2, (shade[1:-1, 2:] - shade[1:-1, :-2]) / 2
    return np.stack([*_trim(normal, 1), down, across])[:, seen], patch.bright[seen]


def light(patches: Sequence[Patch], at: Point) -> tuple[Array, float]:
    """The light that explains most at a shift, and the correlation of brightness with the shading under it."""
    size = len(patches[0].normal) if patches else 3
    own, lag, power = np.zeros((size, size)), np.zeros(size), 0.0
    for patch in patches:
        x, y = _equations(patch, at, np.zeros(size))
        own, lag, power = own + x[:-2] @ x[:-2].T, lag + x[:-2] @ y, power + float(y @ y)
    toward = np.linalg.pinv(own, rcond=1e-9, hermitian=True) @ lag
    return toward, math.sqrt(max(float(toward @ lag) / power, 0)) if power > 0 else 0.0


def refine(patches: Sequence[Patch], start_px: Point, steps: int = 12, enough_px: float = 1e-3) -> Fit | str:
    """The shift near ``start_px`` that explains the brightness best, or why it cannot be fixed."""
    at, reach = start_px, patches[0].margin_px - SPLINE_PX - 1
    for _ in range(steps):
        toward, _ = light(patches, at)
        size = len(toward) + 2
        normal, score = np.zeros((size, size)), np.zeros(size)
        for patch in patches:
            x, y = _equations(patch, at, toward)
            normal, score = normal + x @ x.T, score + x @ y
        fixed = (
            normal[-2:, -2:]
            - normal[-2:, :-2] @ np.linalg.pinv(normal[:-2, :-2], rcond=1e-9, hermitian=True) @ normal[:-2, -2:]
        )
        weak, strong = np.linalg.eigvalsh(fixed)
        if not weak > 1e-4 * strong:
            return "the relief runs in one direction, along which nothing can be seen"
        step = np.linalg.pinv(normal, rcond=1e-12, hermitian=True) @ score
        at = (at[0] + float(step[-2]), at[1] + float(step[-1]))
        if max(abs(at[0] - start_px[0]), abs(at[1] - start_px[1])) > NEAR_PX or max(map(abs, at)) > reach:
            return "no shift near the best whole pixel is better than its neighbours"
        if np.abs(step[-2:]).max() < enough_px:
            break
    toward, after = light(patches, at)
    toward_before, before = light(patches, (0.0, 0.0))
    return Fit(at, _standard_error(patches, at, toward), before, after, toward_before, toward)


def _standard_error(patches: Sequence[Patch], at: Point, toward: Array) -> float:
    """Of the shift, in the worse direction, from how the patches disagree (cluster-robust, White 1984)."""
    normal, meat = (np.zeros((len(toward) + 2,) * 2) for _ in range(2))
    for patch in patches:
        x, y = _equations(patch, at, toward)
        score = x @ (y - toward @ x[:-2])
        normal, meat = normal + x @ x.T, meat + np.outer(score, score)
    bread = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    count = len(patches)
    covariance = (bread @ meat @ bread)[-2:, -2:] * count / max(count - 1, 1)
    return math.sqrt(max(float(np.linalg.eigvalsh(covariance)[-1]), 0))
