"""One space for the vectors of several networks.

Channels of two networks have nothing to do with each other, though both know the same ground: compared as they are, all landslides
of a fold are alike, because one network maps them. What all networks say of the same hyper-pixels has directions in which they agree
(generalised canonical correlation, the form that Kettenring, Biometrika 58, 1971, calls MAXVAR), and these are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpcl.embedding.vectors import Seen

DIMENSIONS = 16
"""Directions that are kept. With more of them networks agree less; docs/embeddings.md has figures."""
RIDGE = 0.01
"""Of the mean variance, added to that of each channel: some channels are always 0, and others say the same."""

Float64 = npt.NDArray[np.float64]


def prefix(without: int) -> str:
    """How columns of vectors are called, before their numbers: in the space of all ground, or in that of all but a fold's."""
    return f"without_{without}_" if without else "embedding_"


def joined(seen: Sequence[Seen], without: int = 0) -> list[Float64]:
    """The vectors ``(landslide, dimension)`` of each of several areas, all in one space; NaN for landslides without data.

    Dimensions are sorted by how far networks agree in them, and have about unit spread. The fold ``without`` (from 1; 0: none) has
    no say in what the space is: all networks but its own learnt its labels, and may know them by heart. NaN if no other ground is
    left.
    """
    common = np.concatenate(
        [one.common[:, ~one.in_fold[without - 1]] if without else one.common for one in seen], axis=1
    ).astype(np.float64)
    if not common.size:
        return [np.full((one.sums.shape[1], DIMENSIONS), np.nan) for one in seen]
    means, turns = common.mean(axis=1), agreed(common)
    found = []
    for one in seen:
        centred = one.sums - one.pixels[..., None] * means[:, None]
        with np.errstate(invalid="ignore"):
            found.append(np.einsum("klc,kcd->ld", centred, turns) / one.pixels.sum(axis=0)[:, None])
    return found


def agreed(common: Float64) -> Float64:
    """The directions ``(network, channel, dimension)`` in which networks agree most, from what they say of the same places,
    ``(network, place, channel)``."""
    networks, places, channels = common.shape
    centred = common - common.mean(axis=1, keepdims=True)
    covariances = np.einsum("kpc,kpd->kcd", centred, centred) / places
    covariances += RIDGE * np.trace(covariances, axis1=1, axis2=2)[:, None, None] / channels * np.eye(channels)
    whiteners = np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)
    white = np.concatenate(list(centred @ whiteners), axis=1)
    _, directions = np.linalg.eigh(white.T @ white)
    best = directions[:, ::-1][:, :DIMENSIONS]
    best = best * np.sign(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])])
    return np.sqrt(networks) * whiteners @ best.reshape(networks, channels, -1)
