import numpy as np
import torch
import torch.nn.functional as F

from hpcl.explain import Shares, boundary_zone, grad_cam, untrained
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.settings.model import ModelSettings

SETTINGS = ModelSettings(
    architecture="hpcl_net", branches={"optical": ("red", "green"), "terrain": ("slope",)}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="coordinate_attention", fused_channels=16, decoder_channels=16, dropout=0.1,
)  # fmt: skip


def network() -> HPCLNet:
    torch.manual_seed(1)
    return HPCLNet(SETTINGS, 2, 4).eval()


def bands(batch: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "optical": torch.randn(batch, 2, 64, 64, generator=generator),
        "terrain": torch.randn(batch, 1, 64, 64, generator=generator),
    }


def by_hand(net: HPCLNet, x: dict[str, torch.Tensor], mask: torch.Tensor, name: str) -> torch.Tensor:
    """Grad-CAM from its formula, with a hook of our own: weights are mean gradients, the map is the positive part."""
    held: list[torch.Tensor] = []

    def keep(_: object, __: object, output: object) -> None:
        held.append(output[-1] if isinstance(output, list) else output)  # type: ignore[arg-type]  # a tensor or a list of them

    handle = net.layers()[name].register_forward_hook(keep)
    logits = net(x).logits
    handle.remove()
    score = ((logits[:, 1] - logits[:, 0]) * mask).sum()
    (gradient,) = torch.autograd.grad(score, held)
    cam = (held[0] * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).clamp_min(0)
    cam = F.interpolate(cam, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    return (cam / cam.amax((1, 2), keepdim=True).clamp_min(1e-12)).detach()


def test_maps_equal_the_formula_for_every_branch_and_fused() -> None:
    net, x = network(), bands()
    mask = (torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(2)) > 0.7).float()
    got = grad_cam(net, x, mask)
    assert list(got) == ["optical", "terrain", "fused"]
    for name, cam in got.items():
        torch.testing.assert_close(cam, by_hand(net, x, mask, name), rtol=1e-3, atol=1e-4)
    assert sum(int(cam.any()) for cam in got.values()) >= 2


def test_no_hook_is_left_and_no_gradient_gathers() -> None:
    net = network()
    for _ in range(3):
        grad_cam(net, bands(1), torch.ones(1, 64, 64))
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_the_control_has_other_weights_and_other_maps() -> None:
    net = network()
    control = untrained(net, seed=5)
    assert not torch.equal(control.head.weight, net.head.weight)
    assert torch.equal(control.head.weight, untrained(net, seed=5).head.weight)
    a, b = (grad_cam(n, bands(), torch.ones(3, 64, 64)) for n in (net, control))
    assert any(not torch.allclose(a[k], b[k]) for k in a)


def test_zone_is_within_a_block_of_the_boundary_and_not_at_the_edge_of_knowledge() -> None:
    landslide = np.zeros((40, 40), bool)
    landslide[:, :20] = True
    known = np.ones((40, 40), bool)
    zone = boundary_zone(landslide, known, 4)
    assert zone[:, 16:24].all()
    assert not zone[:, :16].any()
    assert not zone[:, 24:].any()
    assert not boundary_zone(landslide, landslide, 4).any()


def test_shares_of_a_planted_map() -> None:
    share = Shares()
    zone = np.zeros((10, 10), bool)
    zone[:2] = True
    cam = np.where(zone, 3.0, 1.0).astype(np.float32)
    share.add(cam, zone, np.ones_like(zone))
    facts = share.facts()
    assert facts.boundary_attention_frac == 60 / 140
    assert facts.boundary_ground_frac == 0.2
    share.add(np.zeros_like(cam), zone, np.ones_like(zone))
    assert share.facts().blank_windows == 1
