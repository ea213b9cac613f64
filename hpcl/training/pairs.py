"""Which hyper-pixels are pairs: sampled at landslide boundaries from the labels and from what the network gets wrong (CSPC)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hpcl.core.codes import UNKNOWN
from hpcl.settings.contrastive import ContrastSettings
from hpcl.training import distributed


def class_fractions(
    labels: Int[Tensor, "batch height width"], classes: int, block_px: int
) -> tuple[Float[Tensor, "batch classes rows columns"], Bool[Tensor, "batch rows columns"]]:
    """Share of each class among the known pixels of every block, and which blocks have at least half of theirs known."""
    small = labels.to(torch.uint8)  # an eighth of the memory to walk through
    masks = torch.stack([small == c for c in range(classes)] + [small != UNKNOWN], dim=1)
    share, total = F.avg_pool2d(masks.float(), block_px).split([classes, 1], dim=1)
    return share / total.clamp_min(1e-6), total[:, 0] >= 0.5


def _grow(mask: Bool[Tensor, "batch rows columns"], blocks: int) -> Bool[Tensor, "batch rows columns"]:
    """Blocks within a (Chebyshev) distance of the mask; beyond the window there is nothing, so its edge is no boundary."""
    return F.max_pool2d(mask[:, None].float(), 2 * blocks + 1, stride=1, padding=blocks)[:, 0] > 0


@dataclass(frozen=True)
class Pairs:
    """The sampled hyper-pixels of one batch: where they are (``batch``, ``row``, ``column``) and their ``classes``."""

    batch: Int[Tensor, " samples"]
    row: Int[Tensor, " samples"]
    column: Int[Tensor, " samples"]
    classes: Int[Tensor, " samples"]

    def take(self, maps: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "samples channels"]:
        """The vectors of ``maps`` at these hyper-pixels."""
        return maps[self.batch, :, self.row, self.column]


def candidates(
    labels: Int[Tensor, "batch height width"],
    classes: int,
    block_px: int,
    settings: ContrastSettings,
    toe: Bool[Tensor, "batch height width"] | None = None,
) -> tuple[Bool[Tensor, "batch classes rows columns"], Bool[Tensor, "batch rows columns"]]:
    """Which blocks may stand for which class where ``sampling`` wants them, and which are plain background.

    A landslide block has at least ``positive_frac`` of its class and lies within ``inside_blocks`` of the boundary; where
    all landslides of a window are too small for that, its best block is one, if it is not background. A background block
    (class 0) has at most ``negative_frac`` landslide and lies within ``outside_blocks``. The window's edge and unknown
    ground are no boundary. ``toe`` marks the pixels that ``boundary_without_toe`` leaves out (`hpcl.training.toe`); blocks
    are left out where most pixels are.
    """
    fractions, known = class_fractions(labels, classes, block_px)
    landslide = 1 - fractions[:, 0]
    background = known & (landslide <= settings.negative_frac)
    near = torch.zeros_like(fractions, dtype=torch.bool)
    wanted = torch.ones_like(known)
    if settings.sampling == "boundary_without_toe":
        if toe is None:
            raise ValueError("Sampling without the toe needs to know where it is.")
        wanted = F.avg_pool2d(toe.float()[:, None], block_px)[:, 0] < 0.5
    for c in range(1, classes):
        mine = known & (fractions[:, c] >= settings.positive_frac)
        near[:, c] = _where(mine, _grow(known & ~mine, settings.inside_blocks), settings.sampling) & wanted
        best = (fractions[:, c] * (known & wanted)).flatten(1)
        lost = (best.amax(1) > settings.negative_frac) & ~mine.flatten(1).any(1)
        near[:, c].flatten(1)[lost, best.argmax(1)[lost]] = True
    slides = near[:, 1:].any(1) | (known & (landslide >= settings.positive_frac))
    near[:, 0] = _where(background, _grow(slides, settings.outside_blocks), settings.sampling) & wanted
    return near, background


def _where(
    mine: Bool[Tensor, "batch rows columns"], beside: Bool[Tensor, "batch rows columns"], sampling: str
) -> Bool[Tensor, "batch rows columns"]:
    """A class's blocks where the sampling wants them; ``beside`` marks what lies near the other side."""
    if sampling == "random":
        return mine
    return mine & ~beside if sampling == "interior" else mine & beside


# Seven parameters: a function of tensors alone, which tests and benchmarks call by themselves.
def sample_pairs(
    labels: Int[Tensor, "batch height width"],
    predicted: Int[Tensor, "batch rows columns"],
    classes: int,
    block_px: int,
    settings: ContrastSettings,
    generator: torch.Generator,
    toe: Bool[Tensor, "batch height width"] | None = None,
) -> Pairs:
    """Draw at most ``per_class_per_window`` hyper-pixels of every class from every window, up to ``hard_frac`` of them
    misclassified (``predicted`` is the class the network sees in each block now).

    ``generator`` is a CPU generator, equal on all ranks, so that the draw is the same on every device and for every
    number of ranks.
    """
    near, background = candidates(labels, classes, block_px, settings, toe)
    most = settings.per_class_per_window
    found = []
    for c in range(classes):
        if c:
            chosen = _draw(near[:, c], predicted != c, most, settings.hard_frac, generator)
        else:
            free = round(most * settings.random_background_frac)
            edge = _draw(near[:, 0], predicted != 0, most - free, settings.hard_frac, generator)
            chosen = edge | _draw(background & ~edge, predicted != 0, free, 0.0, generator)
        batch, row, column = chosen.nonzero(as_tuple=True)
        found.append((batch, row, column, torch.full_like(batch, c)))
    return Pairs(*(torch.cat(part) for part in zip(*found, strict=True)))


def _draw(
    allowed: Bool[Tensor, "batch rows columns"],
    hard: Bool[Tensor, "batch rows columns"],
    most: int,
    hard_frac: float,
    generator: torch.Generator,
) -> Bool[Tensor, "batch rows columns"]:
    """Mark at most ``most`` allowed blocks per window, hard ones first until ``hard_frac`` of ``most`` is taken."""
    flat = allowed.flatten(1)
    windows, blocks = flat.shape
    everyone = torch.rand((distributed.count() * windows, blocks), generator=generator)
    luck = everyone[distributed.number() * windows :][:windows].to(flat.device)
    hard_luck = luck.where(flat & hard.flatten(1), -1.0)
    first = round(most * hard_frac)
    rank = hard_luck.argsort(1, descending=True).argsort(1)
    priority = luck.where(flat, -1.0) + 2.0 * ((rank < first) & (hard_luck >= 0))
    value, index = priority.topk(min(most, flat.shape[1]), dim=1)
    out = torch.zeros_like(flat).scatter(1, index, value >= 0)
    return out.view_as(allowed)
