"""Projects in folders of their own: stages one after the other, each only if what it writes last is not there yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.planted import errors
from stages._stage import merged

ROOT = Path(__file__).parents[2]
LAST = {
    "synthesize": "data/raw/{area}/truth.json",
    "ingest": "data/ingest/{area}/facts.json",
    "coregister": "data/coregister/{area}/shift.json",
    "terrain": "data/terrain/{area}/facts.json",
    "tile": "data/tiles/facts.json",
    "train": "reports/train/summary.json",
    "predict": "data/predict/{area}/facts.json",
    "calibrate": "data/calibrate/facts.json",
    "outline": "data/outline/{area}/facts.json",
    "audit": "reports/audit/promises.json",
}
"""What each stage writes last."""
GROUND, MAP, AUDIT = ("synthesize", "ingest", "coregister", "terrain"), tuple(LAST)[4:9], ("audit",)


@dataclass(frozen=True)
class Project:
    """A folder with a params.yaml and the ``data`` of some ``areas``."""

    folder: Path
    areas: tuple[str, ...]

    def run(self, *stages: str) -> None:
        """Run stages, all areas of one before the next; none if the last has been run."""
        if self.has(stages[-1]):
            return
        for stage in stages:
            places = self.areas if "{area}" in LAST[stage] else ("",)
            for area in places:
                if not (self.folder / LAST[stage].format(area=area)).exists():
                    self.call(stage, *([area] if area else []))

    def call(self, stage: str, *arguments: str) -> None:
        """Run a stage or a command, whatever is there."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        if subprocess.run(command, cwd=self.folder, env=environment, check=False).returncode:
            sys.exit(f"{' '.join(command[2:])} failed in {self.folder}; it said above why.")

    def tidy(self) -> None:
        """Remove what is large and of no further use."""
        for name in ("data/tiles", ".ckpt"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def has(self, stage: str) -> bool:
        """Whether a stage has been run, for all areas."""
        return all((self.folder / LAST[stage].format(area=area)).exists() for area in self.areas)


def opened(folder: Path, changes: Mapping[str, Any]) -> Project:
    """A project on the synthetic areas, with the parameters of this repository as far as nothing else is wanted."""
    yaml = YAML()
    given = yaml.load(ROOT / "params.yaml")
    areas = tuple(given["synthesize"]["areas"])
    wanted = merged(given, {**changes, "areas": list(areas)})
    folder.mkdir(parents=True, exist_ok=True)
    yaml.dump(wanted, folder / "params.yaml")
    return Project(folder, areas)


def with_errors(folder: Path, ground: Project, changes: Mapping[str, Any], seed: int) -> Project:
    """A project on the same ``ground``, into whose inventories errors are planted."""
    project = opened(folder, changes)
    for area in project.areas:
        share_terrain(project, ground)
        if not errors.record(folder, area).exists():
            data = ground.folder / "data"
            errors.plant(data / "raw" / area, data / "ingest" / area, folder / "data/raw" / area, seed)
    project.run("ingest")
    return project


def share_terrain(project: Project, ground: Project) -> None:
    """Let a project use DEM and terrain of the ``ground``, which no inventory changes."""
    for stage in ("coregister", "terrain"):
        link = project.folder / "data" / stage
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(ground.folder / "data" / stage, link.parent))
