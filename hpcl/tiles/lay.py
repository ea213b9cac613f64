"""Windows: what the network of a fold learns from, and what it is watched on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.core.codes import UNKNOWN
from hpcl.core.records import FoldedArea
from hpcl.settings.tile import TileSettings
from hpcl.tiles.folds import Bits, Codes
from hpcl.windows import starts

WINDOW = np.dtype(
    [("role", "U5"), ("row_px", "i4"), ("column_px", "i4"), ("valid_frac", "f8"), ("landslide_frac", "f8")]
)
"""A window of one network: ``train`` or ``held``, where it is, how much of it has labels that count, and how much of those are
landslide.

All of an area are held, half a million in a scene of 20,000 x 20,000 pixels: hence an array of numbers, not of objects."""
Windows = np.recarray[Any, np.dtype[np.record]]
Roi = tuple[slice, slice]


def lay_windows(area: FoldedArea, labels: Codes, teaches: Bits, code: int, settings: TileSettings) -> Windows:
    """All windows of an area for the network of fold ``code``.

    Training windows step by ``stride_px`` and touch no block of the fold, so that not even its image is seen. Those of the
    fold stand side by side in its blocks, the last one moved back to end with its block. Scenes smaller than a window give
    one padded window.
    """
    if area.test:
        return np.zeros(0, WINDOW).view(np.recarray)
    folds = np.array(area.folds).reshape(len(area.tops), len(area.lefts))
    train = _windows("train", area, folds != code, settings.stride_px, settings, labels, _teaching(teaches, code))
    held = _windows("held", area, folds == code, settings.window_px, settings, labels, _labelled(labels))
    return np.fromiter((*train, *held), WINDOW).view(np.recarray)


def _teaching(teaches: Bits, code: int) -> Callable[[Roi], npt.NDArray[np.bool_]]:
    return lambda roi: (teaches[roi] >> np.uint16(code) & np.uint16(1)).astype(bool)


def _labelled(labels: Codes) -> Callable[[Roi], npt.NDArray[np.bool_]]:
    return lambda roi: np.asarray(labels[roi] != UNKNOWN)


# Seven parameters: where windows may lie, how they step, and what of them counts.
def _windows(
    role: str,
    area: FoldedArea,
    allowed: npt.NDArray[np.bool_],
    stride_px: int,
    settings: TileSettings,
    labels: Codes,
    counts: Callable[[Roi], npt.NDArray[np.bool_]],
) -> Iterator[tuple[str, int, int, float, float]]:
    """The fields of each window that touches only blocks that are ``allowed`` ``(row, column)``."""
    height, width = labels.shape
    size = settings.window_px
    tops, lefts = _within(area.tops, height, size, stride_px), _within(area.lefts, width, size, stride_px)
    for top in tops:
        r0, r1 = np.searchsorted(area.tops, [top, min(top + size, height) - 1], side="right") - 1
        for left in lefts:
            c0, c1 = np.searchsorted(area.lefts, [left, min(left + size, width) - 1], side="right") - 1
            if not allowed[r0 : r1 + 1, c0 : c1 + 1].all():
                continue
            roi = slice(top, top + size), slice(left, left + size)
            known = counts(roi)
            valid = float(known.sum() / size**2)
            if valid >= settings.minimum_valid_frac and known.any():
                yield (role, top, left, valid, float((labels[roi][known] > 0).mean()))


def _within(block_starts: Sequence[int], length: int, size: int, stride: int) -> list[int]:
    """Window starts laid out block by block, so that blocks of any size are covered from their first to their last pixel."""
    ends = [*block_starts[1:], length]
    found = {
        a + s
        for a, b in zip(block_starts, ends, strict=True)
        for s in starts(b - a, size, stride)
        if a + s + size <= length
    }
    if stride < size:
        found |= {s for s in starts(length, size, stride) if s + size <= length}
    return sorted(found) or [0]
