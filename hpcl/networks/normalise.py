"""Stored bands to network input: the one place that normalises, for training, prediction and explanation alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hpcl.core.artifacts import Finite, Positive

Float32 = npt.NDArray[np.float32]
CLIP_STD = 6.0
"""Normalised values beyond this many standard deviations are held there: a single spike must not rule a window."""


@dataclass(frozen=True)
class BandFacts:
    """What a network must know of a band: how it turns, mean and std."""

    name: str
    kind: Literal["image", "scalar", "east", "north", "up", "hillshade"]
    mean: Finite
    std: Positive


def normalise(values: Float32, bands: Sequence[BandFacts]) -> Float32:
    """Raw ``(band, row, column)`` to zero mean and unit spread, clipped; nodata becomes 0, the mean."""
    mean = np.array([b.mean for b in bands], np.float32)[:, None, None]
    std = np.array([b.std for b in bands], np.float32)[:, None, None]
    out = values - mean
    out /= std
    np.clip(out, -CLIP_STD, CLIP_STD, out=out)
    np.copyto(out, 0, where=np.isnan(out))
    return out
