"""Areas that were mapped beside those that params.yaml lists: what `make map` leaves, and both pages show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpcl.core.areas import checked

STAGES = ("ingest", "terrain", "predict", "outline")
"""Of `make map`; each leaves facts.json at its end, so that an area whose map was broken off does not count."""


def mapped_besides(data: Path, listed: Iterable[str]) -> list[str]:
    """The areas with a finished map in the folder ``data`` that are not ``listed``, by name."""
    made = [{path.parent.name for path in (data / stage).glob("[!.]*/facts.json")} for stage in STAGES]
    return [checked(name) for name in sorted(set.intersection(*made) - set(listed))]
