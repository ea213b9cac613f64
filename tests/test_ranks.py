"""Several processes are one: two ranks on gloo end with the weights that one process has after the joined batches."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked
from test_fit import recipe

from hpcl.training import checkpoint, distributed
from hpcl.training.dataset import Tiles
from hpcl.training.loop import fit

pytestmark = pytest.mark.xdist_group("ranks")  # all look at the same trainings


def program(tiles: Path, place: Path, epochs: int, start_frac: float, resume: Path | None) -> None:
    # Adam divides by the gradient's size, so that rounding becomes as large as any other step; SGD shows the gradient.
    torch.optim.AdamW = lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr=lr, momentum=0.9)  # type: ignore[assignment, misc]  # in a process of its own
    chosen = recipe(dropout=0.0, learning_rate=0.02, epochs=epochs, start_frac=start_frac)
    # The other processes see no checkpoint.
    state = checkpoint.load(resume) if resume and os.environ.get("RANK", "0") == "0" else None
    for epoch in fit(Tiles(tiles, chosen.model.branches, 1), chosen, resume=state):
        kept = epoch.state | {"metrics": dict(epoch.metrics)}
        checkpoint.save(place / f"{epoch.number}.{distributed.number()}.safetensors", kept)


def ranks(processes: int) -> list[dict[str, str]]:
    """What torchrun tells each of its processes (tests/test_train_folds.py starts some by torchrun itself)."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    count = str(processes)
    common = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def train(
    place: Path, tiles: Path, processes: int, epochs: int, resume: Path | None = None, start_frac: float = 0.2
) -> None:
    place.mkdir()
    work = program, tiles, place, epochs, start_frac, resume
    started = [Forked(*work, folder=place, environment=os.environ | told) for told in ranks(processes)]
    for process in started:
        process.ended()


def close(a: Any, b: Any, where: str = "") -> None:
    """Equal but for the order in which floats are summed."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            close(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), f"{where}: {(a - b).abs().max()}"
    elif isinstance(a, list):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{where}/{i}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiles_folder: Path) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    train(place / "one", tiles_folder, processes=1, epochs=2)
    train(place / "two", tiles_folder, processes=2, epochs=2)
    for name, processes in (("filling_one", 1), ("filling_two", 2)):
        train(place / name, tiles_folder, processes=processes, epochs=1, start_frac=1.0)
    return place


def trainer(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint.load(path)["trainer"]
    return state


def test_two_ranks_equal_one_process_on_the_joined_batch(runs: Path) -> None:
    one, two = (trainer(runs / name / "0.0.safetensors") for name in ("one", "two"))
    assert int(one["contrast"]["queues.filled"].sum()) > 0
    for part in ("network", "contrast"):
        close(one[part], two[part], part)


def test_no_weight_moves_on_several_ranks_that_rests_on_one(runs: Path) -> None:
    """While the queues fill, the projection has no gradient: a zero instead would let an optimiser with decay move it."""
    states = [trainer(runs / name / "0.0.safetensors")["optimizer"]["state"] for name in ("filling_one", "filling_two")]
    assert states[0].keys() == states[1].keys()


def test_all_ranks_hold_the_same(runs: Path) -> None:
    for part in ("network", "contrast"):
        first, second = (trainer(runs / "two" / f"1.{rank}.safetensors")[part] for rank in (0, 1))
        for name, value in first.items():
            assert torch.equal(value, second[name]), name


def test_the_first_process_alone_needs_the_checkpoint(runs: Path, tiles_folder: Path, tmp_path: Path) -> None:
    train(tmp_path / "again", tiles_folder, processes=2, epochs=2, resume=runs / "two" / "0.0.safetensors")
    whole, resumed = (trainer(place / "1.1.safetensors")["network"] for place in (runs / "two", tmp_path / "again"))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_resume_by_another_number_of_processes(runs: Path, tiles_folder: Path, tmp_path: Path) -> None:
    """One epoch by two processes, the next by one: the weights of two epochs by one."""
    train(tmp_path / "mixed", tiles_folder, processes=1, epochs=2, resume=runs / "two" / "0.0.safetensors")
    whole, mixed = (trainer(place / "1.0.safetensors")["network"] for place in (runs / "one", tmp_path / "mixed"))
    for name, value in whole.items():
        assert torch.allclose(value.float(), mixed[name].float(), rtol=1e-3, atol=1e-4), name
