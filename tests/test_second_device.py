"""Nothing is left on the CPU: steps of training, validation and mapping on a device that refuses the CPU's tensors."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import DEVICE, Pretended, SecondDevice, second_device
from test_adapt import SETTINGS, Held, ground
from test_fit import recipe

from hpcl.inference import predict
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.training import loop, watch
from hpcl.training.dataset import Tiles


def test_the_device_refuses_what_lies_on_the_cpu() -> None:
    with second_device():
        here = torch.ones(3, device=DEVICE)
        assert isinstance(here, Pretended)
        assert (here * 2).sum().item() == 6
        assert (here + 1).device == DEVICE
        assert here.cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="same device"):
            here + torch.ones(3)


@pytest.fixture
def trainer(tiles_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[loop.Trainer]:
    asked = recipe(start_frac=0.0)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    with second_device():
        yield loop.Trainer(SecondDevice(), asked, Tiles(tiles_folder, asked.model.branches, 1))


def test_steps_of_training(trainer: loop.Trainer) -> None:
    metrics = next(trainer.epochs(0, lambda done, total: None))
    assert metrics["loss"] > 0
    assert metrics["contrast_loss"] > 0
    assert metrics["queue_fill_frac"] > 0
    everything = [trainer.network, trainer.contrast]
    assert all(t.device == DEVICE for part in everything for t in part.state_dict().values())


def test_a_resumed_training(trainer: loop.Trainer) -> None:
    trainer.restore(trainer.state())
    assert next(trainer.epochs(1, lambda done, total: None))["loss"] > 0


def test_watching_held_windows(trainer: loop.Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    given = trainer.predictor, trainer.tiles, trainer.recipe.train
    assert watch.watch(trainer.fabric, *given).landslide.sum() > 0
    monkeypatch.setattr(watch.lightning_fabric, "Fabric", lambda **_: trainer.fabric)
    assert watch.held_loss(*given).px > 0


def test_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    network = HPCLNet(SETTINGS, 2, 4).eval()
    monkeypatch.setattr(predict, "device", lambda: DEVICE)
    monkeypatch.setattr(predict, "_predictions", _at_once)
    settings = predict.InferenceSettings(
        overlap_frac=0.0, batch_size=5, tta="none", adapt_windows=64, missing_bands="refuse", networks="all"
    )
    with second_device():
        scene = Held(ground(), network)
        parts = list(predict.predict(scene, scene.ensemble, settings))
    assert np.isfinite(np.concatenate([part.probability for part in parts])).all()


def _at_once(
    places: Sequence[Any], read: Any, forward: Any, threads: int, batch_size: int
) -> Iterator[tuple[predict.WindowRow, list[Any]]]:
    """In this thread: torch's modes are those of a thread."""
    for place in places:
        row = read(place)
        yield row, list(forward(row.windows)) if row.windows else []
