"""What each network sees of landslides: the deepest fused map, averaged inside an outline as the map of probabilities is blended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hpcl.core.codes import ALL_NETWORKS, NO_NETWORK
from hpcl.embedding.footprint import Footprint
from hpcl.inference.compose import Voice, Window, voices
from hpcl.inference.predict import lattice, within_memory
from hpcl.inference.scene import Scene
from hpcl.networks.device import device
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import InferenceSettings
from hpcl.windows import blend_weights, pad

COMMON_WINDOWS = 200
"""Windows of an area at which all networks look, so that their spaces can be brought together."""

Place = tuple[int, int]
"""First row and first column of a window."""


@dataclass(frozen=True)
class Seen:
    """What networks say of landslides, each in a space of its own.

    ``sums`` ``(network, landslide, channel)`` are the vectors times ``pixels`` ``(network, landslide)``, how many of a landslide's
    pixels owe their vector to a network: those of the fold that it never saw, and its share of those that lie in no fold.
    ``common`` ``(network, hyper-pixel, channel)`` is what all of them say of the same hyper-pixels, which hold landslide, and
    ``in_fold`` ``(network, hyper-pixel)`` which of these lie, at least in part, in the fold that a network never saw. There are none
    where no landslide has data.
    """

    sums: Float32
    pixels: Float32
    common: Float32
    in_fold: npt.NDArray[np.bool_]


def see(
    scene: Scene,
    ensemble: Ensemble,
    settings: InferenceSettings,
    footprints: Sequence[Footprint],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Seen:
    """Look at landslides in those windows of a scene's map that show any of them.

    Each pixel has the vector of the hyper-pixel that it lies in, blended between overlapping windows with the weights of the
    map, by the network that maps it; pixels without data have none. So a landslide smaller than a hyper-pixel has a vector, and one
    across folds has what each network says of the part that it never saw. Raises `MemoryShortageError`.
    """
    speaking = voices(ensemble, scene, settings, device())
    window_px = ensemble.facts.window_px
    tops, lefts = lattice(scene, ensemble, settings)
    down, along = (_weights(at, side, window_px) for at, side in zip((tops, lefts), scene.shape, strict=True))
    shown = _shown(footprints, tops, lefts, window_px)
    common, in_fold = _common(scene, speaking, settings, footprints, shown, window_px)
    folded = [_in_fold(scene, footprint) for footprint in footprints]
    sums = np.zeros((len(speaking), len(footprints), common.shape[2]), np.float32)
    pixels = np.zeros(sums.shape[:2], np.float32)
    done = 0
    for places in _batches(sorted(shown), settings.batch_size):
        windows = [_read(scene, place, window_px) for place in places]
        for number, voice in enumerate(speaking):
            asked = [at for at, window in enumerate(windows) if voice.asked(window.networks)]
            for at, cells in zip(asked, _deep(scene, voice, [windows[at] for at in asked], settings), strict=True):
                top, left = place = places[at]
                share = voice.shares[windows[at].networks] * np.outer(down[top], along[left])
                for landslide in shown[place]:
                    inside = _inside(footprints[landslide], place, window_px) * share
                    if folded[landslide]:
                        inside = np.where(windows[at].networks == ALL_NETWORKS, 0, inside)
                    weights = _by_cell(inside, cells)
                    sums[number, landslide] += cells.reshape(len(cells), -1) @ weights.ravel()
                    pixels[number, landslide] += weights.sum()
        done += len(places)
        progress(done, len(shown))
    return Seen(sums, pixels, common, in_fold)


def _in_fold(scene: Scene, footprint: Footprint) -> bool:
    """Whether any of a landslide lies in a fold: networks that learnt there then have no say in the rest of it either."""
    codes = scene.networks(*footprint.roi)[footprint.inside]
    return bool(((codes != ALL_NETWORKS) & (codes != NO_NETWORK)).any())


def _weights(starts: Sequence[int], length: int, window_px: int) -> dict[int, Float32]:
    """How much of the blended map a window owns along one side, by its start: with its neighbours 1 at every pixel."""
    ramp = blend_weights(window_px)[window_px // 2]
    total = np.zeros(max(length, window_px), np.float32)
    for start in starts:
        total[start : start + window_px] += ramp
    return {start: ramp / total[start : start + window_px] for start in starts}


def _shown(
    footprints: Sequence[Footprint], tops: Sequence[int], lefts: Sequence[int], window_px: int
) -> dict[Place, list[int]]:
    """The windows that may show a landslide, each with the numbers of those."""
    found = defaultdict(list)
    for number, footprint in enumerate(footprints):
        rows, columns = footprint.roi
        across = [left for left in lefts if columns.start - window_px < left < columns.stop]
        for top in tops:
            if rows.start - window_px < top < rows.stop:
                for left in across:
                    found[top, left].append(number)
    return found


def _batches(places: Sequence[Place], size: int) -> Iterator[Sequence[Place]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _read(scene: Scene, place: Place, window_px: int) -> Window:
    """A window, with the networks that are to map it where it has data."""
    (top, left), (height, width) = place, scene.shape
    rows, columns = slice(top, min(top + window_px, height)), slice(left, min(left + window_px, width))
    raw = scene.read((rows, columns))
    networks = np.full((window_px, window_px), NO_NETWORK, np.uint8)
    known = np.where(scene.has_data(raw), scene.networks(rows, columns), np.uint8(NO_NETWORK))
    networks[: known.shape[0], : known.shape[1]] = known
    return Window(pad(raw, window_px), networks)


def _deep(scene: Scene, voice: Voice, windows: list[Window], settings: InferenceSettings) -> Float32:
    """The deepest fused map of windows as one network sees them, ``(window, channel, row, column)``; empty of no windows."""

    @torch.inference_mode()
    def answer(some: list[Window]) -> Float32:
        where = next(voice.network.parameters()).device
        deep = voice.network(scene.tensors([window.raw for window in some], voice.bands, where)).deep
        return np.ascontiguousarray(deep.float().cpu().numpy())

    return within_memory(answer, windows, settings) if windows else np.empty((0, 0, 0, 0), np.float32)


def _inside(footprint: Footprint, place: Place, window_px: int) -> Float32:
    """The pixels ``(row, column)`` of a window that belong to a landslide: 1, the others 0."""
    found = np.zeros((window_px, window_px), np.float32)
    there, here = [], []
    for span, start in zip(footprint.roi, place, strict=True):
        first, last = max(span.start, start), min(span.stop, start + window_px)
        there.append(slice(first - span.start, last - span.start))
        here.append(slice(first - start, last - start))
    found[tuple(here)] = footprint.inside[tuple(there)]
    return found


def _by_cell(pixels: Float32, deep: Float32) -> Float32:
    """The sums of the pixels ``(row, column)`` of a window in each hyper-pixel of its ``deep`` map."""
    (rows, columns), (height, width) = deep.shape[-2:], pixels.shape
    return pixels.reshape(rows, height // rows, columns, width // columns).sum((1, 3))


def _common(
    scene: Scene,
    speaking: Sequence[Voice],
    settings: InferenceSettings,
    footprints: Sequence[Footprint],
    shown: Mapping[Place, Sequence[int]],
    window_px: int,
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """What every network says of the hyper-pixels with landslide of `COMMON_WINDOWS` windows, and which of these lie in its fold."""
    places = sorted(shown)
    chosen = np.random.default_rng(0).permutation(len(places))[:COMMON_WINDOWS]
    found, in_fold = [], []
    for batch in _batches([places[number] for number in sorted(chosen)], settings.batch_size):
        windows = [_read(scene, place, window_px) for place in batch]
        deep = np.stack([_deep(scene, voice, windows, settings) for voice in speaking])
        for at, (place, window) in enumerate(zip(batch, windows, strict=True)):
            landslide = sum(_inside(footprints[number], place, window_px) for number in shown[place])
            held = _by_cell(landslide * (window.networks != NO_NETWORK), deep) > 0
            found.append(deep[:, at][:, :, held].swapaxes(1, 2))
            own = [_by_cell(window.networks == fold, deep) > 0 for fold in range(1, len(speaking) + 1)]
            in_fold.append(np.stack(own)[:, held])
    if not found:
        return np.empty((len(speaking), 0, 0), np.float32), np.empty((len(speaking), 0), np.bool_)
    return np.concatenate(found, axis=1), np.concatenate(in_fold, axis=1)
