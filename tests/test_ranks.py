"""Several processes are one: two ranks on gloo end with the weights that one process has after the joined batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hpcl.training import checkpoint

pytestmark = pytest.mark.xdist_group("ranks")  # all look at the same trainings
ROOT = Path(__file__).parents[1]
PROGRAM = """
import os
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import torch
# Adam divides by the gradient's size, so that rounding becomes as large as any other step; SGD shows the gradient.
torch.optim.AdamW = lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr=lr, momentum=0.9)
from test_fit import recipe
from hpcl.training import checkpoint, distributed
from hpcl.training.dataset import Tiles
from hpcl.training.loop import fit
chosen = recipe(dropout=0.0, learning_rate=0.02, epochs=int(sys.argv[4]), start_frac=float(sys.argv[5]))
place, resume = Path(sys.argv[3]), None
if len(sys.argv) > 6 and os.environ.get("RANK", "0") == "0":  # the others see no checkpoint
    resume = checkpoint.load(Path(sys.argv[6]))
for epoch in fit(Tiles(Path(sys.argv[2]), chosen.model.branches, 1), chosen, resume=resume):
    checkpoint.save(place / f"{epoch.number}.{distributed.number()}.safetensors", epoch.state | {"metrics": dict(epoch.metrics)})
"""


def train(
    place: Path, tiles: Path, processes: int, epochs: int, resume: Path | None = None, start_frac: float = 0.2
) -> None:
    place.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    program = place / "program.py"
    program.write_text(PROGRAM)
    arguments = [ROOT, tiles, place, epochs, start_frac, *([resume] if resume else [])]
    done = subprocess.run(
        [sys.executable, *launcher, str(program), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


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
