"""Section `tile`: how ground is dealt into folds and cut into windows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.core.codes import MAX_FOLDS


class TileError(ValueError):
    """The areas cannot be dealt into folds as asked, or a fold leaks."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TileSettings:
    """How ground is dealt and cut.

    ``split`` is ``blocks`` (every area is dealt block by block), ``regions`` (every area is cut into a compact piece for each fold,
    where landslides are large beside blocks) or ``areas`` (area by area). ``folds``: their number, with a
    network for each. ``test_areas`` lie outside all folds. ``window_px`` is
    what the network sees at once, ``stride_px`` the step between training windows, ``block_px`` the side of a block,
    ``gap_px`` the least distance between labels that a network learns from and those of the fold that it maps.
    """

    split: Literal["blocks", "regions", "areas"]
    folds: int = Field(ge=2, le=MAX_FOLDS)
    test_areas: tuple[str, ...]
    window_px: int = Field(ge=32, multiple_of=16)
    stride_px: int = Field(ge=1)
    block_px: int = Field(ge=32)
    gap_px: int = Field(ge=0)
    minimum_valid_frac: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)


def check_sizes(settings: TileSettings) -> None:
    """Raise `TileError` if no block could hold a window."""
    if settings.block_px < settings.window_px:
        raise TileError(
            f"tile.block_px of {settings.block_px} is less than tile.window_px ({settings.window_px}), so no block holds a"
            f" window; raise it to {2 * settings.window_px} or more, or lower tile.window_px."
        )


def check_areas(settings: TileSettings, areas: Collection[str], which: str) -> None:
    """Raise `TileError` if ``areas`` (``which`` says what kind of areas) do not divide into test areas and folds."""
    there = ", ".join(areas) or "none"
    if set(settings.test_areas) - set(areas) or (settings.test_areas and set(settings.test_areas) >= set(areas)):
        raise TileError(
            f"tile.test_areas names {', '.join(settings.test_areas)}, but the {which} are {there}; name areas among them and"
            " leave at least one to train on."
        )
    left = len(areas) - len(set(settings.test_areas))
    if settings.split == "areas" and left < settings.folds:
        raise TileError(
            f"tile.split areas deals whole areas, but there are {left} for {settings.folds} folds (the {which} are {there});"
            " lower tile.folds, add areas, or split by blocks or regions."
        )


def check_labelled(areas: Collection[str]) -> None:
    """Raise `TileError` if no area has an inventory."""
    if not areas:
        raise TileError("No area in params.yaml 'areas' has a landslides file; at least one is needed to train on.")
