"""Fill along the edge of an image: black or white where it has no data, whatever else it declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.geo.raster import Roi

EDGE_FRAC, EDGE_JUMP_FRAC = 0.02, 0.3
"""Fill of an image: this share of its edge, and the scene beside it has this share of its mean brightness at least."""
NEAR = 12
"""How far lossy compression moves black and white of 8 bits; a rim that it has blurred is no darker in most pixels."""
EXACT_FRAC = 0.5
"""Share of a near-black rim's edge that is exactly black: blocks of a JPEG that are black throughout stay so."""
BETWEEN_FRAC = 0.15
"""In a lossy file a rim may have no exact pixel; then pixels up to three times as far from black are rarer than this."""
BLURRED_FRAC = 0.5
"""A rim that ends in nearly black pixels in more rows and columns than this was blurred; elsewhere dark ground lies beside."""

SCENE, NEARLY, EXACTLY = 1, 2, 3
"""What the outermost pixel of a row or column with data is; 0 if it has none."""


class Edge:
    """Evidence that an image is filled with one number where it has no data: 0 or the largest of its type.

    Dark pixels are no fill: they lie anywhere, have other values in some band, and dark neighbours. Fill begins where the
    data begin, is the same in all bands, and where it ends the scene is as bright as elsewhere. So look at the first and
    the last pixel with data of each row and column, and at the first and the last that are not fill. Memory is that of
    the outline.
    """

    def __init__(self, code: float, shape: tuple[int, int], near: float = 0.0) -> None:
        """Nothing seen yet of a scene of ``shape`` (row, column); fill is at most ``near`` from ``code`` in all bands."""
        self.code, self.near = code, near
        # For rows (0) and columns (1), from their beginning (0) and their end (1): what the outermost pixel with data
        # is, and how far from fill is the outermost pixel that is not, and the outermost that is not exactly fill.
        self.outer = [np.zeros((2, size), np.uint8) for size in shape]
        self.beside = [np.full((2, size), np.nan, np.float32) for size in shape]
        self.after = [np.full((2, size), np.nan, np.float32) for size in shape] if near else self.beside
        self.scene, self.scene_sum = 0, 0.0
        self.filled, self.between = 0, 0

    def add(
        self, darkest: npt.NDArray[Any], brightest: npt.NDArray[Any], known: npt.NDArray[np.bool_], roi: Roi
    ) -> None:
        """Look at the block at ``roi``: its least and largest number over all bands and whether all are data.

        All are ``(row, column)``; blocks come row by row.
        """
        distance = self._distance(darkest, brightest)
        fill = distance <= self.near
        fill &= known
        scene = known & ~fill
        count = int(np.count_nonzero(scene))
        self.scene += count
        everything = count == scene.size
        self.scene_sum += float(distance.sum(dtype=np.float64) if everything else distance[scene].sum(dtype=np.float64))
        self.filled += int(np.count_nonzero(fill)) if not everything else 0
        if self.near:
            self.between += int(np.count_nonzero(scene & (distance <= 3 * self.near)))
        layers = [(self.beside, scene)]
        if self.near:
            layers.append((self.after, known & (distance > 0)))
        for axis, lines in enumerate(roi):
            every = np.arange(lines.stop - lines.start)
            far, known_lines, scene_lines = (a if axis == 0 else a.T for a in (distance, known, scene))
            for end in (0, 1):
                at, some = _outermost(known_lines, end)
                kind = np.where(scene_lines[every, at], SCENE, np.where(far[every, at] == 0, EXACTLY, NEARLY)) * some
                _keep(self.outer[axis][end], lines, kind, some, end)
                for where, mask in layers:
                    at, some = _outermost(mask if axis == 0 else mask.T, end)
                    _keep(where[axis][end], lines, far[every, at], some, end)

    def _distance(self, darkest: npt.NDArray[Any], brightest: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """How far the band that is furthest from it is from the code."""
        if darkest.dtype.kind == "u":  # the code is one end of what the type holds
            return brightest if self.code == 0 else darkest.dtype.type(self.code) - darkest
        code = np.float32(self.code)
        return np.maximum(brightest.astype(np.float32) - code, code - darkest.astype(np.float32))

    def filled_frac(self, lossy: bool) -> float:
        """Share of the edge of the data that is fill, 0 if it looks like part of the scene."""
        outer = np.concatenate([lines.ravel() for lines in self.outer])
        fill = outer >= NEARLY
        if not fill.any() or (frac := float(fill.sum() / (outer > 0).sum())) < EDGE_FRAC:
            return 0.0
        if lossy and self.near and self.between < BETWEEN_FRAC * self.filled:
            return frac
        if (outer[fill] == EXACTLY).mean() < EXACT_FRAC:
            return 0.0
        beside = np.concatenate([lines.ravel() for lines in self.beside])[fill]
        beside = beside[np.isfinite(beside)]
        if beside.size:
            bright = self.near + EDGE_JUMP_FRAC * self.scene_sum / self.scene
            if beside.mean(dtype=np.float64) < bright:
                return 0.0
        return frac

    @property
    def is_blurred(self) -> bool:
        """Whether the fill that is exactly the code ends in pixels that are only nearly so, in most lines."""
        after = np.concatenate([lines.ravel() for lines in self.after])
        outer = np.concatenate([lines.ravel() for lines in self.outer])
        after = after[(outer == EXACTLY) & np.isfinite(after)]
        return bool((after <= self.near).sum() > BLURRED_FRAC * after.size)


def _outermost(mask: npt.NDArray[np.bool_], end: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The first (end 0) or last (1) column of each line at which ``mask`` holds, and whether it holds at all."""
    if mask.all():
        at = np.full(len(mask), 0 if end == 0 else mask.shape[1] - 1)
        return at, np.ones(len(mask), bool)
    at = mask.argmax(axis=1) if end == 0 else mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return at, np.any(mask, axis=1)


def _keep(where: npt.NDArray[Any], lines: slice, met: npt.NDArray[Any], some: npt.NDArray[np.bool_], end: int) -> None:
    """Write what was met, where something was: the first of a line stays, the last is the latest."""
    before = where[lines]
    empty = np.isnan(before) if before.dtype.kind == "f" else before == 0
    where[lines] = np.where(some & empty if end == 0 else some, met, before)
