"""The training loop: a generator of epochs that knows no file, no tracker and no terminal.

The same code runs on a CPU and on a GPU, in one process or, started by torchrun, in several (Lightning Fabric). A step
is one batch, whoever computes it: the weights do not depend on the number of processes, but for rounding and dropout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import lightning_fabric
import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from hpcl.networks.base import Network
from hpcl.networks.device import described, largest_that_fits
from hpcl.networks.store import build as build_network
from hpcl.settings.train import FitError
from hpcl.training import distributed
from hpcl.training.contrast import HyperPixelContrast
from hpcl.training.dataset import Draw, Sample, Tiles, Windows, batches, draw_epoch
from hpcl.training.devices import fabric_of, joint_seed, own_share, to_device, windows_per_process
from hpcl.training.recipe import Recipe
from hpcl.training.segmentation_loss import segmentation_loss
from hpcl.training.watch import best_iou, watch

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: ``metrics`` by name, whether it is the ``last``, the ``weights`` that would ship, and the whole
    resume ``state``."""

    number: int
    metrics: Mapping[str, float]
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


class Trainer:
    """A training under way: everything that changes from step to step, so that it is saved and brought back as one.

    Equal in all processes. Random weights follow from ``train.seed`` and the fold alone.
    """

    def __init__(self, fabric: lightning_fabric.Fabric, recipe: Recipe, tiles: Tiles) -> None:
        """Raises `FitError` and `ModelError` for sections that do not fit together, or tiles that they do not fit."""
        train = recipe.train
        if train.batch_size % distributed.count():
            raise FitError(
                f"train.batch_size {train.batch_size} cannot be shared by {distributed.count()} processes equally."
            )
        self.fabric, self.recipe, self.tiles = fabric, recipe, tiles
        self._seed = recipe.seed(tiles.fold)
        self.network = new_network(recipe, tiles)
        optimizer = torch.optim.AdamW(
            parameter_groups(self.network), lr=train.learning_rate, weight_decay=train.weight_decay
        )
        self.contrast: HyperPixelContrast | None = None
        if recipe.has_contrast:
            self.contrast = HyperPixelContrast(self.network, recipe.contrast, self._seed)
        distributed.join_batch_norms(self.network)
        if train.channels_last:
            for part in (self.network, self.contrast and self.contrast.momentum_encoder):
                if part is not None:
                    part.to(memory_format=torch.channels_last)
        body: Any = torch.compile(self.network) if train.compile else self.network
        self._run, self.optimizer = fabric.setup(body, optimizer)
        if self.contrast is not None:
            self.contrast.to(fabric.device)
        self._windows = Windows(tiles, train.augment, self._seed, toes=recipe.needs_toe)

    @property
    def predictor(self) -> Network:
        """What is watched on held-out windows and what ships."""
        if self.contrast is not None and self.recipe.train.predictor == "ema":
            return self.contrast.momentum_encoder.network
        return self.network

    def state(self) -> dict[str, Any]:
        """All tensors and numbers that the next step depends on."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "contrast": dict(self.contrast.state_dict()) if self.contrast is not None else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a saved state over."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.contrast is not None:
            self.contrast.load_state_dict(state["contrast"])

    def epochs(self, first: int, progress: Progress) -> Iterator[dict[str, float]]:
        """Train epoch after epoch, from ``first`` on; the metrics of each. Raises `FitError` if the loss is no number any more."""
        train = self.recipe.train
        draws = chain.from_iterable(
            own_share(self._draw_epoch(number), train.batch_size) for number in range(first, train.epochs)
        )
        # One stream for all: workers take a while to start, and are a batch ahead at the end of an epoch too.
        with closing(batches(self._windows, draws, windows_per_process(train), train.workers)) as stream:
            for number in range(first, train.epochs):
                # Again for each epoch and process: dropout then needs no state to resume.
                torch.manual_seed(joint_seed(self._seed, number, distributed.number()))
                yield self._epoch(number, islice(stream, train.steps_per_epoch), progress)

    def _draw_epoch(self, number: int) -> list[Draw]:
        train = self.recipe.train
        windows = train.steps_per_epoch * train.batch_size
        return draw_epoch(self.tiles, number, windows, train.landslide_windows_frac, self._seed)

    def _epoch(self, number: int, stream: Iterable[Sample], progress: Progress) -> dict[str, float]:
        train = self.recipe.train
        self._run.train()
        sums: dict[str, Tensor] = {}
        waiting = 0.0
        began = asked = time.perf_counter()
        for i, batch in enumerate(stream):
            batch = to_device(self.fabric, batch, train)
            waiting += time.perf_counter() - asked
            step = number * train.steps_per_epoch + i
            for name, value in self._step_in_memory(batch, step).items():
                # Summed where it is: reading it here would wait for the GPU in every step.
                sums[name] = sums.get(name, 0.0) + value.double()
            progress(step + 1, self.recipe.steps)
            asked = time.perf_counter()
        metrics = {name: float(total) / train.steps_per_epoch for name, total in sums.items()}
        if not np.isfinite(metrics["loss"]):
            raise FitError(f"The loss is no number any more in epoch {number}; lower train.learning_rate.")
        if self.contrast is not None:
            metrics |= self.contrast.facts((number + 1) * train.steps_per_epoch - 1)
        seconds = time.perf_counter() - began
        metrics["windows_per_s"] = train.steps_per_epoch * train.batch_size / seconds
        metrics["data_wait_frac"] = waiting / seconds
        return metrics

    def _step_in_memory(self, batch: Sample, step: int) -> dict[str, Tensor]:
        """A step; raises `FitError` that says how many windows fit if the device's memory does not suffice for the batch."""
        try:
            return self.step(batch, step)
        except torch.OutOfMemoryError:
            pass  # outside of the handler nothing of the failed step is held any more

        def attempt(windows: int) -> object:
            return self.step(tree_map_only(Tensor, lambda values: values[:windows], batch), step)

        train, alone = self.recipe.train, distributed.count() == 1  # others would wait for the attempts
        fits = largest_that_fits(train.batch_size, attempt, least=2) if alone else 0  # BatchNorm needs two
        raise FitError(
            f"The memory of {described()} does not suffice for train.batch_size {train.batch_size} windows of"
            f" {self.tiles.window_px} px; {f'{fits} fit: set train.batch_size to that' if fits else 'lower train.batch_size'}, or"
            " set train.precision to bf16-mixed, which needs about half."
        )

    def step(self, batch: Sample, step: int) -> dict[str, Tensor]:
        """One step of the optimiser; the losses before it."""
        contrast, train = self.recipe.contrast, self.recipe.train
        acting, alone = step >= contrast.start_frac * self.recipe.steps, step < contrast.alone_frac * self.recipe.steps
        for group in self.optimizer.param_groups:
            peak = train.learning_rate * group["learning_rate_frac"]
            group["lr"] = peak * learning_rate_at(step, self.recipe.steps, train.warmup_frac)
        output = self._run(batch["bands"], contrast=self.contrast is not None)
        loss = segmentation_loss(output.logits, batch["labels"], train.dice_weight)
        facts = {"loss": loss.detach()}
        if self.contrast is not None:
            with self.fabric.autocast():
                extra, more = self.contrast.loss(output, batch, step)
            facts |= more
            if acting:
                loss = contrast.weight * extra if alone else loss + contrast.weight * extra
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        idle = self.network.pixel_head() if alone else () if acting else self.network.contrast_head()
        for parameter in idle:  # several processes leave zeros there, and AdamW would let those weights decay
            parameter.grad = None
        self.fabric.clip_gradients(self._run, self.optimizer, max_norm=train.gradient_norm, error_if_nonfinite=False)
        self.optimizer.step()
        if self.contrast is not None:
            self.contrast.update(self.network, step)
        return facts


