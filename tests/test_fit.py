"""Training: it learns, contrast switched off is the network without it, a resumed run is the uninterrupted one."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
import torch
from forked import Forked

from hpcl.core import records
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import TEMPERATURES
from hpcl.networks.base import Network, Outputs
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.networks.temperature import best
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import AugmentSettings, FitError, TrainSettings
from hpcl.training import checkpoint
from hpcl.training.dataset import Tiles, Windows, batches, draw_epoch
from hpcl.training.loop import Epoch, fit, learning_rate_at, new_network
from hpcl.training.recipe import Recipe
from hpcl.training.segmentation_loss import segmentation_loss
from hpcl.training.watch import Watched, best_iou, held_loss

MODEL: dict[str, Any] = {
    "branches": {"optical": ("red", "green"), "terrain": ("slope", "n_east", "n_north")}, "encoder": "test_resnet",
    "architecture": "hpcl_net", "pretrained": False, "weights": {}, "output_stride": 8, "fusion": "coordinate_attention",
    "fused_channels": 32, "decoder_channels": 16, "dropout": 0.1,
}  # fmt: skip
CONTRAST: dict[str, Any] = {
    "weight": 0.1, "temperature": 0.1, "queue_size": 64, "momentum": 0.99, "embedding_dim": 8, "sampling": "boundary", "start_frac": 0.2,
    "alone_frac": 0.0, "positive_frac": 0.5, "negative_frac": 0.1, "inside_blocks": 1, "outside_blocks": 2, "random_background_frac": 0.25,
    "per_class_per_window": 8, "hard_frac": 0.5,
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "seed": 0, "epochs": 3, "steps_per_epoch": 4, "batch_size": 4, "learning_rate": 0.003, "weight_decay": 0.01,
    "warmup_frac": 0.1, "dice_weight": 0.5, "gradient_norm": 5.0, "landslide_windows_frac": 0.5,
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


def train(folder: Path, resume: dict[str, Any] | None = None, fold: int = 1, **changes: Any) -> list[Epoch]:
    chosen = recipe(**changes)
    return list(fit(Tiles(folder, chosen.model.branches, fold), chosen, resume))


def weights(epoch: Epoch) -> dict[str, torch.Tensor]:
    return dict(epoch.state["trainer"]["network"])


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], leave_out: str = " ") -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if not name.startswith(leave_out):
            assert torch.equal(value, b[name]), name


def test_it_learns(tiles_folder: Path) -> None:
    epochs = train(tiles_folder, epochs=4, steps_per_epoch=8)
    assert epochs[-1].metrics["held_iou"] > 0.7  # calling everything landslide gives .47 here
    assert epochs[-1].metrics["loss"] < epochs[0].metrics["loss"]
    assert epochs[-1].last
    assert not epochs[0].last


@BITS
def test_lambda_zero_is_the_network_without_contrast_bit_for_bit(tiles_folder: Path) -> None:
    """Against a plain loop written here, without momentum encoder, queues, pairs or projection in sight."""
    plain = recipe(weight=0.0, epochs=1)
    model, settings = plain.model, plain.train
    tiles = Tiles(tiles_folder, model.branches, 1)
    seed = plain.seed(1)
    (epoch,) = fit(tiles, plain)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = HPCLNet(model, tiles.classes, plain.contrast.embedding_dim)
        torch.manual_seed(int(np.random.SeedSequence((seed, 0, 0)).generate_state(1)[0]))
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        network.train()
        draws = draw_epoch(tiles, 0, 16, settings.landslide_windows_frac, seed)
        for step, batch in enumerate(batches(Windows(tiles, settings.augment, seed), draws, 4, 0)):
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
def test_while_the_contrast_teaches_alone_the_decoder_rests(tiles_folder: Path) -> None:
    chosen = recipe(start_frac=0.0)
    begun = dict(new_network(chosen, Tiles(tiles_folder, chosen.model.branches, 1)).state_dict())
    alone = train(tiles_folder, start_frac=0.0, alone_frac=0.99, epochs=1)[0]
    for name, weight in weights(alone).items():
        if name.endswith(".weight"):
            rests = name.startswith(("head", "decoder", "fuse_skip"))
            assert torch.equal(weight, begun[name]) == rests, name
    without_dice = train(tiles_folder, start_frac=0.0, alone_frac=0.99, dice_weight=0.0, epochs=1)[0]
    assert_same(weights(alone), weights(without_dice))  # the pixels' loss reaches no weight
    joined = train(tiles_folder, start_frac=0.0, alone_frac=0.5, epochs=1)[0]
    assert not torch.equal(weights(joined)["head.weight"], begun["head.weight"])


@BITS
def test_resumed_run_equals_the_uninterrupted_one(tiles_folder: Path, tmp_path: Path) -> None:
    whole = train(tiles_folder)
    first = next(fit(Tiles(tiles_folder, MODEL["branches"], 1), recipe()))
    checkpoint.save(tmp_path / "c.safetensors", first.state)
    rest = train(tiles_folder, resume=checkpoint.load(tmp_path / "c.safetensors"))
    assert [e.number for e in rest] == [1, 2]
    assert_same(weights(whole[-1]), weights(rest[-1]))
    assert_same(whole[-1].state["trainer"]["contrast"], rest[-1].state["trainer"]["contrast"])
    assert rest[-1].metrics["held_iou"] == whole[-1].metrics["held_iou"]


def test_the_callers_random_state_is_left_alone(tiles_folder: Path) -> None:
    before = torch.get_rng_state()
    train(tiles_folder, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_networks_of_folds_begin_and_draw_each_in_its_own_way(tiles_folder: Path) -> None:
    chosen = recipe()
    first, second = (Tiles(tiles_folder, chosen.model.branches, fold) for fold in (1, 2))
    begun = [dict(new_network(chosen, tiles).state_dict()) for tiles in (first, second, first)]
    assert_same(begun[0], begun[2])
    assert not torch.equal(begun[0]["head.weight"], begun[1]["head.weight"])
    seeds = [recipe(seed=seed).seed(fold) for seed in range(20) for fold in range(1, 11)]
    assert len(set(seeds)) == len(seeds)
    drawn = [draw_epoch(first, 0, 50, 0.5, seed) for seed in seeds[:2]]
    assert drawn[0] != drawn[1]


def test_held_windows_choose_nothing(tiles_folder: Path, tmp_path: Path) -> None:
    """Another image and other labels in the fold: the same weights after every epoch, batch statistics included."""
    shutil.copytree(tiles_folder, tmp_path / "tiles")
    labels, values = (np.load(tmp_path / f"tiles/place.{what}.npy") for what in ("labels", "bands"))
    labels[:, :128] = 1 - labels[:, :128] % 2
    values[:, :, :128] *= 3
    np.save(tmp_path / "tiles/place.labels.npy", labels)
    np.save(tmp_path / "tiles/place.bands.npy", values)
    plain, other = train(tiles_folder, epochs=2), train(tmp_path / "tiles", epochs=2)
    assert plain[-1].metrics["held_iou"] != other[-1].metrics["held_iou"]
    for a, b in zip(plain, other, strict=True):
        assert_same(a.weights, b.weights)
        assert a.metrics["loss"] == b.metrics["loss"]


@pytest.mark.parametrize(("predictor", "part"), [("network", "network"), ("ema", "contrast")])
def test_the_last_weights_ship(tiles_folder: Path, predictor: str, part: str) -> None:
    first, last = train(tiles_folder, epochs=2, predictor=predictor)
    trained = last.state["trainer"][part]
    name = "head.weight" if part == "network" else "momentum_encoder.network.head.weight"
    assert torch.equal(last.weights["head.weight"], trained[name])
    assert (first.last, last.last) == (False, True)


def test_a_finished_training_is_resumed_without_a_step(tiles_folder: Path) -> None:
    assert train(tiles_folder, resume={"epoch": 2}) == []


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


def test_the_iou_is_the_highest_of_all_thresholds() -> None:
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.2
    probability = np.clip(0.3 * truth + 0.6 * rng.random(4000), 0, 0.999)
    bins = (probability * 512).astype(int)
    counted = Watched(np.bincount(bins[~truth], minlength=512), np.bincount(bins[truth], minlength=512), 0.0)
    assert best_iou(counted) == pytest.approx(max(jaccard_score(truth, bins >= t) for t in range(512)))


def test_a_training_that_diverges_is_told(tiles_folder: Path) -> None:
    with pytest.raises(FitError, match=r"no number any more in epoch 0; lower train\.learning_rate"):
        train(tiles_folder, learning_rate=1e30)


class Fourfold(Network):
    """Knows how the ground was made (red is the label plus noise of deviation 1; 11 % is landslide), and is four times too sure of it."""

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        return Outputs(torch.cat([torch.zeros_like(red), 4 * (red - 0.5 - 2.1)], 1), red, None)


class TwoKinds(Network):
    """Tells two kinds of landslides apart at random, and together as `Fourfold` does."""

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        kinds = torch.log(torch.rand_like(red))
        other = torch.log1p(-kinds.exp())
        lead = 4 * (red - 0.5 - 2.1)
        return Outputs(torch.cat([torch.zeros_like(red), lead + kinds, lead + other], 1), red, None)


def held_pixels(tiles: Tiles, network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and truth of all held-out pixels with a label."""
    draws = [(int(n), 0, i) for i, n in enumerate(tiles.numbers("held"))]
    batch = next(batches(Windows(tiles, None, 0), draws, len(draws), 0))
    known = batch["labels"] != UNKNOWN
    return network(batch["bands"]).logits.movedim(1, -1)[known], batch["labels"][known]


