"""Networks by their settings: built, saved, loaded. Facts travel with the weights, and nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hpcl.model import HPCLNet, LateFusion, Network
from hpcl.rivals import Rival
from hpcl.settings.model import ModelError, ModelSettings


def build(settings: ModelSettings, classes: int, embedding_dim: int) -> Network:
    """The untrained network that the settings describe."""
    if settings.architecture != "hpcl_net":
        return Rival(settings, classes, embedding_dim)
    return (LateFusion if settings.fusion == "decision" else HPCLNet)(settings, classes, embedding_dim)


@dataclass(frozen=True)
class Trained:
    """A trained network and the facts that travel with it (bands, normalisation, classes, window, threshold...)."""

    network: Network
    facts: dict[str, Any]


WEIGHTS, FACTS = "model.safetensors", "model.json"


def save(folder: Path, network: Network, facts: Mapping[str, Any]) -> None:
    """Write weights and facts; the facts name the weights by their SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    written = dict(facts) | {
        "settings": asdict(network.settings),
        "embedding_dim": network.embedding_dim,
        "weights_sha256": _sha256(folder / WEIGHTS),
    }
    (folder / FACTS).write_text(json.dumps(written, sort_keys=True, indent=1) + "\n")


def load(folder: Path) -> Trained:
    """Read a network back, in evaluation mode; nothing is unpickled, and weights that are not those named are refused."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        if _sha256(folder / WEIGHTS) != facts["weights_sha256"]:
            raise ModelError(f"{folder / WEIGHTS} is not the file that {FACTS} was written for; restore both together.")
        settings = TypeAdapter(ModelSettings).validate_json(json.dumps(facts["settings"] | {"pretrained": False}))
        network = build(settings, len(facts["classes"]) + 1, facts["embedding_dim"])
        network.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise ModelError(
            f"{error.filename} does not exist; run the train stage, or `dvc checkout` an earlier model."
        ) from error
    except (json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{folder} does not hold a whole model ({error}); restore it with `dvc checkout`.") from error
    return Trained(network.eval(), facts)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
