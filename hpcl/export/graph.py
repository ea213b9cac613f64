"""The networks that map new ground as one ONNX graph: raw bands of a window in, probabilities out.

Normalisation by each network's own statistics, branches, temperature and the mean over the networks are inside, so that
another program needs no more than the bands. Test-time augmentation, AdaBN and the blending of windows are not.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from hpcl.core.codes import ALL_NETWORKS
from hpcl.export.form import CLASSES, INPUT, LANDSLIDE, NODATA, outputs
from hpcl.inference.compose import shares
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import CLIP_STD
from hpcl.networks.store import Trained
from hpcl.settings.inference import InferenceSettings

OPSET = 17
"""Of 2022, which the programs read that people have."""


class Normalised(nn.Module):
    """One network behind the normalisation with its statistics: raw bands in, logits out."""

    mean: Tensor
    std: Tensor

    def __init__(self, member: Trained) -> None:
        super().__init__()
        self.network = member.network
        self.branches = _places(member.facts.band_names, member.network.settings.branches)
        mean, std = (torch.tensor(values)[:, None, None] for values in _statistics(member))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, raw: Tensor) -> Tensor:
        """Logits; what `hpcl.networks.normalise` does, in torch."""
        clean = ((raw - self.mean) / self.std).clamp(-CLIP_STD, CLIP_STD)
        clean = torch.where(torch.isnan(raw), torch.zeros_like(raw), clean)
        logits: Tensor = self.network({name: clean[:, place] for name, place in self.branches.items()}).logits
        return logits


class NewGround(nn.Module):
    """What maps ground that lies in no fold: the networks that have a share in it, at the temperature of such ground."""

    def __init__(self, ensemble: Ensemble, settings: InferenceSettings) -> None:
        super().__init__()
        by_number = [float(shares(n, ensemble, settings)[ALL_NETWORKS]) for n in range(len(ensemble.members))]
        self.shares = [share for share in by_number if share]
        self.networks = nn.ModuleList(
            Normalised(member) for member, share in zip(ensemble.members, by_number, strict=True) if share
        )
        self.temperature = ensemble.temperatures.elsewhere
        self.branches = list(_places(ensemble.facts.band_names, ensemble.members[0].network.settings.branches).values())

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Probability of landslide ``(window, 1, row, column)``; of several classes also that of background and each of them."""
        answers = [
            share * (network(raw) / self.temperature).softmax(1)
            for share, network in zip(self.shares, self.networks, strict=True)
        ]
        mean = torch.stack(answers).sum(0)
        known = torch.ones_like(raw[:, :1], dtype=torch.bool)
        for place in self.branches:
            known = known & ~torch.isnan(raw[:, place]).all(1, keepdim=True)
        landslide = mean[:, 1:].sum(1, keepdim=True)
        layers = (landslide,) if mean.shape[1] == 2 else (landslide, mean)
        return tuple(torch.where(known, layer, torch.full_like(layer, NODATA)) for layer in layers)


def onnx_model(ensemble: Ensemble, settings: InferenceSettings, metadata: Mapping[str, str]) -> bytes:
    """The graph as a file: input ``(window, band, row, column)``, any number of windows.

    Their size is that of the training: coordinate attention and pooled features take in the whole window, so that another
    size would be answered, but otherwise than the scores say.
    """
    window_px, names = ensemble.facts.window_px, outputs(ensemble.facts.classes)
    example = torch.zeros((2, len(ensemble.facts.bands), window_px, window_px))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        file = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs onnxscript and onnx-ir
        warnings.simplefilter("ignore", TracerWarning)  # the window's size is frozen, as it should be
        torch.onnx.export(
            NewGround(ensemble, settings).cpu().eval(),
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={name: {0: "window"} for name in (INPUT, *names)},
        )
        model = onnx.load(file)
    channels = {LANDSLIDE: 1, CLASSES: len(ensemble.facts.classes) + 1}
    for output in model.graph.output:  # a trace leaves some sides without their length
        for side, length in zip(
            output.type.tensor_type.shape.dim[1:], (channels[output.name], window_px, window_px), strict=True
        ):
            side.dim_value = length
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _statistics(member: Trained) -> tuple[list[float], list[float]]:
    return [band.mean for band in member.facts.bands], [band.std for band in member.facts.bands]


def _places(names: Sequence[str], branches: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    return {branch: [names.index(band) for band in bands] for branch, bands in branches.items()}
