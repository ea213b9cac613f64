"""Areas as memory-mapped arrays: the bands that all of them have, and labels in codes that mean the same in all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.core.codes import UNKNOWN
from hpcl.core.records import BandKind
from hpcl.geo import blocks, raster
from hpcl.settings.terrain import check_own_bands
from hpcl.settings.tile import TileError
from hpcl.tiles.area import Area


def common_bands(areas: Sequence[Area]) -> tuple[tuple[raster.Band, ...], list[BandKind], list[str]]:
    """The bands that every area has, by name, in the first area's order; their kinds; and a sentence on each other band.

    Raises `TileError` where areas have pixels of different size.
    """
    seen: dict[str, dict[str, tuple[raster.Band, BandKind]]] = {}
    pixel_m = {}
    for area in areas:
        kinds = {band.name: band.kind for band in area.terrain_facts().bands}
        with raster.Source(area.image) as image, raster.Source(area.terrain) as terrain:
            check_own_bands(area.name, [band.name for band in image.bands], [band.name for band in terrain.bands])
            seen[area.name] = {band.name: (band, "image") for band in image.bands} | {
                band.name: (band, kinds[band.name]) for band in terrain.bands
            }
            pixel_m[area.name] = abs(image.grid.affine.a)
    if max(pixel_m.values()) > 1.25 * min(pixel_m.values()):
        sizes = ", ".join(f"{name} {size:g} m" for name, size in pixel_m.items())
        raise TileError(f"The areas have pixels of different size ({sizes}); resample them to one before training.")
    first = seen[areas[0].name]
    common = [name for name in first if all(name in bands for bands in seen.values())]
    left_out = [
        f"band '{name}' of {area} is left out, because not every area has it."
        for area, bands in seen.items()
        for name in bands.keys() - set(common)
    ]
    return tuple(first[name][0] for name in common), [first[name][1] for name in common], left_out


def new_array(path: Path, dtype: Any, shape: Sequence[int]) -> Any:
    """An array file of zeros, memory-mapped, whose room on the disk is taken. Raises `TileError` if there is none."""
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
        # Otherwise a full disk would kill the process, without a word, at the first page that finds no room.
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise TileError(f"{path} could not be written ({error}); is the disk full, or the folder read-only?") from error
    return array


def write_labels(area: Area, classes: Sequence[str], out: Path) -> npt.NDArray[np.uint8]:
    """The area's labels as a memory-mapped copy, its own class codes turned into those of all areas."""
    codes = np.full(256, UNKNOWN, np.uint8)
    codes[0] = 0
    for own, name in enumerate(area.classes(), start=1):
        codes[own] = 1 + classes.index(name)
    with raster.Source(area.labels) as source:
        labels: npt.NDArray[np.uint8] = new_array(out / f"{area.name}.labels.npy", np.uint8, source.grid.shape)
        for roi in blocks.walk(source.grid.shape):
            labels[roi] = codes[source.read(roi)[0]]
    return labels


def write_bands(area: Area, bands: Sequence[raster.Band], out: Path) -> npt.NDArray[np.float32]:
    """The area's bands ``(band, row, column)``, memory-mapped."""
    path = out / f"{area.name}.bands.npy"
    with raster.Source(area.image) as image, raster.Source(area.terrain) as terrain:
        optical = {band.name for band in image.bands}
        in_image = [band.name for band in bands if band.name in optical]
        in_terrain = [band.name for band in bands if band.name not in optical]
        values = new_array(path, np.float32, (len(bands), *image.grid.shape))
        for roi in blocks.walk(image.grid.shape):
            values[: len(in_image), roi[0], roi[1]] = image.read(roi, in_image)
            values[len(in_image) :, roi[0], roi[1]] = terrain.read(roi, in_terrain)
    return np.load(path, mmap_mode="r")
