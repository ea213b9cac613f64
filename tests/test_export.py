"""What leaves the project gives other programs the pipeline's own numbers: the graph and its metadata."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import numpy as np
import onnxruntime
import pytest
import torch
from jaxtyping import config

from hpcl.core.records import BandFacts
from hpcl.export import check, deepness
from hpcl.export.form import NODATA
from hpcl.export.graph import onnx_model
from hpcl.inference.scene import Scene
from hpcl.networks import store
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.store import Trained
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelSettings

MODEL = ModelSettings(
    architecture="hpcl_net", branches={"terrain": ("n_east", "slope"), "optical": ("red", "green")}, encoder="test_resnet",
    pretrained=False, weights={}, output_stride=8, fusion="coordinate_attention", fused_channels=8, decoder_channels=8, dropout=0.1,
)  # fmt: skip
NAMES = ("red", "green", "slope", "n_east")
SETTINGS = InferenceSettings(
    overlap_frac=0.5, batch_size=3, tta="d4", adapt_windows=256, missing_bands="refuse", networks="all"
)
THRESHOLDS = {"recall 0.9": 0.3, "best_iou": 0.5}
PX = 64


def ensemble(folds: int = 2, classes: tuple[str, ...] = ("landslide",), **changes: Any) -> Ensemble:
    members = []
    for fold in range(1, folds + 1):
        torch.manual_seed(fold)
        network = store.build(replace(MODEL, **changes), len(classes) + 1, 4)
        for name, values in network.state_dict().items():
            if "running" in name:  # as after a training, so that no layer is the identity
                values.uniform_(0.5, 1.5)
        with torch.no_grad():  # as they begin, these networks answer one number everywhere
            for values in network.parameters():
                values.uniform_(0.1, 1.0) if values.ndim == 1 else values.normal_(0, 2 / values[0].numel() ** 0.5)
        bands = [BandFacts(name, "scalar", 10.0 * fold, 2.0 + fold) for name in NAMES]
        facts = examples.trained(
            bands=bands, classes=list(classes), window_px=PX, fold=fold, folds=folds, held=examples.held(0.5 * fold)
        )
        members.append(Trained(network.eval(), facts))
    return Ensemble(tuple(members))


class Memory(Scene):
    """A scene in memory: bands are missing alone, one branch at a time, and all together; one pixel is a spike."""

    def __init__(self, model: Ensemble, shape: tuple[int, int] = (100, 150)) -> None:
        self.values = np.random.default_rng(1).normal(12, 4, (len(NAMES), *shape)).astype(np.float32)
        self.values[0, 5:20, 5:20] = np.nan
        self.values[2:, 30:50, 20:60] = np.nan
        self.values[:, :, 120:130] = np.nan
        self.values[1, 70, 70] = 1e6
        super().__init__(model, "valley", shape)

    def read(self, roi: tuple[slice, slice]) -> Any:
        return self.values[:, roi[0], roi[1]]


def exported_of(model: Ensemble) -> bytes:
    """The graph. While it is traced, sides are tensors, which the tests' check of shapes and types would refuse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "jaxtyping_disable", True)
        return onnx_model(model, SETTINGS, told(model))


def told(model: Ensemble) -> dict[str, str]:
    return deepness.metadata(model.facts, 0.5, THRESHOLDS, "ab" * 32)


@pytest.fixture(scope="module")
def plain() -> tuple[Ensemble, bytes]:
    """Two folds and one class, exported once."""
    model = ensemble()
    return model, exported_of(model)


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({}, ("debris", "rock fall")),
        ({"fusion": "decision"}, ("landslide",)),
        ({"architecture": "DeepLabV3Plus", "output_stride": 16}, ("landslide",)),
    ],
)
def test_the_graph_gives_the_pipelines_probabilities(changes: dict[str, Any], classes: tuple[str, ...]) -> None:
    model = ensemble(1 if changes else 2, classes, **changes)
    exported = exported_of(model)
    assert check.difference(exported, Memory(model), model, SETTINGS) < 1e-5
    found = check.answers(exported, windows(2))["landslide"]
    assert np.ptp(found[found >= 0]) > 0.3  # a constant would be equal to anything


