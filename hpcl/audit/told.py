"""Whether a map tells landslides from other ground at all: where it does not, everything looks like everything, and an audit would
take all that it asks about for right."""

from __future__ import annotations

from sklearn.metrics import roc_auc_score

from hpcl.audit.mixture import LEAST, Objects

LEAST_AUC = 0.8
"""What the map must tell landslides of the inventory from background by, so that rows get probabilities. With a tenth of false
polygons in the inventory, a map that knows the truth reaches 0.95. Measured on synthetic ground: 0.86 to 0.92 at a landslide IoU of
0.39 with 12 % of false polygons, 0.71 at 0.10, where 73 % of the candidates were promised to be landslides."""


def told_apart(inventory: Objects, background: Objects) -> float | None:
    """The area under the ROC curve of `doubted`'s first feature, how probable an outline is as drawn: the landslides of the inventory
    against copies of them on background. None for fewer than `LEAST` of either."""
    if min(len(inventory), len(background)) < LEAST:
        return None
    truth = [1] * len(inventory) + [0] * len(background)
    return float(roc_auc_score(truth, [*inventory.features[:, 0], *background.features[:, 0]]))


def findings(auc: float | None) -> list[str]:
    """A sentence where the map tells too little."""
    if auc is None:
        return [
            f"There are fewer than {LEAST} landslides in the inventory, or places on background that are as large, so nobody can tell"
            " whether the map knows one from the other, and no row has a probability; draw labelled_extent wider, if more was mapped."
        ]
    if auc >= LEAST_AUC:
        return []
    return [
        f"The map hardly tells the landslides of the inventory from copies of them laid on background (AUC {auc:.2f}; {LEAST_AUC} is the"
        " least from which anything can be promised), so no row has a probability, and their order says little. Look at the map's scores"
        " first, at what `make inspect` says of the landslides' sizes, and at train.epochs."
    ]
