"""A trained network over a whole scene: overlapping windows, blended, in memory that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as record
from torch import Tensor

from hpcl import raster
from hpcl.bands import BandFacts, Float32, normalise
from hpcl.networks import Trained
from hpcl.windows import Stitcher, pad, starts


class InferError(ValueError):
    """The network cannot be applied to this scene."""


@record(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class InferSettings:
    """``overlap_frac`` of a window is shared with its neighbour (at least a quarter for smooth seams);
    ``batch_size`` windows go through the network together."""

    overlap_frac: float = Field(ge=0, le=0.75)
    batch_size: int = Field(ge=1)


class Scene:
    """The rasters of one area as one stack of the bands a network asks for, found by name. Use as a context manager."""

    def __init__(self, files: Sequence[Path], trained: Trained) -> None:
        self.bands = tuple(BandFacts(**b) for b in trained.facts["bands"])
        self.branches = {
            name: [[b.name for b in self.bands].index(band) for band in bands]
            for name, bands in trained.network.settings.branches.items()
        }
        self._stack = ExitStack()
        self._sources = [self._stack.enter_context(raster.Source(path)) for path in files]
        self.grid = self._sources[0].grid
        self._where = []
        for band in self.bands:
            holders = [s for s in self._sources if band.name in [b.name for b in s.bands]]
            if not holders:
                there = ", ".join(b.name for s in self._sources for b in s.bands)
                raise InferError(
                    f"The model was trained with band '{band.name}', which this area lacks (it has {there})."
                )
            self._where.append((holders[0], band.name))

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, roi: raster.Roi) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        parts: dict[str, Float32] = {}
        for source in self._sources:
            names = [name for holder, name in self._where if holder is source]
            if names:
                parts |= dict(zip(names, source.read(roi, names), strict=True))
        return np.stack([parts[band.name] for band in self.bands])

    def tensors(self, windows: Sequence[Float32], device: torch.device) -> dict[str, Tensor]:
        """Raw windows as one normalised batch per branch."""
        batch = torch.from_numpy(np.stack([normalise(w, self.bands) for w in windows])).to(device)
        return {name: batch[:, place] for name, place in self.branches.items()}

    def has_data(self, window: Float32) -> Any:
        """Pixels ``(row, column)`` where every branch has at least one band with data; elsewhere no map is made."""
        finite = np.isfinite(window)
        return np.all([finite[place].any(axis=0) for place in self.branches.values()], axis=0)


@dataclass(frozen=True)
class Rows:
    """Finished rows of a map: ``probability`` and ``uncertainty`` of landslide and one probability per class,
    each ``(row, column)`` resp. ``(class, row, column)``, NaN where there is no data."""

    rows: slice
    probability: Float32
    uncertainty: Float32
    classes: Float32


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def predict(
    scene: Scene,
    trained: Trained,
    settings: InferSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Rows]:
    """Map a scene from north to south; finished rows come as soon as no window will touch them again.

    Probabilities are calibrated with the model's temperature and blended with weights that fall towards a window's
    edge. ``uncertainty`` is the (equally weighted) standard deviation between the overlapping windows: where the
    answer depends on what else the window shows, it is high.
    """
    window_px = trained.facts["window_px"]
    stride = max(1, round(window_px * (1 - settings.overlap_frac)))
    height, width = scene.grid.shape
    tops, lefts = starts(height, window_px, stride), starts(width, window_px, stride)
    classes = trained.network.classes
    where = device()
    network = trained.network.to(where).eval()
    stitcher = Stitcher(classes + 1, height, width, window_px)
    for number, top in enumerate(tops):
        for first in range(0, len(lefts), settings.batch_size):
            group = lefts[first : first + settings.batch_size]
            strip = scene.read(
                (slice(top, min(top + window_px, height)), slice(group[0], min(group[-1] + window_px, width)))
            )
            cuts = [pad(strip[:, :, left - group[0] : left - group[0] + window_px], window_px) for left in group]
            logits = network(scene.tensors(cuts, where)).logits.float() / trained.facts["temperature"]
            for left, cut, probabilities in zip(group, cuts, logits.softmax(1).cpu().numpy(), strict=True):
                landslide = 1 - probabilities[0]
                both = np.concatenate([probabilities, landslide[None] ** 2])
                stitcher.add(top, left, np.where(scene.has_data(cut), both, np.nan))
        opened, closed = top, tops[number + 1] if number + 1 < len(tops) else top + window_px
        blended = stitcher.rows_before(closed)
        landslide = 1 - blended[0]
        spread = np.sqrt(np.maximum(blended[-1] - landslide**2, 0))
        yield Rows(slice(opened, min(closed, height)), landslide, spread, blended[1:-1])
        progress(number + 1, len(tops))
