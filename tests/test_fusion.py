"""Where branches meet: at the input, as one stack, or at the decision, as the mean of networks that never met."""

from typing import Any

import pytest
import torch
from test_model import bands, settings

from hpcl.networks.hpcl_net import HPCLNet, LateFusion
from hpcl.networks.store import build

EIGHT = 8


def fused(fusion: str) -> Any:
    torch.manual_seed(0)
    return build(settings(fusion=fusion), 2, EIGHT).eval()


def changed(x: dict[str, torch.Tensor], branch: str, band: int) -> dict[str, torch.Tensor]:
    """The same ground, but for one band of one branch."""
    other = x[branch].clone()
    other[:, band] += 1.0
    return x | {branch: other}


@torch.no_grad()
def test_a_decision_is_the_mean_of_the_parts_logits() -> None:
    net, x = fused("decision"), bands()
    assert isinstance(net, LateFusion)
    optical, terrain = (net.parts[name]({name: x[name]}).logits for name in ("optical", "terrain"))
    assert not torch.equal(optical, terrain)
    torch.testing.assert_close(net(x).logits, (optical + terrain) / 2)


@torch.no_grad()
def test_a_part_sees_its_own_branch_only() -> None:
    net, x = fused("decision"), bands()
    heard: dict[str, list[torch.Tensor]] = {"optical": [], "terrain": []}
    for name, part in net.parts.items():
        part.register_forward_hook(lambda _, __, out, name=name: heard[name].append(out.logits))
    net(x)
    net(changed(x, "terrain", 0))
    assert torch.equal(*heard["optical"])
    assert not torch.equal(*heard["terrain"])


def test_parts_share_no_weights() -> None:
    net = fused("decision")
    assert not {id(p) for p in net.parts["optical"].parameters()} & {id(p) for p in net.parts["terrain"].parameters()}


@torch.no_grad()
def test_embeddings_of_a_decision_are_the_mean_too_and_asked_alone_are_the_same() -> None:
    net, x = fused("decision"), bands()
    parts = [net.parts[name].embed({name: x[name]}) for name in x]
    embeddings = net(x, contrast=True).embeddings
    assert embeddings is not None
    torch.testing.assert_close(embeddings, sum(parts) / 2)
    torch.testing.assert_close(net.embed(x), embeddings)


def test_a_stack_has_one_encoder_of_all_bands() -> None:
    net = fused("input")
    assert isinstance(net, HPCLNet)
    (encoder,) = net.encoders.values()
    first = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 5


@torch.no_grad()
@pytest.mark.parametrize(("branch", "band"), [("optical", 0), ("optical", 1), *(("terrain", i) for i in range(3))])
def test_a_stack_looks_at_every_band(branch: str, band: int) -> None:
    net, x = fused("input"), bands()
    assert not torch.equal(net(x).logits, net(changed(x, branch, band)).logits)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["input", "decision"])
def test_outputs_have_the_shapes_of_hpcl_net(fusion: str) -> None:
    x = bands((64, 96))
    expected, got = fused("coordinate_attention")(x, contrast=True), fused(fusion)(x, contrast=True)
    assert expected.embeddings is not None
    assert got.embeddings is not None
    assert got.logits.shape == expected.logits.shape == (2, 2, 64, 96)
    assert got.embeddings.shape == expected.embeddings.shape == (2, EIGHT, 8, 12)
    assert fused(fusion)(x).embeddings is None
