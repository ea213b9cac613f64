"""Connected patches of a mask, and the bands along its boundary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, sparse

Array = npt.NDArray[Any]


class Patches:
    """Connected patches of a mask that arrives in strips from north to south, and what lies on each of them.

    Memory grows with the number of patches, not with the scene: patches of neighbouring strips that touch are noted as
    pairs, and joined at the end.
    """

    _COLUMNS = ("row_px", "column_px", "pixels", "hit_pixels", "block")

    def __init__(self) -> None:
        self._rows = 0
        self._count = 0
        self._last: Array | None = None
        self._parts: list[Array] = [np.zeros((0, len(self._COLUMNS)), dtype=np.int64)]
        self._pairs: list[Array] = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, mask: Array, hit: Array, block: Array) -> Array:
        """Take the next rows: ``mask`` and ``hit`` bool, ``block`` int, each ``(row, column)``.

        Returns the parts of patches that they show, ``(row, column)``: numbers that count on from those before, from 1, and 0
        beside patches.
        """
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)), output=np.int64)
        at = np.flatnonzero(labels)
        patch = labels.ravel()[at] - 1
        first = np.zeros(count, dtype=np.int64)
        first[patch[::-1]] = at[::-1]  # of the writes to one element the last stays: the northernmost pixel
        row, column = np.divmod(first, mask.shape[1])
        pixels = np.bincount(patch, minlength=count)
        hit_pixels = np.bincount(patch, weights=hit.ravel()[at], minlength=count).astype(np.int64)
        part = np.stack([self._rows + row, column, pixels, hit_pixels, block.ravel()[first]], axis=1)
        labels[labels > 0] += self._count
        if self._last is not None:
            self._pairs.extend(_touching(self._last, labels[0]))
        self._parts.append(part)
        self._last = labels[-1].copy()  # a view would keep the whole strip
        self._rows += len(mask)
        self._count += count
        return np.asarray(labels)

    def table(self) -> pd.DataFrame:
        """One row a patch, north to south: ``row_px, column_px, block`` of its first pixel; ``pixels, hit_pixels``."""
        parts = pd.DataFrame(np.concatenate(self._parts), columns=list(self._COLUMNS)).assign(patch=self.of_parts())
        parts = parts.sort_values(["row_px", "column_px"], kind="stable")
        how = {"row_px": "first", "column_px": "first", "pixels": "sum", "hit_pixels": "sum", "block": "first"}
        return parts.groupby("patch").agg(how).reset_index(drop=True)

    def of_parts(self) -> Array:
        """The row of `table` that each part, in the order of their numbers, belongs to, ``(part,)``."""
        a, b = np.concatenate(self._pairs).T - 1
        links = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(self._count, self._count))
        count, patch = sparse.csgraph.connected_components(links, directed=False)
        places = np.concatenate(self._parts)
        north_to_south = pd.unique(patch[np.lexsort((places[:, 1], places[:, 0]))])
        row = np.empty(count, np.int64)
        row[north_to_south] = np.arange(count)
        return np.asarray(row[patch])


def _touching(above: Array, below: Array) -> Iterator[Array]:
    """Pairs of patches, numbered from 1, that meet across two neighbouring rows, corners included."""
    width = len(above)
    for shift in (-1, 0, 1):
        upper = above[max(0, -shift) : width - max(0, shift)]
        lower = below[max(0, shift) : width - max(0, -shift)]
        both = (upper > 0) & (lower > 0)
        yield np.unique(np.stack([upper[both], lower[both]], axis=1), axis=0)


def boundary_band(mask: Array, known: Array, width_px: int) -> Array:
    """Pixels of ``mask`` within ``width_px`` (chessboard distance) of its boundary, ``(row, column)`` bool.

    Boundary IoU (Cheng et al., arXiv 2103.16562) compares these bands of map and truth. Only a step from mask to
    non-mask among ``known`` pixels is a boundary: the edge of the scene, of the split and of unknown ground is none.
    """
    solid = (mask | ~known).astype(np.uint8)
    inside = ndimage.minimum_filter(solid, size=2 * width_px + 1, mode="constant", cval=1)
    return np.asarray(mask & known & (inside == 0))
