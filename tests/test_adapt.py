"""Batch statistics measured again: those of the scene, on ground with data alone, and nothing else of the network moves."""

from dataclasses import replace
from typing import Any

import examples
import numpy as np
import pytest
import torch
from torch import nn

from hpcl.core.records import BandFacts
from hpcl.inference import adabn, predict, scene
from hpcl.inference.adabn import too_small
from hpcl.networks.base import Network, Outputs
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.networks.store import Trained
from hpcl.settings.model import ModelSettings
from hpcl.windows import spread

SETTINGS = ModelSettings(
    architecture="hpcl_net", branches={"optical": ("red", "green"), "terrain": ("slope",)}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="coordinate_attention", fused_channels=16, decoder_channels=16, dropout=0.5,
)  # fmt: skip
NAMES = ("red", "green", "slope")
CPU = torch.device("cpu")


class Held(scene.Scene):
    """A scene in memory, and ``ensemble``, the one network that maps it."""

    def __init__(self, values: np.ndarray, network: Network, trained_on: tuple[str, ...] = ("there",)) -> None:
        bands = [BandFacts(name, "scalar", 0.0, 1.0) for name in NAMES]
        self._values = values
        facts = examples.trained(bands=bands, trained_on=list(trained_on), window_px=32)
        self.ensemble = Ensemble((Trained(network, facts),))
        super().__init__(self.ensemble, "here", (values.shape[1], values.shape[2]))

    def read(self, roi: tuple[slice, slice]) -> Any:
        return self._values[:, roi[0], roi[1]]


class OneNorm(Network):
    """A single BatchNorm on the optical bands: its statistics are those of the bands."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, 2, 4)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        x = self.norm(bands["optical"])
        return Outputs(x, x, None)


def adapted(scene: Held, most: int) -> Network:
    return adabn.adapted(scene.ensemble.members[0], scene, most)


def ground(shape: tuple[int, int] = (256, 320), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_statistics_are_those_of_the_ground_with_data() -> None:
    values = ground((256, 512))
    values[0] = 0.5 + 2 * values[0]
    values[1] -= 1.5
    values[:, :128] = np.nan  # half of the scene is not known
    network = OneNorm()
    network.norm.running_mean, network.norm.num_batches_tracked = (
        torch.tensor([7.0, 7.0]),
        torch.tensor(1000),
    )  # trained
    moved = adapted(Held(values, network), 1000)
    assert isinstance(moved, OneNorm)
    assert not moved.training
    torch.testing.assert_close(moved.norm.running_mean, torch.tensor([0.5, -1.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(moved.norm.running_var, torch.tensor([4.0, 1.0]), atol=0.0, rtol=0.03)


def test_another_gain_and_offset_do_not_show_and_no_weight_moves() -> None:
    class Pixels(Network):
        """Convolution, BatchNorm, convolution, pixel by pixel."""

        def __init__(self) -> None:
            super().__init__(SETTINGS, 2, 4)
            self.body = nn.Sequential(nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))

        def forward(self, bands: Any, contrast: bool = False) -> Outputs:
            logits = self.body(bands["optical"])
            return Outputs(logits, logits, None)

    torch.manual_seed(0)
    network = Pixels().eval()
    before = state(network)
    here = ground()
    there = 0.4 * here + 1

    def answer(values: np.ndarray, most: int) -> torch.Tensor:
        scene = Held(values, network)
        with torch.no_grad():
            return adapted(scene, most)(scene.tensors([scene.read((slice(64), slice(64)))], scene.bands, CPU)).logits

    as_trained, as_adapted = (float((answer(here, n) - answer(there, n)).abs().mean()) for n in (0, 1000))
    assert as_adapted < 0.01 * as_trained
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    weights = dict(adapted(Held(there, network), 1000).named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


@pytest.mark.parametrize(("shape", "most"), [((256, 320), 0), ((256, 320), 31), ((128, 224), 1000)])
def test_too_few_windows_leave_the_network_as_it_is(shape: tuple[int, int], most: int) -> None:
    network = OneNorm()
    there = Held(ground(shape), network)
    assert adapted(there, most) is network
    assert too_small(there.ensemble, there, most) == (most > 0)


def test_ground_that_was_trained_on_leaves_the_network_as_it_is() -> None:
    network = OneNorm()
    assert adapted(Held(ground(), network, ("there", "here")), 1000) is network
    assert adapted(Held(ground(), network), 1000) is not network


def test_unknown_windows_do_not_count() -> None:
    values = ground()
    values[:, 32:] = np.nan
    network = OneNorm()
    assert adapted(Held(values, network), 1000) is network


def test_windows_are_spread_over_the_scene_and_lie_side_by_side() -> None:
    every = spread((256, 320), 32, 1000)
    assert sorted(every) == [(top, left) for top in range(0, 256, 32) for left in range(0, 320, 32)]
    some = spread((256, 320), 32, 20)
    assert len(set(some)) == 20
    assert {top for top, _ in some} >= {0, 224}
    assert some != sorted(some)
    assert spread((10, 10), 32, 5) == [(0, 0)]


def mapped(scene: Held, ensemble: Ensemble, most: int) -> np.ndarray:
    settings = predict.InferenceSettings(
        overlap_frac=0.0, batch_size=5, tta="none", adapt_windows=most, missing_bands="refuse", networks="all"
    )
    return np.concatenate([part.probability for part in predict.predict(scene, ensemble, settings)])


def test_the_map_is_that_of_the_adapted_network() -> None:
    torch.manual_seed(0)
    network = HPCLNet(SETTINGS, 2, 4).eval()
    scene = Held(ground() + 1, network)
    network.to(predict.device())
    own = Held(ground() + 1, adapted(scene, 64))
    np.testing.assert_allclose(mapped(scene, scene.ensemble, 64), mapped(own, own.ensemble, 0), atol=1e-5)
    assert np.abs(mapped(scene, scene.ensemble, 64) - mapped(scene, scene.ensemble, 0)).max() > 0.01
    assert adabn.LEAST_BATCHES * adabn.BATCH <= 64


def test_of_several_networks_those_adapt_that_were_not_trained_in_the_area() -> None:
    torch.manual_seed(0)
    networks = [HPCLNet(SETTINGS, 2, 4).eval() for _ in range(2)]
    there, here = (
        Held(ground() + 1, network, areas).ensemble.members[0]
        for network, areas in zip(networks, (("there",), ("there", "here")), strict=True)
    )
    scene = Held(ground() + 1, networks[0])
    moved = Trained(adapted(scene, 64), there.facts)
    assert moved.network is not networks[0]
    both = Ensemble((there, Trained(networks[1], replace(here.facts, fold=2))))
    expected = Ensemble((moved, both.members[1]))
    np.testing.assert_allclose(mapped(scene, both, 64), mapped(scene, expected, 0), atol=1e-5)
    assert too_small(both, Held(ground((64, 64)), networks[0]), 64)
    assert not too_small(Ensemble(both.members[1:]), Held(ground((64, 64)), networks[0]), 64)
