from dataclasses import replace
from pathlib import Path

import examples
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hpcl.core.artifacts import read_json
from hpcl.core.codes import TEST_AREA
from hpcl.core.records import TiledArea, TileFacts
from hpcl.explain import Shares, boundary_zone, grad_cam, untrained
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.hpcl_net import HPCLNet
from hpcl.networks.store import Trained
from hpcl.settings.model import ModelError, ModelSettings
from hpcl.tiles import stored
from stages import explain as stage

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


def test_a_window_is_shown_to_the_network_that_never_saw_it(
    tiles_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "TILES", tiles_folder)
    tiles = read_json(tiles_folder / "facts.json", TileFacts)
    area = tiles.areas["place"]
    places = stage._places("place", tiles, (256, 256), 64, 100)
    assert {place.network for place in places} == {1, 2}
    for place in places:
        rows, columns = stage._inside(place, 64, (256, 256))
        assert (area.codes(rows, columns) == place.network - 1).all()
    assert len({(place.row_px, place.column_px) for place in places}) == len(places) == 16
    assert stage._places("place", tiles, (256, 256), 64, 3) == places[:3]


def test_ground_without_folds_is_shown_to_the_first_network(tiles_folder: Path) -> None:
    tiles = read_json(tiles_folder / "facts.json", TileFacts)
    test = replace(tiles, areas={"place": replace(tiles.areas["place"], folds=[TEST_AREA, TEST_AREA])})
    for name, facts in (("place", test), ("elsewhere", tiles)):
        places = stage._places(name, facts, (256, 256), 64, 4)
        assert [(place.row_px, place.network) for place in places] == [(0, 1), (64, 1), (128, 1), (192, 1)]


def test_networks_of_other_folds_than_the_tiles_are_refused() -> None:
    grid, image = stored.grid(examples.tiled_area(0, 1)), Path("image.tif")

    def check(tiled: TiledArea, held: TiledArea | None) -> None:
        areas = {"valley": held} if held else {}
        members = (Trained(network(), examples.trained(fold=fold, areas=areas)) for fold in (1, 2))
        stage._check_tiles("valley", tiled, Ensemble(tuple(members)), image, grid)

    check(examples.tiled_area(0, 1), examples.tiled_area(0, 1))
    check(examples.tiled_area(TEST_AREA, TEST_AREA), None)
    for held in (examples.tiled_area(1, 0), examples.tiled_area(0, 1, lefts=[0, 90]), None):
        with pytest.raises(ModelError, match="not trained on the folds"):
            check(examples.tiled_area(0, 1), held)
