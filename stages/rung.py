"""One rung of the ladder: train as one row of ladder/params.yaml says, with one seed, and score the test blocks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcl import ladder, metrics
from hpcl.contrast import ContrastSettings
from hpcl.fit import TrainSettings
from hpcl.model import ModelSettings
from hpcl.networks import Trained
from hpcl.probe import boundary_probe
from stages import _track
from stages._ladder import FILE, RUNGS, row
from stages._stage import ParameterError, params, read_json, run, write_json
from stages._train import TILES, tiles_for, train
from stages._windows import Predict


def main(name: str, seed: str) -> None:
    """Write data/ladder/<row>-<seed>.json."""
    rung = row(name)
    over: dict[str, Any] = {"model": {}, "contrastive": {}, "train": {}, "predict": {}} | (rung.set or {})
    strange = over.keys() - {"model", "contrastive", "train", "predict"}
    if strange:
        sections = "model, contrastive, train and predict"
        raise ParameterError(f"Row '{name}' of {FILE} sets '{min(strange)}'; a row sets {sections}.")
    over["train"] = params("budget", dict[str, Any], file=FILE) | over["train"] | {"seed": int(seed)}
    model = params("model", ModelSettings, over["model"])
    if rung.branches:
        lost = [branch for branch in rung.branches if branch not in model.branches]
        if lost:
            raise ParameterError(
                f"Row '{name}' of {FILE} needs the branch '{lost[0]}', which params.yaml does not have."
            )
        model = replace(model, branches={branch: model.branches[branch] for branch in rung.branches})
    settings = (
        model,
        params("contrastive", ContrastSettings, over["contrastive"]),
        params("train", TrainSettings, over["train"]),
    )
    result = train(f"rung {name} {seed}", settings)
    if result is None:
        return
    facts = read_json(TILES / "facts.json")
    scoring = params("evaluate", metrics.EvaluateSettings)
    windows = params("predict", Predict, over["predict"]).windows
    blocks = ladder.score(Path(TILES), facts, Trained(result.network, result.facts), windows, scoring)
    total = blocks[ladder.COUNTS].sum().to_numpy().reshape(2, 2)
    iou = float(metrics.scores(total)["landslide_iou"])
    probed = model.architecture == "hpcl_net"  # others have no hyper-pixels of that size
    probe_auc = boundary_probe(result.network, tiles_for(settings), settings[1]) if probed else None
    _track.live({"test_landslide_iou": iou}, result.best_epoch)
    write_json(
        RUNGS / f"{name}-{seed}.json",
        {
            "ground": ladder.ground(facts),
            "landslide_iou": iou,
            "val_iou": result.val_iou,
            "probe_auc": probe_auc,
            "steps": settings[2].epochs * settings[2].steps_per_epoch,
            "parameters": sum(p.numel() for p in result.network.parameters()),
            "blocks": blocks.to_dict("list"),
        },
    )
    print(f"rung {name} {seed}: landslide IoU {iou:.3f} on {ladder.ground(facts)}")


if __name__ == "__main__":
    run(main)
