"""What the maps of all areas earned together, as tables and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.metrics import instances
from hpcl.metrics.pixels import curve, reliability, scores
from hpcl.metrics.records import AreaInstances, AreaScores, FoldScores, ScoredGround, SizeClass
from hpcl.metrics.tally import Blocks, Tally
from hpcl.settings.evaluate import EvaluateSettings

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tallies:
    """What each map earned in each area, by name and area; all of them on the same ground."""

    maps: Mapping[str, Mapping[str, Tally]]

    def blocks_of(self, name: str) -> Blocks:
        """The blocks of a map in all areas."""
        return Blocks.join([tally.blocks for tally in self.maps[name].values()])

    def histogram(self, name: str) -> Array:
        """Pixels of all areas by truth and score, as `Tally` holds them."""
        return np.sum([tally.histogram for tally in self.maps[name].values()], axis=0)

    @property
    def ground(self) -> ScoredGround:
        """How much ground the scores stand on."""
        return _ground(self.blocks_of(next(iter(self.maps))))

    @property
    def scored_areas(self) -> list[str]:
        """Areas with scored ground."""
        return [area for area, tally in self._first.items() if len(tally.blocks.block)]

    @property
    def _first(self) -> Mapping[str, Tally]:
        return next(iter(self.maps.values()))

    def areas(self) -> list[AreaScores]:
        """Each area's share of the ground and its landslide IoU under every map; a list, for trackers count keys."""
        return [
            AreaScores(area=area, **_part({name: of[area].blocks for name, of in self.maps.items()}))
            for area in self.scored_areas
        ]

    def instances(self, name: str) -> list[AreaInstances]:
        """Each area's landslides under a map of polygons, one by one."""
        totals = {area: self.maps[name][area].blocks.instances.sum(0) for area in self.scored_areas}
        counted = {area: dict(zip(instances.COUNTS, total.tolist(), strict=True)) for area, total in totals.items()}
        kept = ("landslides", "polygons", "matched", "split", "merging")
        return [AreaInstances(area=area, **{one: int(of[one]) for one in kept}) for area, of in counted.items()]

    def folds(self) -> list[FoldScores]:
        """The same of each fold."""
        blocks = {name: self.blocks_of(name) for name in self.maps}
        return [
            FoldScores(fold=fold, **_part({name: of.only(of.fold == fold) for name, of in blocks.items()}))
            for fold in np.unique(next(iter(blocks.values())).fold).tolist()
        ]

    def blocks(self, grounds: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """One row for each map and block of the scored ground, with the `hpcl.metrics.ground.ground` of its area."""
        return pd.concat(
            [
                _block_rows(name, area, tally.blocks).merge(grounds[area], "left", on="block", validate="one_to_one")
                for name, of in self.maps.items()
                for area, tally in of.items()
            ]
        )

    def objects(self, edges_m2: Sequence[float]) -> pd.DataFrame:
        """One row for each inventory object of the scored ground, with its size class and the share of it that every map
        shows."""
        tables = []
        for area, tally in self._first.items():
            table = tally.objects.drop(columns="mapped_frac")
            table.insert(0, "area", area)
            table["size_class"] = size_class(table["area_m2"].to_numpy(), edges_m2)
            for name, of in self.maps.items():
                table[f"{name}_mapped_frac"] = of[area].objects["mapped_frac"]
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def object_sizes(self, settings: EvaluateSettings) -> list[SizeClass]:
        """How many objects of each size class every map finds, small ones first."""
        rows = []
        objects = self.objects(settings.object_size_edges_m2).sort_values("area_m2")
        for size, group in objects.groupby("size_class", sort=False):
            found = {
                f"{name}_found": (group[f"{name}_mapped_frac"] >= settings.object_found_frac).sum()
                for name in self.maps
            }
            rows.append(SizeClass(size_class=size, objects=len(group), **found))
        return rows

    def precision_recall(self, names: Sequence[str]) -> pd.DataFrame:
        """The curves of some maps, one below the other."""
        return _by_map(names, lambda name: curve(self.histogram(name)))

    def reliability(self, names: Sequence[str]) -> pd.DataFrame:
        """The reliability diagrams of some maps, one below the other."""
        return _by_map(names, lambda name: reliability(np.asarray(self.blocks_of(name).calibration.sum(0))))


def _ground(blocks: Blocks) -> ScoredGround:
    background_px, landslide_px = blocks.confusion.sum((0, 2))
    return ScoredGround(
        blocks=len(blocks.block),
        px=background_px + landslide_px,
        landslide_frac=landslide_px / (background_px + landslide_px),
        no_prediction_px=blocks.no_prediction_px.sum(),
    )


def _part(maps: Mapping[str, Blocks]) -> dict[str, Any]:
    """The fields of `PartScores` for some blocks under every map."""
    iou = {f"{name}_landslide_iou": float(scores(of.confusion.sum(0))["landslide_iou"]) for name, of in maps.items()}
    return {**vars(_ground(next(iter(maps.values())))), **iou}


def _block_rows(name: str, area: str, blocks: Blocks) -> pd.DataFrame:
    pixels = dict(zip(("tn", "fp", "fn", "tp"), blocks.confusion.reshape(-1, 4).T, strict=True))
    both, either = blocks.boundary_px.T
    one_by_one = dict(
        zip(instances.COUNTS, blocks.instances.T, strict=False)
    )  # none where the map is not one of polygons
    return pd.DataFrame(
        {
            "map": name,
            "area": area,
            "block": blocks.block,
            "fold": blocks.fold,
            **pixels,
            "landslide_iou": scores(blocks.confusion)["landslide_iou"],
            "boundary_both_px": both,
            "boundary_either_px": either,
            "objects": blocks.objects[:, 0],
            "objects_found": blocks.objects[:, 1],
            "false_objects": blocks.false_objects,
            **one_by_one,
        }
    )


def _by_map(names: Sequence[str], table: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    found = {name: table(name) for name in names}
    columns = ["map", *next(iter(found.values())).columns]
    return pd.concat([one.assign(map=name) for name, one in found.items()])[columns]


def size_class(area_m2: Array, edges_m2: Sequence[float]) -> list[str]:
    """The name of each object's size class.

    >>> size_class(np.array([50.0, 100.0, 5000.0]), [100.0, 1000.0])
    ['below 100 m2', '100 to 1000 m2', 'from 1000 m2']
    """
    edges = sorted(edges_m2)
    middle = [f"{a:g} to {b:g} m2" for a, b in pairwise(edges)]
    names = [f"below {edges[0]:g} m2", *middle, f"from {edges[-1]:g} m2"] if edges else ["all"]
    return [names[i] for i in np.searchsorted(edges, area_m2, side="right")]
