"""The training loop: a generator of epochs that knows no file, no tracker and no terminal.

The same code runs on a CPU and on a GPU (Lightning Fabric: devices and precision).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning_fabric
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as record
from scipy.optimize import minimize_scalar
from torch import Tensor

from hpcl import checkpoint
from hpcl.contrast import ClassQueues, ContrastSettings, contrast_loss, sample_pairs
from hpcl.dataset import UNKNOWN, AugmentSettings, Tiles, Windows, batches, draw_epoch
from hpcl.model import HPCLNet, ModelSettings, MomentumTwin

BINS = 512
"""Probability bins of the validation histograms, from which threshold and IoU are read."""


class FitError(ValueError):
    """Training cannot start or go on as asked."""


@record(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TrainSettings:
    """The budget and the optimiser (AdamW, one cycle: linear warm-up over ``warmup_frac``, then a cosine to zero).

    An epoch is ``steps_per_epoch`` batches drawn anew. Training stops early after ``patience_epochs`` epochs without a
    better validation IoU. ``precision`` is Lightning Fabric's (``32-true``, ``bf16-mixed``...).
    """

    seed: int
    epochs: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_frac: float = Field(ge=0, lt=1)
    dice_weight: float = Field(ge=0)
    gradient_norm: float = Field(gt=0)
    patience_epochs: int = Field(ge=1)
    landslide_windows_frac: float = Field(ge=0, le=1)
    augment: AugmentSettings
    workers: int = Field(ge=0)
    precision: str
    devices: int = Field(ge=1)


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: ``metrics`` by name, whether it is the ``best`` so far, and the whole resume ``state``."""

    number: int
    metrics: Mapping[str, float]
    best: bool
    last: bool
    state: dict[str, Any]


def segmentation_loss(
    logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"], dice_weight: float
) -> Float[Tensor, ""]:
    """Cross-entropy over known pixels, plus ``dice_weight`` times the soft Dice loss of the landslide classes
    (Milletari et al. 2016) over the batch; 0, with a graph, when no pixel is known."""
    known = labels != UNKNOWN
    logits = logits.float()
    loss = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum") / known.sum().clamp_min(1)
    if dice_weight:
        share = logits.softmax(1)[:, 1:] * known[:, None]
        truth = F.one_hot(labels.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2)[:, 1:] * known[:, None]
        overlap, total = (share * truth).sum((0, 2, 3)), (share + truth).sum((0, 2, 3))
        loss = loss + dice_weight * (1 - (2 * overlap + 1) / (total + 1)).mean()
    return loss


def learning_rate_at(step: int, steps: int, warmup_frac: float) -> float:
    """Share of the peak learning rate at a step: linear up, cosine down.

    >>> [round(learning_rate_at(s, 100, 0.1), 2) for s in (0, 9, 55, 99)]
    [0.1, 1.0, 0.5, 0.0]
    """
    warmup = max(1, round(steps * warmup_frac))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


