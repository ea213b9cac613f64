"""Whether an area's bands are like those that a model was trained on: other units, another sensor, inverted, exchanged.

A network knows bands by their numbers alone, so it maps 8 bits with what it learnt on 16 and says nothing. Other ground
differs too, and terrain most of all; what is told here is beyond that. All of it is read from samples of single pixels:
averaged ones, as in overviews, would look smoother than the ground that was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hpcl.core.records import BandGround, BandKind, GroundFacts, ImageGround
from hpcl.windows import spread

Float32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

SAMPLE_PX = 2**18
"""Pixels that are looked at of an area, or of all training ground, at most."""
WINDOW_PX, STEP_PX = 128, 2
"""Of an area, windows of this side are read, and of them every second row and column."""
LEAST_PX = 64
"""Fewer pixels with data say nothing of an area."""

QUANTILES = (0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99)

BEYOND_FRAC = 0.5
"""A band is unlike if more than this lies outside the outermost quantiles of training, whose own share there is 0.02..."""
ONE_END_FRAC = 0.75
"""...or, in an image, if more than this is darker, or brighter, than all but a tenth of training. Between two areas of Mars
0.31 is the most, and between the synthetic ones 0.13."""
TERRAIN_FACTOR = 3.0
"""How many times steeper and rougher than all but the extremes of training terrain may be: other ground differs in relief by
far more than in brightness, and flat ground, where these bands are 0, is ground too."""
CONSTANT_FRAC = {True: 0.05, False: 0.01}
"""Spread, as a share of that of training, below which a band of an image (True) or of terrain hardly varies. A plain has a
thirtieth of the slopes of mountains."""
MISFIT = 2.5
"""Mean squared deviation of the image bands from how they lie together in training, above which their order is doubted (1 is
training ground itself; areas of Mars have up to 3.1 beside each other)..."""
EXCHANGED_FRAC, EXPLAINED_MISFIT = 0.4, 4.0
"""...if another order of the bands leaves less than this share of it, and no more than other ground may have. Bands that are
inverted or brighter fit better in some other order too, but never well: 6.7 was the least."""
TOLERANCE_STD = 0.05
"""Deviations of bands from each other that other light may bring, in standard deviations."""
TIED = 0.5
"""Correlation above which two bands go together, or against each other."""
INVERTED = -0.6
"""Share of the correlations in training below which bands are taken for inverted; between a desert and fields that of red
and near infrared falls to about -0.5, that of all bands together does not."""


def sample(read: Callable[[tuple[slice, slice]], Float32], shape: tuple[int, int]) -> Float32:
    """Raw pixels ``(band, pixel)`` of windows spread over a scene of ``shape``; ``read`` gives ``(band, row, column)``."""
    found = []
    for top, left in sorted(spread(shape, WINDOW_PX, SAMPLE_PX * STEP_PX**2 // WINDOW_PX**2)):
        window = read((slice(top, min(top + WINDOW_PX, shape[0])), slice(left, min(left + WINDOW_PX, shape[1]))))
        found.append(window[:, ::STEP_PX, ::STEP_PX].reshape(len(window), -1))
    return np.concatenate(found, axis=1)


def statistics(names: Sequence[str], kinds: Sequence[BandKind], pixels: Float32) -> GroundFacts:
    """What is kept of ``pixels`` ``(band, pixel)``: per band its kind and `QUANTILES`, and how the image bands vary
    together. Bands without data are left out.

    Means and covariances are those of values held within the outermost quantiles, so that no cloud or spike rules them.
    """
    held = [np.isfinite(values).sum() >= LEAST_PX for values in pixels]
    bands = {
        name: BandGround(kind, np.nanquantile(values.astype(np.float64), QUANTILES).tolist())
        for name, kind, values, known in zip(names, kinds, pixels, held, strict=True)
        if known
    }
    image = [name for name, band in bands.items() if band.kind == "image"]
    together = pixels[[list(names).index(name) for name in image]].astype(np.float64)
    together = together[:, np.isfinite(together).all(axis=0)]
    if not image or together.shape[1] < LEAST_PX:
        return GroundFacts(bands, ImageGround([], [], []))
    ends = np.array([[bands[name].quantiles[end] for end in (0, -1)] for name in image])
    together = np.clip(together, ends[:, :1], ends[:, 1:])
    covariance = np.atleast_2d(np.cov(together))
    return GroundFacts(bands, ImageGround(image, together.mean(axis=1).tolist(), covariance.tolist()))


def findings(trained: GroundFacts, pixels: Float32, names: Sequence[str]) -> list[str]:
    """One sentence for each way in which an area's ``pixels`` ``(band, pixel)``, by ``names``, are unlike the training ground
    whose `statistics` are given: bands exchanged, inverted, or beyond what the model was trained on."""
    known = [name for name in names if name in trained.bands]
    rows = pixels[[list(names).index(name) for name in known]]
    here = statistics(known, [trained.bands[name].kind for name in known], rows)
    told: list[str] = []
    exchanged: dict[str, str] = {}
    image = [name for name in trained.image.names if name in here.image.names]
    if len(image) > 1:
        there, area = _moments(trained, image), _moments(here, image)
        if exchanged := _exchanged(image, there, area):
            told.append(_say_exchanged(exchanged))
        else:
            told += _say_inverted(image, _correlation(there[1]), _correlation(area[1]))
    unlike = [
        name for name, values in zip(known, rows, strict=True)
        if name in here.bands and name not in exchanged and _is_unlike(trained.bands[name], values)
    ]  # fmt: skip
    if unlike:
        told.append(_say_unlike(unlike, trained.bands, here.bands))
    return told


def _is_unlike(trained: BandGround, values: Float32) -> bool:
    """Whether the values of a band lie elsewhere than in training, or hardly vary where they did."""
    is_image = trained.kind == "image"
    values = values[np.isfinite(values)]
    lowest, _, low, _, high, _, highest = trained.quantiles
    first, last = np.quantile(values, (QUANTILES[0], QUANTILES[-1]))
    if last - first < CONSTANT_FRAC[is_image] * (highest - lowest):
        return True
    if not is_image:
        return bool((abs(values) > TERRAIN_FACTOR * max(abs(lowest), abs(highest))).mean() > BEYOND_FRAC)
    beyond = ((values < lowest) | (values > highest)).mean() > BEYOND_FRAC
    return bool(beyond or max((values < low).mean(), (values > high).mean()) > ONE_END_FRAC)


def _moments(of: GroundFacts, image: Sequence[str]) -> tuple[Array, Array]:
    """Means and covariances of the bands named, in that order."""
    order = [of.image.names.index(name) for name in image]
    return np.array(of.image.mean)[order], np.array(of.image.covariance)[np.ix_(order, order)]


def _exchanged(image: Sequence[str], there: tuple[Array, Array], area: tuple[Array, Array]) -> dict[str, str]:
    """Which bands are named wrongly, each with the name that fits: the order in which the image bands lie together as in
    training, if the order of their names is none such."""
    mean, covariance = there
    scale = np.sqrt(np.diag(covariance))
    if not scale.all():
        return {}
    inverse = np.linalg.inv(covariance / np.outer(scale, scale) + TOLERANCE_STD**2 * np.eye(len(image)))

    def misfit(order: list[int]) -> float:
        away = (area[0][order] - mean) / scale
        return float(
            away @ inverse @ away + np.trace(inverse @ (area[1][np.ix_(order, order)] / np.outer(scale, scale)))
        )

    order = list(range(len(image)))
    as_named = least = misfit(order)
    while True:  # one exchange after the other, as long as each mends something
        tried = [_swapped(order, i, j) for i, j in combinations(range(len(image)), 2)]
        best = min(tried, key=misfit)
        if misfit(best) > 0.8 * least:
            break
        order, least = best, misfit(best)
    if as_named < MISFIT * len(image) or least > min(EXCHANGED_FRAC * as_named, EXPLAINED_MISFIT * len(image)):
        return {}
    return {image[held]: name for held, name in zip(order, image, strict=True) if image[held] != name}


def _swapped(order: list[int], i: int, j: int) -> list[int]:
    out = list(order)
    out[i], out[j] = order[j], order[i]
    return out


def _correlation(covariance: Array) -> Array:
    scale = np.sqrt(np.diag(covariance))
    scale[scale == 0] = np.inf  # a constant band goes with none
    return np.asarray(covariance / np.outer(scale, scale))


def _say_inverted(image: Sequence[str], there: Array, here: Array) -> list[str]:
    """A sentence if bands that go together in training go against each other here, or the other way round."""
    agreement = np.where((abs(there) >= TIED) & ~np.eye(len(image), dtype=bool), there * here, 0)
    sign = np.ones(len(image))
    while (gain := sign * (agreement @ sign)).min() < 0:  # turn round the band that fits the others least
        sign[gain.argmin()] *= -1
    if (sign < 0).sum() * 2 > len(image):
        sign = -sign
    across = (agreement != 0) & (np.outer(sign, sign) < 0)
    if not across.any() or (here[across] / there[across]).mean() > INVERTED:
        return []
    turned = [name for name, s in zip(image, sign, strict=True) if s < 0]
    others = [name for name, s, met in zip(image, sign, across.any(axis=0), strict=True) if s > 0 and met]
    one = len(turned) == 1
    now, before = ("against", "with") if here[across].mean() < 0 else ("with", "against")
    return [
        f"{_bands(turned)} {'runs' if one else 'run'} {now} {', '.join(others)} here (mean correlation"
        f" {here[across].mean():.2f}), but ran {before} {'it' if len(others) == 1 else 'them'} in training"
        f" ({there[across].mean():.2f}); if one side is inverted or another quantity, turn it back in data/raw, or the map is"
        " wrong."
    ]


def _say_exchanged(exchanged: Mapping[str, str]) -> str:
    looks = ", ".join(f"{name} looks like the {other} of training" for name, other in sorted(exchanged.items()))
    return (
        f"Bands seem to be exchanged: {looks}; check their order and names in data/raw, and ingest.optical_bands, or the map is"
        " wrong."
    )


def _say_unlike(unlike: Sequence[str], trained: Mapping[str, BandGround], here: Mapping[str, BandGround]) -> str:
    figures = "; ".join(
        f"{name} is mostly {_range(here[name].quantiles)} (in training {_range(trained[name].quantiles)})"
        for name in unlike
    )
    kinds = {trained[name].kind == "image" for name in unlike}
    what = " and ".join(
        words for is_image, words in ((True, "units, scaling and sensor of the image"), (False, "the units of the DEM"))
        if is_image in kinds
    )  # fmt: skip
    return (
        f"{_bands(unlike, ' of the area')} {'lies' if len(unlike) == 1 else 'lie'} outside what the model was"
        f" trained on: {figures}; check {what}, and bring them to those of the training areas or train on such ground, or the"
        " map is not to be trusted."
    )


def _bands(names: Sequence[str], whose: str = "") -> str:
    return f"Band{'s' * (len(names) > 1)} {', '.join(names)}{whose}"


def _range(quantiles: Sequence[float]) -> str:
    """The middle nine tenths in words.

    >>> _range([0, 812.34, 900, 1000, 2000, 3110.2, 9999]), _range([7, 7, 7, 7, 7, 7, 8])
    ('812 to 3,110', '7')
    """
    low, high = (_figure(quantiles[QUANTILES.index(q)]) for q in (0.05, 0.95))
    return low if low == high else f"{low} to {high}"


def _figure(value: float) -> str:
    """Three digits, in plain figures: 12,300 and not 1.23e+04."""
    return f"{float(f'{value:.3g}'):,g}"
