"""The split map: which ground a model may learn from, choose by, and be judged on; and the windows that keep to it.

Neighbouring pixels are alike, so a random split of tiles overestimates a model by up to 28 % (Kattenborn et al. 2022,
doi:10.1016/j.ophoto.2022.100018). Here the split is by place: blocks of ground, with a gap wherever two blocks of
different splits meet, and no landslide on both sides. `check` proves it on the windows really emitted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, sparse

from hpcl.core.codes import GAP, OUTSIDE, SPLITS, UNKNOWN
from hpcl.settings.tile import TileError, TileSettings, check_shares, check_test_areas
from hpcl.windows import starts, strips

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """One block of ground: its rows and columns, its labelled and its landslide pixels, and its split once chosen."""

    area: str
    number: int
    rows: slice
    columns: slice
    labelled_px: int
    landslide_px: int
    split: str = ""


def lay_blocks(area: str, labels: npt.NDArray[np.uint8], block_px: int) -> list[Block]:
    """Cut an area into blocks of about ``block_px``, row by row; ragged edges are shared out, not dropped."""
    out: list[Block] = []
    for rows in _edges(labels.shape[0], block_px):
        for columns in _edges(labels.shape[1], block_px):
            part = labels[rows, columns]
            known = part != UNKNOWN
            out.append(Block(area, len(out), rows, columns, int(known.sum()), int((part[known] > 0).sum())))
    return out


def _edges(length: int, block_px: int) -> list[slice]:
    bounds = np.linspace(0, length, max(1, round(length / block_px)) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def assign(
    blocks: Sequence[Block], settings: TileSettings, objects: Sequence[Mapping[tuple[str, int], int]] = ()
) -> list[Block]:
    """Give every block its split so that each split has its share of the ground and of the landslides.

    ``objects`` holds for each landslide its pixels in each block ``(area, number)``: a landslide across blocks of
    several splits will count for one of them only (`keep_whole`), so draws that divide large ones lose ground. Of
    seeded random draws the one nearest to the shares is kept and improved by swapping blocks. Raises `TileError` when
    an area cannot be split, or a split would hold no landslide.
    """
    areas = sorted({block.area for block in blocks})
    check_test_areas(settings, areas, "labelled areas")
    test_areas = set(settings.test_areas) if settings.split == "areas" else set()
    check_shares(settings)
    test_frac = 0.0 if test_areas else settings.test_frac
    shares = np.array([1 - settings.val_frac - test_frac, settings.val_frac, test_frac])
    free = [b for b in blocks if b.area not in test_areas and b.labelled_px]
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    if len(free) < len(wanted):
        raise TileError(
            f"The labelled ground makes {len(free)} block(s) of {settings.block_px} px, too few for {', '.join(wanted)}; "
            "lower tile.block_px or add an area."
        )
    best = _draw(free, objects, shares, settings.seed)
    chosen = {(b.area, b.number): SPLITS[code] for b, code in zip(free, best, strict=True)}
    out = [replace(b, split="test" if b.area in test_areas else chosen.get((b.area, b.number), "")) for b in blocks]
    for split in SPLITS:
        if (split in wanted or (split == "test" and test_areas)) and not any(
            b.landslide_px for b in out if b.split == split
        ):
            raise TileError(
                f"No landslide falls into the {split} blocks; lower tile.block_px, or change tile.seed or the areas."
            )
    return out


def _draw(
    free: Sequence[Block], objects: Sequence[Mapping[tuple[str, int], int]], shares: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.int64]:
    """The split code of every block: the best of 500 random draws, improved by up to 4000 random swaps."""
    place = {(b.area, b.number): i for i, b in enumerate(free)}
    ground = np.array([b.labelled_px for b in free], float)
    inside = [(row, place[at], n) for row, found in enumerate(objects) for at, n in found.items() if at in place]
    if not inside:
        inside = [(i, i, b.landslide_px) for i, b in enumerate(free)]
    row, column, count = np.array(inside).T
    pixels = sparse.csr_matrix((count.astype(float), (row, column)), shape=(max(len(objects), len(free)), len(free)))
    total = max(pixels.sum(), 1)

    def error(codes: npt.NDArray[np.int64]) -> float:
        """How far the shares of ground and of whole landslides are off, plus the share of landslides that is lost."""
        held = pixels @ np.eye(3)[codes]
        owner = held.argmax(1)
        kept = np.bincount(owner, weights=held.max(1), minlength=3) / total
        off = np.abs(np.bincount(codes, weights=ground, minlength=3) / ground.sum() - shares).sum()
        empty = int(((kept == 0) & (shares > 0)).sum())
        return float(off + np.abs(kept / max(kept.sum(), 1e-9) - shares).sum() + 2 * (1 - kept.sum()) + 10 * empty)

    counts = np.maximum(np.round(shares * len(free)), shares > 0).astype(int)
    counts[0] = len(free) - counts[1:].sum()
    rng = np.random.default_rng(seed)
    best = min((rng.permutation(np.repeat(np.arange(3), counts)) for _ in range(500)), key=error)
    least = error(best)
    for one, other in rng.integers(0, len(free), (4000, 2)):
        if best[one] != best[other]:
            tried = best.copy()
            tried[[one, other]] = tried[[other, one]]
            if (found := error(tried)) < least:
                best, least = tried, found
    return best


def require_landslides(windows: pd.DataFrame, test_landslide_px: int | None) -> None:
    """Raise `TileError` if training or validation windows show no landslide, or if the test ground (None: none is
    wanted) has none: large landslides and gaps take pixels from a split that its blocks had."""
    showing = set(windows.loc[windows["landslide_frac"] > 0, "split"])
    lost = [split for split in SPLITS if split not in showing and split != "test"]
    lost += ["test"] * (test_landslide_px == 0)
    if lost:
        raise TileError(
            f"No landslide is left for {' and '.join(lost)}: one that lies in several splits counts for one of them "
            "only, and its edge may lie in a gap; lower tile.block_px or tile.gap_px, or change tile.seed or the areas."
        )


def spread(
    landslides: Iterable[tuple[Any, npt.NDArray[np.bool_]]], blocks: Sequence[Block]
) -> list[dict[tuple[str, int], int]]:
    """For each landslide of one area ``(roi, mask)``: how many of its pixels lie in which block."""
    out = []
    lattice = _Lattice(blocks)
    for (rows, columns), mask in landslides:
        found = {}
        for b in lattice.under(rows, columns):
            r0, r1 = max(rows.start, b.rows.start), min(rows.stop, b.rows.stop)
            c0, c1 = max(columns.start, b.columns.start), min(columns.stop, b.columns.stop)
            part = mask[r0 - rows.start : r1 - rows.start, c0 - columns.start : c1 - columns.start]
            if part.any():
                found[b.area, b.number] = int(part.sum())
        out.append(found)
    return out


class _Lattice:
    """The blocks of one area by their place."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._tops = sorted({b.rows.start for b in blocks})
        self._lefts = sorted({b.columns.start for b in blocks})
        self._at = {(b.rows.start, b.columns.start): b for b in blocks}

    def under(self, rows: slice, columns: slice) -> Iterator[Block]:
        """Blocks that have pixels of these rows and columns."""
        for top in self._tops[max(bisect_right(self._tops, rows.start) - 1, 0) : bisect_left(self._tops, rows.stop)]:
            first, end = bisect_right(self._lefts, columns.start) - 1, bisect_left(self._lefts, columns.stop)
            for left in self._lefts[max(first, 0) : end]:
                yield self._at[top, left]


