"""Maps by several networks: ground in a fold by the one that never saw it, other ground by the mean of all; and what is refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
import torch
from torch import nn

from hpcl.core.artifacts import ArtifactError, read_json, write_json
from hpcl.core.codes import ALL_NETWORKS, NO_NETWORK, OUTSIDE
from hpcl.core.records import BandFacts, FoldedArea, ModelFacts, Sun, Temperatures
from hpcl.inference import compose, predict, scene
from hpcl.networks import store, temperature
from hpcl.networks.base import Network, Outputs
from hpcl.networks.ensemble import Ensemble, load
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.networks.store import Trained
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelError, ModelSettings

MODEL = ModelSettings(
    architecture="hpcl_net", branches={"optical": ("red", "green"), "terrain": ("slope",)}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="concat", fused_channels=8, decoder_channels=8, dropout=0.0,
)  # fmt: skip
NAMES = ("red", "green", "slope")
SHAPE = (96, 160)
FOLDED = examples.tiled_area(0, 1, 2, OUTSIDE, shape=list(SHAPE), lefts=[0, 40, 90, 130])
OWN = [(slice(None), slice(0, 40)), (slice(None), slice(40, 90)), (slice(None), slice(90, 130))]
ELSEWHERE = (slice(None), slice(130, None))
TEMPERATURES = (0.5, 1.0, 3.0)
"""That suit the ground of each fold."""


class Tilted(Network):
    """A network whose answer at a pixel depends on this pixel, on how strongly it takes it, and on the window's upper left corner."""

    def __init__(self, gain: float) -> None:
        super().__init__(MODEL, 2, 4)
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        red = bands["optical"][:, :1]
        tilted = self.gain * red + 0.3 * red[:, :, :1, :1]
        return Outputs(torch.cat([-tilted, tilted], 1), red, None)


class Memory(scene.Scene):
    """A scene in memory with a hole."""

    def __init__(self, ensemble: Ensemble, area: str = "valley") -> None:
        self.values = np.random.default_rng(0).normal(1, 2, (3, *SHAPE)).astype(np.float32)
        self.values[:, 10:30, 60:110] = np.nan
        super().__init__(ensemble, area, SHAPE)

    def read(self, roi: tuple[slice, slice]) -> Any:
        return self.values[:, roi[0], roi[1]]


def member(fold: int, network: Network, areas: dict[str, FoldedArea] | None = None, **changes: Any) -> Trained:
    """The network of a fold; each has normalised by statistics of its own."""
    bands = [BandFacts(name, "scalar", 0.5 * fold, 1.0 + fold) for name in NAMES]
    given: dict[str, Any] = {
        "bands": bands, "window_px": 64, "fold": fold, "folds": 3, "areas": {"valley": FOLDED} if areas is None else areas,
        "held": examples.held(TEMPERATURES[fold - 1]),
    }  # fmt: skip
    return Trained(network.eval(), examples.trained(**given | changes))


def tilted(**changes: Any) -> Ensemble:
    return Ensemble(tuple(member(fold, Tilted(gain), **changes) for fold, gain in ((1, 0.5), (2, 1.0), (3, -2.0))))


def real(seeds: tuple[int, ...] = (1, 2, 3)) -> Ensemble:
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(HPCLNet(MODEL, 2, 4))
    return Ensemble(tuple(member(fold, network) for fold, network in enumerate(networks, start=1)))


def mapped(ensemble: Ensemble, area: str = "valley", **changes: Any) -> dict[str, np.ndarray]:
    given: dict[str, Any] = {
        "overlap_frac": 0.5, "batch_size": 3, "tta": "none", "adapt_windows": 0, "missing_bands": "refuse", "networks": "all",
    }  # fmt: skip
    out = {name: np.full(SHAPE, -1.0, np.float32) for name in ("probability", "uncertainty", "networks")}
    for part in predict.predict(Memory(ensemble, area), ensemble, InferenceSettings(**given | changes)):
        for name, layer in out.items():
            layer[part.roi] = getattr(part, name)
    return out


def alone(trained: Trained, temperature: float, **changes: Any) -> dict[str, np.ndarray]:
    """The map of one network, with this temperature, as if there were no folds."""
    facts = replace(trained.facts, areas={}, held=examples.held(temperature))
    return mapped(Ensemble((Trained(trained.network, facts),)), **changes)


