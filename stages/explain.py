"""Where networks look: Grad-CAM on windows of one area that they never saw, per branch and fused, beside an untrained control."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hpcl import explain
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import AreaGrid, AttentionFacts, TiledArea, TileFacts, WindowPlace
from hpcl.geo import cog, raster
from hpcl.inference.adabn import adapted
from hpcl.networks.base import Network
from hpcl.networks.ensemble import Ensemble, load
from hpcl.raster_scene import RasterScene
from hpcl.settings.explain import ExplainSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelError
from hpcl.tiles import stored
from hpcl.windows import pad, starts
from stages._stage import params, progress, run


def main(area: str) -> None:
    """Write attention_01.tif and so on, one for each explained window, and the share of attention at landslide boundaries.

    Not one raster of the area: its size would grow with the scene for a dozen windows. A window in a fold is shown to the
    network that maps that fold, which never saw it. Where there are no folds, as in test areas and without an inventory,
    windows are shown to the first network alone: attention of several is no attention of any.
    """
    settings = params("explain", ExplainSettings)
    windows = params("inference", InferenceSettings)
    ensemble = load(Path("data/model"))
    first = ensemble.members[0].network
    control = explain.untrained(first, settings.seed)
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    out = Path("data/explain") / area
    bands = [raster.Band(f"{prefix}{name}") for prefix in ("", "untrained_") for name in first.layers()]
    shares = {band.name: explain.Shares() for band in bands}
    size = ensemble.facts.window_px
    bar = progress(f"explain {area}")
    tiles = stored.facts()
    tiled = tiles.areas.get(area)
    with RasterScene(area, files, ensemble, "mean") as scene:
        if tiled:
            _check_tiles(area, tiled, ensemble, files[0], scene.grid)
        for old in out.glob("attention_*.tif"):  # of more windows, perhaps; DVC clears its outs, a run by hand does not
            old.unlink()
        lookers = [adapted(member, scene, windows.adapt_windows) for member in ensemble.members]  # as they made the map
        places = _places(area, tiles, scene.grid.shape, size, settings.windows)
        for done, place in enumerate(places):
            roi = _inside(place, size, scene.grid.shape)
            raw = pad(scene.read(roi), size)
            landslide, known = _truth(area, tiled, roi, size)
            zone = explain.boundary_zone(landslide, known, first.settings.output_stride)
            mask = torch.from_numpy(landslide if landslide.any() else scene.has_data(raw)).float()[None]
            inputs = scene.tensors([raw], ensemble.members[place.network - 1].facts.bands, torch.device("cpu"))
            layers = _layers((lookers[place.network - 1], control), inputs, mask, scene.has_data(raw))
            for band, layer in zip(bands, layers, strict=True):
                shares[band.name].add(np.nan_to_num(layer), zone, known)
            inside = np.stack(layers)[:, : roi[0].stop - roi[0].start, : roi[1].stop - roi[1].start]
            cog.write(out / f"attention_{done + 1:02d}.tif", raster.Raster(inside, scene.grid[roi], tuple(bands)))
            bar(done + 1, len(places))
    facts = AttentionFacts(
        windows=places, window_px=size, attention={name: share.facts() for name, share in shares.items()}
    )
    write_json(out / "facts.json", facts)


def _layers(
    networks: Sequence[Network], inputs: dict[str, torch.Tensor], mask: torch.Tensor, has_data: np.ndarray
) -> list[np.ndarray]:
    """The attention ``(row, column)`` of each layer of each network on one window, NaN where there is no data."""
    cams = [explain.grad_cam(network, inputs, mask) for network in networks]
    return [np.where(has_data, cam[0].numpy(), np.float32(np.nan)) for maps in cams for cam in maps.values()]


def _places(area: str, tiles: TileFacts, shape: raster.Shape, size: int, most: int) -> list[WindowPlace]:
    """Windows with landslide ground that their network never saw, most of it first and none over another; where there are no
    folds, windows spread over the area."""
    if area in tiles.areas and not tiles.areas[area].test:
        chosen: list[WindowPlace] = []
        order = ["landslide_frac", "row_px", "column_px"]
        for window in _held(area, tiles).sort_values(order, ascending=[False, True, True]).itertuples():
            place = WindowPlace(int(window.row_px), int(window.column_px), int(window.network))
            if all(
                abs(place.row_px - at.row_px) >= size or abs(place.column_px - at.column_px) >= size for at in chosen
            ):
                chosen.append(place)
        return chosen[:most]
    everywhere = [(top, left) for top in starts(shape[0], size, size) for left in starts(shape[1], size, size)]
    return [WindowPlace(top, left, 1) for top, left in everywhere[:: -(-len(everywhere) // most)]]


def _held(area: str, tiles: TileFacts) -> pd.DataFrame:
    """The windows of an area with landslide ground in any fold, and the ``network`` of that fold."""
    columns = {"area": str, "role": str, "row_px": int, "column_px": int, "landslide_frac": float}
    tables = []
    for name in tiles.fold_names:
        windows = artifacts.read_csv(stored.TILES / f"windows_{name}.csv", columns)
        mine = (windows["area"] == area) & (windows["role"] == "held") & (windows["landslide_frac"] > 0)
        tables.append(windows[mine].assign(network=int(name)))
    return pd.concat(tables)


def _check_tiles(area: str, tiled: TiledArea, ensemble: Ensemble, image: Path, grid: raster.Grid) -> None:
    """Raise `raster.RasterError` if the tiles lie on another grid than the image, and `ModelError` if the networks were trained on
    other folds than they have: one could be shown what it learnt."""
    raster.common_grid({image: grid, stored.FACTS: stored.grid(tiled)})
    held = ensemble.areas.get(area)
    if not tiled.test and (
        held is None or (held.tops, held.lefts, held.folds) != (tiled.tops, tiled.lefts, tiled.folds)
    ):
        raise ModelError(
            f"The networks in data/model were not trained on the folds that {stored.FACTS} gives to {area}; run dvc repro."
        )


def _inside(place: WindowPlace, size: int, shape: raster.Shape) -> raster.Roi:
    top, left = place.row_px, place.column_px
    return slice(top, min(top + size, shape[0])), slice(left, min(left + size, shape[1]))


def _truth(area: str, tiled: AreaGrid | None, roi: raster.Roi, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Landslide and known pixels of a window; nothing is known of an area without inventory."""
    landslide, known = np.zeros((size, size), bool), np.zeros((size, size), bool)
    if tiled:
        (labels,) = (array[roi] for array in stored.arrays(area, tiled, "labels"))
        known[: labels.shape[0], : labels.shape[1]] = labels != UNKNOWN
        landslide[: labels.shape[0], : labels.shape[1]] = (labels > 0) & (labels != UNKNOWN)
    return landslide, known


if __name__ == "__main__":
    run(main)
