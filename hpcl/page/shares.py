"""A budget that several areas share."""

from __future__ import annotations

from collections.abc import Sequence


def shares(budget: float, wanted: Sequence[float]) -> list[float]:
    """What each may have: what it wants, or where that is too much for all, no less than any other.

    >>> shares(9, [1, 400, 400])
    [1, 4.0, 4.0]
    >>> shares(9, [2, 3])
    [2, 3]
    """
    granted = [0.0] * len(wanted)
    for served, index in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        granted[index] = min(wanted[index], budget / (len(wanted) - served))
        budget -= granted[index]
    return granted
