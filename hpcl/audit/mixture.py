"""Which of some unknown objects are like known ones, when there is no list of those that are not.

Known are landslides that map and inventory agree on, and unknown what is mapped without being in the inventory, for one. The
unknown are a mixture of objects like the known and of others. Where the known lie and few others do, the mixture's density shows
its share (Elkan & Noto 2008; the estimate is Storey's of true null hypotheses, 2002), and by it a ratio of densities becomes
a probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[Any]

LEAST = 5
"""Fewer known or unknown objects to learn from tell nothing."""
DRAWS = 1000
"""Of what a count leaves open."""
TURNS = 100
"""After which the share of the known that is mistaken has long settled."""


@dataclass(frozen=True)
class Objects:
    """Objects by what is measured of them: ``features`` ``(object, feature)``, and by the code of the ``network`` that mapped each,
    which is that of the fold that they lie in."""

    features: Array
    network: Array

    def __len__(self) -> int:
        return len(self.network)

    def of(self, chosen: Array) -> Objects:
        """Some of them."""
        return Objects(self.features[chosen], self.network[chosen])


def joined(parts: list[Objects]) -> Objects:
    """The objects of several areas as one."""
    return Objects(np.concatenate([part.features for part in parts]), np.concatenate([part.network for part in parts]))


def likeness(known: Objects, unknown: Objects, asked: Objects) -> Array:
    """How like the known each object ``asked`` about is, as the logarithm of a ratio of densities, ``(asked,)``; that of a fold by
    what was learnt on the other folds.

    NaN in folds of which the others hold fewer than `LEAST` of either.
    """
    found = np.full(len(asked), np.nan)
    for network in np.unique(asked.network):
        a, b = (some.of(some.network != network) for some in (known, unknown))
        if min(len(a), len(b)) < LEAST:
            continue
        learner = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        learner.fit(np.concatenate([a.features, b.features]), np.repeat([1, 0], [len(a), len(b)]))
        here = asked.network == network
        found[here] = learner.decision_function(asked.features[here])
    return found


@dataclass(frozen=True)
class Mixture:
    """What share of the unknown is like the known, as far as counts of them tell."""

    known: Array
    """Likeness of each of the known, and..."""
    unknown: Array
    """...of each of the unknown; both without NaN."""
    selected: bool = False
    """Whether the unknown were selected for being like the known, as a map selects. Then the others among them may be as often taken for
    the known as the reverse, or never; nobody can tell which, so half of the `shares` are drawn for either."""

    @property
    def above(self) -> int:
        """How many of the unknown are more like the known than half of these are. Few others are."""
        return int((self.unknown >= np.median(self.known)).sum()) if len(self.known) else 0

    @cached_property
    def shares(self) -> Array:
        """Draws of the share ``(draw,)``: the unknown above the median of the known as a part of the known above it, each as far as its
        count leaves it open (with Jeffreys' prior, Brown et al. 2001)."""
        rng = np.random.default_rng(0)
        parts = rng.beta(self.above + 0.5, len(self.unknown) - self.above + 0.5, DRAWS)
        half = len(self.known) / 2 + 0.5
        wholes = rng.beta(half, half, DRAWS)
        never = np.minimum(parts / wholes, 1.0)
        if not self.selected:
            return np.asarray(never)
        least = 0.5 / len(self.unknown)
        mistaken = np.minimum(self.mistaken_frac, wholes - least)
        return np.concatenate([never, np.clip((parts - mistaken) / (wholes - mistaken), least, 1.0)])

    @cached_property
    def mistaken_frac(self) -> float:
        """What share of the known is less like them than half of the others are, and of the others more than half of the known, if the
        two mirror each other. The others are what the known leave over of the unknown, which depends on this share, so it is found by
        turns."""
        known, unknown = np.sort(self.known), np.sort(self.unknown)
        levels = np.unique(np.concatenate([known, unknown]))
        below_known, below_unknown = (np.searchsorted(one, levels, side="right") / len(one) for one in (known, unknown))
        mistaken = 0.0
        for _ in range(TURNS):
            share = min(max((self.above / len(unknown) - mistaken) / (0.5 - mistaken), 0.0), 1.0)
            if (1 - share) * len(unknown) < 1:
                return 0.0  # no others
            below_others = np.maximum.accumulate((below_unknown - share * below_known) / (1 - share))
            median = levels[min(int(np.searchsorted(below_others, 0.5)), len(levels) - 1)]
            mistaken = (mistaken + min(float(np.searchsorted(known, median)) / len(known), 0.45)) / 2
        return float(mistaken)

    def probability(self, likenesses: Array, share_frac: float) -> Array:
        """The probability of objects among the unknown of being like the known, by their likeness, if this share of them is."""
        return np.asarray(np.exp(np.minimum(self._scale(share_frac) + likenesses, 0.0)))

    def probability_unmixed(self, likenesses: Array, share_frac: float) -> Array:
        """The same of objects among which the known would not have been told apart: those like the known are there as well."""
        with np.errstate(over="ignore"):
            odds = np.exp(likenesses) * len(self.known) / len(self.unknown)
        known = 1 - 1 / (1 + odds)
        return np.asarray(known + (1 - known) * self.probability(likenesses, share_frac))

    def _scale(self, share_frac: float) -> float:
        """The logarithm of what likelihood ratios are multiplied by, so that the probabilities of the unknown, none of them above
        1, make up this share."""
        ratios = np.exp(self._sorted)
        rest = np.cumsum(ratios[::-1])[::-1]  # of each and of all less like the known
        sure = np.arange(len(ratios))
        # The share at which the first of each row, being the most like the known that is not sure yet, becomes so.
        shares = (sure + rest / ratios) / len(ratios)
        before = int(np.searchsorted(shares, share_frac))
        if before == len(ratios):
            return float(-self._sorted[-1])
        return float(np.log((share_frac * len(ratios) - before) / rest[before]))

    @cached_property
    def _sorted(self) -> Array:
        return np.asarray(np.sort(self.unknown)[::-1])