def windows(count: int) -> np.ndarray:
    values = np.random.default_rng(count).normal(12, 4, (count, len(NAMES), PX, PX)).astype(np.float32)
    values[:, 2:, :8, :9] = np.nan
    values[-1, 0, 10:40] = np.nan
    return values


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_windows_equals_networks_asked_one_by_one(plain: tuple[Ensemble, bytes], count: int) -> None:
    """Against NumPy and the bare networks, without the pipeline's own composing."""
    model, exported = plain
    raw, expected = windows(count), np.zeros((count, 1, PX, PX))
    for member in model.members:
        mean, std = (np.array([getattr(b, of) for b in member.facts.bands])[:, None, None] for of in ("mean", "std"))
        clean = torch.from_numpy(np.nan_to_num(np.clip((raw - mean) / std, -6, 6)).astype(np.float32))
        with torch.inference_mode():
            logits = member.network({"optical": clean[:, :2], "terrain": clean[:, [3, 2]]}).logits
        expected += (logits / model.temperatures.elsewhere).softmax(1)[:, 1:].numpy() / len(model.members)
    expected[:, :, :8, :9] = NODATA
    got = check.answers(exported, raw)
    assert list(got) == ["landslide"]
    np.testing.assert_allclose(got["landslide"], expected, atol=1e-5)


def test_a_graph_of_other_weights_is_found_out(plain: tuple[Ensemble, bytes]) -> None:
    model, exported = plain
    torch.manual_seed(7)
    other = Ensemble((model.members[0], replace(model.members[1], network=store.build(MODEL, 2, 4).eval())))
    for wrong in (other, Ensemble(model.members[:1])):
        assert check.difference(exported, Memory(wrong), wrong, SETTINGS) > check.TOLERANCE
    hurried = replace(SETTINGS, networks="one")
    assert check.difference(exported, Memory(model), model, hurried) > check.TOLERANCE


def test_deepness_reads_what_it_needs_and_gets_the_pipelines_landslides(plain: tuple[Ensemble, bytes]) -> None:
    """The plugin's own arithmetic, step by step: divide by 255, standardise, run, set what is below the threshold to 0."""
    model, exported = plain
    session = onnxruntime.InferenceSession(exported)
    keys = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert (given.shape[1:], output.shape[1:]) == ([len(NAMES), PX, PX], [1, PX, PX])
    assert isinstance(given.shape[0], str)
    assert given.shape[0] == output.shape[0]
    assert keys["model_type"] == "Segmentor"
    assert keys["class_names"] == {"0": "background", "1": "landslide"}
    assert (keys["resolution"], keys["tile_size"], keys["tiles_overlap"], keys["seg_thresh"]) == (200, PX, 50, 0.3)
    assert keys["hpcl_bands"] == list(NAMES)
    raw = windows(2)
    read = np.float32(raw.transpose(0, 2, 3, 1) * 1.0 / 255.0)
    mean, std = (np.array(keys[f"standardization_{of}"], np.float32) for of in ("mean", "std"))
    result = session.run(None, {given.name: ((read - mean) / std).transpose(0, 3, 1, 2)})[0]
    result[result < keys["seg_thresh"]] = 0
    ours = check.pipeline(Memory(model), raw, model, SETTINGS)["landslide"]
    sure = np.abs(ours - 0.3) > 1e-4  # the division loses a bit
    np.testing.assert_array_equal((result != 0)[sure], (ours >= 0.3)[sure])
    assert sure.mean() > 0.99
    assert not (result[:, :, :8, :9] != 0).any()


def test_equal_networks_are_equal_bytes_and_name_no_folder(plain: tuple[Ensemble, bytes]) -> None:
    _, exported = plain
    assert exported_of(ensemble()) == exported
    assert str(Path(__file__).parents[1]).encode() not in exported
