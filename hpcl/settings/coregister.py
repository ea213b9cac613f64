"""Section `coregister`: when a shift of the DEM is believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.core.dates import is_before

LEAST_PATCHES = 4
"""Patches of ground from fewer of which no shift is told."""


class CoregisterError(ValueError):
    """Rasters that cannot be laid on each other at all."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class CoregisterSettings:
    """When a shift is believed.

    ``minimum_gain_frac``: by which share it (or a tilt) must lower the NMAD of the elevation difference, or how much of
    what shading explains of the image must be owed to it. ``maximum_shift_px``: how far is searched, in pixels of the DEM; between
    images of two dates, in those of the coarser.
    ``sample_patches``: on how many patches of at most 128 x 128 pixels. ``bands``: names of the bands of the image that
    count, where there is no reference DEM; with none, all do but those of an earlier date.
    """

    minimum_gain_frac: Annotated[float, Field(ge=0, lt=1)]
    maximum_shift_px: Annotated[int, Field(ge=1)]
    sample_patches: Annotated[int, Field(ge=LEAST_PATCHES)]
    bands: tuple[str, ...] = ()


def counting_bands(names: Sequence[str], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The bands of an image that count, and a sentence if some that should are none of its bands."""
    absent = [name for name in dict.fromkeys(wanted) if name not in names]
    if not wanted:
        return [name for name in names if not is_before(name)], []
    if not absent:
        return [name for name in names if name in wanted], []
    lacking = f"coregister.bands names {quoted(absent)}, but the bands of the image are {quoted(names)}"
    if len(absent) == len(set(wanted)):
        raise CoregisterError(f"{lacking}; name at least one of these, or none (an empty list) so that all count.")
    return [name for name in names if name in wanted], [f"{lacking}; the others that it names count."]


def quoted(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(f"'{name}'" for name in names)
