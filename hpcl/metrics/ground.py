"""What scores stand on: where each block of scored ground lies, and a digest of its labels as they were scored.

Blocks are numbered by area from the corner of its raster, so the same number is other ground after another extent. What
stands here does not depend on that: two runs recognise each other's blocks by it.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pandas as pd

from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.core.records import FoldedArea
from hpcl.metrics.tally import Array, Scene
from hpcl.windows import strips

PLACE = ("west_m", "north_m", "east_m", "south_m")
LABELS = "labels_digest"
DIGITS = 16


def ground(scene: Scene) -> pd.DataFrame:
    """One row for each block with a scored pixel: its number ``block``, its sides in the CRS of the area as text with
    millimetres (`PLACE`), and the digest of its labels (`LABELS`).

    Sides are text, because they are compared: a northing with millimetres has more digits than tables keep of a number.
    """
    area = scene.area
    tops, lefts = [*area.tops, area.shape[0]], [*area.lefts, area.shape[1]]
    digests = [hashlib.sha256(f"{b - a} {d - c} ".encode()) for a, b in pairwise(tops) for c, d in pairwise(lefts)]
    scored = np.zeros(len(digests), bool)
    for rows in strips(scene.labels.shape):
        labels = _as_scored(scene, rows)
        for down, (top, bottom) in enumerate(pairwise(tops)):
            within = labels[max(top - rows.start, 0) : max(bottom - rows.start, 0)]
            for across, (left, right) in enumerate(pairwise(lefts)) if len(within) else ():
                number = down * len(area.lefts) + across
                part = within[:, left:right]
                digests[number].update(part.tobytes())
                scored[number] |= bool((part != UNKNOWN).any())
    used = np.flatnonzero(scored)
    places = [_place(area, divmod(int(number), len(area.lefts)), tops, lefts) for number in used]
    found = pd.DataFrame(places, columns=list(PLACE), dtype=str)
    found.insert(0, "block", used)
    return found.assign(**{LABELS: [digests[number].hexdigest()[:DIGITS] for number in used]})


def _as_scored(scene: Scene, rows: slice) -> Array:
    """Labels of some rows: landslide of any class 1, background 0, what is not scored `UNKNOWN`."""
    labels = np.asarray(scene.labels[rows])
    judged = (labels != UNKNOWN) & (scene.area.codes(rows, slice(0, labels.shape[1])) != OUTSIDE)
    return np.where(judged, labels >= 1, UNKNOWN).astype(np.uint8)


def _place(area: FoldedArea, at: tuple[int, int], tops: list[int], lefts: list[int]) -> list[str]:
    """The sides of the block in this row and column of blocks, in the order of `PLACE`."""
    down, across = at
    a, b, c, d, e, f = area.transform
    corners = [(lefts[across], tops[down]), (lefts[across + 1], tops[down + 1])]
    sides = [side for x, y in corners for side in (a * x + b * y + c, d * x + e * y + f)]
    return [f"{round(side, 3) + 0.0:.3f}" for side in sides]  # + 0.0, for -0.0 is 0 written in another way
