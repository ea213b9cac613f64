"""Which blocks of an area to look at closely: by their landslide IoU the best, the worst and a typical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcl.core.records import TiledArea
from hpcl.report.maps import FALSE_ALARM, HIT, MISS
from hpcl.report.style import Array


@dataclass(frozen=True)
class Block:
    """A block, why it is shown, and what the map is worth there."""

    why: str
    number: int
    landslide_iou: float
    landslide_km2: float
    """Of the inventory."""
    rows: slice
    columns: slice
    east_km: float
    north_km: float
    """Its middle."""


def chosen(outcomes: Array) -> dict[str, int]:
    """The numbers of the blocks to show, by why; ``outcomes`` ``(block, code)`` are pixels.

    Blocks without landslides do not count. Of blocks that are equally good, the one with most landslide is shown; typical is the
    median of the others, and of two middle ones the worse.

    >>> import numpy as np
    >>> chosen(np.array([[0, 9, 0, 0, 1], [0, 9, 3, 1, 0], [0, 9, 0, 1, 0], [0, 9, 0, 2, 0], [0, 9, 1, 1, 0]]))
    {'best': 1, 'typical': 2, 'worst': 3}
    >>> chosen(np.array([[0, 9, 0, 0, 1], [0, 9, 3, 1, 0]]))
    {'only': 1}
    """
    truth = outcomes[:, HIT] + outcomes[:, MISS]
    union = truth + outcomes[:, FALSE_ALARM]
    rank = [(outcomes[number, HIT] / union[number], number) for number in range(len(outcomes)) if truth[number]]
    if len(rank) < 2:
        return {"only": rank[0][1]} if rank else {}
    worst = min(rank, key=lambda found: (found[0], -truth[found[1]]))
    best = max((found for found in rank if found != worst), key=lambda found: (found[0], truth[found[1]]))
    others = sorted(found for found in rank if found not in (best, worst))
    typical = {"typical": others[(len(others) - 1) // 2][1]} if others else {}
    return {"best": best[1], **typical, "worst": worst[1]}


def blocks(tiles: TiledArea, outcomes: Array) -> Sequence[Block]:
    """The blocks of an area to show."""
    (height, width), (a, b, c, d, e, f) = tiles.shape, tiles.transform
    found = []
    for why, number in chosen(outcomes).items():
        down, across = divmod(number, len(tiles.lefts))
        rows = slice(tiles.tops[down], [*tiles.tops, height][down + 1])
        columns = slice(tiles.lefts[across], [*tiles.lefts, width][across + 1])
        row, column = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
        hit, miss, false = (int(outcomes[number, code]) for code in (HIT, MISS, FALSE_ALARM))
        found.append(
            Block(
                why=why, number=number, landslide_iou=hit / (hit + miss + false), landslide_km2=(hit + miss) * abs(a * e) / 1e6,
                rows=rows, columns=columns, east_km=(a * column + b * row + c) / 1e3, north_km=(d * column + e * row + f) / 1e3,
            )
        )  # fmt: skip
    return found
