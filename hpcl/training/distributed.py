"""Several processes that train as one: sums over all ranks that pass gradients, gathered keys, joint batch statistics.

Every rank computes the loss of the joined batch from summed parts, so the mean of the ranks' gradients (DDP) is that
loss's gradient. In one process nothing here does anything.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn


class RanksError(ValueError):
    """The network cannot be trained by several processes as asked."""


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Which of them this one is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


class _Total(torch.autograd.Function):
    """Sum over ranks; the gradient of every rank's loss by this rank's part is the sum of what they send back."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        whole = part.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        whole = gradient.clone()
        distributed.all_reduce(whole)
        return whole


def total(part: Tensor) -> Tensor:
    """The sum of all ranks' parts; its gradient reaches them all."""
    return part if count() == 1 else _Total.apply(part)


@torch.no_grad()
def gather(
    keys: Float[Tensor, "samples dim"], classes: Int[Tensor, " samples"]
) -> tuple[Float[Tensor, "all dim"], Int[Tensor, " all"]]:
    """Keys and classes of all ranks, in the order of the ranks: every rank's queues then hold the same."""
    if count() == 1:
        return keys, classes
    sizes = keys.new_zeros(count(), dtype=torch.long)
    sizes[number()] = len(keys)
    distributed.all_reduce(sizes)
    most = int(sizes.max())
    # Padded, because all_gather takes equal shapes only.
    padded = F.pad(keys, (0, 0, 0, most - len(keys))), F.pad(classes, (0, most - len(classes)))
    found = []
    for mine in padded:
        everyone = [torch.empty_like(mine) for _ in range(count())]
        distributed.all_gather(everyone, mine.contiguous())
        found.append(torch.cat([theirs[:size] for theirs, size in zip(everyone, sizes.tolist(), strict=True)]))
    return found[0], found[1]


class _JointBatchNorm(nn.BatchNorm2d):
    """Batch statistics over all ranks, on any device (torch's own SyncBatchNorm knows GPUs only)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        pixels = total(values.new_tensor(float(values.numel() // values.shape[1])))
        mean = total(values.sum((0, 2, 3))) / pixels
        centred = values - mean[:, None, None]
        variance = total(centred.square().sum((0, 2, 3))) / pixels
        with torch.no_grad():
            momentum = self.momentum or 0.0
            assert self.running_mean is not None
            assert self.running_var is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * pixels / (pixels - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        out = centred * (variance[:, None, None] + self.eps).rsqrt()
        return (out * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def join_batch_norms(network: nn.Module) -> None:
    """Make every batch normalisation of a network see the joined batch; nothing changes in one process."""
    if count() == 1:
        return
    for name, module in network.named_modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _JointBatchNorm
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise RanksError(
                f"Layer {name} of the encoder is a {type(module).__name__}, whose statistics cannot be joined over "
                "processes; train in one process, or choose an encoder with plain BatchNorm (the resnets)."
            )
