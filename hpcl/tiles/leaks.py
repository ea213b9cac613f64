"""Proof that no network learns from what it maps, on windows and arrays as they were written."""

from __future__ import annotations

import numpy as np

from hpcl.core.codes import MAX_FOLDS
from hpcl.core.records import FoldedArea
from hpcl.settings.tile import TileError, TileSettings
from hpcl.tiles.folds import Bits, Landslides, within_gap
from hpcl.tiles.lay import Windows
from hpcl.windows import strips


def check(area: FoldedArea, teaches: Bits, landslides: Landslides, settings: TileSettings) -> None:
    """Raise `TileError` if a label teaches a network whose fold it lies in or nearer to than the gap, or is part of a landslide
    that reaches into that fold."""
    width = slice(0, teaches.shape[1])
    for rows in strips(teaches.shape):
        outer = slice(
            max(rows.start - settings.gap_px, 0), rows.stop
        )  # whichever of two pixels lies above, the other sees it
        bits, codes = np.asarray(teaches[outer]), area.codes(outer, width)
        for code in range(settings.folds):
            if (within_gap(codes == code, settings.gap_px) & _taught(bits, code)).any():
                raise TileError(
                    f"The folds leak: the network of fold {code + 1} learns from labels nearer than {settings.gap_px} px to that"
                    " fold; this is a defect, please report it."
                )
    for roi, mask in landslides:
        for code in np.unique(area.codes(*roi)[mask]):
            if code < MAX_FOLDS and (_taught(teaches[roi], int(code)) & mask).any():
                raise TileError(
                    f"The folds leak: the network of fold {code + 1} learns from a landslide that reaches into that fold; this is a"
                    " defect, please report it."
                )


def check_windows(area: FoldedArea, windows: Windows, code: int, window_px: int) -> None:
    """Raise `TileError` if a training window of the network of fold ``code`` shows ground of that fold."""
    train = windows[windows["role"] == "train"]
    blocks = []
    for begins, length, first in zip((area.tops, area.lefts), area.shape, ("row_px", "column_px"), strict=True):
        last = np.minimum(train[first] + window_px, length) - 1
        blocks += [np.searchsorted(begins, at, side="right") for at in (train[first], last)]
    top, bottom, left, right = blocks
    of_fold = np.array(area.folds).reshape(len(area.tops), len(area.lefts)) == code
    sums = np.pad(of_fold.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # of the blocks above and to the left
    if (sums[bottom, right] - sums[top - 1, right] - sums[bottom, left - 1] + sums[top - 1, left - 1]).any():
        raise TileError(
            f"The folds leak: a training window of the network of fold {code + 1} shows that fold's ground; this is a defect,"
            " please report it."
        )


def _taught(bits: Bits, code: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(bits >> np.uint16(code) & np.uint16(1)).astype(bool)
