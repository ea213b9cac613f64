"""One training of the ablation: the networks of all folds, as one variant of ablation/params.yaml says, with one seed."""

from hpcl.core.artifacts import write_json
from hpcl.core.records import VariantTraining
from hpcl.networks import store
from stages import _ablation
from stages._stage import run
from stages._train import train


def main(variant: str, seed: str) -> None:
    """Write ablation/models/<variant>-<seed>/: <fold>/ as `train` writes its own, and training.json."""
    recipe, folder = _ablation.recipe(variant, int(seed)), _ablation.MODELS / f"{variant}-{seed}"
    held = []
    for result in train(f"training {variant} {seed}", recipe):
        store.save(folder / str(result.fold), result.network, result.facts)
        held.append(result.held_iou)
    if not held:
        return  # another process than the first
    write_json(folder / _ablation.TRAINING, VariantTraining(held_iou=sum(held) / len(held), steps=recipe.steps))
    result.kept()


if __name__ == "__main__":
    run(main)
