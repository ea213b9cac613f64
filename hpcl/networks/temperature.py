"""By what the logits of a network are divided, so that its probabilities are frequencies: chosen on ground that others map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcl.core.records import TEMPERATURES, HeldLoss, Temperatures


def best(held: Sequence[HeldLoss]) -> float:
    """The temperature at which the loss of all these pixels together is least: the best of `TEMPERATURES`, moved to the lowest
    point of the parabola through it and its neighbours in the logarithm, unless it is the first or the last.

    >>> loss = [np.log(temperature / 1.5) ** 2 for temperature in TEMPERATURES]
    >>> round(best([HeldLoss(loss=loss, px=1)]), 6)
    1.5
    """
    mean = np.average([one.loss for one in held], axis=0, weights=[one.px for one in held])
    least = int(mean.argmin())
    if not 0 < least < len(mean) - 1:
        return TEMPERATURES[least]
    before, here, after = mean[least - 1 : least + 2]
    bend = before - 2 * here + after
    steps = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(TEMPERATURES[least] * (TEMPERATURES[1] / TEMPERATURES[0]) ** steps)


def findings(chosen: Temperatures) -> list[str]:
    """What to say where the best temperature may lie beyond those that were tried: probabilities are no frequencies there.

    >>> findings(Temperatures(by_fold=[1.2, 1.3], elsewhere=1.25))
    []
    """
    ground = [*(f"fold {number}" for number in range(1, len(chosen.by_fold) + 1)), "ground outside all folds"]
    values = [*chosen.by_fold, chosen.elsewhere]
    told = []
    for end, how, remedy in (
        (TEMPERATURES[0], "far too unsure", "they were trained too little: raise train.epochs"),
        (
            TEMPERATURES[-1],
            "far too sure",
            "they learnt too little ground by heart: label more of it, or see what tile says of the ground that teaches",
        ),
    ):
        if where := [name for name, value in zip(ground, values, strict=True) if value == end]:
            told.append(
                f"The temperature for {', '.join(where)} came out at {end:g}, the last that is tried: on ground that they have not"
                f" seen the networks are {how}, and the map's probabilities are no frequencies. Probably {remedy}."
            )
    return told
