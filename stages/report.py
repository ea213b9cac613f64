"""Gather what all stages wrote into figures and one self-contained page."""

from __future__ import annotations

import shutil

from hpcl.besides import mapped_besides
from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.core.records import AuditFacts, BaselineFacts, CalibrationFacts, TrainingSummary
from hpcl.core.trained import model_facts
from hpcl.metrics.records import Metrics
from hpcl.report import facts, lasting, page
from hpcl.report.collect import (
    REPORTS,
    area_figures,
    curves,
    mapped_figures,
    read_area,
    read_mapped,
)
from hpcl.report.ground import DATA
from hpcl.settings.report import ReportSettings
from hpcl.tiles import stored
from stages._stage import params, progress, run


def main() -> None:
    """Write reports/report.html and reports/figures/*.png. They also show areas that `make map` mapped."""
    settings = params("report", ReportSettings)
    names = params("areas", Names)
    tiles = stored.facts()
    metrics = artifacts.read_json(REPORTS / "evaluate" / "metrics.json", Metrics)
    pictures = lasting.read() | curves(metrics, settings)
    areas = []
    besides = [read_mapped(name) for name in mapped_besides(DATA, names)]
    bar = progress("report")
    for done, name in enumerate(names, start=1):
        area, outcomes = read_area(name, tiles, settings)
        pictures |= {f"{name}_{kind}.png": data for kind, data in area_figures(area, outcomes, settings).items()}
        areas.append(area)
        bar(done, len(names) + len(besides))
    for done, other in enumerate(besides, start=len(names) + 1):
        pictures |= {f"{other.name}_{kind}.png": data for kind, data in mapped_figures(other, settings).items()}
        bar(done, len(names) + len(besides))
    report = facts.Report(
        areas=areas,
        besides=besides,
        figures=pictures,
        tiles=tiles,
        models=model_facts(DATA / "model"),
        baselines=artifacts.read_json(DATA / "baselines" / "facts.json", BaselineFacts),
        training=artifacts.read_json(REPORTS / "train" / "summary.json", TrainingSummary),
        calibration=artifacts.read_json(DATA / "calibrate" / "facts.json", CalibrationFacts),
        metrics=metrics,
        audit=artifacts.read_json(REPORTS / "audit" / "promises.json", AuditFacts),
        objects=artifacts.read_csv(REPORTS / "evaluate" / "objects.csv", {"area": str, "area_m2": float}),
        blocks=artifacts.read_csv(REPORTS / "evaluate" / "blocks.csv", {"map": str, "area": str, "block": int}),
        ablation=artifacts.read_csv(
            REPORTS / "ablation.csv", {"ground": str, "variant": str, "label": str, "status": str}
        ),
        budget=artifacts.read_csv(REPORTS / "budget.csv", {"ground": str, "variant": str, "label": str}),
    )
    html = page.render(report).encode()
    folder, draft = REPORTS / "figures", REPORTS / ".draft.figures"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for file, data in pictures.items():
            artifacts.write_bytes(draft / file, data)
        artifacts.write_bytes(REPORTS / "report.html", html)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    print(f"report: {REPORTS / 'report.html'}, {len(pictures)} figures in {folder}")


if __name__ == "__main__":
    run(main)
