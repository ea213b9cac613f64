"""Stored bands to network input: the one place that normalises, for training, prediction and explanation alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpcl.core.records import BandFacts

Float32 = npt.NDArray[np.float32]
CLIP_STD = 6.0
"""Normalised values beyond this many standard deviations are held there: a single spike must not rule a window."""


def normalise(values: Float32, bands: Sequence[BandFacts]) -> Float32:
    """Raw ``(band, row, column)`` to zero mean and unit spread, clipped; nodata becomes 0, the mean."""
    out = np.empty_like(values)
    for band, raw, to in zip(bands, values, out, strict=True):  # one at a time stays in the processor's cache
        np.subtract(raw, np.float32(band.mean), out=to)
        np.divide(to, np.float32(band.std), out=to)
        np.clip(to, -CLIP_STD, CLIP_STD, out=to)
        np.copyto(to, 0, where=np.isnan(to))
    return out
