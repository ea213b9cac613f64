"""Mean and standard deviation of bands, from which a network's normalisation follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Moments:
    """Mean and standard deviation of bands over the ground that a network learns from, gathered part by part in float64."""

    def __init__(self, bands: int) -> None:
        self._n, self._sum, self._square = np.zeros(bands), np.zeros(bands), np.zeros(bands)

    def add(self, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> None:
        """Add the pixels of ``values`` ``(band, row, column)`` where ``mask`` ``(row, column)`` holds and they are no NaN."""
        chosen = values[:, mask].astype(np.float64)
        self._n += np.isfinite(chosen).sum(axis=1)
        self._sum += np.nansum(chosen, axis=1)
        self._square += np.nansum(chosen**2, axis=1)

    def normalisation(self, kinds: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and standard deviation per band. Directions (kinds east and north) keep mean 0 and share one scale, so that
        turning a window and normalising it commute."""
        n = np.maximum(self._n, 1)
        mean = self._sum / n
        std = np.sqrt(np.maximum(self._square / n - mean**2, 0))
        directions = [i for i, kind in enumerate(kinds) if kind in ("east", "north")]
        if directions:
            mean[directions] = 0
            std[directions] = np.sqrt((self._square / n)[directions].mean())
        std[std == 0] = 1
        return list(zip(mean.tolist(), std.tolist(), strict=True))
