"""Resume state as one safetensors file: tensors by path, everything else as one JSON text beside them. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hpcl.core.artifacts import replacing, unwritten


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed from."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a nested state of dicts, lists, tensors and JSON values; it replaces an older file in one step."""
    tensors: dict[str, Tensor] = {}
    skeleton = _split(state, "", tensors)
    with replacing(path) as draft:
        try:
            save_file(tensors, draft, metadata={"state": json.dumps(skeleton, sort_keys=True)})
        except SafetensorError as error:  # an OSError in other clothes
            raise unwritten(path, error) from error


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, tensors on the CPU."""
    try:
        with safe_open(path, "pt") as file:
            skeleton = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no dict)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no whole checkpoint ({error}); delete it to start training from the beginning."
        ) from error
    return _join(skeleton, tensors)


def _split(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[at] = value.detach().cpu().clone().contiguous()
        return {"tensor": at}
    if isinstance(value, dict):
        return {"dict": [[k, _split(v, f"{at}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_split(v, f"{at}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _join(node: Any, tensors: dict[str, Tensor]) -> Any:
    (kind, value), *_ = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {k: _join(v, tensors) for k, v in value}
    if kind == "list":
        return [_join(v, tensors) for v in value]
    return value
