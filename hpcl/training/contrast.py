"""Hyper-pixel-wise contrastive learning, the method's idea, in the order in which a batch passes through it.

A hyper-pixel is one vector of the fused deepest feature map and stands for one s x s block of pixels. Pairs come from
landslide boundaries (CSPC, pairs.py), the other side of the comparison from one global queue per class (GCQC), filled by
a momentum encoder (HPCL-Net, arXiv 2308.01251). `HyperPixelContrast` is all of it. What the paper leaves open is our
choice and marked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hpcl.networks.base import Network, Outputs
from hpcl.settings.contrastive import ContrastSettings
from hpcl.training import distributed
from hpcl.training.devices import joint_seed
from hpcl.training.momentum import MomentumEncoder
from hpcl.training.pairs import Pairs, sample_pairs


class HyperPixelContrast(nn.Module):
    """What the contrast holds (momentum encoder, queues), and its loss of a batch; it moves, saves and resumes as one."""

    def __init__(self, network: Network, settings: ContrastSettings, seed: int) -> None:
        super().__init__()
        self.settings, self.seed = settings, seed
        self.momentum_encoder = MomentumEncoder(network)
        self.queues = ClassQueues(network.classes, settings.queue_size, network.embedding_dim)

    def loss(self, output: Outputs, batch: Mapping[str, Any], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one batch of this process, and what says how the contrast fares; the keys enter the queues.

        ``output`` is the network's of ``batch["bands"]``, embeddings included. Keys are the momentum encoder's of
        ``batch["key_bands"]``: other light on the same ground.
        """
        assert output.embeddings is not None
        pairs = self._pairs(output, batch, step)
        keys, classes = self._keys(pairs, batch)
        anchors = pairs.take(output.embeddings)
        loss = contrast_loss(anchors, pairs.classes, keys, classes, self.queues, self.settings.temperature)
        self.queues.push(keys, classes, step)
        return loss, {"contrast_loss": loss.detach(), **self._signs(keys, classes)}

    @torch.no_grad()
    def _pairs(self, output: Outputs, batch: Mapping[str, Any], step: int) -> Pairs:
        assert output.embeddings is not None
        stride_px = batch["labels"].shape[-1] // output.embeddings.shape[-1]
        predicted = F.avg_pool2d(output.logits.float().softmax(1), stride_px).argmax(1)
        # A generator of its own per step: the draw must not shift the network's dropout, and resumes by itself.
        generator = torch.Generator().manual_seed(joint_seed(self.seed, step))
        classes = len(self.queues.keys)
        return sample_pairs(batch["labels"], predicted, classes, stride_px, self.settings, generator, batch.get("toe"))

    @torch.no_grad()
    def _keys(self, pairs: Pairs, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Keys of all processes, normalised, and their classes."""
        embedded = self.momentum_encoder.network.embed(batch["bands"] | batch["key_bands"])
        return distributed.gather(F.normalize(pairs.take(embedded).float(), dim=1), pairs.classes)

    @torch.no_grad()
    def _signs(self, keys: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """``key_spread``: 1 for keys in all directions, 0 for a collapse. ``positives_per_anchor``: what it is pulled to."""
        none = keys.new_zeros(())
        positives = torch.bincount(classes, minlength=len(self.queues.keys)) + self.queues.filled
        return {
            "key_spread": keys.std(0).mean() * keys.shape[1] ** 0.5 if len(keys) > 1 else none,
            "positives_per_anchor": positives[classes].float().mean() if len(classes) else none,
        }

    def update(self, network: Network, step: int) -> None:
        """After a step of the optimiser: the momentum encoder follows ``network``."""
        self.momentum_encoder.update(network, self.settings.momentum, step)

    def facts(self, step: int) -> dict[str, float]:
        """What an epoch's end says of the queues; nothing if there are none."""
        return self.queues.facts(step) if self.settings.queue_size else {}


class ClassQueues(nn.Module):
    """One ring of the newest ``size`` keys per class, as buffers: saved, moved to devices and resumed with the network.

    Unfilled places are never compared with; keys beyond the size push the oldest out.
    """

    keys: Tensor
    born: Tensor
    filled: Tensor
    head: Tensor

    def __init__(self, classes: int, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(classes, size, dim))
        self.register_buffer("born", torch.zeros(classes, size, dtype=torch.long))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("head", torch.zeros(classes, dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Float[Tensor, "samples dim"], classes: Int[Tensor, " samples"], step: int = 0) -> None:
        """Append keys, born at ``step``, in their order, each to its own class's ring."""
        size = self.keys.shape[1]
        if not size:
            return
        for c in range(len(self.keys)):
            mine = keys[classes == c][-size:]
            places = (self.head[c] + torch.arange(len(mine), device=keys.device)) % size
            self.keys[c, places] = mine.to(self.keys.dtype)
            self.born[c, places] = step
            self.head[c] = (self.head[c] + len(mine)) % size
            self.filled[c] = (self.filled[c] + len(mine)).clamp_max(size)

    def of(self, c: int) -> Float[Tensor, "held dim"]:
        """The keys held of class ``c`` (in no particular order), detached."""
        return self.keys[c, : int(self.filled[c])].detach()

    @torch.no_grad()
    def facts(self, step: int, most: int = 256) -> dict[str, float]:
        """What says whether the contrast works as contrast, at ``step``.

        ``queue_fill_frac``: share of the places that are filled. ``queue_age``: mean age of the held keys in steps.
        ``queue_purity_frac``: of the ``most`` newest-placed keys of every class, the share whose most similar other key
        is of the same class. ``separation``: mean cosine within classes less that between classes, 0 when the space
        knows no classes.
        """
        held = [self.of(c) for c in range(len(self.keys))]
        filled = torch.cat([self.born[c, : len(k)] for c, k in enumerate(held)])
        found = {
            "queue_fill_frac": float(self.filled.float().mean() / self.keys.shape[1]),
            "queue_age": float(step - filled.float().mean()) if len(filled) else 0.0,
        }
        if min(map(len, held)) < 2:
            return found
        some = torch.cat([k[:most] for k in held])
        of = torch.cat([k.new_full((len(k[:most]),), c, dtype=torch.long) for c, k in enumerate(held)])
        alike = (some @ some.T).fill_diagonal_(-2.0)
        means = torch.stack([k.mean(0) for k in held])
        cosine, classes = means @ means.T, len(held)
        between = (cosine.sum() - cosine.trace()) / (classes * (classes - 1))
        return found | {
            "queue_purity_frac": float((of[alike.argmax(1)] == of).float().mean()),
            "separation": float(cosine.trace() / classes - between),
        }


class _InfoNCE(torch.autograd.Function):
    """Each anchor's mean over positives of ``softplus(logsumexp(qn/t) - qp/t)``.

    An anchor's loss depends on no other anchor, so its gradient is known as soon as its loss is: what stays for the
    backward pass is one vector per anchor, not the matrices of similarities (three times faster than autograd's way).
    """

    @staticmethod
    def forward(context: Any, anchors: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
        queries = anchors / temperature
        repelling = queries @ negatives.T
        repelled = torch.logsumexp(repelling, dim=1, keepdim=True)
        gap = repelled - queries @ positives.T
        losses = F.softplus(gap).mean(1)
        pull = gap.sigmoid_().div_(gap.shape[1])
        push = repelling.sub_(repelled).exp_().mul_(pull.sum(1, keepdim=True))
        context.save_for_backward((push @ negatives - pull @ positives) / temperature)
        return losses

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (by_anchor,), (gradient,) = context.saved_tensors, gradients
        return gradient[:, None] * by_anchor, None, None, None


# Six parameters: the symbols of the equation, each from elsewhere.
def contrast_loss(
    anchors: Float[Tensor, "samples dim"],
    anchor_classes: Int[Tensor, " samples"],
    keys: Float[Tensor, "keys dim"],
    key_classes: Int[Tensor, " keys"],
    queues: ClassQueues,
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE per positive, in float32: ``-log(e^{qp/t} / (e^{qp/t} + sum_n e^{qn/t}))``.

    Positives of an anchor are the held and the current keys of its class, negatives those of all other classes. Mean
    over positives, then over the anchors that have both kinds, then over classes; 0, with a graph, when there are none.
    Anchors are this rank's, keys those of all ranks; the loss is that of all anchors.
    """
    device_type = anchors.device.type
    with torch.autocast(device_type, enabled=False):
        anchors, keys = F.normalize(anchors.float(), dim=1), F.normalize(keys.detach().float(), dim=1)
        held = [torch.cat([queues.of(c), keys[key_classes == c]]) for c in range(len(queues.keys))]
        sums, counts = [anchors.sum() * 0.0] * len(held), anchors.new_zeros(len(held))
        for c, positives in enumerate(held):
            mine = anchors[anchor_classes == c]
            negatives = torch.cat([k for other, k in enumerate(held) if other != c])
            if len(mine) and len(positives) and len(negatives):
                sums[c] = _InfoNCE.apply(mine, positives, negatives, temperature).sum()
                counts[c] = len(mine)
        counts = distributed.total(counts)
        means = distributed.total(torch.stack(sums)) / counts.clamp_min(1)
        return means.sum() / (counts > 0).sum().clamp_min(1)
