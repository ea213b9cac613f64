"""Trained networks over a whole scene: overlapping windows, blended, in memory that does not grow with the scene."""

from __future__ import annotations

import time
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

from hpcl.core.codes import NO_NETWORK
from hpcl.core.prefetch import ahead
from hpcl.inference.compose import Codes, Window, composed, shares, voices
from hpcl.inference.scene import Scene
from hpcl.networks.device import described, device, largest_that_fits
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import InferenceSettings
from hpcl.windows import Stitcher, pad, spread, starts

PANEL_PX = 8192
"""A wider scene is mapped panel by panel: no more of it than a panel's width is held at a time, and the tiles of its files
that a row of windows reads are still in GDAL's cache for the next."""

MAX_BATCHES = 4
"""In the network at a time, on CPUs, which they share: memory must not grow with the number of cores."""

PROBES = 500
"""Windows that are looked at to say what a map costs."""


class MemoryShortageError(RuntimeError):
    """A batch of windows that the device cannot hold."""


Place = tuple[int, list[int]]
"""First row of a row of windows, and the first columns of some of them."""


@dataclass(frozen=True)
class Part:
    """A finished part of a map, ``roi``: ``probability`` and ``uncertainty`` of landslide and one probability per class,
    each ``(row, column)`` or ``(class, row, column)``, NaN where there is no data; ``networks`` ``(row, column)`` says whose
    they are: the code of a network, `hpcl.core.codes.ALL_NETWORKS`, or `NO_NETWORK`."""

    roi: tuple[slice, slice]
    probability: Float32
    uncertainty: Float32
    classes: Float32
    networks: Codes


