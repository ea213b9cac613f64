"""The figures that another operating point leaves as they are, as the bytes of their files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hpcl.core import artifacts
from hpcl.core.artifacts import ArtifactError, remedy
from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.core.records import AttentionFacts, TiledArea
from hpcl.geo import raster
from hpcl.report import charts, maps, sheets, style
from hpcl.report.budget import of_areas
from hpcl.report.ground import DATA, extent_km, ground, images, shown
from hpcl.settings.report import ReportSettings
from hpcl.tiles import stored

FOLDER = DATA / "illustrate"
ALWAYS = "training_loss.png"
"""Which there is whatever the areas are."""


def read() -> dict[str, bytes]:
    """The figures that the stage `illustrate` left, by file name. Raises `ArtifactError` where one is not whole."""
    found = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.png"))}
    if ALWAYS not in found:
        raise ArtifactError(f"{FOLDER / ALWAYS} does not exist; {remedy(FOLDER / ALWAYS)}.")
    for name, data in found.items():
        try:
            with Image.open(BytesIO(data)) as picture:
                picture.verify()
        except (OSError, SyntaxError) as error:
            raise ArtifactError(f"{FOLDER / name} is no whole picture; {remedy(FOLDER / name)}.") from error
    return found


def training(table: pd.DataFrame, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of reports/train/curves.csv, by file name."""
    losses = {"loss": "training", "held_loss": "held-out fold", "contrast_loss": "contrast, unweighted"}
    watches = {
        "held_iou": "landslide IoU, held-out fold",
        "key_spread": "spread of keys",
        "queue_fill_frac": "filled queues",
        "queue_purity_frac": "purity of queues",
        "separation": "separation of classes",
    }
    drawn = {
        ALWAYS: charts.training(table, charts.Curves("Losses", losses, "loss [-]", True)),
        "training_watch.png": charts.training(table, charts.Curves("Watches", watches, "value [-]", False)),
    }
    return style.pngs(drawn, settings)


def label_budget(table: pd.DataFrame, names: Sequence[str], settings: ReportSettings) -> dict[str, bytes]:
    """The figures of the label budget, one for each ground of these areas, by file name."""
    grounds = of_areas(table, set(names)).groupby("ground", sort=False)
    drawn = {f"budget_{number}.png": charts.label_budget(one) for number, (_, one) in enumerate(grounds, start=1)}
    return style.pngs(drawn, settings)


def area(name: str, tiles: TiledArea | None, settings: ReportSettings) -> dict[str, bytes]:
    """The figures of one area, by file name; ``tiles``: of an area with labels."""
    seen = ground(name, settings, inventory=tiles is not None, mapped=False)
    drawn = images(seen, settings) | _residuals(name, settings) | _attention(name, tiles, settings)
    if tiles is not None:
        drawn["folds"] = _folds(seen, tiles, settings)
    return style.pngs({f"{name}_{kind}.png": figure for kind, figure in drawn.items()}, settings)


def _folds(seen: maps.Ground, tiles: TiledArea, settings: ReportSettings) -> Any:
    labels, block = stored.arrays(seen.area, tiles, "labels", "block")
    at = np.ix_(*(maps.sample(length, max(labels.shape), settings.map_px) for length in labels.shape))
    return maps.fold_map(seen, tiles, np.where(labels[at] == UNKNOWN, OUTSIDE, np.asarray(tiles.folds)[block[at]]))


def _residuals(name: str, settings: ReportSettings) -> dict[str, Any]:
    """Residuals before and after the coregistration, if it compared anything."""
    residuals = []
    for when in ("before", "after"):
        path = DATA / "coregister" / name / f"residual_{when}.tif"
        if path.exists():
            with raster.Source(path) as source:
                values, band = source.thumbnail(settings.map_px)[0], source.bands[0]
                residuals.append(maps.Residual(name, when, values, extent_km(source.grid), band.name, band.unit))
    limit = maps.residual_limit(*(residual.values for residual in residuals))
    return {f"residual_{residual.when}": maps.residual_map(residual, limit) for residual in residuals}


def _attention(name: str, tiles: TiledArea | None, settings: ReportSettings) -> dict[str, Any]:
    """The first explained windows, and the shares of all of them."""
    folder, drawn = DATA / "explain" / name, {}
    explained = artifacts.read_json(folder / "facts.json", AttentionFacts)
    for number, window in enumerate(explained.windows[: settings.attention_windows], start=1):
        seen, top, left = raster.read(folder / f"attention_{number:02d}.tif"), window.row_px, window.column_px
        cams = dict(zip([band.name for band in seen.bands], seen.values, strict=True))
        height, width = seen.grid.shape
        roi = slice(top, top + height), slice(left, left + width)
        with raster.Source(DATA / "ingest" / name / "image.tif") as source:
            image = source.read(roi, shown(source))
        with raster.Source(DATA / "terrain" / name / "terrain.tif") as source:
            hillshade = source.read(roi, ["hillshade"])[0]
        landslide = np.zeros(hillshade.shape, bool)
        if tiles is not None:
            labels = stored.arrays(name, tiles, "labels")[0][roi]
            landslide = (labels >= 1) & (labels != UNKNOWN)
        title = f"{name}: window {number}, rows from {top}, columns from {left}"
        source_file = f"data/explain/{name}/attention_{number:02d}.tif"
        drawn[f"attention_{number}"] = sheets.attention(
            sheets.Explained(title, image, hillshade, landslide, cams, source_file)
        )
    known = [share.boundary_ground_frac for share in explained.attention.values()]
    if explained.windows and any(value is not None for value in known):
        drawn["attention_shares"] = charts.attention_shares(name, explained.attention)
    return drawn
