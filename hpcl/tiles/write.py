"""The tiles: all areas' ground split by place, windows laid on it, and what a training needs of them, as few files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from hpcl import likeness, scale
from hpcl.core import artifacts
from hpcl.core.codes import SPLITS, TEST, TRAIN
from hpcl.core.records import BlockFacts, SplitFacts, Sun, TileBand, TiledArea, TileFacts
from hpcl.geo import blocks, vector
from hpcl.settings.tile import TileError, TileSettings
from hpcl.tiles import split, stacks
from hpcl.tiles.area import Area

Array = npt.NDArray[Any]


class Tiler:
    """Splits and writes areas one after the other, and adds up what all of them are described by."""

    def __init__(self, areas: Sequence[Area], settings: TileSettings, out: Path) -> None:
        """Copy the labels, and deal the blocks of all areas among the splits."""
        self.settings, self.out = settings, out
        out.mkdir(parents=True, exist_ok=True)
        self.bands, self.kinds, self.messages = stacks.common_bands(areas)
        self.classes = sorted({name for area in areas for name in area.classes()})
        self.labels = {area.name: stacks.write_labels(area, self.classes, out) for area in areas}
        laid = {name: split.lay_blocks(name, labels, settings.block_px) for name, labels in self.labels.items()}
        objects = [one for area in areas for one in split.spread(area.landslides(), laid[area.name])]
        self.blocks = split.assign([block for found in laid.values() for block in found], settings, objects)
        # A lattice, so that what is kept of the training ground does not depend on how it is walked.
        trained_px = sum(block.labelled_px for block in self.blocks if block.split == "train")
        self._step_px = math.ceil(math.sqrt(max(1.0, trained_px / likeness.SAMPLE_PX)))
        self._moments = split.Moments(len(self.bands))
        self._sampled: list[Array] = []
        self._train_px = np.zeros(1 + len(self.classes), np.int64)  # by class code
        self._split_px = np.zeros((len(SPLITS), 2), np.int64)  # labelled, landslide

    def write(self, area: Area) -> tuple[pd.DataFrame, pd.DataFrame, TiledArea]:
        """Write one area's arrays; its windows, its polygons, and what the facts say of it."""
        name, settings = area.name, self.settings
        labels, own = self.labels[name], [block for block in self.blocks if block.area == name]
        values = stacks.write_bands(area, self.bands, self.out)
        split_map = stacks.new_array(self.out / f"{name}.split.npy", np.uint8, labels.shape)
        block_map = stacks.new_array(self.out / f"{name}.block.npy", np.int32, labels.shape)
        split.paint(own, labels, settings.gap_px, split_map, block_map)
        divided = split.keep_whole(area.landslides(), split_map)
        windows = split.lay_windows(own, labels, split_map, settings)
        split.check(windows, split_map, area.landslides(), settings.gap_px, settings.window_px)
        self._add(values, labels, split_map)
        sizes, seen, grid = area.sizes(), area.seen(labels), area.grid()
        facts = TiledArea(
            crs=str(grid.crs),
            transform=list(grid.affine)[:6],
            shape=list(grid.shape),
            pixel_m=abs(grid.affine.a),
            dem_pixel_m=sizes.dem_pixel_m,
            divided_landslides=divided,
            findings=_findings(sizes, settings) + scale.seen(sizes, *seen[["pixels", "labelled_px"]].to_numpy().T),
            blocks=[BlockFacts(block.number, block.split or "none") for block in own],
        )
        return pd.DataFrame(windows), seen, facts

    def _add(self, values: Array, labels: Array, split_map: Array) -> None:
        """Count an area's ground by split, and take the statistics of what it trains on."""
        for rows, columns in blocks.walk(labels.shape):
            part = split_map[rows, columns]
            self._moments.add(values[:, rows, columns], part == TRAIN)
            for code in range(len(SPLITS)):
                codes = labels[rows, columns][part == code]
                self._split_px[code] += codes.size, (codes > 0).sum()
                if code == TRAIN:
                    self._train_px += np.bincount(codes, minlength=len(self._train_px))
        lattice = (slice(None, None, self._step_px), slice(None, None, self._step_px))
        self._sampled.append(values[:, *lattice][:, split_map[lattice] == TRAIN])

    def facts(self, areas: dict[str, TiledArea], sun: Sun) -> TileFacts:
        """What is known when all ``areas`` are written."""
        norms = self._moments.normalisation(self.kinds)
        names = [band.name for band in self.bands]
        return TileFacts(
            areas=areas,
            sun=sun,
            bands=[
                TileBand(band.name, kind, mean, std, band.unit)
                for band, kind, (mean, std) in zip(self.bands, self.kinds, norms, strict=True)
            ],
            ground=likeness.statistics(names, self.kinds, np.concatenate(self._sampled, axis=1)),
            classes=self.classes,
            window_px=self.settings.window_px,
            gap_px=self.settings.gap_px,
            split={
                name: SplitFacts(sum(block.split == name for block in self.blocks), int(labelled), int(landslide))
                for name, (labelled, landslide) in zip(SPLITS, self._split_px, strict=True)
            },
        )

    def unseen_classes(self) -> list[str]:
        """Classes without a pixel to learn from."""
        return [name for name, pixels in zip(self.classes, self._train_px[1:], strict=True) if not pixels]


