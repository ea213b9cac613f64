"""Areas that were mapped beside those that params.yaml lists: what `make map` leaves, and both pages show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpcl.core.areas import checked

STAGES = ("ingest", "terrain", "predict", "outline")
"""Of `make map`, as far as both pages read them."""


def mapped_besides(data: Path, listed: Iterable[str]) -> list[str]:
    """The areas in the folder ``data`` that are not ``listed``, by name; a map that was broken off lacks the last stage's facts."""
    made = [{path.name for path in (data / stage).glob("[!.]*")} for stage in STAGES]
    found = sorted(set.intersection(*made) - set(listed))
    return [checked(name) for name in found if (data / STAGES[-1] / name / "facts.json").exists()]
