import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import pytest
import timm
import torch
from safetensors.torch import save_file

from hpcl.core.artifacts import ArtifactError
from hpcl.core.digest import sha256
from hpcl.core.records import BandFacts, TrainedFacts
from hpcl.networks.hpcl_net import CoordinateAttention, HPCLNet
from hpcl.networks.store import build, load, save
from hpcl.settings.model import ModelError, ModelSettings, WeightFile
from hpcl.training.loop import parameter_groups
from hpcl.training.momentum import MomentumEncoder


def settings(**changes: object) -> ModelSettings:
    numbers = {
        "branches": {"optical": ("red", "green"), "terrain": ("slope", "n_east", "n_north")}, "encoder": "test_resnet",
        "architecture": "hpcl_net", "pretrained": False, "weights": {}, "output_stride": 8, "fusion": "coordinate_attention",
        "fused_channels": 32, "decoder_channels": 16, "dropout": 0.1,
    }  # fmt: skip
    return ModelSettings(**(numbers | changes))  # type: ignore[arg-type]  # values of several kinds


def facts() -> TrainedFacts:
    """What `train` keeps beside the weights, for the bands of these tests."""
    names = ("red", "green", "slope", "n_east", "n_north", "r", "g", "b", "east", "north")
    return examples.trained(bands=[BandFacts(name, "scalar", 0.0, 1.0) for name in names])


def network(classes: int = 2, **changes: object) -> HPCLNet:
    torch.manual_seed(0)
    return HPCLNet(settings(**changes), classes, 8)


def bands(size: tuple[int, int] = (64, 96), batch: int = 2, **channels: int) -> dict[str, torch.Tensor]:
    channels = channels or {"optical": 2, "terrain": 3}
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, n, *size, generator=generator) for name, n in channels.items()}


def test_coordinate_attention_equals_a_plain_loop_on_a_map_that_is_not_square() -> None:
    torch.manual_seed(0)
    attention = CoordinateAttention(16).eval()
    x = torch.randn(2, 16, 5, 9)
    squeeze, norm, act = attention.squeeze
    expected = torch.empty_like(x)
    for b in range(2):
        gates_h = [
            attention.gate_h(act(norm(squeeze(x[b, :, i, :].mean(1).view(1, -1, 1, 1))))).sigmoid().flatten()
            for i in range(5)
        ]
        gates_w = [
            attention.gate_w(act(norm(squeeze(x[b, :, :, j].mean(1).view(1, -1, 1, 1))))).sigmoid().flatten()
            for j in range(9)
        ]
        for i in range(5):
            for j in range(9):
                expected[b, :, i, j] = x[b, :, i, j] * gates_h[i] * gates_w[j]
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize(("stride", "size"), [(8, (64, 96)), (16, (64, 96)), (16, (80, 48))])
def test_output_has_the_pixels_of_the_input_and_hyper_pixels_of_the_stride(stride: int, size: tuple[int, int]) -> None:
    out = network(3, output_stride=stride)(bands(size), contrast=True)
    assert out.logits.shape == (2, 3, *size)
    assert out.embeddings is not None
    assert out.embeddings.shape == (2, 8, size[0] // stride, size[1] // stride)


def test_any_number_of_branches() -> None:
    branches = {"optical": ("a",), "terrain": ("b", "c"), "thermal": ("d",)}
    out = network(branches=branches)(bands(optical=1, terrain=2, thermal=1))
    assert out.logits.shape == (2, 2, 64, 96)


def test_branches_share_no_weights() -> None:
    net = network(branches={"one": ("a", "b"), "two": ("c", "d")})
    held = {id(p) for p in net.encoders["one"].parameters()} & {id(p) for p in net.encoders["two"].parameters()}
    assert not held
    x = bands(one=2, two=2)
    net.eval()
    assert not torch.equal(net(x).logits, net({"one": x["two"], "two": x["one"]}).logits)


def test_attention_can_be_left_out() -> None:
    plain = network(fusion="concat")
    assert not any(isinstance(m, CoordinateAttention) for m in plain.modules())
    assert any(isinstance(m, CoordinateAttention) for m in network().modules())


def test_size_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ModelError, match="multiples of 8"):
        network()(bands((60, 64)))


