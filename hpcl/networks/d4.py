"""A turned window is a turned piece of ground: scalars turn as pictures do, but the surface normal's east and north
components must turn as a vector, and a hillshade, whose sun stands still, is computed again from the turned normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcl.core.records import BandFacts, Sun
from hpcl.networks.normalise import Float32


class TurnError(ValueError):
    """A window that cannot be turned with the bands it has."""


def hillshade(east: Float32, north: Float32, up: Float32, azimuth_deg: float, altitude_deg: float) -> Float32:
    """Shaded relief 0..1 of a unit surface normal under a sun (Lambert), as the terrain stage writes it."""
    azimuth, altitude = np.radians([azimuth_deg, altitude_deg])
    lit = np.sin(altitude) * up + np.cos(altitude) * (np.sin(azimuth) * east + np.cos(azimuth) * north)
    return np.maximum(lit, 0).astype(np.float32)


def turn(values: Float32, bands: Sequence[BandFacts], quarter_turns: int, mirror: bool, sun: Sun) -> Float32:
    """Turn a raw window ``(band, row, column)`` counter-clockwise by quarters after an optional east-west mirror.

    A mirror negates the normal's east component; a quarter turn maps (east, north) to (-north, east). Hillshade bands
    are computed again from the turned normal, for which all three components must be among ``bands``.
    """
    out = np.rot90(values[:, :, ::-1] if mirror else values, quarter_turns, axes=(1, 2)).copy()
    place = {b.kind: i for i, b in enumerate(bands) if b.kind in ("east", "north", "up")}
    if "east" in place and "north" in place:
        east, north = out[place["east"]].copy(), out[place["north"]].copy()
        if mirror:
            east = -east
        for _ in range(quarter_turns % 4):
            east, north = -north, east
        out[place["east"]], out[place["north"]] = east, north
    elif place.keys() & {"east", "north"}:
        raise TurnError(
            "A window with one horizontal component of the normal cannot be turned; give n_east and n_north."
        )
    for i, band in enumerate(bands):
        if band.kind == "hillshade":
            if len(place) < 3:
                raise TurnError("A hillshade band cannot be turned by itself; give n_east, n_north and n_up with it.")
            east, north, up = (out[place[k]] for k in ("east", "north", "up"))
            out[i] = hillshade(east, north, up, sun.azimuth_deg, sun.altitude_deg)
    return out


def turn_back(values: Tensor, quarter_turns: int, mirror: bool) -> Tensor:
    """Undo `turn` for scalars ``(..., row, column)``, such as logits."""
    out = torch.rot90(values, -quarter_turns, (-2, -1))
    return out.flip(-1) if mirror else out
