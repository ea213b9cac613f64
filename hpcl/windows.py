"""Windows of a scene and their inverse: ``stitch(cut(x)) == x``, blended and in memory that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
STRIP_PX = 2**20
"""Pixels of a strip of full rows, for work that walks down a scene."""


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Row slices of about `STRIP_PX` pixels that cover a ``(row, column)`` shape once.

    >>> [(rows.start, rows.stop) for rows in strips((5, 2**19))]
    [(0, 2), (2, 4), (4, 5)]
    """
    rows = max(1, STRIP_PX // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def starts(length: int, window_px: int, stride_px: int) -> list[int]:
    """First pixels of the windows that cover ``length`` pixels; the last one is moved back to end with the scene.

    >>> starts(300, 128, 96)
    [0, 96, 172]
    >>> starts(100, 128, 96)
    [0]
    """
    last = max(length - window_px, 0)
    return [*range(0, last, stride_px), last]


def spread(shape: tuple[int, int], window_px: int, most: int) -> list[tuple[int, int]]:
    """First row and column of at most ``most`` windows that lie side by side, spread over a scene, in random order.

    In random order, because windows measured together, as batch statistics are, should not be neighbours.
    """
    tops, lefts = (starts(side, window_px, window_px) for side in shape)
    every = [(top, left) for top in tops for left in lefts]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int))
    return [every[number] for number in np.random.default_rng(0).permutation(chosen)]


def blend_weights(window_px: int) -> Float32:
    """Weights ``(row, column)`` of one window when neighbours overlap: highest in the middle, never 0.

    A product of two triangles; the middle of a window has seen context on all sides, its edge has not.
    """
    ramp = np.minimum(np.arange(window_px) + 0.5, window_px - np.arange(window_px) - 0.5) / (window_px / 2)
    return np.outer(ramp, ramp).astype(np.float32)


def cut(values: npt.NDArray[np.float32], window_px: int, stride_px: int) -> Iterator[tuple[int, int, Float32]]:
    """Windows ``(row, column, values[:, row:row+window, column:column+window])`` of ``(band, row, column)`` values.

    Scenes smaller than a window are padded with NaN at the bottom and on the right.
    """
    _, height, width = values.shape
    for top in starts(height, window_px, stride_px):
        for left in starts(width, window_px, stride_px):
            yield top, left, pad(values[:, top : top + window_px, left : left + window_px], window_px)


def pad(values: Float32, window_px: int) -> Float32:
    """Fill ``(band, row, column)`` up to a full window with NaN."""
    _, height, width = values.shape
    if height == width == window_px:
        return values
    return np.pad(values, ((0, 0), (0, window_px - height), (0, window_px - width)), constant_values=np.nan)


class Stitcher:
    """Blend overlapping windows back into rows of a scene; holds one band of ``window_px`` rows, not the scene.

    Windows must come row of windows by row of windows (as `cut` yields them); ``add`` them all, then take the finished
    rows with ``rows_before(next_top)``.
    """

    def __init__(self, bands: int, height: int, width: int, window_px: int) -> None:
        self.height, self.width, self.window_px = height, width, window_px
        self._weights = blend_weights(window_px)
        self._top = 0
        self._sum = np.zeros((bands, window_px, max(width, window_px)), np.float32)
        self._weight = np.zeros((window_px, max(width, window_px)), np.float32)

    def add(self, top: int, left: int, values: Float32) -> None:
        """Add one window ``(band, window, window)`` whose first pixel is ``(top, left)``."""
        if top != self._top:
            raise ValueError(
                f"A window at row {top} came while rows from {self._top} on are open; take rows_before({top}) first."
            )
        columns = slice(left, left + self.window_px)
        self._sum[:, :, columns] += self._weights * values
        self._weight[:, columns] += self._weights

    def rows_before(self, top: int) -> Float32:
        """The finished rows ``[opened, top)`` as ``(band, row, column)``; the window band moves down to ``top``."""
        done = top - self._top
        with np.errstate(invalid="ignore"):
            out = (self._sum[:, :done] / self._weight[:done])[:, : self.height - self._top, : self.width]
        for held in (self._sum, self._weight):
            held[..., : held.shape[-2] - done, :] = held[..., done:, :].copy()
            held[..., max(held.shape[-2] - done, 0) :, :] = 0
        self._top = top
        return out


def stitch(windows: Iterator[tuple[int, int, Float32]], height: int, width: int, window_px: int) -> Float32:
    """The inverse of `cut`: a whole ``(band, row, column)`` scene from its overlapping windows, blended."""
    stitcher: Stitcher | None = None
    bands = []
    opened = 0
    for top, left, values in windows:
        stitcher = stitcher or Stitcher(values.shape[0], height, width, window_px)
        if top != opened:
            bands.append(stitcher.rows_before(top))
            opened = top
        stitcher.add(top, left, values)
    if stitcher is None:
        raise ValueError("No window was given; a scene has at least one.")
    bands.append(stitcher.rows_before(opened + window_px))
    return np.concatenate(bands, axis=1)
