"""One training of the ablation, scored: its map of the test blocks, and a linear probe of its embeddings."""

from hpcl.ablation import compare, score
from hpcl.ablation.linear_probe import boundary_probe
from hpcl.ablation.records import VariantScores
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import TileFacts, VariantTraining
from hpcl.metrics import pixels
from hpcl.networks import store
from hpcl.settings.inference import InferenceSettings
from stages import _ablation
from stages._stage import params, run
from stages._train import TILES, tiles_for
from stages.tracking import execution


def main(variant: str, seed: str) -> None:
    """Write ablation/results/<variant>-<seed>.json."""
    recipe, folder = _ablation.recipe(variant, int(seed)), _ablation.MODELS / f"{variant}-{seed}"
    tiles = artifacts.read_json(TILES / "facts.json", TileFacts)
    training = artifacts.read_json(folder / _ablation.TRAINING, VariantTraining)
    trained = store.load(folder)
    ground = compare.ground(tiles)
    blocks = score.score(TILES, tiles, trained, inference(variant))
    total = blocks[score.COUNTS].sum().to_numpy().reshape(2, 2)
    iou = float(pixels.scores(total)["landslide_iou"])
    probed = recipe.model.architecture == "hpcl_net"  # others have no hyper-pixels of that size
    probe_auc = boundary_probe(trained.network, tiles_for(recipe), recipe.contrast) if probed else None
    execution.live({"test_landslide_iou": iou}, trained.facts.epoch)
    write_json(
        _ablation.RESULTS / f"{variant}-{seed}.json",
        VariantScores(
            ground=ground,
            landslide_iou=iou,
            val_iou=training.val_iou,
            probe_auc=probe_auc,
            steps=training.steps,
            parameters=sum(p.numel() for p in trained.network.parameters()),
            blocks=blocks.to_dict("list"),
        ),
    )
    print(f"scores {variant} {seed}: landslide IoU {iou:.3f} on {ground}")


def inference(variant: str) -> InferenceSettings:
    """How a variant maps."""
    return params("inference", InferenceSettings, _ablation.laid_over(variant).get("inference", {}))


if __name__ == "__main__":
    run(main)
