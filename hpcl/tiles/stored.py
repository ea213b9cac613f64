"""The tiles of one area as the stages after `tile` read them: its grid, and arrays that lie on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy.typing as npt
from affine import Affine

from hpcl.core import artifacts
from hpcl.core.digest import joint, sha256
from hpcl.core.records import AreaGrid, TileFacts
from hpcl.geo import raster

TILES = Path("data/tiles")
FACTS = TILES / "facts.json"


def facts() -> TileFacts:
    """data/tiles/facts.json."""
    return artifacts.read_json(FACTS, TileFacts)


def grid(area: AreaGrid) -> raster.Grid:
    """The grid that the facts of one area describe."""
    rows, columns = area.shape
    return raster.Grid((rows, columns), Affine(*area.transform), area.crs)


def arrays(name: str, area: AreaGrid, *what: str) -> tuple[npt.NDArray[Any], ...]:
    """Arrays of one area by what they hold, memory-mapped: bands ``(band, row, column)``, others ``(row, column)``."""
    return tuple(
        artifacts.read_npy(
            TILES / f"{name}.{one}.npy",
            "f" if one == "bands" else "iu",
            [None, *area.shape] if one == "bands" else area.shape,
        )
        for one in what
    )


def ground_sha256(facts: TileFacts) -> str:
    """A digest of the labels of all areas and of how they are dealt into folds: what scores were reached on."""
    digests = []
    for name, area in sorted(facts.areas.items()):
        dealt = f"{name} {area.tops} {area.lefts} {area.folds}".encode()
        digests += [hashlib.sha256(dealt).hexdigest(), sha256(TILES / f"{name}.labels.npy")]
    return joint(digests)
