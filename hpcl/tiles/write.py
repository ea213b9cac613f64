"""The tiles: all areas' ground dealt into folds, windows laid on it, and what trainings need of them, as few files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from hpcl import distance, likeness, scale
from hpcl.core import artifacts
from hpcl.core.codes import MAX_FOLDS, TEST_AREA, UNKNOWN
from hpcl.core.records import AreaGround, BandFacts, FoldFacts, LabelledGround, Sun, TileBand, TiledArea, TileFacts
from hpcl.geo import blocks, vector
from hpcl.settings.tile import TileError, TileSettings
from hpcl.tiles import folds, lay, leaks, stacks
from hpcl.tiles.area import Area
from hpcl.tiles.moments import Moments

Array = npt.NDArray[Any]


class Tiler:
    """Deals and writes areas one after the other, and adds up what all of them are described by."""

    def __init__(self, areas: Sequence[Area], settings: TileSettings, out: Path) -> None:
        """Copy the labels, and deal the blocks of all areas among the folds."""
        self.settings, self.out = settings, out
        out.mkdir(parents=True, exist_ok=True)
        self.bands, self.kinds, self.messages = stacks.common_bands(areas)
        self.classes = sorted({name for area in areas for name in area.classes()})
        self.labels = {area.name: stacks.write_labels(area, self.classes, out) for area in areas}
        self.laid = {name: folds.lay_blocks(name, labels, settings.block_px) for name, labels in self.labels.items()}
        self.blocks = folds.deal(self.laid, settings)
        if settings.split == "regions":
            self.blocks = [block for area in areas for block in self._united(area)]
        # A lattice, so that what is kept of the training ground does not depend on how it is walked.
        dealt_px = sum(block.labelled_px for block in self.blocks if block.fold < MAX_FOLDS)
        self._step_px = math.ceil(math.sqrt(max(1.0, dealt_px / likeness.SAMPLE_PX)))
        self._moments = [Moments(len(self.bands)) for _ in range(settings.folds)]
        self._sampled: list[Array] = []
        self._grounds: dict[str, AreaGround] = {}
        self._taught_px = np.zeros((settings.folds, 1 + len(self.classes)), np.int64)  # by network and class code

    def _united(self, area: Area) -> list[folds.Block]:
        """One area's blocks, with landslides across regions in one of them where that can be."""
        own = [block for block in self.blocks if block.area == area.name]
        numbers = np.empty(self.labels[area.name].shape, np.int32)
        folds.paint(own, numbers)
        reached = [(mask.sum(), np.unique(numbers[roi][mask]).tolist()) for roi, mask in area.landslides()]
        reached.sort(key=lambda one: -one[0])
        return folds.united(own, [blocks for _, blocks in reached], self.settings.folds)

    def write(self, area: Area) -> tuple[list[pd.DataFrame], pd.DataFrame, TiledArea]:
        """Write one area's arrays; its windows for each network, its polygons, and what the facts say of it."""
        name, settings = area.name, self.settings
        labels, own = self.labels[name], [block for block in self.blocks if block.area == name]
        values = stacks.write_bands(area, self.bands, self.out)
        teaches = stacks.new_array(self.out / f"{name}.teaches.npy", np.uint16, labels.shape)
        folds.paint(own, stacks.new_array(self.out / f"{name}.block.npy", np.int32, labels.shape))
        sizes, seen, grid = area.sizes(), area.seen(labels), area.grid()
        facts = TiledArea(
            crs=str(grid.crs),
            transform=list(grid.affine)[:6],
            shape=list(grid.shape),
            pixel_m=abs(grid.affine.a),
            dem_pixel_m=sizes.dem_pixel_m,
            tops=sorted({block.rows.start for block in own}),
            lefts=sorted({block.columns.start for block in own}),
            folds=[block.fold for block in own],
            findings=_findings(sizes, settings) + scale.seen(sizes, *seen[["pixels", "labelled_px"]].to_numpy().T),
        )
        folds.teach(own, labels, settings.folds, settings.gap_px, teaches)
        divided = folds.keep_whole(area.landslides(), facts, settings.gap_px, teaches)
        leaks.check(facts, teaches, area.landslides(), settings)
        windows = []
        for code in range(settings.folds):
            laid = lay.lay_windows(facts, labels, teaches, code, settings)
            leaks.check_windows(facts, laid, code, settings.window_px)
            windows.append(pd.DataFrame(laid))
        self._add(values, labels, teaches)
        self._describe(name, values)
        return windows, seen, replace(facts, divided_landslides=divided)

    def _add(self, values: Array, labels: Array, teaches: Array) -> None:
        """Count what of an area each network learns from, and take the statistics of it."""
        for rows, columns in blocks.walk(labels.shape):
            bits, codes = teaches[rows, columns], labels[rows, columns]
            for code, moments in enumerate(self._moments):
                taught = (bits >> np.uint16(code) & np.uint16(1)).astype(bool)
                moments.add(values[:, rows, columns], taught)
                self._taught_px[code] += np.bincount(codes[taught], minlength=self._taught_px.shape[1])
        lattice = (slice(None, None, self._step_px), slice(None, None, self._step_px))
        self._sampled.append(values[:, *lattice][:, teaches[lattice] > 0])

    def _describe(self, name: str, values: Array) -> None:
        """Keep how the bands of an area's labelled ground are distributed: of each area by itself, so that none changes with
        another."""
        labelled_px = sum(block.labelled_px for block in self.blocks if block.area == name)
        if not labelled_px:
            return
        step_px = math.ceil(math.sqrt(labelled_px / likeness.SAMPLE_PX))
        lattice = (slice(None, None, step_px), slice(None, None, step_px))
        sampled = values[:, *lattice][:, self.labels[name][lattice] != UNKNOWN]
        names = [band.name for band in self.bands]
        self._grounds[name] = distance.described(names, self.kinds, sampled, labelled_px)

    def facts(self, areas: dict[str, TiledArea], sun: Sun) -> TileFacts:
        """What is known when all ``areas`` are written."""
        names = [band.name for band in self.bands]
        return TileFacts(
            areas=areas,
            sun=sun,
            bands=[TileBand(band.name, kind, band.unit) for band, kind in zip(self.bands, self.kinds, strict=True)],
            ground=likeness.statistics(names, self.kinds, np.concatenate(self._sampled, axis=1)),
            grounds=self._grounds,
            classes=self.classes,
            window_px=self.settings.window_px,
            gap_px=self.settings.gap_px,
            folds=[
                FoldFacts(
                    **vars(self._ground(code)),
                    bands=[
                        BandFacts(name, kind, mean, std)
                        for name, kind, (mean, std) in zip(
                            names, self.kinds, moments.normalisation(self.kinds), strict=True
                        )
                    ],
                )
                for code, moments in enumerate(self._moments)
            ],
            test=self._ground(TEST_AREA),
        )

    def _ground(self, code: int) -> LabelledGround:
        own = [block for block in self.blocks if block.fold == code]
        return LabelledGround(
            blocks=len(own),
            labelled_px=sum(block.labelled_px for block in own),
            landslide_px=sum(block.landslide_px for block in own),
        )

    def told_of_taught(self) -> list[str]:
        """A sentence if little of the landslide ground teaches."""
        held = [self._ground(code).landslide_px for code in range(self.settings.folds)]
        elsewhere = [sum(held) - own for own in held]
        return folds.told_of_taught(self._taught_px[:, 1:].sum(1).tolist(), elsewhere, self.settings.split)

    def unseen_classes(self) -> list[str]:
        """A sentence for each class that a network has no pixel to learn from."""
        told = []
        for row, name in enumerate(self.classes, start=1):
            lacking = [str(code + 1) for code, pixels in enumerate(self._taught_px[:, row]) if not pixels]
            if len(lacking) == self.settings.folds:
                told.append(f"class '{name}' has no pixel that could teach any network, so no model can learn it.")
            elif lacking:
                told.append(
                    f"class '{name}' has no pixel outside fold {' and '.join(lacking)}, so what maps that ground cannot know it."
                )
        return told


