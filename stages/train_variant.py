"""One training of the ablation: the networks of all folds, as one variant of ablation/params.yaml says, with one seed."""

from hpcl.core.artifacts import write_json
from hpcl.core.records import VariantTraining
from hpcl.networks import store
from stages import _ablation
from stages._ablation import Training
from stages._stage import run
from stages._train import train


def main(variant: str, seed: str) -> None:
    """Write ablation/models/<variant>-<seed>/: <fold>/ as `train` writes its own, and training.json."""
    write(Training(variant, int(seed)))


def write(training: Training) -> None:
    """Train a network for each fold, and write them all."""
    recipe, held = _ablation.recipe(training.variant, training.seed), []
    for result in train(f"training {training}", recipe, training.labels):
        store.save(training.networks / str(result.fold), result.network, result.facts)
        held.append(result.held_iou)
    if not held:
        return  # another process than the first
    told = VariantTraining(held_iou=sum(held) / len(held), steps=recipe.steps)
    write_json(training.networks / _ablation.TRAINING, told)
    result.kept()


if __name__ == "__main__":
    run(main)
