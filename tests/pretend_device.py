"""A second device without hardware: tensors that say they lie on `meta`, compute on the CPU, and refuse CPU tensors.

What would raise on a GPU ("Expected all tensors to be on the same device") raises here too. Numbers are real, so that code
may look at them; FakeTensor has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning_fabric
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")


class Pretended(Tensor):
    """A tensor on the pretended device; ``held`` is the true one."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"Pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Tensors made on the device are pretended ones too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


MOVES = ("aten::_to_copy", "aten::copy_")
"""What may meet tensors of both devices."""


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU; the result is on the device of what was given, or on the one that was asked for."""
    flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    pretended = [x for x in flat if isinstance(x, Pretended)]
    plain = [x for x in flat if not isinstance(x, Pretended) and x.dim()]
    name = func._schema.name
    if pretended and plain and name not in MOVES:
        raise RuntimeError(
            f"Expected all tensors to be on the same device: {name} met one on the CPU {tuple(plain[0].shape)}."
        )
    asked = kwargs.get("device")
    there = bool(pretended) if asked is None else torch.device(asked) == DEVICE
    if asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    true_args, true_kwargs = tree_map(lambda x: x.held if isinstance(x, Pretended) else x, (args, kwargs))
    found = func(*true_args, **true_kwargs)
    if func._schema.is_mutable:
        return args[0] if found is not None else None
    return tree_map(lambda x: Pretended(x) if isinstance(x, Tensor) else x, found) if there else found


@contextmanager
def second_device() -> Iterator[None]:
    """Inside, `DEVICE` is a device of its own."""
    with _Factories():
        yield


class SecondDevice(lightning_fabric.Fabric):
    """What a training asks of Lightning Fabric, for one process on `DEVICE`."""

    device = DEVICE

    def __init__(self) -> None: ...

    def setup(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        before = list(network.parameters())
        after = dict(zip(map(id, before), network.to(DEVICE).parameters(), strict=True))
        for group in optimizer.param_groups:
            group["params"] = [after[id(parameter)] for parameter in group["params"]]
        return network, optimizer

    def to_device(self, batch: Any) -> Any:
        return tree_map(lambda x: x.to(DEVICE), batch)

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_gradients(self, network: nn.Module, *_: Any, max_norm: float, **__: Any) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)
