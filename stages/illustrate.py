"""Draw the figures of the report that another operating point leaves as they are: ground, folds, training, attention."""

from __future__ import annotations

from pathlib import Path

from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.report import lasting
from hpcl.settings.report import ReportSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run

REPORTS = Path("reports")


def main() -> None:
    """Write data/illustrate/*.png, which `report` puts among its own."""
    settings = params("report", ReportSettings)
    names = params("areas", Names)
    tiles = stored.facts()
    curves = artifacts.read_csv(REPORTS / "train" / "curves.csv", {"fold": int, "epoch": int, "loss": float})
    budget = artifacts.read_csv(REPORTS / "budget.csv", {"ground": str, "variant": str, "label": str})
    pictures = lasting.training(curves, settings) | lasting.label_budget(budget, names, settings)
    bar = progress("illustrate")
    for done, name in enumerate(names, start=1):
        pictures |= lasting.area(name, tiles.areas.get(name), settings)
        bar(done, len(names))
    for old in lasting.FOLDER.glob("*.png"):  # of other areas, perhaps
        old.unlink()
    for file, data in pictures.items():
        artifacts.write_bytes(lasting.FOLDER / file, data)
    print(f"illustrate: {len(pictures)} figures in {lasting.FOLDER}")


if __name__ == "__main__":
    run(main)
