"""Which landslides look like which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NEAREST = 5
"""Landslides that are named for each."""
_ROWS = 1024


def nearest(vectors: npt.NDArray[np.float64]) -> list[list[int]]:
    """For each landslide the rows of the `NEAREST` others whose vectors point the same way from the mean of all, the most alike first;
    none for one without a vector (NaN), which is nobody's neighbour either."""
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    centred = vectors[known] - vectors[known].sum(axis=0) / max(len(known), 1)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(float).tiny)
    found: list[list[int]] = [[] for _ in vectors]
    for start in range(0, len(known), _ROWS):
        cosines = unit[start : start + _ROWS] @ unit.T
        for row, own in enumerate(range(start, start + len(cosines))):
            order = np.argsort(-cosines[row], kind="stable")
            found[known[own]] = known[order[order != own][:NEAREST]].tolist()
    return found