def parameter_groups(network: Network) -> list[dict[str, Any]]:
    """The weights by the share of the learning rate at which they learn: encoders that did not start at random, and the rest."""
    fracs = {
        id(weight): network.settings.weights[name].learning_rate_frac
        for name, layer in network.layers().items()
        if name in network.settings.weights
        for weight in layer.parameters()
    }
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for weight in network.parameters():
        groups.setdefault(fracs.get(id(weight), 1.0), []).append(weight)
    return [{"params": weights, "learning_rate_frac": frac} for frac, weights in groups.items()]


def new_network(recipe: Recipe, tiles: Tiles) -> Network:
    """A fresh network for these tiles. Raises `FitError` and `ModelError`."""
    recipe.check(tiles.window_px)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed(tiles.fold))
        return build_network(recipe.model, tiles.classes, recipe.contrast.embedding_dim)


def fit(
    tiles: Tiles,
    recipe: Recipe,
    resume: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Epoch]:
    """Train, and yield an `Epoch` after each; ``resume`` is the ``state`` of an earlier one, of any number of processes.

    All epochs are trained, and held-out windows are only watched: what would choose the best epoch by them would make the map
    of their ground look better than that of new ground. After the last epoch there is nothing to resume, and of ``resume`` only
    the number of the ``epoch`` is asked for.

    Of several processes the first one's ``resume`` counts, for only that one need see the checkpoints. ``progress`` gets
    (steps done, steps in all). The caller's random state is left as it was.
    """
    train = recipe.train
    fabric = fabric_of(train)
    resume = fabric.broadcast(resume)
    first = resume["epoch"] + 1 if resume is not None else 0
    if first == train.epochs:
        return
    trainer = Trainer(fabric, recipe, tiles)
    forked = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        if resume is not None:
            trainer.restore(resume["trainer"])
        for number, metrics in enumerate(trainer.epochs(first, progress), first):
            watched = watch(fabric, trainer.predictor, tiles, train)
            metrics |= {"held_iou": best_iou(watched), "held_loss": watched.loss}
            state = {"trainer": trainer.state(), "epoch": number}
            weights = dict(trainer.predictor.state_dict())
            yield Epoch(number, metrics, number + 1 == train.epochs, weights, state)
