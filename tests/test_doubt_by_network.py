"""Networks that find all ground more or less probable are no reason to doubt a landslide: background tells how each one is."""

from __future__ import annotations

import numpy as np
import pytest

from hpcl.audit.area import beyond
from hpcl.audit.mixture import Mixture, Objects, likeness

LEVELS = {1: 0.0, 2: -2.5, 3: 1.5}


def ground(rng: np.random.Generator, count: int, logits: tuple[float, float], shift: bool) -> Objects:
    """Objects with logits around the first where drawn and the second where they fit best, from networks of several levels or one."""
    network = rng.integers(1, 4, count)
    features = rng.normal(logits, 0.8, (count, 2))
    if shift:
        features += np.array([LEVELS[number] for number in network])[:, None]
    return Objects(features, network)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_false_ones_does_not_depend_on_the_levels_of_networks(seed: int) -> None:
    shares, ranks = {}, {}
    for shift in (False, True):
        rng = np.random.default_rng(seed)
        copies, false, true = (
            ground(rng, n, at, shift) for n, at in ((400, (-3, -1)), (12, (-3, -1)), (100, (1, 1.5)))
        )
        asked = Objects(np.concatenate([false.features, true.features]), np.concatenate([false.network, true.network]))
        known, unknown = beyond(copies, copies), beyond(asked, copies)
        scores = likeness(known, unknown, known), likeness(known, unknown, unknown)
        shares[shift], ranks[shift] = Mixture(*scores).above, scores[1]
    assert abs(shares[True] - shares[False]) <= 1
    assert 1 <= shares[True] <= 12
    assert (np.argsort(-ranks[True])[:12] < 12).mean() > 0.9


def test_background_is_the_median_of_its_network_or_of_all() -> None:
    seen = Objects(np.array([[1.0, 4], [3, 4], [8, 9], [np.nan, 0], [10, 1]]), np.array([1, 1, 1, 1, 2]))
    found = beyond(Objects(np.array([[5.0, 5], [5, 5], [5, 5], [np.nan, 5]]), np.array([1, 2, 7, 1])), seen)
    np.testing.assert_array_equal(found.features, [[2, 1], [-5, 4], [-0.5, 1], [np.nan, 1]])
    none = Objects(np.full((1, 2), np.nan), np.array([1]))
    np.testing.assert_array_equal(beyond(seen, none).features, seen.features)
