"""An area's rasters as one stack of the bands that networks ask for, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from affine import Affine

from hpcl.geo import raster
from hpcl.inference.scene import Scene
from hpcl.networks.ensemble import Ensemble
from hpcl.networks.normalise import Float32
from hpcl.settings.inference import Missing


class SceneError(ValueError):
    """The networks cannot be applied to this area."""


class RasterScene(Scene):
    """Rasters of one area on one grid. Use as a context manager."""

    def __init__(self, area: str, files: Sequence[Path], ensemble: Ensemble, missing: Missing) -> None:
        self._stack = ExitStack()
        with self._stack:  # which closes what is open if anything is refused
            self._sources = [self._stack.enter_context(raster.Source(path)) for path in files]
            self.grid = raster.common_grid({source.path: source.grid for source in self._sources})
            _check_folds(area, files[0], self.grid, ensemble)
            self._stack = self._stack.pop_all()
        there = [[band.name for band in source.bands] for source in self._sources]
        wanted = ensemble.facts.band_names
        twice = [name for name in wanted if sum(name in names for names in there) > 1]
        if twice:
            self._stack.close()
            raise SceneError(
                f"The area {area} has a band '{twice[0]}' of its own, which is what a band of its terrain is called; rename the"
                " file or band in data/raw."
            )
        absent = [name for name in wanted if not any(name in names for names in there)]
        rows, columns = self.grid.shape
        super().__init__(ensemble, area, (rows, columns), absent)
        if absent and (missing == "refuse" or not self._present):
            known = ", ".join(name for names in there for name in names)
            remedy = "" if missing == "mean" else "; inference.missing_bands: mean maps it without"
            self._stack.close()
            raise SceneError(
                f"The model was trained with band '{absent[0]}', which this area lacks (it has {known}){remedy}."
            )
        holders = [next((i for i, names in enumerate(there) if name in names), None) for name in wanted]
        self._lacking = [row for row, holder in enumerate(holders) if holder is None]
        self._parts = [
            (source, [(row, name) for row, name in enumerate(wanted) if holders[row] == i])
            for i, source in enumerate(self._sources)
        ]

    def __enter__(self) -> RasterScene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, roi: raster.Roi) -> Float32:
        """Raw bands ``(band, row, column)`` of a window, NaN where there is no data."""
        size = roi[0].stop - roi[0].start, roi[1].stop - roi[1].start
        out = np.empty((len(self.bands), *size), np.float32)
        out[self._lacking] = np.nan
        for source, rows in self._parts:
            if rows:
                out[[row for row, _ in rows]] = source.read(roi, [name for _, name in rows])
        return out


def _check_folds(area: str, image: Path, grid: raster.Grid, ensemble: Ensemble) -> None:
    """Raise `SceneError` if the model divides an area of this name on another grid: its folds would lie elsewhere, and a
    network would map ground that it learnt."""
    if (folded := ensemble.areas.get(area)) is None:
        return
    rows, columns = folded.shape
    divided = raster.Grid((rows, columns), Affine(*folded.transform), folded.crs)
    try:
        raster.common_grid({image: grid, Path("data/model/1/model.json"): divided})
    except raster.RasterError as error:
        raise SceneError(
            f"The model was trained in an area {area} on another grid than that of {image}: it was cropped or made again since, or"
            " is other ground of the same name. Run dvc repro to train on it as it is now, or give new ground a name of its own."
        ) from error
