"""A trained network over a whole scene: overlapping windows, blended, in memory that does not grow with the scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from hpcl.core.prefetch import ahead
from hpcl.core.records import TrainedFacts
from hpcl.inference.adabn import adapted
from hpcl.inference.scene import Scene
from hpcl.networks.base import Network
from hpcl.networks.d4 import turn, turn_back
from hpcl.networks.device import described, device, largest_that_fits
from hpcl.networks.normalise import Float32
from hpcl.networks.store import Trained
from hpcl.settings.inference import InferenceSettings
from hpcl.windows import Stitcher, pad, starts

PANEL_PX = 8192
"""A wider scene is mapped panel by panel: no more of it than a panel's width is held at a time, and the tiles of its files
that a row of windows reads are still in GDAL's cache for the next."""

MAX_BATCHES = 4
"""In the network at a time, on CPUs, which they share: memory must not grow with the number of cores."""


class MemoryShortageError(RuntimeError):
    """A batch of windows that the device cannot hold."""


Place = tuple[int, list[int]]
"""First row of a row of windows, and the first columns of some of them."""


@dataclass(frozen=True)
class Part:
    """A finished part of a map, ``roi``: ``probability`` and ``uncertainty`` of landslide and one probability per class,
    each ``(row, column)`` or ``(class, row, column)``, NaN where there is no data."""

    roi: tuple[slice, slice]
    probability: Float32
    uncertainty: Float32
    classes: Float32


