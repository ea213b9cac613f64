"""Baseline networks: what their library publishes, on all bands stacked, under the same roof as HPCL-Net."""

from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from test_fit import MODEL, recipe
from test_model import bands, facts, settings

from hpcl.networks.smp_models import SmpNetwork
from hpcl.networks.store import build, load, save
from hpcl.settings.model import ModelError
from hpcl.settings.train import FitError
from hpcl.training.dataset import Tiles
from hpcl.training.loop import new_network

ARCHITECTURES = ["DeepLabV3Plus", "Unet", "UPerNet", "Segformer"]


def baseline(architecture: str, classes: int = 2) -> SmpNetwork:
    torch.manual_seed(0)
    network = build(settings(architecture=architecture), classes, 8)
    assert isinstance(network, SmpNetwork)
    return network.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_pixel_has_a_logit_per_class(architecture: str) -> None:
    assert baseline(architecture, classes=3)(bands((64, 96))).logits.shape == (2, 3, 64, 96)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_it_is_the_librarys_own_network(architecture: str) -> None:
    """Made here by the library's own constructor, with the baseline network's weights and the bands stacked by hand."""
    options = {"encoder_output_stride": 8} if architecture == "DeepLabV3Plus" else {}
    own = getattr(smp, architecture)(
        encoder_name="tu-test_resnet", encoder_weights=None, in_channels=5, classes=2, **options
    ).eval()
    mine, x = baseline(architecture), bands((64, 96))
    own.load_state_dict(mine.body.state_dict())
    expected = own(torch.cat([x["optical"], x["terrain"]], dim=1))
    torch.testing.assert_close(mine(x).logits, expected)


@torch.no_grad()
def test_bands_are_stacked_in_the_order_of_the_branches() -> None:
    net, seen = baseline("Unet"), []
    net.body.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net({"optical": torch.full((1, 2, 32, 32), 1.0), "terrain": torch.full((1, 3, 32, 32), 2.0)})
    assert seen[0][0, :, 0, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]


def test_an_unknown_architecture_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match=r"is 'UperNett' \(did you mean UPerNet\?\)"):
        build(settings(architecture="UperNett"), 2, 8)
    with pytest.raises(ModelError, match=r"is 'hpclnet' \(did you mean hpcl_net\?\)"):
        build(settings(architecture="hpclnet"), 2, 8)


def test_an_unknown_architecture_is_told_before_its_lack_of_contrast(tiles_folder: Path) -> None:
    chosen = recipe(weight=0.1, architecture="DeepLabV3plusplus")
    with pytest.raises(ModelError, match="there are hpcl_net, Unet"):
        new_network(chosen, Tiles(tiles_folder, chosen.model.branches, 1))


def test_an_encoder_without_a_dilated_form_is_refused_in_one_sentence() -> None:
    with pytest.raises(ModelError, match="DeepLabV3Plus cannot be built with encoder 'hrnet_w18_small'"):
        build(settings(architecture="DeepLabV3Plus", encoder="hrnet_w18_small"), 2, 8)


def test_there_is_no_contrast_to_ask_for() -> None:
    net = baseline("Unet")
    assert net(bands()).embeddings is None
    with pytest.raises(ModelError, match=r"Unet has no contrast; set contrastive\.weight to 0"):
        net(bands(), contrast=True)
    with pytest.raises(ModelError, match="has no contrast"):
        net.embed(bands())


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_training_it_with_contrast_is_refused_before_it_starts(tiles_folder: Path, weight: float) -> None:
    chosen = recipe(weight=weight)
    tiles = Tiles(tiles_folder, MODEL["branches"], 1)
    chosen = replace(chosen, model=replace(chosen.model, architecture="Unet"))
    if not weight:
        assert isinstance(new_network(chosen, tiles), SmpNetwork)
        return
    with pytest.raises(FitError, match=r"contrastive\.weight"):
        new_network(chosen, tiles)


def test_a_size_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ModelError, match="multiples of 32"):
        baseline("Unet")(bands((48, 64)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_saved_and_loaded_it_gives_the_same_map(architecture: str, tmp_path: Path) -> None:
    net, x = baseline(architecture), bands()
    save(tmp_path, net, facts())
    back = load(tmp_path).network
    assert isinstance(back, SmpNetwork)
    assert torch.equal(net(x).logits, back(x).logits)
