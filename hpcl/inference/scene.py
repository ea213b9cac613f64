"""A scene as the network reads it: windows of named bands, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcl.networks.normalise import Float32, normalise
from hpcl.networks.store import Trained


class Scene:
    """One area as a stack of the bands a network asks for; who reads them is a subclass's business.

    ``shape`` is (rows, columns). ``trained_on`` says whether the network was trained on ground of this ``area``. ``absent``
    names bands that the area lacks: they read as NaN, which the network sees as their mean, and a branch without any band
    takes no part in the question where there is data.
    """

    def __init__(self, trained: Trained, area: str, shape: tuple[int, int], absent: Sequence[str] = ()) -> None:
        self.bands = tuple(trained.facts.bands)
        self.shape, self.absent = shape, tuple(absent)
        self.trained_on = area in trained.facts.trained_on
        names = [b.name for b in self.bands]
        branches = trained.network.settings.branches
        self.branches = {branch: [names.index(band) for band in bands] for branch, bands in branches.items()}
        self._present = [
            [names.index(band) for band in bands if band not in self.absent]
            for bands in branches.values()
            if set(bands) - set(self.absent)
        ]

    def read(self, roi: tuple[slice, slice]) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        raise NotImplementedError

    def tensors(self, windows: Sequence[Float32], device: torch.device) -> dict[str, Tensor]:
        """Raw windows as one normalised batch per branch."""
        size = windows[0].shape[1:]
        batch = {
            name: torch.empty((len(windows), len(place), *size), memory_format=torch.channels_last)
            for name, place in self.branches.items()
        }
        for number, window in enumerate(windows):
            clean = torch.from_numpy(normalise(window, self.bands))
            for name, place in self.branches.items():
                batch[name][number] = clean[place]
        return {name: values.to(device) for name, values in batch.items()}

    def has_data(self, window: Float32) -> Any:
        """Pixels ``(row, column)`` where every branch has at least one band with data; elsewhere no map is made."""
        finite = np.isfinite(window)
        return np.all([finite[place].any(axis=0) for place in self._present], axis=0)
