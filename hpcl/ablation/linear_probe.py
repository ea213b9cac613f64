"""What frozen features know of boundaries: a linear probe of landslide boundaries against background.

Contrast is meant to pull the two apart; a linear classifier on the fused deepest map, trained apart from the network,
says how far they are (linear evaluation, as in MoCo, He et al. 2020).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpcl.networks.base import Network
from hpcl.settings.contrastive import ContrastSettings
from hpcl.training.dataset import Tiles, Windows, batches
from hpcl.training.pairs import candidates

WINDOWS = 200
"""Training windows that the probe learns from, evenly spread over all of them."""


@torch.no_grad()
def boundary_probe(network: Network, tiles: Tiles, contrast: ContrastSettings) -> float | None:
    """Area under the ROC curve of the probe on windows of the fold that the network never saw; None where one of the two is missing.

    Boundary: landslide hyper-pixels that the contrast would sample; background: those without landslide.
    """
    device, edges = next(network.parameters()).device, replace(contrast, sampling="boundary")
    sets = []
    learnt = tiles.numbers("train")
    for numbers in (learnt[:: max(1, len(learnt) // WINDOWS)], tiles.numbers("held")):
        features, truth = _hyper_pixels(network.eval(), tiles, edges, numbers, device)
        if len(np.unique(truth)) < 2:
            return None
        sets.append((features, truth))
    (features, truth), (seen, known) = sets
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return float(roc_auc_score(known, probe.fit(features, truth).predict_proba(seen)[:, 1]))


def _hyper_pixels(
    network: Network, tiles: Tiles, contrast: ContrastSettings, numbers: npt.NDArray[np.int64], device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Vectors ``(sample, channel)`` of the deepest map and whether each is a boundary."""
    features, truth = [], []
    draws = [(int(number), 0, position) for position, number in enumerate(numbers)]
    for batch in batches(Windows(tiles, None, 0), draws, 16, 0):
        deep = network({name: x.to(device) for name, x in batch["bands"].items()}).deep.float().cpu()
        stride = batch["labels"].shape[-1] // deep.shape[-1]
        near, background = candidates(batch["labels"], tiles.classes, stride, contrast)
        boundary = near[:, 1:].any(1)
        # As many background as boundary vectors would do, but few windows hold many: every fourth is enough.
        background &= (torch.arange(background.numel()) % 4 == 0).view_as(background)
        for mask in (boundary, background):
            features.append(deep.movedim(1, -1)[mask].numpy())
            truth.append(np.full(int(mask.sum()), mask is boundary))
    return np.concatenate(features), np.concatenate(truth)