def write(areas: Sequence[Area], settings: TileSettings, out: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Write the tiles of ``areas`` into ``out``; what is to be said of them, a line each. Raises `TileError`."""
    tiler = Tiler(areas, settings, out)
    findings = folds.told_of_shares(
        [sum(b.landslide_px for b in tiler.blocks if b.fold == code) for code in range(settings.folds)],
        tiler.laid,
        settings,
    )
    windows: list[dict[str, pd.DataFrame]] = [{} for _ in range(settings.folds)]
    polygons, tiled, told = {}, {}, []
    for done, area in enumerate(areas, start=1):
        laid, polygons[area.name], tiled[area.name] = tiler.write(area)
        for tables, table in zip(windows, laid, strict=True):
            tables[area.name] = table
        progress(done, len(areas))
    for code, tables in enumerate(windows):
        table = pd.concat(tables, names=["area"]).reset_index("area")
        _check_windows(table, code, settings)
        artifacts.write_csv(out / f"windows_{code + 1}.csv", table, "%.4f")
        told.append(_summary(code, tiler.blocks, table))
    fold_map = _fold_map(tiler.blocks, tiled)
    findings += overlaps(fold_map) + tiler.told_of_taught() + tiler.unseen_classes()
    facts = tiler.facts(tiled, areas[0].terrain_facts().sun)
    artifacts.write_json(out / "facts.json", replace(facts, findings=findings))
    artifacts.write_csv(out / "landslides.csv", pd.concat(polygons, names=["area"]).reset_index("area"))
    vector.write(out / "folds.gpkg", fold_map)
    found = [f"{name}: {finding}" for name, area in tiled.items() for finding in area.findings]
    return tiler.messages + findings + found + told


def _check_windows(table: pd.DataFrame, code: int, settings: TileSettings) -> None:
    """Raise `TileError` if a network has nothing to learn from, or nothing to be watched on."""
    train, held = (table[table["role"] == role] for role in ("train", "held"))
    if not len(held) or not (train["landslide_frac"] > 0).any():
        what = "shows a landslide that its network could learn from" if len(held) else "fits into its blocks"
        raise TileError(
            f"Fold {code + 1}: no window of {settings.window_px} px {what}, between gaps of {settings.gap_px} px and landslides that"
            " reach into several folds; lower tile.window_px, tile.gap_px or tile.minimum_valid_frac, raise tile.block_px,"
            " change tile.seed, or set tile.split to regions."
        )


def _findings(sizes: scale.Sizes, settings: TileSettings) -> list[str]:
    return scale.tile(
        sizes,
        window_px=settings.window_px,
        stride_px=settings.stride_px,
        block_px=settings.block_px,
        gap_px=settings.gap_px,
    )


def _summary(code: int, dealt: Sequence[folds.Block], windows: pd.DataFrame) -> str:
    own = [block for block in dealt if block.fold == code]
    share = sum(b.landslide_px for b in own) / max(sum(b.labelled_px for b in own), 1)
    count = (windows["role"] == "train").sum()
    return f"fold {code + 1}: {len(own):4d} blocks, landslide share {share:.3f}; its network learns from {count} windows of other folds"


def _fold_map(dealt: Sequence[folds.Block], areas: Mapping[str, TiledArea]) -> gpd.GeoDataFrame:
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
            "fold": [block.fold_name for block in own],
            "labelled_px": [block.labelled_px for block in own],
            "landslide_px": [block.landslide_px for block in own],
        }
        tables.append(gpd.GeoDataFrame(rows, geometry=boxes, crs=area.crs))
    return pd.concat([table.to_crs(tables[0].crs) for table in tables], ignore_index=True)


def overlaps(blocks: gpd.GeoDataFrame) -> list[str]:
    """A sentence for each pair of areas that share ground in different folds, as two images of one place do: what a network
    learnt in one it then maps in the other. ``blocks`` is the map of the folds."""
    labelled = blocks.loc[blocks["labelled_px"] > 0, ["area", "fold", "geometry"]]
    pairs = gpd.overlay(labelled, labelled, how="intersection", keep_geom_type=True)
    pairs = pairs[(pairs["area_1"] < pairs["area_2"]) & (pairs["fold_1"] != pairs["fold_2"])]
    shared_km2 = pairs.geometry.area.groupby([pairs["area_1"], pairs["area_2"]]).sum() / 1e6
    return [
        f"{one} and {other} share {km2:.2g} km2 of ground in different folds: a network maps in one what it learnt in the other, so"
        " scores there are too good; crop one of them."
        for (one, other), km2 in shared_km2.items()
    ]
