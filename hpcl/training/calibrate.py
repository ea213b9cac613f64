"""Validation, and what follows from it: temperature, threshold, and whether anything was learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightning_fabric
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from hpcl.core.codes import UNKNOWN
from hpcl.networks.base import Network
from hpcl.networks.device import device
from hpcl.settings.train import FitError, TrainSettings
from hpcl.training.dataset import Draw, Tiles, Windows, batches
from hpcl.training.devices import to_device

BINS = 512
"""Probability bins of the validation histograms, from which threshold and IoU are read."""

CALIBRATION_PX = 2**21
"""Validation pixels from which the temperature is found; all are held at a time."""


@dataclass(frozen=True)
class Histograms:
    """Validation pixels counted by landslide probability bin: ``background`` and ``landslide`` ``(BINS,)``; mean ``loss``."""

    background: npt.NDArray[np.int64]
    landslide: npt.NDArray[np.int64]
    loss: float


@torch.no_grad()
def validate(
    fabric: lightning_fabric.Fabric, network: Network, tiles: Tiles, train: TrainSettings, temperature: float = 1.0
) -> Histograms:
    """Landslide probabilities (1 - background) of all validation windows, counted against their labels.

    Every rank looks at all of them: they are few, and then all ranks know the same.
    """
    network.eval()
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    loss, known_px = 0.0, 0
    windows = Windows(tiles, None, train.seed)
    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("val"))]
    for batch in batches(windows, draws, train.batch_size, _workers(draws, train)):
        batch = to_device(fabric, batch, train)
        with fabric.autocast():
            logits = network(batch["bands"]).logits.float() / temperature
        labels = batch["labels"]
        known = labels != UNKNOWN
        loss += float(F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum"))
        known_px += int(known.sum())
        bins = ((1 - logits.softmax(1)[:, 0]) * BINS).long().clamp(0, BINS - 1)
        for truth in (0, 1):
            counts[truth] += torch.bincount(bins[known & ((labels > 0) == bool(truth))].cpu(), minlength=BINS)
    return Histograms(counts[0].numpy(), counts[1].numpy(), loss / max(known_px, 1))


def _workers(draws: Sequence[Draw], train: TrainSettings) -> int:
    """No more processes than batches: each takes a while to start, every epoch again."""
    return min(train.workers, -(-len(draws) // train.batch_size))


def best_threshold(histograms: Histograms) -> tuple[float, float]:
    """The highest landslide IoU over all thresholds, and the threshold (map what is at least as probable)."""
    hits = histograms.landslide[::-1].cumsum()[::-1]
    alarms = histograms.background[::-1].cumsum()[::-1]
    iou = hits / np.maximum(histograms.landslide.sum() + alarms, 1)
    return float(iou.max()), float(iou.argmax() / BINS)


def calibrate(tiles: Tiles, network: Network, train: TrainSettings) -> tuple[float, float, float]:
    """Temperature, then the threshold of the highest validation IoU under it, and that IoU.

    One temperature for all logits, the minimum of the validation loss (Guo et al. 2017, arXiv 1706.04599); it moves no
    pixel across the class boundary. Raises `FitError` if the validation windows show no landslide.
    """
    fabric = lightning_fabric.Fabric(accelerator=device().type, devices=1, precision=train.precision)
    network.to(fabric.device)
    logits, labels = _some_logits(fabric, network, tiles, train)
    if not len(labels):
        return 1.0, 0.5, 0.0

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

    if not torch.isfinite(logits).all():
        raise FitError(
            "The network's answers on the validation windows are no numbers, so it cannot be calibrated; lower"
            " train.learning_rate."
        )
    temperature = float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded").x))
    histograms = validate(fabric, network, tiles, train, temperature)
    if not histograms.landslide.any():
        raise FitError(
            "The validation windows show no landslide, so no threshold can be chosen; change tile.seed, lower "
            "tile.block_px or raise tile.val_frac."
        )
    iou, threshold = best_threshold(histograms)
    return temperature, threshold, iou


def findings(epoch: Mapping[str, float], threshold: float, classes: int, train: TrainSettings) -> list[str]:
    """What says that the network learnt nothing, of the metrics of the ``epoch`` that ships and of its calibration: one
    sentence each."""
    told = []
    most = float(np.log(classes)) + train.dice_weight
    if epoch["loss"] > most:
        told.append(
            f"The training loss is {epoch['loss']:.3g}, more than {most:.3g}, which equal odds for every class would cost: the"
            f" training diverged; lower train.learning_rate (it is {train.learning_rate:g}) and look at reports/train/curves.csv."
        )
    if not 1 / BINS < threshold < 1 - 1 / BINS:
        whole = threshold < 0.5
        told.append(
            f"The threshold {threshold:.3g} lies at the end of its range, so that a map says"
            f" {'landslide' if whole else 'no landslide'} nearly everywhere: the network does not tell landslides from other"
            " ground; look at reports/train/curves.csv, train.learning_rate and the labels."
        )
    return told


@torch.no_grad()
def _some_logits(
    fabric: lightning_fabric.Fabric, network: Network, tiles: Tiles, train: TrainSettings
) -> tuple[Float[Tensor, "pixels classes"], Int[Tensor, " pixels"]]:
    """Logits and labels of every seventh known validation pixel of a batch (neighbours say the same), of fewer where all
    pixels of the windows, known or not, would make more than about `CALIBRATION_PX`."""
    network.eval()
    logits, labels = [], []
    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("val"))]
    step = max(7, -(-len(draws) * tiles.window_px**2 // CALIBRATION_PX))
    for batch in batches(Windows(tiles, None, train.seed), draws, train.batch_size, _workers(draws, train)):
        batch = to_device(fabric, batch, train)
        with fabric.autocast():
            out = network(batch["bands"]).logits.float().movedim(1, -1)
        known = batch["labels"] != UNKNOWN
        # Copied: a slice would keep all pixels of its batch alive.
        logits.append(out[known][::step].cpu().clone())
        labels.append(batch["labels"][known][::step].cpu().clone())
    return torch.cat(logits), torch.cat(labels)