def write(areas: Sequence[Area], settings: TileSettings, out: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Write the tiles of ``areas`` into ``out``; what is to be said of them, a line each. Raises `TileError`."""
    tiler = Tiler(areas, settings, out)
    windows, polygons, tiled = {}, {}, {}
    for done, area in enumerate(areas, start=1):
        windows[area.name], polygons[area.name], tiled[area.name] = tiler.write(area)
        progress(done, len(areas))
    table = pd.concat(windows, names=["area"]).reset_index("area")
    _check_windows(table, settings)
    facts = tiler.facts(tiled, areas[0].terrain_facts().sun)
    test = facts.split[SPLITS[TEST]]
    split.require_landslides(table, test.landslide_px if test.blocks else None)
    artifacts.write_json(out / "facts.json", facts)
    artifacts.write_csv(out / "windows.csv", table, "%.4f")
    artifacts.write_csv(out / "landslides.csv", pd.concat(polygons, names=["area"]).reset_index("area"))
    vector.write(out / "split.gpkg", _split_map(tiler.blocks, tiled))
    unseen = [
        f"class '{name}' has no pixel in the train blocks, so no model can learn it." for name in tiler.unseen_classes()
    ]
    found = [f"{name}: {finding}" for name, area in tiled.items() for finding in area.findings]
    return tiler.messages + unseen + found + [_summary(name, ground, table) for name, ground in facts.split.items()]


def _check_windows(table: pd.DataFrame, settings: TileSettings) -> None:
    if not {"train", "val"} <= set(table["split"]):
        raise TileError(
            f"No window of {settings.window_px} px fits into the train or the val blocks of {settings.block_px} px between "
            f"gaps of {settings.gap_px} px and landslides that count for another split; lower tile.window_px, tile.gap_px or "
            "tile.minimum_valid_frac, or raise tile.block_px."
        )


def _findings(sizes: scale.Sizes, settings: TileSettings) -> list[str]:
    return scale.tile(
        sizes,
        window_px=settings.window_px,
        stride_px=settings.stride_px,
        block_px=settings.block_px,
        gap_px=settings.gap_px,
    )


def _summary(name: str, ground: SplitFacts, windows: pd.DataFrame) -> str:
    count = int((windows["split"] == name).sum())
    share = ground.landslide_px / max(ground.labelled_px, 1)
    return f"{name:5s} {ground.blocks:4d} blocks, {count:5d} windows, landslide share {share:.3f}"


def _split_map(dealt: Sequence[split.Block], areas: dict[str, TiledArea]) -> gpd.GeoDataFrame:
    """The blocks as polygons, in the first area's CRS."""
    tables = []
    for name, area in areas.items():
        own = [block for block in dealt if block.area == name]
        a, _, c, _, e, f = area.transform
        boxes = [
            shapely.box(c + a * b.columns.start, f + e * b.rows.stop, c + a * b.columns.stop, f + e * b.rows.start)
            for b in own
        ]
        rows = {
            "area": name,
            "id": [block.number for block in own],
            "split": [block.split or "none" for block in own],
            "labelled_px": [block.labelled_px for block in own],
            "landslide_px": [block.landslide_px for block in own],
        }
        tables.append(gpd.GeoDataFrame(rows, geometry=boxes, crs=area.crs))
    return pd.concat([table.to_crs(tables[0].crs) for table in tables], ignore_index=True)