@dataclass
class Learner:
    """Everything that changes while training, so that it can be saved and brought back as one."""

    network: HPCLNet
    optimizer: torch.optim.Optimizer
    twin: MomentumTwin | None
    queues: ClassQueues | None

    def state(self) -> dict[str, Any]:
        """All tensors and numbers that the next step depends on, but for the random generators."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "twin": dict(self.twin.state_dict()) if self.twin else None,
            "queues": dict(self.queues.state_dict()) if self.queues else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a saved state over."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.twin and self.queues:
            self.twin.load_state_dict(state["twin"])
            self.queues.load_state_dict(state["queues"])


def build(tiles: Tiles, model: ModelSettings, contrast: ContrastSettings, train: TrainSettings) -> Learner:
    """A fresh network and its optimiser, twin and queues; random weights follow from ``train.seed`` alone."""
    if tiles.window_px % model.output_stride:
        raise FitError(
            f"tile.window_px is {tiles.window_px}, but the network needs a multiple of model.output_stride {model.output_stride}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        network = HPCLNet(model, tiles.classes, contrast.embedding_dim)
    optimizer = torch.optim.AdamW(network.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
    if contrast.weight == 0:
        return Learner(network, optimizer, None, None)
    queues = ClassQueues(tiles.classes, contrast.queue_size, contrast.embedding_dim)
    return Learner(network, optimizer, MomentumTwin(network), queues)


def fit(
    tiles: Tiles,
    model: ModelSettings,
    contrast: ContrastSettings,
    train: TrainSettings,
    resume: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Epoch]:
    """Train, and yield an `Epoch` after each; ``resume`` is the ``state`` of an earlier one.

    ``progress`` gets (steps done, steps in all). The caller's random state is left as it was.
    """
    fabric = lightning_fabric.Fabric(accelerator="auto", devices=train.devices, precision=train.precision)  # type: ignore[arg-type]  # a Literal there, checked by Fabric itself
    learner = build(tiles, model, contrast, train)
    network, optimizer = fabric.setup(learner.network, learner.optimizer)
    for part in (learner.twin, learner.queues):
        if part is not None:
            part.to(fabric.device)
    first, best, waited = 0, -1.0, 0
    forked = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(train.seed)
        if resume is not None:
            learner.restore(resume["learner"])
            checkpoint.restore_rng(resume["rng"], fabric.device)
            first, best, waited = resume["epoch"] + 1, resume["best"], resume["waited"]
        windows = Windows(tiles, train.augment, train.seed)
        for number in range(first, train.epochs):
            if waited >= train.patience_epochs:
                return
            metrics = _train_epoch(fabric, network, learner, optimizer, windows, contrast, train, number, progress)
            histograms = validate(fabric, learner.network, tiles, train)
            iou, _ = best_threshold(histograms)
            metrics["val_iou"] = iou
            metrics["val_loss"] = histograms.loss
            better = iou > best
            best, waited = max(best, iou), 0 if better else waited + 1
            last = number + 1 == train.epochs or waited >= train.patience_epochs
            state = {
                "learner": learner.state(),
                "rng": checkpoint.rng_state(fabric.device),
                "epoch": number,
                "best": best,
                "waited": waited,
            }
            yield Epoch(number, metrics, better, last, state)


def _train_epoch(
    fabric: lightning_fabric.Fabric,
    network: Any,
    learner: Learner,
    optimizer: Any,
    windows: Windows,
    contrast: ContrastSettings,
    train: TrainSettings,
    number: int,
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    steps = train.epochs * train.steps_per_epoch
    draws = draw_epoch(
        windows.tiles, number, train.steps_per_epoch * train.batch_size, train.landslide_windows_frac, train.seed
    )
    network.train()
    sums: dict[str, float] = {}
    waiting = 0.0
    began = asked = time.perf_counter()
    for i, batch in enumerate(batches(windows, draws, train.batch_size, train.workers)):
        batch = fabric.to_device(batch)
        waiting += time.perf_counter() - asked
        step = number * train.steps_per_epoch + i
        for group in optimizer.param_groups:
            group["lr"] = train.learning_rate * learning_rate_at(step, steps, train.warmup_frac)
        output = network(batch["bands"], contrast=learner.twin is not None)
        loss = segmentation_loss(output.logits, batch["labels"], train.dice_weight)
        facts = {"loss": loss.detach()}
        if learner.twin is not None and learner.queues is not None:
            extra, more = _contrast_step(
                fabric, learner.twin, learner.queues, output, batch, contrast, (train.seed, step)
            )
            facts |= more
            if step >= contrast.start_frac * steps:
                loss = loss + contrast.weight * extra
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=train.gradient_norm)
        optimizer.step()
        if learner.twin is not None:
            learner.twin.follow(learner.network, contrast.momentum, step)
        for name, value in facts.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        progress(step + 1, steps)
        asked = time.perf_counter()
    if not np.isfinite(sums["loss"]):
        raise FitError(
            f"The loss is no number any more in epoch {number}; lower train.learning_rate (the best weights so far are kept)."
        )
    metrics = {name: total / train.steps_per_epoch for name, total in sums.items()}
    if learner.queues is not None:
        metrics["queue_fill"] = float(learner.queues.filled.float().mean() / contrast.queue_size)
    metrics["windows_per_s"] = len(draws) / (time.perf_counter() - began)
    metrics["data_wait_frac"] = waiting / (time.perf_counter() - began)
    return metrics


def _contrast_step(
    fabric: lightning_fabric.Fabric,
    twin: MomentumTwin,
    queues: ClassQueues,
    output: Any,
    batch: Mapping[str, Any],
    contrast: ContrastSettings,
    seed: tuple[int, int],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The contrast loss of one batch; its keys enter the queues afterwards."""
    stride = batch["labels"].shape[-1] // output.embeddings.shape[-1]
    # A generator of its own per step: the draw must not shift the network's dropout, and resumes by itself.
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    with torch.no_grad():
        predicted = F.avg_pool2d(output.logits.float().softmax(1), stride).argmax(1)
        pairs = sample_pairs(batch["labels"], predicted, len(queues.keys), stride, contrast, generator)
        with fabric.autocast():
            keys = F.normalize(pairs.take(twin.network.embed(batch["key_bands"])).float(), dim=1)
    anchors = pairs.take(output.embeddings)
    loss = contrast_loss(anchors, keys, pairs.classes, queues, contrast.temperature)
    queues.push(keys, pairs.classes)
    spread = keys.std(0).mean() * keys.shape[1] ** 0.5 if len(keys) > 1 else keys.new_zeros(())
    return loss, {"contrast_loss": loss.detach(), "key_spread": spread, "pairs": keys.new_tensor(float(len(keys)))}


