"""Section `tile`: how ground is split and cut."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


class TileError(ValueError):
    """The areas cannot be split as asked, or a split leaks."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TileSettings:
    """How ground is split and cut.

    ``split`` is ``blocks`` (every area has blocks of all three splits) or ``areas`` (``test_areas`` are test ground as
    a whole, the others are split into train and validation blocks). ``window_px`` is what the network sees at once,
    ``stride_px`` the step between training windows, ``block_px`` the side of a block, ``gap_px`` the least distance
    between labelled pixels of different splits. ``val_frac`` and ``test_frac`` are shares of the labelled ground.
    """

    split: Literal["blocks", "areas"]
    test_areas: tuple[str, ...]
    window_px: int = Field(ge=32, multiple_of=16)
    stride_px: int = Field(ge=1)
    block_px: int = Field(ge=32)
    gap_px: int = Field(ge=0)
    val_frac: float = Field(gt=0, lt=1)
    test_frac: float = Field(ge=0, lt=1)
    minimum_valid_frac: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)


def check_shares(settings: TileSettings) -> None:
    """Raise `TileError` if a split would get no ground."""
    if settings.split == "blocks" and settings.test_frac == 0:
        raise TileError("tile.test_frac is 0, so no ground is left to score a map on; raise it, or split by areas.")
    if settings.val_frac + (settings.test_frac if settings.split == "blocks" else 0) >= 1:
        raise TileError("tile.val_frac and tile.test_frac leave no ground to train on; their sum must be below 1.")


def check_sizes(settings: TileSettings) -> None:
    """Raise `TileError` if no block could hold a window."""
    if settings.block_px < settings.window_px:
        raise TileError(
            f"tile.block_px of {settings.block_px} is less than tile.window_px ({settings.window_px}), so no block holds a"
            f" window; raise it to {2 * settings.window_px} or more, or lower tile.window_px."
        )


def check_test_areas(settings: TileSettings, areas: Collection[str], which: str) -> None:
    """Raise `TileError` if ``areas`` (``which`` says what kind of areas) do not divide into test areas and others."""
    if settings.split != "areas":
        return
    if not settings.test_areas or set(settings.test_areas) - set(areas) or set(settings.test_areas) >= set(areas):
        raise TileError(
            f"tile.test_areas names {', '.join(settings.test_areas) or 'none'}, but the {which} are"
            f" {', '.join(sorted(areas)) or 'none'}; name at least one of them as test area and leave at least one to train on."
        )


def check_labelled(areas: Collection[str]) -> None:
    """Raise `TileError` if no area has an inventory."""
    if not areas:
        raise TileError("No area in params.yaml 'areas' has a landslides file; at least one is needed to train on.")