@pytest.mark.parametrize("make", [tilted, real])
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_each_fold_is_what_its_network_says_alone_and_other_ground_the_mean(
    make: Callable[[], Ensemble], tta: str
) -> None:
    ensemble = make()
    own, rest = ensemble.temperatures.by_fold, ensemble.temperatures.elsewhere
    got = mapped(ensemble, tta=tta)
    hole = np.zeros(SHAPE, bool)
    hole[10:30, 60:110] = True
    np.testing.assert_array_equal(np.isnan(got["probability"]), hole)
    for code, ground in enumerate(OWN):
        expected = alone(ensemble.members[code], own[code], tta=tta)
        np.testing.assert_allclose(got["probability"][ground], expected["probability"][ground], atol=1e-5)
        np.testing.assert_allclose(got["uncertainty"][ground] ** 2, expected["uncertainty"][ground] ** 2, atol=1e-5)
        assert (got["networks"][ground] == np.where(hole[ground], NO_NETWORK, code + 1)).all()
    all_ = [alone(one, rest, tta=tta) for one in ensemble.members]
    mean = np.mean([one["probability"] for one in all_], axis=0)
    square = np.mean([one["probability"] ** 2 + one["uncertainty"] ** 2 for one in all_], axis=0)
    np.testing.assert_allclose(got["probability"][ELSEWHERE], mean[ELSEWHERE], atol=1e-5)
    np.testing.assert_allclose(got["uncertainty"][ELSEWHERE] ** 2, (square - mean**2)[ELSEWHERE], atol=1e-5)
    assert (got["networks"][ELSEWHERE] == 0).all()
    between = np.std([one["probability"] for one in all_], axis=0)
    assert (got["uncertainty"][ELSEWHERE] >= between[ELSEWHERE] - 1e-3).all()


def test_a_new_area_is_mapped_by_the_mean_or_by_the_first_alone() -> None:
    ensemble = tilted()
    rest = ensemble.temperatures.elsewhere
    mean = np.mean([alone(one, rest)["probability"] for one in ensemble.members], axis=0)
    got = mapped(ensemble, "other")
    np.testing.assert_allclose(got["probability"], mean, atol=1e-6)
    np.testing.assert_array_equal(got["networks"], np.where(np.isnan(got["probability"]), NO_NETWORK, ALL_NETWORKS))
    first = alone(ensemble.members[0], rest)
    one = mapped(ensemble, "other", networks="one")
    np.testing.assert_array_equal(one["probability"], first["probability"])
    np.testing.assert_array_equal(one["uncertainty"], first["uncertainty"])


def test_those_in_a_hurry_get_the_folds_as_all_others_do() -> None:
    ensemble = tilted()
    hurried, whole = (mapped(ensemble, networks=networks)["probability"] for networks in ("one", "all"))
    for ground in OWN:
        np.testing.assert_array_equal(hurried[ground], whole[ground])
    first = alone(ensemble.members[0], ensemble.temperatures.elsewhere)["probability"]
    np.testing.assert_array_equal(hurried[ELSEWHERE], first[ELSEWHERE])


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_ground_in_a_fold_owes_nothing_to_other_networks(fold: int) -> None:
    before, ground = mapped(real()), OWN[fold - 1]
    seeds = tuple(seed if seed == fold else 10 + seed for seed in (1, 2, 3))
    after = mapped(real(seeds))
    broken = real()
    for other in broken.members:
        if other.facts.fold != fold:
            nn.init.constant_(next(other.network.parameters()), float("nan"))
    for changed in (after, mapped(broken)):
        for name in ("probability", "uncertainty"):
            assert before[name][ground].tobytes() == changed[name][ground].tobytes()
    for code, other_ground in enumerate(OWN):
        if code + 1 != fold:
            assert np.nanmax(np.abs(before["probability"][other_ground] - after["probability"][other_ground])) > 1e-3


def test_no_window_is_shown_to_a_network_that_has_no_say_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    ensemble = tilted()
    plain = Tilted.forward
    fold_of = {id(one.network): one.facts.fold for one in ensemble.members}

    def forward(network: Tilted, bands: Any, contrast: bool = False) -> Outputs:
        seen.extend([fold_of[id(network)]] * len(bands["optical"]))
        return plain(network, bands)

    monkeypatch.setattr(Tilted, "forward", forward)
    monkeypatch.setattr(compose, "without_batch_norm", lambda network, _: network)  # which shows noise to a copy
    mapped(ensemble)
    lefts, tops = (0, 32, 64, 96), (0, 32)
    asked = {1: (0, 32), 2: (0, 32, 64), 3: (32, 64, 96)}  # no window at 96 reaches into fold 2, nor one at 64 into 1
    everyone = [left for left in lefts if left + 64 > 130]
    assert everyone == [96]
    for fold, columns in asked.items():
        assert seen.count(fold) == len(tops) * len({*columns, *everyone})


