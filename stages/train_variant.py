"""One training of the ablation: as one variant of ablation/params.yaml says, with one seed."""

from hpcl.core.artifacts import write_json
from hpcl.core.records import VariantTraining
from hpcl.networks import store
from stages import _ablation
from stages._stage import run
from stages._train import train


def main(variant: str, seed: str) -> None:
    """Write ablation/models/<variant>-<seed>/: the network as `train` writes its own, and training.json."""
    recipe = _ablation.recipe(variant, int(seed))
    result = train(f"training {variant} {seed}", recipe)
    if result is None:
        return
    folder = _ablation.MODELS / f"{variant}-{seed}"
    store.save(folder, result.network, result.facts)
    steps = len(result.history) * recipe.train.steps_per_epoch
    write_json(folder / _ablation.TRAINING, VariantTraining(val_iou=result.val_iou, steps=steps))
    result.kept()


if __name__ == "__main__":
    run(main)
