"""One training of the ablation, scored: its map of all labelled ground, and a linear probe of what its networks see."""

import pandas as pd

from hpcl.ablation import compare, score
from hpcl.ablation.linear_probe import boundary_probe
from hpcl.ablation.records import CONFUSION, VariantScores
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import TileFacts, VariantTraining
from hpcl.metrics import pixels
from hpcl.networks.ensemble import Ensemble, load
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.settings.inference import InferenceSettings
from stages import _ablation
from stages._ablation import Training
from stages._stage import params, run
from stages._train import TILES, tiles_for
from stages.tracking import execution


def main(variant: str, seed: str) -> None:
    """Write ablation/results/<variant>-<seed>.json."""
    write(Training(variant, int(seed)))


def write(training: Training) -> None:
    """Map all labelled ground, and write what is right and wrong there; a share of the labels thins none of it."""
    windows, settings = inference(training.variant), params("evaluate", EvaluateSettings)
    tiles = artifacts.read_json(TILES / "facts.json", TileFacts)
    trained = artifacts.read_json(training.networks / _ablation.TRAINING, VariantTraining)
    ensemble = load(training.networks)
    blocks = score.score(TILES, ensemble, windows, settings)
    in_folds = blocks["fold"] > 0
    grounds = {compare.ground(tiles): blocks[in_folds]}
    if transfer := compare.transfer_ground(tiles):
        grounds[transfer] = blocks[~in_folds]
    ious = {ground: _landslide_iou(counted) for ground, counted in grounds.items()}
    execution.live({"landslide_iou": ious[compare.ground(tiles)]}, trained.steps)
    write_json(
        training.scores,
        VariantScores(
            blocks={ground: counted.to_dict("list") for ground, counted in grounds.items()},
            held_iou=trained.held_iou,
            probe_auc=_probe_auc(ensemble, training),
            steps=trained.steps,
            parameters=sum(p.numel() for p in ensemble.members[0].network.parameters()),
        ),
    )
    for ground, iou in ious.items():
        print(f"scores {training}: landslide IoU {iou:.3f} on {ground}")


def inference(variant: str) -> InferenceSettings:
    """How a variant maps."""
    return params("inference", InferenceSettings, _ablation.laid_over(variant).get("inference", {}))


def _landslide_iou(blocks: pd.DataFrame) -> float:
    total = blocks[CONFUSION].sum().to_numpy().reshape(2, 2)
    return float(pixels.scores(total)["landslide_iou"])


def _probe_auc(ensemble: Ensemble, training: Training) -> float | None:
    """Mean over the folds, each network probed on its own."""
    recipe = _ablation.recipe(training.variant, training.seed)
    if recipe.model.architecture != "hpcl_net":
        return None  # others have no hyper-pixels of that size
    probed = [
        boundary_probe(member.network, tiles_for(recipe, member.facts.fold, training.labels), recipe.contrast)
        for member in ensemble.members
    ]
    known = [auc for auc in probed if auc is not None]
    return sum(known) / len(known) if known else None


if __name__ == "__main__":
    run(main)
