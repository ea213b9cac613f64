"""Devices, seeds, and each process's share of a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence

import lightning_fabric
import numpy as np
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from hpcl.networks.device import device
from hpcl.settings.train import TrainSettings
from hpcl.training import distributed
from hpcl.training.dataset import Draw, Sample


def joint_seed(*parts: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def fabric_of(train: TrainSettings) -> lightning_fabric.Fabric:
    """One process, or as many as torchrun started."""
    if not TorchElasticEnvironment.detect():
        return lightning_fabric.Fabric(accelerator=device().type, devices=1, precision=train.precision)
    here, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    # Buffers are not broadcast: batch statistics are joint already. The projection has no gradient while queues fill.
    strategy = DDPStrategy(broadcast_buffers=False, find_unused_parameters=True)
    fabric = lightning_fabric.Fabric(
        accelerator=device().type, devices=here, num_nodes=nodes, strategy=strategy, precision=train.precision
    )
    fabric.launch()
    return fabric


def windows_per_process(train: TrainSettings) -> int:
    """Windows of a batch that one rank computes."""
    return train.batch_size // distributed.count()


def own_share(draws: Sequence[Draw], batch_size: int) -> list[Draw]:
    """This rank's consecutive share of every batch."""
    share = batch_size // distributed.count()
    first = distributed.number() * share
    return [draw for i in range(0, len(draws), batch_size) for draw in draws[i + first : i + first + share]]


def to_device(fabric: lightning_fabric.Fabric, batch: Sample, train: TrainSettings) -> Sample:
    """A batch on the device, in the layout that the settings ask for."""
    batch = fabric.to_device(batch)
    if train.channels_last:
        for views in (batch["bands"], batch.get("key_bands", {})):
            views.update({name: x.contiguous(memory_format=torch.channels_last) for name, x in views.items()})
    return batch
