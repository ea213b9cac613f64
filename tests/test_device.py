"""What is said of the device: its name, a GPU that nobody uses, and how many windows fit where the batch does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_adapt import SETTINGS, Held, ground
from test_fit import recipe

from hpcl.inference import predict
from hpcl.networks import device
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.train import FitError
from hpcl.training import loop
from hpcl.training.dataset import Tiles


@pytest.mark.parametrize(
    ("shown", "usable", "visible", "built", "said"),
    [
        (True, False, None, None, "this torch is built for CPUs alone"),
        (True, False, None, "13.0", "its driver does not suit torch's CUDA or ROCm 13.0"),
        (True, False, "", "13.0", ""),
        (True, False, "-1", "13.0", ""),
        (True, True, None, "13.0", ""),
        (False, False, None, "13.0", ""),
    ],
)
def test_a_gpu_that_nobody_uses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: bool,
    usable: bool,
    visible: str | None,
    built: Any,
    said: str,
) -> None:
    monkeypatch.setattr(device, "DRIVERS", (tmp_path if shown else tmp_path / "none",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = device.unused_gpu()
    assert said in found
    assert bool(found) == bool(said)


def short_of_memory(most: int, plain: Any, size_of: Any) -> Any:
    def attempt(*given: Any) -> Any:
        if size_of(given) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(*given)

    return attempt


@pytest.mark.parametrize(
    ("most", "said"), [(2, "; 2 fit: set train.batch_size to that, or"), (1, "; lower train.batch_size, or")]
)
def test_a_batch_too_large_to_train_on(
    tiles_folder: Path, monkeypatch: pytest.MonkeyPatch, most: int, said: str
) -> None:
    step = short_of_memory(most, loop.Trainer.step, lambda given: len(given[1]["labels"]))
    monkeypatch.setattr(loop.Trainer, "step", step)
    asked = recipe(weight=0.0, architecture="DeepLabV3Plus")  # its BatchNorm takes no single window
    with pytest.raises(FitError, match=r"does not suffice for train\.batch_size 4 windows of 64 px") as error:
        next(loop.fit(Tiles(tiles_folder, asked.model.branches, 1), asked))
    assert said in str(error.value)


def test_a_batch_too_large_to_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "composed", short_of_memory(2, predict.composed, lambda given: len(given[2])))
    network = HPCLNet(SETTINGS, 2, 4).eval()
    given: Any = {"overlap_frac": 0.0, "tta": "none", "adapt_windows": 0, "missing_bands": "refuse", "networks": "all"}
    whole, few = (InferenceSettings(batch_size=windows, **given) for windows in (4, 2))
    scene = Held(ground(), network)
    with pytest.raises(predict.MemoryShortageError, match=r"2 fit: set inference\.batch_size to that"):
        list(predict.predict(scene, scene.ensemble, whole))
    parts = list(predict.predict(scene, scene.ensemble, few))
    assert np.isfinite(np.concatenate([part.probability for part in parts])).all()