def predict(
    scene: Scene,
    ensemble: Ensemble,
    settings: InferenceSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Generator[Part, None, None]:
    """Map a scene, panels of `PANEL_PX` columns from west to east and each from north to south; a part comes as soon as no
    window will touch it again. Parts cover the scene once, and none depends on the panels.

    Ground in a fold is mapped by the network that never saw it, other ground by the mean over all networks. Which it is
    is decided pixel by pixel in each window, before windows are blended, so that there is a seam where two folds meet, on
    purpose: blended across it, a network would have a say in ground that it learnt.

    Probabilities are calibrated with the temperature of the fold and blended with weights that fall towards a window's
    edge. ``uncertainty`` is the (equally weighted) standard deviation between the overlapping windows, turned ones
    included, and between the networks where all map: where the answer depends on what else the window shows, on how it
    lies, or on what ground was learnt from, it is high.
    """
    window_px = ensemble.facts.window_px
    height, width = scene.shape
    where = device()
    speaking = voices(ensemble, scene, settings, where)
    threads = torch.get_num_threads() if where.type == "cpu" else 1
    stride = _stride(window_px, settings)
    tops = starts(height, window_px, stride)
    panels = list(_panels(width, window_px, stride, settings.batch_size))
    ways = [(quarters, mirror) for quarters in range(4) for mirror in (False, True)][: _ways(settings)]

    def read(place: Place) -> WindowRow:
        return _read_row(scene, window_px, *place)

    def forward(windows: list[Window]) -> Float32:
        return within_memory(lambda some: composed(speaking, scene, some, ways, ensemble.facts.sun), windows, settings)

    places = [(top, group) for panel in panels for top in tops for group in panel.groups]
    with closing(_predictions(places, read, forward, threads, settings.batch_size)) as predictions:
        parts = (part for panel in panels for part in _blended(panel, tops, scene, ensemble, predictions))
        for number, part in enumerate(parts):
            yield part
            progress(number + 1, len(panels) * len(tops))


def within_memory(
    answer: Callable[[list[Window]], Float32], windows: list[Window], settings: InferenceSettings
) -> Float32:
    """The answer to a batch of windows. Raises `MemoryShortageError`, which says how many would fit."""
    try:
        return answer(windows)
    except torch.OutOfMemoryError:
        pass  # outside of the handler nothing of the failed batch is held any more
    fits = largest_that_fits(len(windows), lambda few: answer(windows[:few]))
    raise MemoryShortageError(
        f"The memory of {described()} does not suffice for inference.batch_size {settings.batch_size} windows of"
        f" {len(windows[0].networks)} px; {f'{fits} fit: set inference.batch_size to that' if fits else 'not even one fits'}."
    )


def passes_per_window(scene: Scene, ensemble: Ensemble, settings: InferenceSettings) -> float:
    """How often a network looks at a window, on average, of a scene that has data everywhere: what a map costs. Roughly, from
    `PROBES` windows."""
    window_px, (height, width) = ensemble.facts.window_px, scene.shape
    tops, lefts = lattice(scene, ensemble, settings)
    rng = np.random.default_rng(0)
    by_network = np.stack([shares(number, ensemble, settings) for number in range(len(ensemble.members))])
    asked = 0
    for top, left in zip(rng.choice(tops, PROBES).tolist(), rng.choice(lefts, PROBES).tolist(), strict=True):
        rows, columns = slice(top, min(top + window_px, height)), slice(left, min(left + window_px, width))
        asked += int(by_network[:, np.unique(scene.networks(rows, columns))].any(axis=1).sum())
    return _ways(settings) * asked / PROBES


def forward_passes(scene: Scene, ensemble: Ensemble, settings: InferenceSettings) -> float:
    """How often networks look at windows for a map of the whole scene, roughly."""
    tops, lefts = lattice(scene, ensemble, settings)
    return len(tops) * len(lefts) * passes_per_window(scene, ensemble, settings)


def seconds_per_pass(scene: Scene, ensemble: Ensemble, settings: InferenceSettings) -> float:
    """How long a network takes for a window when it maps as `predict` does, from two batches of which the first warms up."""
    window_px, (height, width), where = ensemble.facts.window_px, scene.shape, device()
    voice = voices(ensemble, scene, replace(settings, adapt_windows=0), where)[0]
    places = spread(scene.shape, window_px, settings.batch_size)
    rois = [
        (slice(top, min(top + window_px, height)), slice(left, min(left + window_px, width))) for top, left in places
    ]
    codes = np.full((window_px, window_px), voice.shares.argmax(), np.uint8)
    windows = [Window(pad(scene.read(roi), window_px), codes) for roi in rois]
    threads = torch.get_num_threads()
    at_once = min(threads, MAX_BATCHES) if where.type == "cpu" else 1
    began = []
    torch.set_num_threads(threads // at_once)
    try:
        for _ in range(2):
            began.append(time.perf_counter())
            composed([voice], scene, windows, [(0, False)], ensemble.facts.sun)
    finally:
        torch.set_num_threads(threads)
    return (time.perf_counter() - began[-1]) / len(windows) / at_once


def lattice(scene: Scene, ensemble: Ensemble, settings: InferenceSettings) -> tuple[list[int], list[int]]:
    """First rows and first columns of the windows."""
    window_px = ensemble.facts.window_px
    tops, lefts = (starts(side, window_px, _stride(window_px, settings)) for side in scene.shape)
    return tops, lefts


def _stride(window_px: int, settings: InferenceSettings) -> int:
    return max(1, round(window_px * (1 - settings.overlap_frac)))


def _ways(settings: InferenceSettings) -> int:
    return 8 if settings.tta == "d4" else 1


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
    """Windows that lie in a row: those that show any data, which of the row these are, and where the strip that the row covers has
    data, ``(row, column)``. The strip does not go beyond the scene."""

    windows: list[Window]
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
    networks = np.where(known, scene.networks(rows, columns), np.uint8(NO_NETWORK))
    own = [slice(left - lefts[0], left - lefts[0] + window_px) for left in lefts]
    shown = [bool(known[:, at].any()) for at in own]
    windows = []
    for at, any_ in zip(own, shown, strict=True):
        if any_:
            raw, codes = pad(strip[:, :, at], window_px), np.full((window_px, window_px), NO_NETWORK, np.uint8)
            codes[: known.shape[0], : networks[:, at].shape[1]] = networks[:, at]
            windows.append(
                Window(raw if all(shown) else raw.copy(), codes)
            )  # lest a window keep the whole strip in memory
    return WindowRow(windows, shown, known)


def _blended(
    panel: Panel,
    tops: list[int],
    scene: Scene,
    ensemble: Ensemble,
    predictions: Iterator[tuple[WindowRow, list[Float32]]],
) -> Iterator[Part]:
    """The finished parts of a panel, from the ``predictions`` of its groups at each of the ``tops``.

    A window without data covers no pixel of the map, so that nothing is missed where it was not predicted.
    """
    (height, width), window_px = scene.shape, ensemble.facts.window_px
    layers = len(ensemble.facts.classes) + 1  # a probability of each, and the square of their sum
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
        roi = slice(top, closed), panel.columns
        networks = np.where(unknown[:, own], np.uint8(NO_NETWORK), scene.networks(*roi))
        yield Part(roi, landslide, spread, classes, networks)


def _predictions(
    places: Sequence[Place],
    read: Callable[[Place], WindowRow],
    forward: Callable[[list[Window]], Float32],
    threads: int,
    batch_size: int,
) -> Generator[tuple[WindowRow, list[Float32]], None, None]:
    """Every row of windows, in order, with the predictions of its windows; a few batches are under way at a time.

    Windows that show data are packed into full batches, whatever row they come from: a network takes longer for each window
    of a small one. In folds each network sees its part of a batch alone. Batches of its own would wait to be filled, and hold up
    rows in memory, without a bound where a network is seldom asked; and a CPU takes no longer for a window of a batch of two
    than of sixteen.

    One thread reads, because a rasterio dataset is not thread-safe; up to `MAX_BATCHES` others predict, each with its own
    share of the ``threads``. Cores that share every layer of one batch wait for each other at the end of each, the longer
    the more else there is to do on the machine.
    """
    waiting: deque[WindowRow] = deque()  # rows whose predictions are not all there, without their windows
    ready: deque[Float32] = deque()

    def batches(reader: ThreadPoolExecutor) -> Iterator[list[Window]]:
        packed: list[Window] = []
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
