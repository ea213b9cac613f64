"""Networks by their settings: built, saved, loaded. Facts travel with the weights, and nothing is unpickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hpcl.core.artifacts import read_json, remedy, replacing, unwritten, write_json
from hpcl.core.digest import sha256
from hpcl.core.records import ModelFacts, TrainedFacts
from hpcl.networks.base import Network
from hpcl.networks.hpcl_net import HPCLNet, LateFusion
from hpcl.networks.smp_models import SmpNetwork
from hpcl.settings.model import ModelError, ModelSettings


def build(settings: ModelSettings, classes: int, embedding_dim: int) -> Network:
    """The untrained network that the settings describe."""
    if settings.architecture != "hpcl_net":
        return SmpNetwork(settings, classes, embedding_dim)
    return (LateFusion if settings.fusion == "decision" else HPCLNet)(settings, classes, embedding_dim)


@dataclass(frozen=True)
class Trained:
    """A trained network and the facts that travel with it (bands, normalisation, classes, window, fold...)."""

    network: Network
    facts: TrainedFacts
    weights_sha256: str = ""
    """Of the file that the network was loaded from."""


WEIGHTS, FACTS = "model.safetensors", "model.json"


def save(folder: Path, network: Network, facts: TrainedFacts) -> None:
    """Write weights and facts; the facts name the weights by their SHA-256."""
    weights = folder / WEIGHTS
    with replacing(weights) as draft:
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, draft)
        except SafetensorError as error:  # an OSError in other clothes
            raise unwritten(weights, error) from error
    written = ModelFacts(
        **vars(facts),
        settings=asdict(network.settings),
        embedding_dim=network.embedding_dim,
        weights_sha256=sha256(weights),
    )
    write_json(folder / FACTS, written, digits=None)


def load(folder: Path) -> Trained:
    """Read a network back, in evaluation mode; nothing is unpickled, and weights that are not those named are refused."""
    weights = folder / WEIGHTS
    facts = read_json(folder / FACTS, ModelFacts)
    if not weights.exists():
        raise ModelError(f"{weights} does not exist; {remedy(weights)}.")
    if sha256(weights) != facts.weights_sha256:
        raise ModelError(f"{weights} is not the file that {FACTS} was written for; restore both together.")
    try:
        settings = TypeAdapter(ModelSettings).validate_json(
            json.dumps(facts.settings | {"pretrained": False, "weights": {}})
        )
        network = build(settings, len(facts.classes) + 1, facts.embedding_dim)
        network.load_state_dict(load_file(weights))
    # RuntimeError: weights of another network.
    except (ModelError, ValidationError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{folder} does not hold a whole model ({' '.join(str(error).split())}); {remedy(weights)}."
        ) from error
    for branch, wanted in settings.branches.items():
        if absent := sorted(set(wanted) - set(facts.band_names)):
            raise ModelError(
                f"{folder / FACTS} has no statistics of band '{absent[0]}' of branch '{branch}'; {remedy(folder / FACTS)}."
            )
    return Trained(network.eval(), facts, facts.weights_sha256)
