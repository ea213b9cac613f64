"""Train the network on the tiles; keep the best weights by validation, resume where a killed run stopped."""

from pathlib import Path

import pandas as pd

from hpcl import networks
from hpcl.contrast import ContrastSettings
from hpcl.fit import TrainSettings
from hpcl.model import ModelSettings
from stages._stage import params, run, write_json
from stages._train import train

MODEL, REPORTS = Path("data/model"), Path("reports/train")


def main() -> None:
    """Train, and write model and curves."""
    settings = (
        params("model", ModelSettings),
        params("contrastive", ContrastSettings),
        params("train", TrainSettings),
    )
    result = train("train", settings)
    if result is None:
        return
    networks.save(MODEL, result.network, result.facts)
    # Speeds differ from run to run and would make equal results unequal: they stay in the live curves.
    curves = pd.DataFrame(result.history).drop(columns=["windows_per_s", "data_wait_frac"])
    REPORTS.mkdir(parents=True, exist_ok=True)
    curves.to_csv(REPORTS / "curves.csv", index=False, float_format="%.6g")
    write_json(
        REPORTS / "summary.json",
        {
            "val_iou": result.val_iou,
            "threshold": result.facts["threshold"],
            "temperature": result.facts["temperature"],
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "parameters": sum(p.numel() for p in result.network.parameters()),
        },
    )


if __name__ == "__main__":
    run(main)
