"""The answers of several networks about windows, composed pixel by pixel: the network of its fold, or the mean of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from hpcl.core.codes import ALL_NETWORKS, NO_NETWORK
from hpcl.core.records import BandFacts, Sun
from hpcl.inference.adabn import adapted
from hpcl.inference.scene import Scene
from hpcl.inference.without_batch_norm import without_batch_norm
from hpcl.networks.base import Network
from hpcl.networks.d4 import turn, turn_back
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import InferenceSettings

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """A ``raw`` window ``(band, row, column)``, and the code of the network that is to map each pixel ``(row, column)``, or
    `NO_NETWORK`. It may go beyond the scene, where there is none."""

    raw: Float32
    networks: Codes


@dataclass(frozen=True)
class Voice:
    """What one network says in a map: with which ``shares`` it counts and by which ``temperatures`` its logits are divided,
    each by the code of the network that is to map a pixel."""

    network: Network
    bands: Sequence[BandFacts]
    shares: Float32
    temperatures: Float32

    def asked(self, networks: Codes) -> bool:
        """Whether it has a say in any pixel of a window."""
        return bool(self.shares[networks].any())


def voices(ensemble: Ensemble, scene: Scene, settings: InferenceSettings, where: torch.device) -> list[Voice]:
    """All networks, ready to map: on the device, with the batch statistics that suit the scene."""
    known = [ensemble.temperatures.elsewhere, *ensemble.temperatures.by_fold]  # as codes count
    temperatures = np.ones(NO_NETWORK + 1, np.float32)
    temperatures[: len(known)] = known
    found = []
    for number, member in enumerate(ensemble.members):
        network = member.network.to(where).to(memory_format=torch.channels_last).eval()
        network = adapted(replace(member, network=network), scene, settings.adapt_windows)
        network = without_batch_norm(network, member.facts.window_px).to(where).to(memory_format=torch.channels_last)
        found.append(Voice(network, member.facts.bands, shares(number, ensemble, settings), temperatures))
    return found


def shares(number: int, ensemble: Ensemble, settings: InferenceSettings) -> Float32:
    """How much each pixel's probability owes to one of the networks, by the code of the network that is to map it."""
    by_code = np.zeros(NO_NETWORK + 1, np.float32)
    if settings.networks == "all":
        by_code[ALL_NETWORKS] = 1 / len(ensemble.members)
    elif number == 0:
        by_code[ALL_NETWORKS] = 1
    by_code[number + 1] = 1
    return by_code


@torch.inference_mode()
def composed(
    voices: Sequence[Voice], scene: Scene, windows: Sequence[Window], ways: Sequence[tuple[int, bool]], sun: Sun
) -> Float32:
    """What is blended of each window, ``(window, layer, row, column)``: the probability of every class but background, and
    last the square of their sum; at each pixel from the networks that are to map it, the mean over all ways to turn the
    window. Every network sees those of the windows that it has a say in."""
    shape = windows[0].networks.shape
    found = np.zeros((len(windows), voices[0].network.classes, *shape), np.float32)
    for voice in voices:
        asked = [number for number, window in enumerate(windows) if voice.asked(window.networks)]
        if asked:
            found[asked] += _answers(voice, scene, [windows[number] for number in asked], ways, sun)
    return found


def _answers(
    voice: Voice, scene: Scene, windows: Sequence[Window], ways: Sequence[tuple[int, bool]], sun: Sun
) -> Float32:
    """What one network adds to windows: its layers times its share, nothing where it has none."""
    where = next(voice.network.parameters()).device
    codes = np.stack([window.networks for window in windows])[:, None]
    shares, temperatures = (
        torch.from_numpy(by_code[codes]).to(where) for by_code in (voice.shares, voice.temperatures)
    )
    answers = []
    for quarters, mirror in ways:
        raw = [turn(w.raw, scene.bands, quarters, mirror, sun) if len(ways) > 1 else w.raw for w in windows]
        logits = voice.network(scene.tensors(raw, voice.bands, where)).logits.float()
        classes = (turn_back(logits, quarters, mirror) / temperatures).softmax(1)[:, 1:]
        answers.append(torch.cat([classes, classes.sum(1, keepdim=True).square()], dim=1))
    mean = torch.stack(answers).mean(0) if len(answers) > 1 else answers[0]
    # A choice, not a product: nothing of another network may come through, not even what is no number.
    return torch.where(shares > 0, shares * mean, 0).contiguous().cpu().numpy()
