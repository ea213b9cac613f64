"""Where the network looks: Grad-CAM on test windows of one area, per branch and fused, beside an untrained control."""

from pathlib import Path

import numpy as np
import torch

from hpcl import explain
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.codes import TEST, UNKNOWN
from hpcl.core.records import AreaGrid, AttentionFacts, WindowPlace
from hpcl.geo import cog, raster
from hpcl.inference.adabn import adapted
from hpcl.networks import store
from hpcl.raster_scene import RasterScene
from hpcl.settings.explain import ExplainSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.tiles import stored
from hpcl.windows import pad, starts
from stages._stage import params, progress, run


def main(area: str) -> None:
    """Write attention_01.tif and so on, one for each explained window, and the share of attention at landslide boundaries.

    Not one raster of the area: its size would grow with the scene for a dozen windows.
    """
    settings = params("explain", ExplainSettings)
    windows = params("inference", InferenceSettings)
    trained = store.load(Path("data/model"))
    control = explain.untrained(trained.network, settings.seed)
    files = [Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"]
    out = Path("data/explain") / area
    names = list(trained.network.layers())
    bands = [raster.Band(f"{prefix}{name}") for prefix in ("", "untrained_") for name in names]
    shares = {band.name: explain.Shares() for band in bands}
    size = trained.facts.window_px
    bar = progress(f"explain {area}")
    tiles = stored.facts().areas.get(area)
    with RasterScene(area, files, trained, "mean") as scene:
        if tiles:
            raster.common_grid({files[0]: scene.grid, stored.FACTS: stored.grid(tiles)})
        for old in out.glob("attention_*.tif"):  # of more windows, perhaps; DVC clears its outs, a run by hand does not
            old.unlink()
        network = adapted(trained.network, scene, size, windows.adapt_windows)  # as it made the map
        places = _places(area, tiles is not None, scene.grid.shape, size, settings.windows)
        for done, (top, left) in enumerate(places):
            roi = _inside(top, left, size, scene.grid.shape)
            raw = pad(scene.read(roi), size)
            landslide, known = _truth(area, tiles, roi, size)
            mask = torch.from_numpy(landslide if landslide.any() else scene.has_data(raw)).float()[None]
            layers = []
            for prefix, looker in (("", network), ("untrained_", control)):
                cams = explain.grad_cam(looker, scene.tensors([raw], torch.device("cpu")), mask)
                for name, cam in cams.items():
                    values = np.where(scene.has_data(raw), cam[0].numpy(), np.nan)
                    layers.append(values[: roi[0].stop - roi[0].start, : roi[1].stop - roi[1].start])
                    zone = explain.boundary_zone(landslide, known, trained.network.settings.output_stride)
                    shares[prefix + name].add(np.nan_to_num(values), zone, known)
            seen = raster.Raster(np.stack(layers).astype(np.float32), scene.grid[roi], tuple(bands))
            cog.write(out / f"attention_{done + 1:02d}.tif", seen)
            bar(done + 1, len(places))
    write_json(
        out / "facts.json",
        AttentionFacts(
            windows=[WindowPlace(top, left) for top, left in places],
            window_px=size,
            attention={name: share.facts() for name, share in shares.items()},
        ),
    )


def _places(area: str, labelled: bool, shape: raster.Shape, size: int, most: int) -> list[tuple[int, int]]:
    """Test windows with landslide ground, most of it first and none over another; without an inventory, windows spread
    over the area."""
    windows = artifacts.read_csv(
        stored.TILES / "windows.csv",
        {"area": str, "split": str, "row_px": int, "column_px": int, "landslide_frac": float},
    )
    mine = windows[(windows["area"] == area) & (windows["split"] == "test") & (windows["landslide_frac"] > 0)]
    if labelled:
        chosen: list[tuple[int, int]] = []
        for window in mine.sort_values(
            ["landslide_frac", "row_px", "column_px"], ascending=[False, True, True]
        ).itertuples():
            at = int(window.row_px), int(window.column_px)
            if all(abs(at[0] - top) >= size or abs(at[1] - left) >= size for top, left in chosen):
                chosen.append(at)
        return chosen[:most]
    everywhere = [(top, left) for top in starts(shape[0], size, size) for left in starts(shape[1], size, size)]
    return everywhere[:: -(-len(everywhere) // most)]


def _inside(top: int, left: int, size: int, shape: raster.Shape) -> raster.Roi:
    return slice(top, min(top + size, shape[0])), slice(left, min(left + size, shape[1]))


def _truth(area: str, tiles: AreaGrid | None, roi: raster.Roi, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Landslide and known pixels of a window, on test ground only; nothing is known of an area without inventory."""
    shape = (size, size)
    landslide, known = np.zeros(shape, bool), np.zeros(shape, bool)
    if tiles:
        labels, split = (array[roi] for array in stored.arrays(area, tiles, "labels", "split"))
        test = split == TEST
        landslide[: labels.shape[0], : labels.shape[1]] = test & (labels > 0) & (labels != UNKNOWN)
        known[: labels.shape[0], : labels.shape[1]] = test
    return landslide, known


if __name__ == "__main__":
    run(main)
