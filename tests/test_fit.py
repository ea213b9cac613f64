"""Training: it learns, contrast switched off is the network without it, a resumed run is the uninterrupted one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpcl.core.codes import UNKNOWN
from hpcl.networks.base import Network, Outputs
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import AugmentSettings, FitError, TrainSettings
from hpcl.training import checkpoint
from hpcl.training.calibrate import Histograms, best_threshold, calibrate
from hpcl.training.dataset import Tiles, Windows, batches, draw_epoch
from hpcl.training.loop import Epoch, fit, learning_rate_at, new_network
from hpcl.training.recipe import Recipe
from hpcl.training.segmentation_loss import segmentation_loss

MODEL: dict[str, Any] = {
    "branches": {"optical": ("red", "green"), "terrain": ("slope", "n_east", "n_north")}, "encoder": "test_resnet",
    "architecture": "hpcl_net", "pretrained": False, "weights": {}, "output_stride": 8, "fusion": "coordinate_attention",
    "fused_channels": 32, "decoder_channels": 16, "dropout": 0.1,
}  # fmt: skip
CONTRAST: dict[str, Any] = {
    "weight": 0.1, "temperature": 0.1, "queue_size": 64, "momentum": 0.99, "embedding_dim": 8, "sampling": "boundary", "start_frac": 0.2,
    "positive_frac": 0.5, "negative_frac": 0.1, "inside_blocks": 1, "outside_blocks": 2, "random_background_frac": 0.25,
    "per_class_per_window": 8, "hard_frac": 0.5,
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "seed": 0, "epochs": 3, "steps_per_epoch": 4, "batch_size": 4, "learning_rate": 0.003, "weight_decay": 0.01,
    "warmup_frac": 0.1, "dice_weight": 0.5, "gradient_norm": 5.0, "patience_epochs": 5, "landslide_windows_frac": 0.5,
    "workers": 0, "predictor": "network", "precision": "32-true", "channels_last": False, "compile": False,
}  # fmt: skip


BITS = pytest.mark.skipif(
    torch.cuda.is_available(), reason="a GPU adds in no fixed order; equal bits are a promise of CPUs"
)


def recipe(**changes: Any) -> Recipe:
    def pick(numbers: dict[str, Any]) -> dict[str, Any]:
        return numbers | {k: v for k, v in changes.items() if k in numbers}

    augment = AugmentSettings(gain_std=0.1, offset_std=0.1, branch_dropout_frac=0.0)
    train = TrainSettings(augment=augment, **pick(TRAIN))
    return Recipe(ModelSettings(**pick(MODEL)), ContrastSettings(**pick(CONTRAST)), train)


def train(folder: Path, resume: dict[str, Any] | None = None, **changes: Any) -> list[Epoch]:
    chosen = recipe(**changes)
    return list(fit(Tiles(folder, chosen.model.branches), chosen, resume))


def weights(epoch: Epoch) -> dict[str, torch.Tensor]:
    return dict(epoch.state["trainer"]["network"])


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], leave_out: str = " ") -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if not name.startswith(leave_out):
            assert torch.equal(value, b[name]), name


def test_it_learns(tiles_folder: Path) -> None:
    epochs = train(tiles_folder, epochs=4, steps_per_epoch=8)
    assert epochs[-1].metrics["val_iou"] > 0.7  # calling everything landslide gives .47 here
    assert epochs[-1].metrics["loss"] < epochs[0].metrics["loss"]
    assert epochs[-1].last
    assert not epochs[0].last


@BITS
def test_lambda_zero_is_the_network_without_contrast_bit_for_bit(tiles_folder: Path) -> None:
    """Against a plain loop written here, without momentum encoder, queues, pairs or projection in sight."""
    plain = recipe(weight=0.0, epochs=1)
    model, settings = plain.model, plain.train
    tiles = Tiles(tiles_folder, model.branches)
    (epoch,) = fit(tiles, plain)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = HPCLNet(model, tiles.classes, plain.contrast.embedding_dim)
        torch.manual_seed(int(np.random.SeedSequence((settings.seed, 0, 0)).generate_state(1)[0]))
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        network.train()
        draws = draw_epoch(tiles, 0, 16, settings.landslide_windows_frac, settings.seed)
        for step, batch in enumerate(batches(Windows(tiles, settings.augment, settings.seed), draws, 4, 0)):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * learning_rate_at(step, 4, settings.warmup_frac)
            optimizer.zero_grad()
            segmentation_loss(network(batch["bands"]).logits, batch["labels"], settings.dice_weight).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            optimizer.step()
    assert_same(weights(epoch), network.state_dict())


@BITS
def test_momentum_encoder_and_queues_leave_the_network_alone_until_the_loss_acts(tiles_folder: Path) -> None:
    plain = train(tiles_folder, weight=0.0, epochs=1)[0]
    warm = train(tiles_folder, start_frac=1.0, epochs=1)[0]
    assert_same(weights(plain), weights(warm), leave_out="project")
    assert warm.metrics["queue_fill_frac"] > 0
    acting = train(tiles_folder, start_frac=0.0, epochs=1)[0]
    assert not torch.equal(weights(plain)["head.weight"], weights(acting)["head.weight"])


@BITS
def test_resumed_run_equals_the_uninterrupted_one(tiles_folder: Path, tmp_path: Path) -> None:
    whole = train(tiles_folder)
    first = next(fit(Tiles(tiles_folder, MODEL["branches"]), recipe()))
    checkpoint.save(tmp_path / "c.safetensors", first.state)
    rest = train(tiles_folder, resume=checkpoint.load(tmp_path / "c.safetensors"))
    assert [e.number for e in rest] == [1, 2]
    assert_same(weights(whole[-1]), weights(rest[-1]))
    assert_same(whole[-1].state["trainer"]["contrast"], rest[-1].state["trainer"]["contrast"])
    assert rest[-1].metrics["val_iou"] == whole[-1].metrics["val_iou"]


def test_the_callers_random_state_is_left_alone(tiles_folder: Path) -> None:
    before = torch.get_rng_state()
    train(tiles_folder, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_early_stopping_waits_its_patience(tiles_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    nothing = Histograms(np.zeros(512, int), np.zeros(512, int), 0.0)
    monkeypatch.setattr("hpcl.training.loop.validate", lambda *_: nothing)
    monkeypatch.setattr("hpcl.training.loop.best_threshold", lambda _: (next(scores), 0.5))
    epochs = train(tiles_folder, epochs=5, steps_per_epoch=1, patience_epochs=2)
    assert [e.best for e in epochs] == [True, True, False, False]
    assert [e.last for e in epochs] == [False, False, False, True]


def test_loss_ignores_unknown_pixels() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    half = labels.clone()
    half[:, :, 4:] = 255
    expected = segmentation_loss(logits[..., :4], labels[..., :4], 0.7)
    torch.testing.assert_close(segmentation_loss(logits, half, 0.7), expected)
    nothing = segmentation_loss(logits.requires_grad_(), torch.full_like(labels, 255), 0.7)
    nothing.backward()
    assert float(nothing.detach()) == 0


def test_threshold_is_the_one_of_the_highest_iou() -> None:
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.2
    probability = np.clip(0.3 * truth + 0.6 * rng.random(4000), 0, 0.999)
    bins = (probability * 512).astype(int)
    counted = Histograms(np.bincount(bins[~truth], minlength=512), np.bincount(bins[truth], minlength=512), 0.0)
    iou, threshold = best_threshold(counted)
    scores = {t: jaccard_score(truth, bins >= t) for t in range(0, 512, 3)}
    assert iou == pytest.approx(jaccard_score(truth, bins >= round(threshold * 512)))
    assert iou >= max(scores.values())


def test_calibration_lowers_the_loss_of_an_overconfident_network(tiles_folder: Path) -> None:
    chosen = recipe(epochs=2)
    tiles = Tiles(tiles_folder, chosen.model.branches)
    *_, epoch = fit(tiles, chosen)
    network = new_network(chosen, tiles)
    network.load_state_dict(weights(epoch))
    with torch.no_grad():
        network.head.weight.mul_(30)
        network.head.bias.mul_(30)
    temperature, threshold, iou = calibrate(tiles, network, chosen.train)
    assert temperature > 3
    assert 0 <= threshold < 1
    assert iou > 0.3


def test_a_training_that_diverges_is_told(tiles_folder: Path) -> None:
    with pytest.raises(FitError, match=r"no number any more in epoch 0; lower train\.learning_rate"):
        train(tiles_folder, learning_rate=1e30)


def test_no_threshold_without_validation_landslide(tiles_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles_folder, tmp_path / "tiles")
    labels = np.load(tmp_path / "tiles/place.labels.npy")
    labels[:, 128:] = 0
    np.save(tmp_path / "tiles/place.labels.npy", labels)
    chosen = recipe()
    tiles = Tiles(tmp_path / "tiles", chosen.model.branches)
    with pytest.raises(FitError, match="validation windows show no landslide"):
        calibrate(tiles, new_network(chosen, tiles), chosen.train)


class Fourfold(Network):
    """Knows how the ground was made (red is the label plus noise of deviation 1; 11 % is landslide), and is four times too sure of it."""

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        return Outputs(torch.cat([torch.zeros_like(red), 4 * (red - 0.5 - 2.1)], 1), red, None)


def test_calibration_lowers_the_calibration_error_and_changes_no_answer(tiles_folder: Path) -> None:
    chosen = recipe()
    model, settings = chosen.model, chosen.train
    tiles = Tiles(tiles_folder, model.branches)
    network = Fourfold(model, 2, 8)
    temperature, _, _ = calibrate(tiles, network, settings)
    assert temperature == pytest.approx(4, rel=0.1)
    held = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        held.append(len(labels))
        return torch.nn.functional.cross_entropy(logits, labels)

    with pytest.MonkeyPatch.context() as patch:  # few of the pixels say the same
        patch.setattr("hpcl.training.calibrate.CALIBRATION_PX", 1000)
        patch.setattr("hpcl.training.calibrate.F", type("F", (), {"cross_entropy": staticmethod(loss)}))
        patch.setattr(
            "hpcl.training.calibrate.validate",
            lambda *_: Histograms(np.ones(512, np.int64), np.ones(512, np.int64), 0.0),
        )
        assert calibrate(tiles, network, settings)[0] == pytest.approx(4, rel=0.3)
    assert 100 < max(held) <= 1000 + len(tiles.numbers("val"))

    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("val"))]
    batch = next(batches(Windows(tiles, None, 0), draws, len(draws), 0))
    known = batch["labels"] != UNKNOWN
    logits, truth = network(batch["bands"]).logits.movedim(1, -1)[known], batch["labels"][known].numpy()

    def error(probability: np.ndarray) -> float:
        """Mean distance of confidence and frequency over ten bins, weighted with their pixels."""
        bins = np.minimum((probability * 10).astype(int), 9)
        inside = [bins == k for k in range(10) if (bins == k).any()]
        return float(sum(abs(probability[b].mean() - truth[b].mean()) * b.mean() for b in inside))

    calibrated = logits / temperature
    assert torch.equal(logits.argmax(1), calibrated.argmax(1))
    before, after = (error(x.softmax(1)[:, 1].numpy()) for x in (logits, calibrated))
    assert before > 0.03
    assert after < 0.25 * before


KILLED = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_fit import MODEL, recipe
from hpcl.training import checkpoint
from hpcl.training.dataset import Tiles
from hpcl.training.loop import fit
place = Path({place!r})
resume = checkpoint.load(place) if place.exists() else None
for epoch in fit(Tiles(Path({folder!r}), MODEL["branches"]), recipe(epochs=6), resume=resume):
    checkpoint.save(place, epoch.state)
    print(epoch.number, flush=True)
"""


