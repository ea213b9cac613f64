"""What one execution of a stage has to tell, in a file of its own: ``$DVC_ROOT/.dvc/tmp/hpcl_track/<execution>.jsonl``.

A stage only appends to it. That needs no import of MLflow (several seconds, in each of some twenty processes), and
nothing is lost when a server is down or a process is killed.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from stages.tracking.processes import resources


class Journal:
    """Facts of one execution of a stage, one JSON object per line; only its own process writes to it."""

    def __init__(self, root: Path) -> None:
        """The file begins with the first line."""
        self.path = folder(root) / f"{time.time_ns()}-{os.getpid()}.jsonl"

    def append(self, **facts: Any) -> None:
        """Add one line, in one write."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time_ms": now_ms(), **facts}) + "\n")

    def end(self, status: str, note: str = "") -> None:
        """Add the last line."""
        self.append(status=status, note=note, metrics=resources(), step=0)


def folder(root: Path) -> Path:
    """Where the journals lie, and with them what else tracking keeps between executions."""
    place = root / ".dvc" / "tmp" / "hpcl_track"
    place.mkdir(parents=True, exist_ok=True)
    return place


def now_ms() -> int:
    """The time as MLflow counts it."""
    return time.time_ns() // 1_000_000