def paint(
    blocks: Sequence[Block], labels: Codes, gap_px: int, split_map: Codes, block_map: npt.NDArray[np.int32]
) -> None:
    """Write one area's split codes and block numbers into the given ``(row, column)`` arrays.

    Ground within half the gap of a block of another split becomes `GAP`; then whatever still lies nearer to another
    split than the gap, across the corner of a block without labels (`_part`).
    """
    half = -(-gap_px // 2)
    split_map[:], block_map[:] = OUTSIDE, -1
    for b in blocks:
        if not b.split:
            continue
        part = split_map[b.rows, b.columns]
        part[labels[b.rows, b.columns] != UNKNOWN] = SPLITS.index(b.split)
        block_map[b.rows, b.columns] = b.number
    lattice = _Lattice(blocks)
    for b in blocks:
        around = slice(b.rows.start - half, b.rows.stop + half), slice(b.columns.start - half, b.columns.stop + half)
        for other in lattice.under(*around):
            if b.split and other.split and b.split != other.split:
                rows, columns = _near(b.rows, other.rows, half), _near(b.columns, other.columns, half)
                part = split_map[rows, columns]
                part[part != OUTSIDE] = GAP
    reach = gap_px - 1
    for b in blocks if reach > 0 else ():
        around = (
            slice(b.rows.start - reach, b.rows.stop + reach),
            slice(b.columns.start - reach, b.columns.stop + reach),
        )
        for other in lattice.under(*around):
            if b.number < other.number and b.split and other.split and b.split != other.split:
                box = split_map[_between(b.rows, other.rows, reach), _between(b.columns, other.columns, reach)]
                earlier, later = sorted((SPLITS.index(b.split), SPLITS.index(other.split)))
                _part(box, earlier, later, gap_px)


def _part(split_map: Codes, one: int, other: int, gap_px: int) -> None:
    """Make `GAP` of the ground of one of two splits that lies nearer than the gap to ground of the other.

    Half the gap on either side is enough where blocks meet along an edge. Where two meet at a corner, and the other two
    blocks there have no labels, half on one side and half on the other go through different pixels, and what is left may
    lie little more than half the gap apart. The split with less ground in question gives way; if both have equally much,
    as at a corner that is labelled throughout, the ``one``. There no choice of pixels would lose less.
    """
    if not (near_other := (split_map == one) & _within_gap(split_map == other, gap_px)).any():
        return
    near_one = (split_map == other) & _within_gap(split_map == one, gap_px)
    split_map[near_one if near_one.sum() < near_other.sum() else near_other] = GAP


def _within_gap(ground: npt.NDArray[np.bool_], gap_px: int) -> npt.NDArray[np.bool_]:
    """Which pixels lie nearer than the gap to some ground, rows and columns counted apart (Chebyshev), as `check` does."""
    near: npt.NDArray[np.bool_] = ndimage.maximum_filter(ground.view(np.uint8), size=2 * gap_px - 1) > 0
    return near


def _between(one: slice, other: slice, reach_px: int) -> slice:
    """The rows from the part of either that lies within ``reach_px`` of the other to that of the other."""
    near, far = _near(one, other, reach_px), _near(other, one, reach_px)
    return slice(min(near.start, far.start), max(near.stop, far.stop))


def _near(mine: slice, other: slice, half_px: int) -> slice:
    """The part of my rows that lies within ``half_px`` of the other's rows (empty when they are far apart)."""
    start, stop = max(mine.start, other.start - half_px), min(mine.stop, other.stop + half_px)
    return slice(start, max(start, stop))


def keep_whole(landslides: Iterable[tuple[Any, npt.NDArray[np.bool_]]], split_map: Codes) -> int:
    """Give every landslide to the split that holds most of it; its pixels elsewhere become `GAP`. Returns how many.

    ``landslides`` yields ``(roi, mask)``: the rows and columns of a landslide's bounding box and its pixels in it.
    """
    divided = 0
    for roi, mask in landslides:
        part = split_map[roi]
        held = np.bincount(part[mask & (part < GAP)], minlength=3)[:3]
        if (held > 0).sum() > 1:
            part[mask & (part < GAP) & (part != held.argmax())] = GAP
            divided += 1
    return divided


WINDOW = np.dtype(
    [("split", "U5"), ("row_px", "i4"), ("column_px", "i4"), ("valid_frac", "f8"), ("landslide_frac", "f8")]
)
"""A window of ground for one split: where it is, how much of it is labelled, and how much of that is landslide.

All of an area are held, half a million in a scene of 20,000 x 20,000 pixels: hence an array of numbers, not of objects."""
Windows = np.recarray[Any, np.dtype[np.record]]


def lay_windows(blocks: Sequence[Block], labels: Codes, split_map: Codes, settings: TileSettings) -> Windows:
    """All windows of an area. They lie wholly in blocks of one split, so that not even their unlabelled context is shared.

    Training windows step by ``stride_px``; validation and test windows stand side by side in their block, the last one
    moved back to end with it. Scenes smaller than a window give one padded window.
    """
    return np.fromiter(_windows(blocks, labels, split_map, settings), WINDOW).view(np.recarray)


def _windows(
    blocks: Sequence[Block], labels: Codes, split_map: Codes, settings: TileSettings
) -> Iterator[tuple[str, int, int, float, float]]:
    """The fields of each window."""
    rows, columns = sorted({b.rows.start for b in blocks}), sorted({b.columns.start for b in blocks})
    table = np.full((len(rows), len(columns)), -1)
    for b in blocks:
        table[rows.index(b.rows.start), columns.index(b.columns.start)] = SPLITS.index(b.split) if b.split else -1
    height, width = labels.shape
    size = settings.window_px
    for code, split in enumerate(SPLITS):
        stride = settings.stride_px if split == "train" else size
        tops = _within(rows, height, size, stride)
        lefts = _within(columns, width, size, stride)
        for top in tops:
            r0, r1 = np.searchsorted(rows, [top, min(top + size, height) - 1], side="right") - 1
            for left in lefts:
                c0, c1 = np.searchsorted(columns, [left, min(left + size, width) - 1], side="right") - 1
                if (table[r0 : r1 + 1, c0 : c1 + 1] != code).any():
                    continue
                roi = slice(top, top + size), slice(left, left + size)
                known = split_map[roi] == code
                valid = float(known.sum() / size**2)
                if valid >= settings.minimum_valid_frac and known.any():
                    yield (split, top, left, valid, float((labels[roi][known] > 0).mean()))


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


def check(
    windows: Windows,
    split_map: Codes,
    landslides: Iterable[tuple[Any, npt.NDArray[np.bool_]]],
    gap_px: int,
    window_px: int,
) -> None:
    """Stop on any leak in one area: a pixel in windows of two splits, labels nearer than the gap, a divided landslide."""
    ordered = windows[np.argsort(windows["row_px"])]
    tops = ordered["row_px"]
    shared = 0
    for rows in strips(split_map.shape):
        seen = np.zeros((rows.stop - rows.start, split_map.shape[1]), np.uint8)
        for w in ordered[bisect_right(tops, rows.start - window_px) : bisect_left(tops, rows.stop)]:
            top, bottom = max(w.row_px - rows.start, 0), w.row_px + window_px - rows.start
            seen[top:bottom, w.column_px : w.column_px + window_px] |= 1 << SPLITS.index(w.split)
        shared += int(((seen & (seen - np.uint8(1))) != 0).sum())
        around = split_map[max(rows.start - gap_px, 0) : rows.stop + gap_px]
        for code in range(3):
            mine = around == code
            if gap_px and mine.any():
                near = ndimage.maximum_filter(mine.view(np.uint8), size=2 * gap_px - 1) > 0
                if (near & (around < GAP) & ~mine).any():
                    raise TileError(
                        f"The split leaks: {SPLITS[code]} ground lies nearer than {gap_px} px to another split."
                    )
    if shared:
        raise TileError(
            f"The split leaks: {shared} pixels lie in windows of two splits; this is a defect, please report it."
        )
    for roi, mask in landslides:
        part = split_map[roi][mask]
        if len(np.unique(part[part < GAP])) > 1:
            raise TileError("The split leaks: a landslide lies in two splits; this is a defect, please report it.")


class Moments:
    """Mean and standard deviation of bands over training ground, gathered part by part in float64."""

    def __init__(self, bands: int) -> None:
        self._n, self._sum, self._square = np.zeros(bands), np.zeros(bands), np.zeros(bands)

    def add(self, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> None:
        """Add the pixels of ``values`` ``(band, row, column)`` where ``mask`` ``(row, column)`` holds and they are no NaN."""
        chosen = values[:, mask].astype(np.float64)
        self._n += np.isfinite(chosen).sum(axis=1)
        self._sum += np.nansum(chosen, axis=1)
        self._square += np.nansum(chosen**2, axis=1)

    def normalisation(self, kinds: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and standard deviation per band. Directions (kinds east and north) keep mean 0 and share one scale, so that
        turning a window and normalising it commute."""
        n = np.maximum(self._n, 1)
        mean = self._sum / n
        std = np.sqrt(np.maximum(self._square / n - mean**2, 0))
        directions = [i for i, kind in enumerate(kinds) if kind in ("east", "north")]
        if directions:
            mean[directions] = 0
            std[directions] = np.sqrt((self._square / n)[directions].mean())
        std[std == 0] = 1
        return list(zip(mean.tolist(), std.tolist(), strict=True))
