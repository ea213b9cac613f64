"""A network meets ground it was not trained on: its batch statistics become those of that ground.

AdaBN (Li et al. 2016, arXiv 1603.04779): what places differ in is partly where the features of a layer lie and how far they
spread, which is just what BatchNorm keeps. Both are measured again on unlabelled windows of the scene to be mapped; no
weight changes and no label is looked at.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from hpcl.networks.base import Network
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.store import Trained
from hpcl.windows import pad, spread

if TYPE_CHECKING:
    from hpcl.inference.scene import Scene

BATCH = 16
"""Windows that are measured together; BatchNorm of pooled maps has one value a window."""
LEAST_BATCHES = 2
"""Fewer are too few to say what a place is like."""
LEAST_KNOWN_FRAC = 0.5
"""A window counts if so much of it has data."""


def too_small(ensemble: Ensemble, scene: Scene, most: int) -> bool:
    """Whether a scene has too few windows for `adapted`, though they are asked for."""
    new = any(scene.area not in member.facts.trained_on for member in ensemble.members)
    return new and most > 0 and len(spread(scene.shape, ensemble.facts.window_px, most)) < BATCH * LEAST_BATCHES


@torch.no_grad()
def adapted(trained: Trained, scene: Scene, most: int) -> Network:
    """A copy of the network, in evaluation mode, with the batch statistics of up to ``most`` windows of the scene.

    It is the network itself if ``most`` is 0, if the scene has not even `LEAST_BATCHES` batches of windows with data, and in
    an area that the network was trained in: there its own statistics are right, for they are those of training windows, of
    which a chosen share shows landslides, and not those of all the ground.
    """
    network, window_px = trained.network, trained.facts.window_px
    if scene.area in trained.facts.trained_on:
        return network
    here = next(network.parameters()).device
    moved = copy.deepcopy(network).eval()
    for module in moved.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over batches
            module.train()
    batch, batches = [], 0
    for top, left in spread(scene.shape, window_px, most):
        rows = slice(top, min(top + window_px, scene.shape[0]))
        window = pad(scene.read((rows, slice(left, min(left + window_px, scene.shape[1])))), window_px)
        if scene.has_data(window).mean() < LEAST_KNOWN_FRAC:
            continue
        batch.append(window)
        if len(batch) == BATCH:
            moved(scene.tensors(batch, trained.facts.bands, here))
            batch, batches = [], batches + 1
    return moved.eval() if batches >= LEAST_BATCHES else network
