"""A trained network over a whole scene: overlapping windows, blended, in memory that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as record
from torch import Tensor

from hpcl.adapt import adapted
from hpcl.bands import BandFacts, Float32, normalise
from hpcl.networks import Trained
from hpcl.turns import turn, turn_back
from hpcl.windows import Stitcher, pad, starts


@record(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class InferSettings:
    """``overlap_frac`` of a window is shared with its neighbour (at least a quarter for smooth seams);
    ``batch_size`` windows go through the network together. ``turns`` 8 maps every window in all quarter turns and
    mirrors and takes the mean, at eight times the cost; 1 maps it as it lies. On an area that it was
    not trained on, the network's batch statistics are measured anew on ``adapt_windows`` windows at most (`hpcl.adapt`);
    0 leaves them as trained everywhere."""

    overlap_frac: float = Field(ge=0, le=0.75)
    batch_size: int = Field(ge=1)
    turns: Literal[1, 8]
    adapt_windows: int = Field(ge=0)


class Scene:
    """One area as a stack of the bands a network asks for; who reads them is a subclass's business.

    ``shape`` is (rows, columns). ``trained_on`` says whether the network was trained on ground of this ``area``. ``absent``
    names bands that the area lacks: they read as NaN, which the network sees as their mean, and a branch without any band
    takes no part in the question where there is data.
    """

    def __init__(self, trained: Trained, area: str, shape: tuple[int, int], absent: Sequence[str] = ()) -> None:
        self.bands = tuple(BandFacts(**b) for b in trained.facts["bands"])
        self.shape, self.absent = shape, tuple(absent)
        self.trained_on = area in trained.facts["trained_on"]
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
        batch = torch.from_numpy(np.stack([normalise(w, self.bands) for w in windows])).to(device)
        return {
            name: batch[:, place].contiguous(memory_format=torch.channels_last) for name, place in self.branches.items()
        }

    def has_data(self, window: Float32) -> Any:
        """Pixels ``(row, column)`` where every branch has at least one band with data; elsewhere no map is made."""
        finite = np.isfinite(window)
        return np.all([finite[place].any(axis=0) for place in self._present], axis=0)


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
    edge. ``uncertainty`` is the (equally weighted) standard deviation between the overlapping windows, turned ones
    included: where the answer depends on what else the window shows, or on how it lies, it is high.
    """
    window_px = trained.facts["window_px"]
    stride = max(1, round(window_px * (1 - settings.overlap_frac)))
    height, width = scene.shape
    tops, lefts = starts(height, window_px, stride), starts(width, window_px, stride)
    classes = trained.network.classes
    ways = [(quarters, mirror) for quarters in range(4) for mirror in (False, True)][: settings.turns]
    sun = trained.facts["sun"]
    where = device()
    network = trained.network.to(where).to(memory_format=torch.channels_last).eval()
    network = adapted(network, scene, window_px, settings.adapt_windows)
    stitcher = Stitcher(classes + 1, height, width, window_px)
    groups = [lefts[first : first + settings.batch_size] for first in range(0, len(lefts), settings.batch_size)]
    batches = _read_ahead(scene, window_px, [(top, group) for top in tops for group in groups])
    for number, top in enumerate(tops):
        for group in groups:
            cuts = next(batches)
            known = [scene.has_data(cut) for cut in cuts]
            for quarter_turns, mirror in ways:
                turned = [turn(cut, scene.bands, quarter_turns, mirror, sun) for cut in cuts] if len(ways) > 1 else cuts
                logits = network(scene.tensors(turned, where)).logits.float() / trained.facts["temperature"]
                for left, there, answer in zip(group, known, logits.softmax(1).cpu().numpy(), strict=True):
                    probabilities = turn_back(answer, quarter_turns, mirror)
                    landslide = 1 - probabilities[:1]
                    stitcher.add(top, left, np.where(there, np.concatenate([probabilities, landslide**2]), np.nan))
        opened, closed = top, tops[number + 1] if number + 1 < len(tops) else top + window_px
        blended = stitcher.rows_before(closed)
        landslide = 1 - blended[0]
        spread = np.sqrt(np.maximum(blended[-1] - landslide**2, 0))
        yield Rows(slice(opened, min(closed, height)), landslide, spread, blended[1:-1])
        progress(number + 1, len(tops))


def _read_ahead(scene: Scene, window_px: int, places: Sequence[tuple[int, list[int]]]) -> Iterator[list[Float32]]:
    """The windows ``(top, lefts)`` of each place; those of the next are read while the network works on this one's."""
    height, width = scene.shape

    def read(place: tuple[int, list[int]]) -> list[Float32]:
        top, lefts = place
        strip = scene.read(
            (slice(top, min(top + window_px, height)), slice(lefts[0], min(lefts[-1] + window_px, width)))
        )
        return [pad(strip[:, :, left - lefts[0] : left - lefts[0] + window_px], window_px) for left in lefts]

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, places[0])
        for following in places[1:]:
            cuts = coming.result()
            coming = reader.submit(read, following)
            yield cuts
        yield coming.result()