@BITS
def test_kill_dash_9_in_mid_training_then_resume_equals_never_killed(tiles_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "latest.safetensors"
    code = KILLED.format(tests=str(Path(__file__).parent), place=str(place), folder=str(tiles_folder))
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "1":
        assert process.poll() is None
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    killed_after = checkpoint.load(place)["epoch"]
    assert killed_after < 5
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == str(killed_after + 1)
    whole = tmp_path / "whole.safetensors"
    other = code.replace(json.dumps(str(place)), json.dumps(str(whole))).replace(repr(str(place)), repr(str(whole)))
    subprocess.run([sys.executable, "-c", other], env=env, capture_output=True, check=True)
    a, b = checkpoint.load(place)["trainer"], checkpoint.load(whole)["trainer"]
    for part in ("network", "contrast"):
        assert_same(a[part], b[part])


def test_checkpoint_round_trip_and_refusal(tmp_path: Path) -> None:
    state = {"a": torch.arange(3), "b": [1, "x", None, {"c": torch.ones(2, 2)}], 5: 0.25}
    checkpoint.save(tmp_path / "c.safetensors", state)
    back = checkpoint.load(tmp_path / "c.safetensors")
    assert torch.equal(back["a"], state["a"])  # type: ignore[arg-type]  # a mixed dict
    assert back["b"][:3] == [1, "x", None]
    assert torch.equal(back["b"][3]["c"], torch.ones(2, 2))
    assert back[5] == 0.25
    (tmp_path / "c.safetensors").write_bytes(b"half a file")
    with pytest.raises(checkpoint.CheckpointError, match="delete it to start"):
        checkpoint.load(tmp_path / "c.safetensors")
