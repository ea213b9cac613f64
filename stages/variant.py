"""One training of the ablation: as one variant of ablation/params.yaml says, with one seed; the test blocks are scored."""

from pathlib import Path

from hpcl import metrics
from hpcl.ablation import compare, score
from hpcl.ablation.linear_probe import boundary_probe
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import TileFacts
from hpcl.core.scores import VariantScores
from hpcl.networks.store import Trained
from stages import _ablation
from stages._stage import run
from stages._train import TILES, tiles_for, train
from stages.tracking import execution


def main(name: str, seed: str) -> None:
    """Write ablation/results/<variant>-<seed>.json."""
    recipe, inference = _ablation.training(name, int(seed))
    facts = artifacts.read_json(TILES / "facts.json", TileFacts)
    ground = compare.ground(facts)
    result = train(f"training {name} {seed}", recipe)
    if result is None:
        return
    blocks = score.score(Path(TILES), facts, Trained(result.network, result.facts), inference)
    total = blocks[score.COUNTS].sum().to_numpy().reshape(2, 2)
    iou = float(metrics.scores(total)["landslide_iou"])
    probed = recipe.model.architecture == "hpcl_net"  # others have no hyper-pixels of that size
    probe_auc = boundary_probe(result.network, tiles_for(recipe), recipe.contrast) if probed else None
    execution.live({"test_landslide_iou": iou}, result.best_epoch)
    write_json(
        _ablation.RESULTS / f"{name}-{seed}.json",
        VariantScores(
            ground=ground,
            landslide_iou=iou,
            val_iou=result.val_iou,
            probe_auc=probe_auc,
            steps=len(result.history) * recipe.train.steps_per_epoch,
            parameters=sum(p.numel() for p in result.network.parameters()),
            blocks=blocks.to_dict("list"),
        ),
    )
    result.kept()
    print(f"training {name} {seed}: landslide IoU {iou:.3f} on {ground}")


if __name__ == "__main__":
    run(main)