def predict(
    scene: Scene,
    trained: Trained,
    settings: InferenceSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Generator[Part, None, None]:
    """Map a scene, panels of `PANEL_PX` columns from west to east and each from north to south; a part comes as soon as no
    window will touch it again. Parts cover the scene once, and none depends on the panels.

    Probabilities are calibrated with the model's temperature and blended with weights that fall towards a window's
    edge. ``uncertainty`` is the (equally weighted) standard deviation between the overlapping windows, turned ones
    included: where the answer depends on what else the window shows, or on how it lies, it is high.
    """
    window_px = trained.facts.window_px
    stride = max(1, round(window_px * (1 - settings.overlap_frac)))
    height, width = scene.shape
    where = device()
    network = trained.network.to(where).to(memory_format=torch.channels_last).eval()
    network = adapted(network, scene, window_px, settings.adapt_windows)
    threads = torch.get_num_threads() if where.type == "cpu" else 1
    tops = starts(height, window_px, stride)
    panels = list(_panels(width, window_px, stride, settings.batch_size))
    ways = [(quarters, mirror) for quarters in range(4) for mirror in (False, True)][: 8 if settings.tta == "d4" else 1]

    def read(place: Place) -> WindowRow:
        return _read_row(scene, window_px, *place)

    def forward(windows: list[Float32]) -> Float32:
        try:
            return _forward(network, scene, trained.facts, windows, ways)
        except torch.OutOfMemoryError:
            pass  # outside of the handler nothing of the failed batch is held any more
        fits = largest_that_fits(len(windows), lambda few: _forward(network, scene, trained.facts, windows[:few], ways))
        raise MemoryShortageError(
            f"The memory of {described()} does not suffice for inference.batch_size {settings.batch_size} windows of"
            f" {window_px} px; {f'{fits} fit: set inference.batch_size to that' if fits else 'not even one fits'}."
        )

    places = [(top, group) for panel in panels for top in tops for group in panel.groups]
    with closing(_predictions(places, read, forward, threads, settings.batch_size)) as predictions:
        layers = trained.network.classes  # a probability of every class but background, and the square of their sum
        for number, part in enumerate(
            part for panel in panels for part in _blended(panel, tops, scene.shape, window_px, layers, predictions)
        ):
            yield part
            progress(number + 1, len(panels) * len(tops))


@dataclass(frozen=True)
class Panel:
    """Columns that are mapped together, and the first columns of all windows that touch them, in groups that are read
    together."""

    columns: slice
    groups: list[list[int]]


def _panels(width: int, window_px: int, stride: int, most: int) -> Iterator[Panel]:
    """Columns of a scene in even panels; windows across a border are mapped in both.

    >>> [(p.columns.start, p.columns.stop, p.groups[0][0], p.groups[-1][-1]) for p in _panels(20_000, 128, 64, 8)]
    [(0, 6656, 0, 6592), (6656, 13312, 6592, 13248), (13312, 20000, 13248, 19872)]
    """
    lefts = starts(width, window_px, stride)
    edges = [*(group[0] for group in _groups(lefts, max(1, PANEL_PX // stride))), width]
    for start, stop in pairwise(edges):
        yield Panel(slice(start, stop), _groups([left for left in lefts if start - window_px < left < stop], most))


def _groups(lefts: list[int], most: int) -> list[list[int]]:
    """The windows of a row in even groups of at most ``most``.

    >>> _groups([0, 96, 192, 288, 384], 4)
    [[0, 96], [192, 288, 384]]
    """
    count = -(-len(lefts) // most)
    return [lefts[len(lefts) * i // count : len(lefts) * (i + 1) // count] for i in range(count)]


@dataclass(frozen=True)
class WindowRow:
    """Windows that lie in a row: the raw ones ``(band, row, column)`` that show any data, which of the row these are, and
    where the strip that the row covers has data, ``(row, column)``. Windows may go beyond the scene, the strip does not."""

    windows: list[Float32]
    shown: list[bool]
    known: npt.NDArray[np.bool_]


def _read_row(scene: Scene, window_px: int, top: int, lefts: list[int]) -> WindowRow:
    """Read the windows at one ``top``, together."""
    height, width = scene.shape
    rows, columns = slice(top, min(top + window_px, height)), slice(lefts[0], min(lefts[-1] + window_px, width))
    strip = scene.read((rows, columns))
    known = scene.has_data(strip)
    if not known.any():
        return WindowRow([], [False] * len(lefts), np.broadcast_to(np.False_, known.shape))  # of no size in memory
    own = [slice(left - lefts[0], left - lefts[0] + window_px) for left in lefts]
    shown = [bool(known[:, at].any()) for at in own]
    windows = [pad(strip[:, :, at], window_px) for at, any_ in zip(own, shown, strict=True) if any_]
    if not all(shown):  # so that a window does not keep the whole strip in memory
        windows = [window.copy() for window in windows]
    return WindowRow(windows, shown, known)


@torch.inference_mode()
def _forward(
    network: Network, scene: Scene, facts: TrainedFacts, windows: list[Float32], ways: Sequence[tuple[int, bool]]
) -> Float32:
    """What is blended of each window, ``(window, class, row, column)``: the probability of every class but background,
    and last the square of their sum; the mean over all ways to turn the window."""
    where = next(network.parameters()).device
    predictions = []
    for quarters, mirror in ways:
        turned = [turn(w, scene.bands, quarters, mirror, facts.sun) for w in windows] if len(ways) > 1 else windows
        logits = network(scene.tensors(turned, where)).logits.float() / facts.temperature
        classes = logits.softmax(1)[:, 1:]
        found = torch.cat([classes, classes.sum(1, keepdim=True).square()], dim=1).contiguous().cpu().numpy()
        predictions.append(np.stack([turn_back(window, quarters, mirror) for window in found]))
    return np.mean(predictions, axis=0) if len(ways) > 1 else predictions[0]


# Six parameters: where the parts lie, and what lies in them.
def _blended(
    panel: Panel,
    tops: list[int],
    shape: tuple[int, int],
    window_px: int,
    layers: int,
    predictions: Iterator[tuple[WindowRow, list[Float32]]],
) -> Iterator[Part]:
    """The finished parts of a panel, from the ``predictions`` (``layers`` each) of its groups at each of the ``tops``.

    A window without data covers no pixel of the map, so that nothing is missed where it was not predicted.
    """
    height, width = shape
    west, east = panel.groups[0][0], min(panel.groups[-1][-1] + window_px, width)
    own = slice(panel.columns.start - west, panel.columns.stop - west)
    stitcher = Stitcher(layers, height, east - west, window_px)
    for top, closed in pairwise([*tops, height]):
        unknown = np.ones((closed - top, east - west), bool)
        for group in panel.groups:
            row, windows = next(predictions)
            first = group[0] - west
            unknown[:, first : first + row.known.shape[1]] = ~row.known[: closed - top]
            lefts = (left for left, shown in zip(group, row.shown, strict=True) if shown)
            for left, window in zip(lefts, windows, strict=True):
                stitcher.add(top, left - west, window)
        blended = stitcher.rows_before(closed)
        blended[:, unknown] = np.nan
        classes = blended[:-1, :, own]
        landslide = classes.sum(axis=0)
        spread = np.sqrt(np.maximum(blended[-1, :, own] - landslide**2, 0))
        yield Part((slice(top, closed), panel.columns), landslide, spread, classes)


def _predictions(
    places: Sequence[Place],
    read: Callable[[Place], WindowRow],
    forward: Callable[[list[Float32]], Float32],
    threads: int,
    batch_size: int,
) -> Generator[tuple[WindowRow, list[Float32]], None, None]:
    """Every row of windows, in order, with the predictions of its windows; a few batches are under way at a time.

    Windows that show data are packed into full batches, whatever row they come from: a network takes longer for each window
    of a small one. One thread reads, because a rasterio dataset is not thread-safe; up to `MAX_BATCHES` others predict, each
    with its own share of the ``threads``. Cores that share every layer of one batch wait for each other at the end of each,
    the longer the more else there is to do on the machine.
    """
    waiting: deque[WindowRow] = deque()  # rows whose predictions are not all there, without their windows
    ready: deque[Float32] = deque()

    def batches(reader: ThreadPoolExecutor) -> Iterator[list[Float32]]:
        packed: list[Float32] = []
        for row in ahead(lambda place: reader.submit(read, place), places, 2):
            waiting.append(replace(row, windows=[]))
            for window in row.windows:
                packed.append(window)
                if len(packed) == batch_size:
                    yield packed
                    packed = []
        if packed:
            yield packed

    before = torch.get_num_threads()
    count = min(threads, MAX_BATCHES)
    own_cores = partial(torch.set_num_threads, threads // count)
    try:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(count, initializer=own_cores) as workers:
            try:
                predicted = ahead(lambda packed: workers.submit(forward, packed), batches(reader), count + 1)
                for _ in places:
                    while not waiting or len(ready) < sum(waiting[0].shown):
                        ready.extend(next(predicted, ()))
                    row = waiting.popleft()
                    yield row, [ready.popleft() for _ in range(sum(row.shown))]
            finally:
                workers.shutdown(wait=False, cancel_futures=True)
    finally:
        torch.set_num_threads(before)  # threads that start later would take over the last number set by any