def test_the_held_loss_at_each_temperature_is_that_of_every_seventh_pixel(tiles_folder: Path) -> None:
    chosen = recipe(batch_size=8)  # one batch
    tiles = Tiles(tiles_folder, chosen.model.branches, 1)
    network = Fourfold(chosen.model, 2, 8)
    found = held_loss(network, tiles, chosen.train)
    logits, truth = held_pixels(tiles, network)
    assert found.px == len(truth)
    expected = [float(torch.nn.functional.cross_entropy(logits[::7] / t, truth[::7])) for t in TEMPERATURES]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


def test_few_of_many_held_pixels_say_the_same(tiles_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe()
    tiles = Tiles(tiles_folder, chosen.model.branches, 1)
    network = Fourfold(chosen.model, 2, 8)
    whole = held_loss(network, tiles, chosen.train)
    monkeypatch.setattr("hpcl.training.watch.SAMPLE_PX", 1000)
    few = held_loss(network, tiles, chosen.train)
    assert few.px == whole.px
    assert few.loss != whole.loss
    assert best([few]) == pytest.approx(best([whole]), rel=0.3)


def test_kinds_of_landslide_do_not_enter_the_held_loss(tiles_folder: Path) -> None:
    """At a temperature of 1; at others their odds change, as those of the map do."""
    chosen = recipe()
    tiles = Tiles(tiles_folder, chosen.model.branches, 1)
    one, two = (held_loss(kind(chosen.model, n, 8), tiles, chosen.train) for kind, n in ((Fourfold, 2), (TwoKinds, 3)))
    at = min(range(len(TEMPERATURES)), key=lambda row: abs(TEMPERATURES[row] - 1))
    assert two.loss[at] == pytest.approx(one.loss[at], rel=0.01)


def test_answers_that_are_no_numbers_are_told(tiles_folder: Path) -> None:
    chosen = recipe()
    tiles = Tiles(tiles_folder, chosen.model.branches, 1)
    network = new_network(chosen, tiles)
    with torch.no_grad():
        network.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(FitError, match="are no numbers"):
        held_loss(network, tiles, chosen.train)


@pytest.mark.parametrize(("judged", "left_frac"), [(2, 0.25), (1, 0.5)])
def test_the_temperature_of_the_least_loss_lowers_the_calibration_error(
    tiles_folder: Path, judged: int, left_frac: float
) -> None:
    """Chosen on fold 2, whose share of landslide the network knows; fold 1 holds more of it."""
    chosen = recipe()
    network = Fourfold(chosen.model, 2, 8)
    own, other = (Tiles(tiles_folder, chosen.model.branches, fold) for fold in (2, judged))
    temperature = best([held_loss(network, own, chosen.train)])
    assert temperature == pytest.approx(4, rel=0.1)
    logits, labels = held_pixels(other, network)
    truth = labels.numpy()

    def error(probability: np.ndarray) -> float:
        """Mean distance of confidence and frequency over ten bins, weighted with their pixels."""
        bins = np.minimum((probability * 10).astype(int), 9)
        inside = [bins == k for k in range(10) if (bins == k).any()]
        return float(sum(abs(probability[b].mean() - truth[b].mean()) * b.mean() for b in inside))

    before, after = (error(x.softmax(1)[:, 1].numpy()) for x in (logits, logits / temperature))
    assert before > 0.03
    assert after < left_frac * before


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.37, 4.2])
def test_the_best_temperature_lies_between_those_tried(temperature: float) -> None:
    assert best([examples.held(temperature)]) == pytest.approx(temperature)


