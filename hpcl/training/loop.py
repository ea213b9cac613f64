"""The training loop: a generator of epochs that knows no file, no tracker and no terminal.

The same code runs on a CPU and on a GPU, in one process or, started by torchrun, in several (Lightning Fabric). A step
is one batch, whoever computes it: the weights do not depend on the number of processes, but for rounding and dropout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning_fabric
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hpcl.networks.base import Network
from hpcl.networks.store import build as build_network
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import FitError, TrainSettings, check_training
from hpcl.training import distributed
from hpcl.training.calibrate import best_threshold, validate
from hpcl.training.contrast import ClassQueues, contrast_loss
from hpcl.training.dataset import Tiles, Windows, batches, draw_epoch
from hpcl.training.devices import fabric_of, joint_seed, own_share, to_device, windows_per_process
from hpcl.training.losses import segmentation_loss
from hpcl.training.momentum import MomentumTwin
from hpcl.training.pairs import sample_pairs


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: ``metrics`` by name, whether it is the ``best`` so far, the ``weights`` that would ship, and the
    whole resume ``state``."""

    number: int
    metrics: Mapping[str, float]
    best: bool
    last: bool
    weights: dict[str, Tensor]
    state: dict[str, Any]


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
    """Everything that changes while training, so that it can be saved and brought back as one; equal on all ranks."""

    network: Network
    optimizer: torch.optim.Optimizer
    twin: MomentumTwin | None
    queues: ClassQueues | None

    def predictor(self, train: TrainSettings) -> Network:
        """What validation looks at and what ships."""
        return self.twin.network if self.twin and train.predictor == "twin" else self.network

    def state(self) -> dict[str, Any]:
        """All tensors and numbers that the next step depends on."""
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
    check_training(model, contrast, train, tiles.window_px)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        network = build_network(model, tiles.classes, contrast.embedding_dim)
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
    """Train, and yield an `Epoch` after each; ``resume`` is the ``state`` of an earlier one, of any number of processes.

    Of several processes the first one's ``resume`` counts, for only that one need see the checkpoints. ``progress`` gets
    (steps done, steps in all). The caller's random state is left as it was.
    """
    fabric = fabric_of(train)
    resume = fabric.broadcast(resume)
    learner = build(tiles, model, contrast, train)
    if train.batch_size % distributed.count():
        raise FitError(
            f"train.batch_size {train.batch_size} cannot be shared by {distributed.count()} processes equally."
        )
    distributed.join_batch_norms(learner.network)
    if train.channels_last:
        learner.network.to(memory_format=torch.channels_last)
        if learner.twin is not None:
            learner.twin.to(memory_format=torch.channels_last)
    body: Any = torch.compile(learner.network) if train.compile else learner.network
    network, optimizer = fabric.setup(body, learner.optimizer)
    for part in (learner.twin, learner.queues):
        if part is not None:
            part.to(fabric.device)
    first, best, waited = 0, -1.0, 0
    forked = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        if resume is not None:
            learner.restore(resume["learner"])
            first, best, waited = resume["epoch"] + 1, resume["best"], resume["waited"]
        windows = Windows(tiles, train.augment, train.seed, toes=contrast.weight > 0 and contrast.sampling == "walls")
        for number in range(first, train.epochs):
            if waited >= train.patience_epochs:
                return
            # Anew for each epoch and rank: dropout then needs no state to resume.
            torch.manual_seed(joint_seed(train.seed, number, distributed.number()))
            metrics = _train_epoch(fabric, network, learner, optimizer, windows, contrast, train, number, progress)
            histograms = validate(fabric, learner.predictor(train), tiles, train)
            iou, _ = best_threshold(histograms)
            metrics["val_iou"] = iou
            metrics["val_loss"] = histograms.loss
            better = iou > best
            best, waited = max(best, iou), 0 if better else waited + 1
            last = number + 1 == train.epochs or waited >= train.patience_epochs
            state = {
                "learner": learner.state(),
                "epoch": number,
                "best": best,
                "waited": waited,
            }
            yield Epoch(number, metrics, better, last, dict(learner.predictor(train).state_dict()), state)


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
    for i, batch in enumerate(
        batches(windows, own_share(draws, train.batch_size), windows_per_process(train), train.workers)
    ):
        batch = to_device(fabric, batch, train)
        waiting += time.perf_counter() - asked
        step = number * train.steps_per_epoch + i
        acting = step >= contrast.start_frac * steps
        for group in optimizer.param_groups:
            group["lr"] = train.learning_rate * learning_rate_at(step, steps, train.warmup_frac)
        output = network(batch["bands"], contrast=learner.twin is not None)
        loss = segmentation_loss(output.logits, batch["labels"], train.dice_weight)
        facts = {"loss": loss.detach()}
        if learner.twin is not None and learner.queues is not None:
            extra, more = _contrast_step(
                fabric, learner.twin, learner.queues, output, batch, contrast, train.seed, step
            )
            facts |= more
            if acting:
                loss = loss + contrast.weight * extra
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if not acting:  # several processes leave zeros there, and AdamW would let those weights decay
            for parameter in learner.network.contrast_head():
                parameter.grad = None
        fabric.clip_gradients(network, optimizer, max_norm=train.gradient_norm, error_if_nonfinite=False)
        optimizer.step()
        if learner.twin is not None:
            learner.twin.follow(learner.network, contrast.momentum, step)
        for name, value in facts.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        progress(step + 1, steps)
        asked = time.perf_counter()
    metrics = {name: total / train.steps_per_epoch for name, total in sums.items()}
    if not np.isfinite(metrics["loss"]):
        raise FitError(
            f"The loss is no number any more in epoch {number}; lower train.learning_rate (the best weights so far are kept)."
        )
    if learner.queues is not None and contrast.queue_size:
        metrics |= learner.queues.facts((number + 1) * train.steps_per_epoch - 1)
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
    seed: int,
    step: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The contrast loss of one batch; its keys enter the queues afterwards."""
    stride = batch["labels"].shape[-1] // output.embeddings.shape[-1]
    # A generator of its own per step: the draw must not shift the network's dropout, and resumes by itself.
    generator = torch.Generator().manual_seed(joint_seed(seed, step))
    with torch.no_grad():
        predicted = F.avg_pool2d(output.logits.float().softmax(1), stride).argmax(1)
        pairs = sample_pairs(
            batch["labels"], predicted, len(queues.keys), stride, contrast, generator, batch.get("toe")
        )
        with fabric.autocast():
            embedded = twin.network.embed(batch["bands"] | batch["key_bands"])
        keys, classes = distributed.gather(F.normalize(pairs.take(embedded).float(), dim=1), pairs.classes)
    anchors = pairs.take(output.embeddings)
    loss = contrast_loss(anchors, pairs.classes, keys, classes, queues, contrast.temperature)
    queues.push(keys, classes, step)
    spread = keys.std(0).mean() * keys.shape[1] ** 0.5 if len(keys) > 1 else keys.new_zeros(())
    positives = torch.bincount(classes, minlength=len(queues.keys)) + queues.filled
    facts = {
        "contrast_loss": loss.detach(),
        "key_spread": spread,
        "positives_per_anchor": positives[classes].float().mean() if len(classes) else keys.new_zeros(()),
    }
    return loss, facts