@dataclass(frozen=True)
class Histograms:
    """Validation pixels counted by landslide probability bin: ``background`` and ``landslide`` ``(BINS,)``; mean ``loss``."""

    background: npt.NDArray[np.int64]
    landslide: npt.NDArray[np.int64]
    loss: float


@torch.no_grad()
def validate(
    fabric: lightning_fabric.Fabric, network: HPCLNet, tiles: Tiles, train: TrainSettings, temperature: float = 1.0
) -> Histograms:
    """Landslide probabilities (1 - background) of all validation windows, counted against their labels."""
    network.eval()
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    loss, known_px = 0.0, 0
    windows = Windows(tiles, None, train.seed)
    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("val"))]
    for batch in batches(windows, draws, train.batch_size, train.workers):
        batch = fabric.to_device(batch)
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


def best_threshold(histograms: Histograms) -> tuple[float, float]:
    """The highest landslide IoU over all thresholds, and the threshold (map what is at least as probable)."""
    hits = histograms.landslide[::-1].cumsum()[::-1]
    alarms = histograms.background[::-1].cumsum()[::-1]
    iou = hits / np.maximum(histograms.landslide.sum() + alarms, 1)
    return float(iou.max()), float(iou.argmax() / BINS)


def calibrate(tiles: Tiles, network: HPCLNet, train: TrainSettings) -> tuple[float, float, float]:
    """Temperature, then the threshold of the highest validation IoU under it, and that IoU.

    One temperature for all logits, the minimum of the validation loss (Guo et al. 2017, arXiv 1706.04599); it moves no
    pixel across the class boundary.
    """
    fabric = lightning_fabric.Fabric(accelerator="auto", devices=1, precision=train.precision)  # type: ignore[arg-type]  # as in fit
    network.to(fabric.device)
    logits, labels = _some_logits(fabric, network, tiles, train)
    if not len(labels):
        return 1.0, 0.5, 0.0

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

    temperature = float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded").x))
    iou, threshold = best_threshold(validate(fabric, network, tiles, train, temperature))
    return temperature, threshold, iou


@torch.no_grad()
def _some_logits(
    fabric: lightning_fabric.Fabric, network: HPCLNet, tiles: Tiles, train: TrainSettings
) -> tuple[Float[Tensor, "pixels classes"], Int[Tensor, " pixels"]]:
    """Logits and labels of every seventh known validation pixel: neighbours say the same."""
    network.eval()
    logits, labels = [], []
    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("val"))]
    for batch in batches(Windows(tiles, None, train.seed), draws, train.batch_size, train.workers):
        batch = fabric.to_device(batch)
        with fabric.autocast():
            out = network(batch["bands"]).logits.float().movedim(1, -1)
        known = batch["labels"] != UNKNOWN
        logits.append(out[known][::7].cpu())
        labels.append(batch["labels"][known][::7].cpu())
    return torch.cat(logits), torch.cat(labels)