def test_folds_weigh_by_their_pixels() -> None:
    """Two parabolas in the logarithm: the mean of their lowest points, weighted."""
    both = best([examples.held(1.0, px=3000), examples.held(2.0, px=1000)])
    assert both == pytest.approx(2.0**0.25)


@pytest.mark.parametrize(("true", "found"), [(0.1, 0.2), (30.0, 5.0)])
def test_a_temperature_beyond_those_tried_is_the_last_of_them(true: float, found: float) -> None:
    assert best([examples.held(true)]) == pytest.approx(found)
    flat = records.HeldLoss(loss=[0.5] * len(TEMPERATURES), px=1)
    assert best([flat]) in TEMPERATURES


def killable(folder: Path, place: Path) -> None:
    """Train, from the checkpoint at ``place`` on if there is one, and say each epoch when it is saved."""
    resume = checkpoint.load(place) if place.exists() else None
    for epoch in fit(Tiles(folder, MODEL["branches"], 1), recipe(epochs=6), resume=resume):
        checkpoint.save(place, epoch.state)
        print(epoch.number)


@BITS
def test_kill_dash_9_in_mid_training_then_resume_equals_never_killed(tiles_folder: Path, tmp_path: Path) -> None:
    def begun(place: Path) -> Forked:
        return Forked(killable, tiles_folder, place, folder=tmp_path, environment=os.environ)

    place = tmp_path / "latest.safetensors"
    process = begun(place)
    assert any(said == "1\n" for said in process.lines())
    time.sleep(0.05)
    process.kill()
    killed_after = checkpoint.load(place)["epoch"]
    assert killed_after < 5
    assert begun(place).ended().split()[0] == str(killed_after + 1)
    whole = tmp_path / "whole.safetensors"
    begun(whole).ended()
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