def test_momentum_encoder_follows_parameters_and_statistics_and_stays_in_evaluation_mode() -> None:
    net = network()
    encoder = MomentumEncoder(net)
    encoder.train()
    assert not encoder.network.training
    start = {k: v.clone() for k, v in encoder.network.state_dict().items()}
    with torch.no_grad():
        for t in [*net.parameters(), *net.buffers()]:
            if t.is_floating_point():
                t.add_(1.0)
    encoder.update(net, 0.9, step=1000)
    for name, value in encoder.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, start[name] + 0.1, msg=name)


@pytest.mark.parametrize(("step", "moved"), [(0, 1.0), (1, 0.5), (9, 0.1), (5000, 0.01)])
def test_momentum_encoder_follows_faster_in_early_steps(step: int, moved: float) -> None:
    net = network()
    encoder = MomentumEncoder(net)
    before = encoder.network.head.weight.clone()
    with torch.no_grad():
        net.head.weight.add_(1.0)
    encoder.update(net, 0.99, step)
    torch.testing.assert_close(
        encoder.network.head.weight - before, torch.full_like(before, moved), rtol=1e-4, atol=1e-5
    )


def test_contrast_head_leaves_the_rest_of_the_network_alone() -> None:
    x = bands()
    net = network().train()
    torch.manual_seed(3)
    plain = net(x).logits
    again = network().train()
    torch.manual_seed(3)
    assert torch.equal(plain, again(x, contrast=True).logits)


@pytest.mark.parametrize("fusion", ["coordinate_attention", "decision"])
def test_heads_are_what_either_loss_does_not_reach(fusion: str) -> None:
    net = build(settings(fusion=fusion), 2, 8).train()
    reached = {}
    for loss in ("logits", "embeddings"):
        net.zero_grad()
        getattr(net(bands(), contrast=True), loss).sum().backward()
        reached[loss] = {id(weight) for weight in net.parameters() if weight.grad is not None}
    every = {id(weight) for weight in net.parameters()}
    assert {id(weight) for weight in net.contrast_head()} == every - reached["logits"]
    assert {id(weight) for weight in net.pixel_head()} == every - reached["embeddings"]


def test_saved_and_loaded_network_gives_the_same_map(tmp_path: Path) -> None:
    net = network().eval()
    save(tmp_path, net, facts())
    trained = load(tmp_path)
    assert torch.equal(net(bands()).logits, trained.network(bands()).logits)
    assert trained.facts.window_px == 64


@pytest.mark.parametrize(
    "changes",
    [{}, {"fusion": "input"}, {"fusion": "decision"}, {"architecture": "Unet"}],
    ids=["attention", "input", "decision", "baseline network"],
)
def test_branches_may_be_named_and_ordered_at_will(changes: dict[str, Any], tmp_path: Path) -> None:
    """Equal shapes would load into each other's place without a word."""
    chosen = settings(branches={"rgb": ("r", "g", "b"), "dem": ("slope", "north", "east")}, **changes)
    net = build(chosen, 2, 8).eval()
    save(tmp_path, net, facts())
    given = bands(rgb=3, dem=3)
    assert torch.equal(net(given).logits, load(tmp_path).network(given).logits)
    assert torch.equal(net(given).logits, net(dict(reversed(given.items()))).logits)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder, network(), facts())
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_weights_that_are_not_those_named_are_refused(tmp_path: Path) -> None:
    save(tmp_path, network(), facts())
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="restore both together"):
        load(tmp_path)


def test_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.json does not exist"):
        load(tmp_path)


def test_unknown_encoder_and_missing_weights_are_sentences(tmp_path: Path) -> None:
    for name in ("no_such_net", "starnet_s1"):  # the second has no dilated form, and says so by an assertion
        with pytest.raises(ModelError, match="timm cannot build it, or not with maps at output stride 8"):
            network(encoder=name)
    with pytest.raises(ModelError, match="is no file"):
        network(weights={"optical": weight_file(tmp_path / "weights.safetensors", sha256="0" * 64)})


def test_pretrained_without_network_is_an_error_not_a_random_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="could not be fetched"):
        network(pretrained=True)


