"""A scene as networks read it: windows of named bands, wherever they lie, and which network is to map which ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hpcl.core.codes import ALL_NETWORKS
from hpcl.core.records import BandFacts
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32, normalise


class Scene:
    """One area as a stack of the bands that networks ask for; who reads them is a subclass's business.

    ``shape`` is (rows, columns). ``absent`` names bands that the ``area`` lacks: they read as NaN, which a network sees as their
    mean, and a branch without any band takes no part in the question where there is data. ``bands`` are in the order of
    `read`, with the statistics of the first network; each network has its own.
    """

    def __init__(self, ensemble: Ensemble, area: str, shape: tuple[int, int], absent: Sequence[str] = ()) -> None:
        self.area, self.shape, self.absent = area, shape, tuple(absent)
        self.bands = tuple(ensemble.facts.bands)
        self._folded = ensemble.areas.get(area)
        names = [b.name for b in self.bands]
        branches = ensemble.members[0].network.settings.branches
        self.branches = {branch: [names.index(band) for band in bands] for branch, bands in branches.items()}
        self._present = [
            [names.index(band) for band in bands if band not in self.absent]
            for bands in branches.values()
            if set(bands) - set(self.absent)
        ]

    def read(self, roi: tuple[slice, slice]) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        raise NotImplementedError

    def networks(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """The code of the network that is to map every pixel, ``(row, column)``: that of its fold, or `ALL_NETWORKS`."""
        if self._folded is None:
            return np.full((rows.stop - rows.start, columns.stop - columns.start), ALL_NETWORKS, np.uint8)
        return self._folded.networks(rows, columns)

    def tensors(
        self, windows: Sequence[Float32], bands: Sequence[BandFacts], device: torch.device
    ) -> dict[str, Tensor]:
        """Raw windows as one batch per branch, normalised with a network's own statistics of the ``bands``."""
        size = windows[0].shape[1:]
        batch = {
            name: torch.empty((len(windows), len(place), *size), memory_format=torch.channels_last)
            for name, place in self.branches.items()
        }
        for number, window in enumerate(windows):
            clean = torch.from_numpy(normalise(window, bands))
            for name, place in self.branches.items():
                batch[name][number] = clean[place]
        return {name: values.to(device) for name, values in batch.items()}

    def has_data(self, window: Float32) -> Any:
        """Pixels ``(row, column)`` where every branch has at least one band with data; elsewhere no map is made."""
        finite = np.isfinite(window)
        return np.all([finite[place].any(axis=0) for place in self._present], axis=0)
