"""What held-out windows say of a network: how it fares epoch by epoch, its loss by temperature, and whether it learnt anything.

Nothing here chooses anything of the network whose windows they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import lightning_fabric
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hpcl.core.codes import UNKNOWN
from hpcl.core.records import TEMPERATURES, HeldLoss
from hpcl.networks.base import Network
from hpcl.networks.device import device
from hpcl.settings.train import FitError, TrainSettings
from hpcl.training.dataset import Tiles, Windows, batches
from hpcl.training.devices import to_device

BINS = 512
"""Probability bins of the histograms from which the IoU is read."""

SAMPLE_PX = 2**21
"""Held-out pixels on which the loss at each temperature is measured: about this number at most."""


@dataclass(frozen=True)
class Watched:
    """Held-out pixels counted by landslide probability bin: ``background`` and ``landslide`` ``(BINS,)``; their mean ``loss``,
    of landslide against the rest."""

    background: npt.NDArray[np.int64]
    landslide: npt.NDArray[np.int64]
    loss: float


def watch(fabric: lightning_fabric.Fabric, network: Network, tiles: Tiles, train: TrainSettings) -> Watched:
    """Landslide probabilities of all held-out windows, counted against their labels.

    Every rank looks at all of them: they are few, and then all ranks know the same.
    """
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    loss = 0.0
    for logits, labels in _seen(fabric, network, tiles, train):
        lead, truth = landslide_logit(logits), labels > 0
        loss += float(F.binary_cross_entropy_with_logits(lead, truth.float(), reduction="sum"))
        bins = (lead.sigmoid() * BINS).long().clamp(0, BINS - 1)
        for row, own in zip(counts, (~truth, truth), strict=True):
            row += torch.bincount(bins[own].cpu(), minlength=BINS)
    return Watched(counts[0].numpy(), counts[1].numpy(), loss / max(int(counts.sum()), 1))


def best_iou(watched: Watched) -> float:
    """The highest landslide IoU over all thresholds (map what is at least as probable)."""
    hits = watched.landslide[::-1].cumsum()
    alarms = watched.background[::-1].cumsum()
    return float((hits / np.maximum(watched.landslide.sum() + alarms, 1)).max())


def held_loss(network: Network, tiles: Tiles, train: TrainSettings) -> HeldLoss:
    """The loss on held-out windows at each of `TEMPERATURES`, from which those who map other ground choose theirs (Guo et al.
    2017, arXiv 1706.04599).

    Measured on every seventh pixel of a batch that has a label (neighbours say the same), on fewer where all pixels of the
    windows would make more than about `SAMPLE_PX`. Raises `FitError` if the network's answers are no numbers.
    """
    fabric = lightning_fabric.Fabric(accelerator=device().type, devices=1, precision=train.precision)
    network.to(fabric.device)
    step = max(7, -(-len(tiles.numbers("held")) * tiles.window_px**2 // SAMPLE_PX))
    sums = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
    px, sampled_px = 0, 0
    for logits, labels in _seen(fabric, network, tiles, train):
        some, truth = logits[::step], (labels[::step] > 0).float()
        px, sampled_px = px + len(labels), sampled_px + len(truth)
        for row, temperature in enumerate(TEMPERATURES):
            lead = landslide_logit(some / temperature)
            sums[row] += float(F.binary_cross_entropy_with_logits(lead, truth, reduction="sum"))
    loss = sums / max(sampled_px, 1)
    if not torch.isfinite(loss).all():
        raise FitError("The network's answers on the held-out windows are no numbers; lower train.learning_rate.")
    return HeldLoss(loss=loss.tolist(), px=px)


def landslide_logit(logits: Float[Tensor, "pixels classes"]) -> Float[Tensor, " pixels"]:
    """Logarithm of the odds of landslide, of whatever class, against background."""
    return logits[:, 1:].logsumexp(1) - logits[:, 0]


def _seen(
    fabric: lightning_fabric.Fabric, network: Network, tiles: Tiles, train: TrainSettings
) -> Iterator[tuple[Float[Tensor, "pixels classes"], Int[Tensor, " pixels"]]]:
    """Logits and labels of the held-out pixels that have one, batch by batch."""
    network.eval()
    draws = [(int(number), 0, position) for position, number in enumerate(tiles.numbers("held"))]
    workers = min(train.workers, -(-len(draws) // train.batch_size))  # each takes a while to start, every epoch again
    for batch in batches(Windows(tiles, None, 0), draws, train.batch_size, workers):
        batch = to_device(fabric, batch, train)
        with torch.no_grad(), fabric.autocast():
            logits = network(batch["bands"]).logits.float().movedim(1, -1)
        known = batch["labels"] != UNKNOWN
        yield logits[known], batch["labels"][known]


def findings(loss: float, classes: int, train: TrainSettings) -> list[str]:
    """What says that the network learnt nothing, of the training ``loss`` of the last epoch."""
    most = float(np.log(classes)) + train.dice_weight
    if loss <= most:
        return []
    return [
        f"The training loss is {loss:.3g}, more than {most:.3g}, which equal odds for every class would cost: the"
        f" training diverged; lower train.learning_rate (it is {train.learning_rate:g}) and look at reports/train/curves.csv."
    ]
