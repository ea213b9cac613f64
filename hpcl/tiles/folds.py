"""The folds: which ground judges which network, and what that network may learn from.

Neighbouring pixels are alike, so a random split of tiles overestimates a model by up to 28 % (Kattenborn et al. 2022,
doi:10.1016/j.ophoto.2022.100018). Here ground is dealt by place, in blocks. The network of a fold learns from all other folds' ground that
keeps a distance from it, so that every label trains and every label judges (cross-fitting). `hpcl.tiles.leaks` proves it on
what was really written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hpcl.core.codes import MAX_FOLDS, OUTSIDE, TEST_AREA, UNKNOWN
from hpcl.core.records import FoldedArea
from hpcl.settings.tile import TileError, TileSettings

Codes = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.uint16]
Landslides = Iterable[tuple[tuple[slice, slice], npt.NDArray[np.bool_]]]
"""Of each landslide the rows and columns of its bounding box, and its pixels in there."""

FAIR = 0.5
"""A fold with less than this part of an equal share of the landslide ground is told."""
TAUGHT = 0.5
"""A network that learns from a smaller part of the landslide ground of other folds is told of."""
SEEDS = 100
"""How many seeds are looked at for one that shares landslides better."""


@dataclass(frozen=True)
class Block:
    """One block of ground: its rows and columns, its labelled and its landslide pixels, and the code of its fold."""

    area: str
    number: int
    rows: slice
    columns: slice
    labelled_px: int
    landslide_px: int
    fold: int = OUTSIDE

    @property
    def fold_name(self) -> str:
        """As in the facts and on the map: a number from 1, ``test``, or ``none``."""
        return {OUTSIDE: "none", TEST_AREA: "test"}.get(self.fold, str(self.fold + 1))


def lay_blocks(area: str, labels: Codes, block_px: float) -> list[Block]:
    """Cut an area into blocks of about ``block_px``, row by row; ragged edges are shared out, not dropped."""
    out: list[Block] = []
    for rows in _edges(labels.shape[0], block_px):
        for columns in _edges(labels.shape[1], block_px):
            part = labels[rows, columns]
            known = part != UNKNOWN
            out.append(Block(area, len(out), rows, columns, int(known.sum()), int((part[known] > 0).sum())))
    return out


def _edges(length: int, block_px: float) -> list[slice]:
    bounds = np.linspace(0, length, max(1, round(length / block_px)) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def deal(laid: dict[str, list[Block]], settings: TileSettings) -> list[Block]:
    """Give every block with labels its fold; blocks of test areas get `TEST_AREA`.

    The fold of a block follows from its place, the area's name and ``tile.seed`` alone (in regions also from which ground has
    labels): an edit of the inventory or a new area moves no other block. Folds so have equal shares of the ground, and of
    landslides as nearly as these are spread.
    """
    count = settings.folds
    dealt: list[Block] = []
    ordinary = [name for name in laid if name not in settings.test_areas]
    for name, blocks in laid.items():
        if name in settings.test_areas:
            codes = [TEST_AREA] * len(blocks)
        elif settings.split == "areas":
            codes = [ordinary.index(name) % count] * len(blocks)
        elif settings.split == "regions":
            codes = _compact(blocks, count, settings.seed)
        else:
            codes = _by_place(blocks, count, settings.seed)
        dealt += [
            replace(block, fold=code if block.labelled_px else OUTSIDE)
            for block, code in zip(blocks, codes, strict=True)
        ]
    return dealt


def _by_place(blocks: Sequence[Block], count: int, seed: int) -> list[int]:
    """A fold for each block of an area: as many neighbours as there are folds, on a way that turns at the end of each row,
    get one each, in random order."""
    corners = np.array([(block.rows.start, block.columns.start) for block in blocks])
    way = _turning(corners[:, 0], corners[:, 1])
    codes = [0] * len(blocks)
    name = zlib.crc32(blocks[0].area.encode())
    for group, first in enumerate(range(0, len(way), count)):
        drawn = np.random.default_rng([seed, name, group]).permutation(count)
        for place, code in zip(way[first : first + count], drawn, strict=False):
            codes[place] = int(code)
    return codes


def _compact(blocks: Sequence[Block], count: int, seed: int) -> list[int]:
    """A fold for each block of an area: the blocks with labels are cut in two across their longer side again and again, until there
    is one piece for each fold; which piece is which fold is drawn."""
    codes = [0] * len(blocks)
    drawn = np.random.default_rng([seed, zlib.crc32(blocks[0].area.encode())]).permutation(count)
    todo = [(0, count, [place for place, block in enumerate(blocks) if block.labelled_px])]
    while todo:
        first, folds, piece = todo.pop()
        if folds == 1:
            for place in piece:
                codes[place] = int(drawn[first])
            continue
        corners = np.array([(blocks[place].rows.start, blocks[place].columns.start) for place in piece]).reshape(-1, 2)
        wide = int(np.ptp(corners, axis=0).argmax()) if len(piece) else 0
        way = [piece[at] for at in _turning(corners[:, wide], corners[:, 1 - wide])]
        middle = round(len(way) * (folds // 2) / folds)
        todo += [(first, folds // 2, way[:middle]), (first + folds // 2, folds - folds // 2, way[middle:])]
    return codes


def _turning(lines: npt.NDArray[np.int64], along: npt.NDArray[np.int64]) -> list[int]:
    """Places in the order of a way that goes line by line and turns at the end of each."""
    _, number = np.unique(lines, return_inverse=True)
    return np.lexsort((np.where(number % 2, -along, along), number)).tolist()


def united(blocks: Sequence[Block], reached: Sequence[Sequence[int]], count: int) -> list[Block]:
    """The blocks of one area so that landslides across regions lie in one of them: all blocks of such a landslide go to the fold that
    holds most landslide ground of them.

    ``reached``: the numbers of the blocks that each landslide reaches into, the largest landslide first. What would bind more ground
    together than a fold's equal share stays divided.
    """
    fold = {block.number: block.fold for block in blocks}
    bound = {block.number: [block.number] for block in blocks}
    share_px = sum(block.labelled_px for block in blocks) / count
    divided = True
    while divided:  # what is moved for one landslide may divide another; each round binds more together
        divided = False
        for numbers in reached:
            known = [number for number in numbers if blocks[number].labelled_px]
            together = sorted({other for number in known for other in bound[number]})
            own = [blocks[number] for number in together]
            if len({fold[number] for number in known}) < 2 or sum(block.labelled_px for block in own) > share_px:
                continue
            divided = True
            most = np.bincount([block.fold for block in own], [block.landslide_px for block in own]).argmax()
            fold |= dict.fromkeys(together, int(most))
            bound |= dict.fromkeys(together, together)
    return [replace(block, fold=fold[block.number]) for block in blocks]


def told_of_shares(landslide_px: Sequence[int], laid: dict[str, list[Block]], settings: TileSettings) -> list[str]:
    """A sentence if a fold has few landslides; raises `TileError` if one has none. ``landslide_px`` is by fold.

    Nothing is dealt again by itself: folds that followed the inventory would move when it is edited.
    """
    found = np.array(landslide_px, float) / max(sum(landslide_px), 1)
    poorest, fair = int(found.argmin()), 1 / len(found)
    if found[poorest] >= FAIR * fair:
        return []
    hint = "Deal by blocks (tile.split), or list the areas in another order."
    if settings.split == "blocks":
        hint = "Lower tile.block_px, or tile.folds."
        if (seed := fairer_seed(laid, settings)) is not None:
            better = landslide_fracs(laid, replace(settings, seed=seed))
            hint = f"With tile.seed {seed} the folds would hold {', '.join(f'{share:.0%}' for share in better)}."
    if not landslide_px[poorest]:
        raise TileError(f"Fold {poorest + 1} holds no landslide, so nothing can be judged there. {hint}")
    return [
        f"Fold {poorest + 1} holds {found[poorest]:.1%} of the landslide ground, where {fair:.0%} would be fair. {hint}"
    ]


def told_of_taught(taught_px: Sequence[int], elsewhere_px: Sequence[int], split: str) -> list[str]:
    """A sentence if a network learns from less than `TAUGHT` of the landslide ground that is not its own to map, ``elsewhere_px``; both
    by fold."""
    shares = np.array(taught_px) / np.maximum(elsewhere_px, 1)
    if shares.min(initial=1.0) >= TAUGHT:
        return []
    hint = {
        "blocks": "tile.split regions deals compact pieces of ground, which divide fewer",
        "regions": "fewer tile.folds divide fewer, and so do more areas (tile.split areas)",
        "areas": "lower tile.gap_px",
    }[split]
    return [
        f"The networks of folds 1 to {len(shares)} learn from {', '.join(f'{share:.0%}' for share in shares)} of the landslide ground"
        f" that lies in other folds; the rest belongs to landslides that reach into the fold that a network maps, or lies near it."
        f" To learn from more: {hint}."
    ]


def fairer_seed(laid: dict[str, list[Block]], settings: TileSettings) -> int | None:
    """Of the next `SEEDS` seeds the one whose poorest fold has most landslides; None if that is no better than now."""
    seeds = range(settings.seed + 1, settings.seed + 1 + SEEDS)
    poorest = {seed: landslide_fracs(laid, replace(settings, seed=seed)).min() for seed in seeds}
    best = max(seeds, key=lambda seed: poorest[seed])
    return best if poorest[best] > landslide_fracs(laid, settings).min() else None


def landslide_fracs(laid: dict[str, list[Block]], settings: TileSettings) -> npt.NDArray[np.float64]:
    """Each fold's share of the landslide ground, block by block."""
    dealt = [block for block in deal(laid, settings) if block.fold < MAX_FOLDS]
    held = np.bincount(
        [block.fold for block in dealt], [block.landslide_px for block in dealt], minlength=settings.folds
    )
    return np.asarray(held / max(held.sum(), 1))