def weight_file(path: Path, **changes: Any) -> WeightFile:
    given: dict[str, Any] = {"file": str(path), "stem": "repeat", "learning_rate_frac": 1.0}
    return WeightFile(**({"sha256": sha256(path)} if path.exists() else {}) | given | changes)


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The weights of an encoder of three colours, as a file and as they are."""
    torch.manual_seed(5)
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors", state


def test_local_weights_are_taken_by_the_branch_that_they_are_named_for(
    weights: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    path, state = weights
    net = network(weights={"one": weight_file(path)}, branches={"one": ("a", "b", "c"), "two": ("d", "e", "f")})
    mine, other = (net.encoders[name].state_dict() for name in ("one", "two"))
    shared = [k for k in mine if k in state and "running" not in k and mine[k].is_floating_point()]
    assert len(shared) > 20
    assert all(torch.equal(mine[k], state[k]) for k in shared)
    assert not torch.equal(other["conv1.0.weight"], state["conv1.0.weight"])
    assert math.isfinite(float(net.eval()(bands(one=3, two=3)).logits.detach().sum()))


@pytest.mark.parametrize("stem", ["repeat", "mean", "random"])
def test_filters_of_three_colours_become_those_of_five_bands(
    stem: str, weights: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    path, state = weights
    net = network(weights={"one": weight_file(path, stem=stem)}, branches={"one": tuple("abcde")})
    mine, colours = net.encoders["one"].state_dict(), state["conv1.0.weight"]
    expected = {
        "repeat": torch.cat([colours, colours[:, :2]], dim=1) * 3 / 5,
        "mean": colours.mean(1, keepdim=True).repeat(1, 5, 1, 1) * 3 / 5,
    }
    if stem == "random":
        found = mine["conv1.0.weight"]
        assert not any(torch.allclose(found, one) for one in expected.values())
        assert 0.01 < float(found.detach().std()) < 1
    else:
        torch.testing.assert_close(mine["conv1.0.weight"], expected[stem])
    assert torch.equal(mine["conv1.3.weight"], state["conv1.3.weight"])


@pytest.mark.parametrize("architecture", ["DeepLabV3Plus", "Unet"])
def test_a_baseline_network_starts_from_the_same_file(
    architecture: str, weights: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    path, state = weights
    asked = settings(architecture=architecture, weights={"stack": weight_file(path)}, branches={"one": ("a", "b", "c")})
    mine = build(asked, 2, 8).body.encoder.model.state_dict()
    assert torch.equal(mine["conv1.0.weight"], state["conv1.0.weight"])
    assert torch.equal(mine["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"])


def test_weights_that_were_not_meant_are_refused(weights: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = weights
    meant = weight_file(path)
    for sentence, changes in {
        "has the SHA-256": {"weights": {"optical": replace(meant, sha256="0" * 64)}},
        "take one of them out": {"weights": {"optical": meant}, "pretrained": True},
        "but the encoders of this network are optical, terrain": {"weights": {"stack": meant}},
        "but the encoders of this network are stack": {"weights": {"optical": meant}, "fusion": "input"},
        "model.weights names 'radar', but the branches are": {"weights": {"optical": meant, "radar": meant}},
    }.items():
        with pytest.raises(ModelError, match=re.escape(sentence)):
            network(**changes)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="write that SHA-256 if it is this one"):
        network(weights={"optical": meant})


def test_a_pretrained_encoder_learns_at_its_own_rate(weights: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = weights
    net = network(weights={"optical": weight_file(path, learning_rate_frac=0.1)})
    groups = {group["learning_rate_frac"]: set(map(id, group["params"])) for group in parameter_groups(net)}
    assert groups[0.1] == set(map(id, net.encoders["optical"].parameters()))
    assert groups[0.1] | groups[1.0] == set(map(id, net.parameters()))
    assert [group["learning_rate_frac"] for group in parameter_groups(network())] == [1.0]


def test_a_trained_network_needs_its_first_weights_no_more(
    weights: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    path, _ = weights
    net = network(weights={"optical": weight_file(path)})
    save(tmp_path / "model", net, facts())
    path.unlink()
    assert load(tmp_path / "model").network.settings.weights == {}
