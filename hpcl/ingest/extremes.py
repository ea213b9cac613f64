"""What stands clear of all other numbers of a layer, as marks of nodata do that nobody declared."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# What a check looks for is part of the check, not a knob of the pipeline.
CLEAR_FRAC = 0.1
"""A number that programs write for nodata is nodata if it is further from the others than this share of their range."""
FAR_RANGES = 1000
"""Any other number is if it is further off than this many of their ranges: no measurement and no index is."""

MOST_CLASSES = 30
"""Integers within this distance of each other are taken for classes, not for brightness."""


def is_conspicuous(value: float) -> bool:
    """Whether programs write ``value`` for nodata: 0, -1, nines, -10, -100, ..., an end of an integer or float type.

    Scaled by a power of ten it still is (3276.7 was 32767 tenths), and so is a float that lost its last digits.

    >>> [v for v in (0, -1, -9999, -10000, 9999, 3276.7, -32768, 1e30, 1000, 1, 99, -12) if is_conspicuous(v)]
    [0, -1, -9999, -10000, 9999, 3276.7, -32768, 1e+30]
    """
    if abs(value) >= 1e15:
        return True
    digits = f"{abs(value):.7g}".replace(".", "").strip("0")
    if value <= 0 and digits in ("", "1") and (value == 0 or value <= -1):
        return True
    least = 99 if value < 0 else 999
    return abs(value) >= least and bool(
        re.fullmatch("9+|32767|65535|2147484|4294967|" + ("32768|2147483" if value < 0 else "2147483"), digits)
    )


@dataclass
class _End:
    """The outermost number of a layer at one end of its range, how often it occurs, and the next one after it."""

    sign: int
    """1 for the lowest number, -1 for the highest."""
    first: float = math.inf
    count: int = 0
    second: float = math.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        """Look at ``values``, which are not empty. Numbers are kept times ``sign``, so that the first is the least."""
        outermost = self.sign * float(values.min() if self.sign > 0 else values.max())
        if outermost >= self.second:
            return
        if self.first < outermost:
            self.second = outermost
            return
        at_end = values == values.dtype.type(self.sign * outermost)
        if outermost < self.first:
            self.second, self.first, self.count = self.first, outermost, 0
        self.count += int(np.count_nonzero(at_end))
        if values.dtype.kind == "f" or self.second > self.first + 1:  # no integer lies between
            others = values[~at_end]
            if others.size:
                self.second = min(self.second, self.sign * float(others.min() if self.sign > 0 else others.max()))

    @property
    def value(self) -> float:
        """The outermost number."""
        return self.sign * self.first


class Extremes:
    """The two outermost numbers at either end of one layer, in stored numbers."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.valid = 0
        self.ends = (_End(1), _End(-1))

    def add(self, values: npt.NDArray[Any]) -> None:
        """Look at the ``values`` (data only, one axis)."""
        self.valid += values.size
        if values.size:
            for end in self.ends:
                end.add(values)

    @property
    def low(self) -> float:
        """The lowest number; inf if none was seen."""
        return self.ends[0].value

    @property
    def high(self) -> float:
        """The highest number; -inf if none was seen."""
        return self.ends[1].value

    def gaps(self) -> list[tuple[float, int, float, float]]:
        """For either end: its number, how often it occurs, its distance to the next one, and the range of the others."""
        low, high = self.ends
        if not self.valid or math.isinf(low.second):
            return []
        return [
            (low.value, low.count, low.second - low.first, high.value - low.second),
            (high.value, high.count, high.second - high.first, -high.second - low.value),
        ]

    def only(self) -> float | None:
        """The one number of a layer that has no other."""
        return self.low if self.valid and self.low == self.high else None

    def is_classes(self, dtype: np.dtype[Any]) -> bool:
        """Whether these are two numbers, as of a mask, or few integers, as of classes; they may end anywhere."""
        two = self.ends[0].second == self.high
        return self.only() is None and (two or (dtype.kind in "iu" and self.high - self.low <= MOST_CLASSES))

    def stray(self) -> tuple[float, float] | None:
        """A number of any scalar layer that stands clear of the others, and its share; None if there is none.

        0 and -1 are numbers of a scale of their own, and a layer of two numbers is a mask.
        """
        if (only := self.only()) is not None:
            return (only, 1.0) if abs(only) > 1 and is_conspicuous(only) else None
        for value, count, gap, others in self.gaps():
            coded = abs(value) > 1 and is_conspicuous(value) and gap > CLEAR_FRAC * others
            if coded or (others > 0 and gap > FAR_RANGES * others):
                return value, count / self.valid
        return None