@pytest.mark.parametrize("make", [tilted, real])
@pytest.mark.parametrize(("batch_size", "panel_px", "threads"), [(1, 8192, 1), (16, 8192, 3), (2, 64, 2), (5, 96, 1)])
def test_how_windows_are_packed_does_not_show(
    make: Callable[[], Ensemble], batch_size: int, panel_px: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = mapped(make())
    monkeypatch.setattr(predict, "PANEL_PX", panel_px)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    other = mapped(make(), batch_size=batch_size)
    np.testing.assert_allclose(other["probability"], plain["probability"], atol=1e-5)
    np.testing.assert_allclose(other["uncertainty"] ** 2, plain["uncertainty"] ** 2, atol=1e-5)
    np.testing.assert_array_equal(other["networks"], plain["networks"])


def test_the_temperature_of_a_fold_is_that_of_the_others() -> None:
    found = tilted().temperatures
    # The example's loss is square in the logarithm, so that the best of several is the geometric mean.
    np.testing.assert_allclose(found.by_fold, [3**0.5, 1.5**0.5, 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(found.elsewhere, 1.5 ** (1 / 3), rtol=1e-6)
    ours = tilted()
    moved = replace(ours.members[1].facts, held=examples.held(2.0))
    changed = Ensemble((ours.members[0], Trained(ours.members[1].network, moved), ours.members[2])).temperatures
    assert changed.by_fold[1] == found.by_fold[1]
    assert changed.by_fold[0] != found.by_fold[0]


@pytest.mark.parametrize(("beyond", "end", "how"), [(60.0, "5", "sure"), (5.5, "5", "sure"), (0.01, "0.2", "unsure")])
def test_a_temperature_that_may_lie_beyond_those_tried_is_told(beyond: float, end: str, how: str) -> None:
    sound = temperature.best([examples.held(2.0)])
    at_end = temperature.best([examples.held(beyond)])
    assert temperature.findings(Temperatures(by_fold=[sound, 4.9, 0.21], elsewhere=sound)) == []
    (told,) = temperature.findings(Temperatures(by_fold=[sound, at_end], elsewhere=at_end))
    assert f"for fold 2, ground outside all folds came out at {end}," in told
    assert f"far too {how}," in told


def test_what_a_map_costs_is_said_before() -> None:
    settings: dict[str, Any] = {"overlap_frac": 0.5, "batch_size": 3, "adapt_windows": 0, "missing_bands": "refuse"}

    def passes(area: str, **changes: Any) -> float:
        given = {"tta": "none", "networks": "all"} | settings | changes
        ensemble = tilted()
        return predict.passes_per_window(Memory(ensemble, area), ensemble, InferenceSettings(**given))

    assert passes("other") == 3
    assert passes("other", networks="one") == 1
    assert passes("other", tta="d4") == 24
    assert passes("valley") == pytest.approx((2 + 3 + 2 + 3) / 4, abs=0.15)  # columns of windows


# ---- what is no ensemble ---------------------------------------------------------------------------------------------


def save(folder: Path, count: int = 3) -> Path:
    for one in real().members[:count]:
        store.save(folder / str(one.facts.fold), one.network, one.facts)
    return folder


def test_networks_come_back_in_the_order_of_their_folds_and_leftovers_do_not(tmp_path: Path) -> None:
    folder = save(tmp_path)
    shutil.copytree(folder / "1", folder / "4")  # of a training with more folds
    found, given = load(folder), real()
    assert [one.facts for one in found.members] == [read_json(folder / n / store.FACTS, ModelFacts) for n in "123"]
    np.testing.assert_array_equal(mapped(found)["probability"], mapped(given)["probability"])
    shas = [one.weights_sha256 for one in found.members]
    assert len({*shas, found.weights_sha256}) == 4
    assert len(found.weights_sha256) == 64


@pytest.mark.parametrize("lost", ["1", "2", "3"])
@pytest.mark.parametrize("file", [store.FACTS, store.WEIGHTS])
def test_a_network_that_is_missing_is_named(tmp_path: Path, lost: str, file: str) -> None:
    (save(tmp_path) / lost / file).unlink()
    with pytest.raises((ModelError, ArtifactError), match=rf"{lost}/{file} does not exist"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 4}, "their number of folds"),
        ({"classes": ["debris"]}, "their classes"),
        ({"window_px": 32}, "their window_px"),
        ({"sun": Sun(1.0, 2.0)}, "the sun"),
        ({"areas": {}}, "the areas that they divide"),
        ({"areas": {"valley": replace(FOLDED, folds=[1, 0, 2, OUTSIDE])}}, "the areas that they divide"),
        ({"bands": [BandFacts(name, "scalar", 0.0, 1.0) for name in (*NAMES, "more")]}, "their bands"),
    ],
)
def test_networks_of_two_trainings_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = save(tmp_path) / "2" / store.FACTS
    write_json(path, replace(read_json(path, ModelFacts), **changes), digits=None)
    with pytest.raises(ModelError, match=rf"folds 1 and 2 differ in {said}.*dvc repro -s -f train"):
        load(tmp_path)


def test_networks_of_other_settings_are_refused() -> None:
    one, two, three = real().members
    other = HPCLNet(replace(MODEL, decoder_channels=16), 2, 4)
    with pytest.raises(ModelError, match="differ in the section model"):
        Ensemble((one, Trained(other, two.facts), three))


def test_a_network_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path)
    shutil.rmtree(folder / "2")
    shutil.copytree(folder / "3", folder / "2")
    with pytest.raises(ModelError, match=r"2/model\.json is that of the network of fold 3"):
        load(folder)


def test_some_of_the_networks_map_no_ground_in_folds() -> None:
    members = real().members
    for some in (members[:2], members[::-1], members[1:]):
        with pytest.raises(ModelError, match="a map needs the network of every fold"):
            Ensemble(some)
    no_folds = tuple(member(fold, Tilted(1.0), areas={}) for fold in (1, 2))
    assert set(np.unique(mapped(Ensemble(no_folds))["networks"])) == {ALL_NETWORKS, NO_NETWORK}
