"""A map of probabilities together with which network made each pixel, which decides from which probability on it is landslide."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcl.core.artifacts import remedy
from hpcl.core.codes import ALL_NETWORKS, NO_NETWORK
from hpcl.core.records import Thresholds
from hpcl.geo import raster


class MappedError(ValueError):
    """A map of networks that nobody chose a threshold for."""


class Mapped:
    """An open map, read by windows. Use as a context manager."""

    def __init__(self, path: Path, thresholds: Thresholds) -> None:
        """``path``: probability.tif, beside which network.tif lies."""
        self._thresholds = thresholds.by_network
        with ExitStack() as files:
            self.source = files.enter_context(raster.Source(path))
            self._networks = files.enter_context(raster.Source(path.with_name("network.tif")))
            raster.common_grid({one.path: one.grid for one in (self.source, self._networks)})
            self._files = files.pop_all()

    def __enter__(self) -> Mapped:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def networks(self, roi: raster.Roi) -> npt.NDArray[np.uint8]:
        """Which network made each pixel of a window, ``(row, column)``."""
        return np.asarray(self._networks.read(roi)[0])

    def thresholds(self, roi: raster.Roi) -> npt.NDArray[np.float32]:
        """The threshold of every pixel of a window, ``(row, column)``."""
        networks = self.networks(roi)
        networks[networks == NO_NETWORK] = ALL_NETWORKS  # nothing is known there, so that no threshold is reached
        if (highest := int(networks.max(initial=0))) >= len(self._thresholds):
            path = self._networks.path
            raise MappedError(
                f"{path} names the network of fold {highest}, but thresholds were chosen for {len(self._thresholds) - 1} folds:"
                f" the map and data/calibrate are of different trainings; run dvc repro, or {remedy(path)}."
            )
        return np.asarray(self._thresholds[networks])

    def landslide(self, roi: raster.Roi) -> npt.NDArray[np.bool_]:
        """Which pixels of a window are landslide, ``(row, column)``; none where nothing is known."""
        return np.asarray(self.source.read(roi, ["probability"])[0] >= self.thresholds(roi))