def paint(blocks: Sequence[Block], block: npt.NDArray[np.int32]) -> None:
    """Write one area's block numbers into the given ``(row, column)`` array."""
    for b in blocks:
        block[b.rows, b.columns] = b.number


def teach(blocks: Sequence[Block], labels: Codes, count: int, gap_px: int, teaches: Bits) -> None:
    """Write which of ``count`` networks each pixel may teach into ``teaches`` ``(row, column)``: bit k for that of fold code k, if
    the pixel has a label, lies in a block of another fold, and not nearer than ``gap_px`` to a block of this one, rows and
    columns counted apart (Chebyshev)."""
    everyone = np.uint16((1 << count) - 1)
    for b in blocks:
        if b.fold < MAX_FOLDS:
            teaches[b.rows, b.columns][labels[b.rows, b.columns] != UNKNOWN] = everyone
    reach = max(gap_px - 1, 0)
    for b in blocks:
        if b.fold < MAX_FOLDS:
            around = teaches[_wider(b.rows, reach), _wider(b.columns, reach)]
            around &= ~np.uint16(1 << b.fold)


def keep_whole(landslides: Landslides, area: FoldedArea, gap_px: int, teaches: Bits) -> int:
    """Let a landslide across blocks of several folds teach none of their networks, nor what is nearer to it than the gap: half of a
    landslide says where the other half is. Returns how many there are."""
    divided = 0
    reach = max(gap_px - 1, 0)
    for (rows, columns), mask in landslides:
        touched = np.unique(area.codes(rows, columns)[mask])
        touched = touched[touched < MAX_FOLDS]
        if len(touched) < 2:
            continue
        divided += 1
        wide = _wider(rows, reach), _wider(columns, reach)
        part = teaches[wide]
        near = np.zeros(part.shape, bool)
        top, left = rows.start - wide[0].start, columns.start - wide[1].start
        near[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        near = within_gap(near, gap_px)
        for code in touched:
            part[near] &= ~np.uint16(1 << int(code))
    return divided


def _wider(side: slice, reach_px: int) -> slice:
    return slice(max(side.start - reach_px, 0), side.stop + reach_px)


def within_gap(ground: npt.NDArray[np.bool_], gap_px: int) -> npt.NDArray[np.bool_]:
    """Which pixels lie in the ground or nearer than the gap to it."""
    if not gap_px or not ground.any():
        return ground
    near: npt.NDArray[np.bool_] = ndimage.maximum_filter(ground.view(np.uint8), size=2 * gap_px - 1) > 0
    return near
