"""The tiles of one area as the stages after `tile` read them: its grid, and arrays that lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from affine import Affine

from hpcl.core import artifacts
from hpcl.geo import raster

TILES = Path("data/tiles")
FACTS = TILES / "facts.json"


@dataclass(frozen=True)
class AreaFacts:
    """What every reader needs of an area's entry in the facts."""

    crs: str
    transform: artifacts.Transform
    shape: artifacts.Shape


@dataclass(frozen=True)
class TileFacts:
    """What every reader needs of the facts."""

    areas: dict[str, AreaFacts]


def facts() -> Any:
    """data/tiles/facts.json."""
    return artifacts.read_json(FACTS, TileFacts)


def grid(area: Any) -> raster.Grid:
    """The grid that the facts of one area describe."""
    return raster.Grid(area["shape"], Affine(*area["transform"]), area["crs"])


def arrays(name: str, area: Any, *what: str) -> tuple[npt.NDArray[Any], ...]:
    """Arrays of one area by what they hold, memory-mapped: bands ``(band, row, column)``, others ``(row, column)``."""
    return tuple(
        artifacts.read_npy(
            TILES / f"{name}.{one}.npy",
            "f" if one == "bands" else "iu",
            [None, *area["shape"]] if one == "bands" else area["shape"],
        )
        for one in what
    )
