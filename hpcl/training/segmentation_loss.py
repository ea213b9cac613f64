"""Losses of the segmentation itself."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hpcl.core.codes import UNKNOWN
from hpcl.training import distributed


def segmentation_loss(
    logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"], dice_weight: float
) -> Float[Tensor, ""]:
    """Cross-entropy over known pixels, plus ``dice_weight`` times the soft Dice loss of the landslide classes
    (Milletari et al. 2016), both over the batch of all ranks; 0, with a graph, when no pixel is known."""
    known = labels != UNKNOWN
    logits = logits.float()
    wrong = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
    loss = distributed.total(wrong) / distributed.total(known.sum().float()).clamp_min(1)
    if dice_weight:
        share = logits.softmax(1)[:, 1:] * known[:, None]
        truth = F.one_hot(labels.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2)[:, 1:] * known[:, None]
        overlap = distributed.total((share * truth).sum((0, 2, 3)))
        total = distributed.total((share + truth).sum((0, 2, 3)))
        loss = loss + dice_weight * (1 - (2 * overlap + 1) / (total + 1)).mean()
    return loss
