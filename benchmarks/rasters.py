"""Scenes larger than memory: terrain beside gdaldem, prediction beside the bare network, peaks. `make bench-large`.

An argument scales it down: `python -m benchmarks.rasters 4000` is a quick look.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from scipy import ndimage

from benchmarks.measure import NO_HELD, Row, in_turn, keep, row
from hpcl.core.records import BandFacts, Sun, TrainedFacts
from hpcl.coregister.reference import align
from hpcl.geo import blocks, cog, raster
from hpcl.inference import predict
from hpcl.networks import store
from hpcl.networks.device import device
from hpcl.networks.ensemble import Ensemble, load
from hpcl.raster_scene import RasterScene
from hpcl.settings.coregister import CoregisterSettings
from hpcl.settings.inference import InferenceSettings
from hpcl.settings.model import ModelSettings
from hpcl.windows import starts
from stages._stage import params

SIDE_PX, SMALL_PX, ROUNDS = 20_000, 4_000, 3
PEAK_ROUNDS = 2  # memory hardly varies, and mapping takes long
PIXEL_M = 2.0
TERRAIN = """
from pathlib import Path
from hpcl import terrain
from hpcl.settings.terrain import TerrainSettings
from stages._stage import params
settings = params("terrain", TerrainSettings, {{"smoothing_m": 0.0}})  # gdaldem smooths nothing either
terrain.derive(Path({dem!r}), Path({out!r}), settings, bands=("slope", "hillshade"))
"""
PREDICT = """
import sys
sys.argv = ["predict", {folder!r}]
from benchmarks.rasters import map_scene
print(map_scene({folder!r}, overlap_frac=0.0))
"""
OPTIONS = ("COMPRESS=DEFLATE", "LEVEL=1", "BLOCKSIZE=512", "PREDICTOR=YES", "NUM_THREADS=ALL_CPUS", "BIGTIFF=IF_SAFER")
COG = ["-of", "COG", *(part for option in OPTIONS for part in ("-co", option))]


def make_dem(path: Path, side_px: int) -> None:
    """Hills that repeat every 2048 pixels on a slope that does not, block by block."""
    rng = np.random.default_rng(0)
    hills = (
        ndimage.gaussian_filter(rng.normal(size=(2048, 2048)), 8, mode="wrap") * 200
        + rng.normal(size=(2048, 2048)) * 0.05
    )
    grid = raster.Grid((side_px, side_px), Affine(PIXEL_M, 0, 5e5, 0, -PIXEL_M, 4e6), "EPSG:32648")
    with cog.create(path, grid, [raster.Band("elevation", "m")]) as sink:
        for rows, columns in blocks.walk(grid.shape, 2048):
            part = hills[: rows.stop - rows.start, : columns.stop - columns.start] + 0.01 * rows.start
            sink.write(part[None].astype(np.float32), (rows, columns))


def run(program: str) -> tuple[float, float]:
    """Seconds and peak MiB of a Python program in a process of its own."""
    # Not ru_maxrss, which a process inherits from the one that started it.
    told = "import sys\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", f"{program}\n{told}"], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, float(done.stderr.split()[-1]) / 1024


def terrain(folder: Path, side_px: int) -> list[Row]:
    """Slope and hillshade, reading and writing included, beside two gdaldem processes that run in parallel."""
    dem, out, peaks = folder / "dem.tif", folder / "ours.tif", []
    make_dem(dem, side_px)

    def ours() -> float:
        seconds, peak = run(TERRAIN.format(dem=str(dem), out=str(out)))
        peaks.append(peak)
        return seconds

    def theirs() -> float:
        began = time.perf_counter()
        works = [
            subprocess.Popen(["gdaldem", what, dem, folder / f"{what}.tif", "-q", "-compute_edges", *COG])
            for what in ("slope", "hillshade")
        ]
        if any(work.wait() for work in works):
            raise OSError("gdaldem failed")
        return time.perf_counter() - began

    size = f"{side_px} x {side_px} px"
    rows = []
    if shutil.which("gdaldem"):
        other, own = in_turn(ROUNDS, theirs, ours)
        what = f"throughput over two gdaldem processes in parallel, COG to COG, {size}"
        rows.append(row("terrain_vs_gdaldem", [a / b for a, b in zip(other, own, strict=True)], what))
    else:
        print("bench: gdaldem (Debian's gdal-bin) is not here; terrain is measured alone")
        ours()
    return [*rows, row("terrain_peak_mib", peaks, f"peak memory in MiB, slope and hillshade, {size}")]


def make_scene(folder: Path, side_px: int, *, noise: bool, architecture: str = "hpcl_net") -> Ensemble:
    """An area's rasters and an untrained network for them, which maps alone; without noise they are one repeated value."""
    folder.mkdir(parents=True, exist_ok=True)
    model = replace(params("model", ModelSettings), architecture=architecture)
    torch.manual_seed(0)
    names = list(dict.fromkeys(name for bands in model.branches.values() for name in bands))
    network = store.build(model, 2, 8)
    facts = TrainedFacts(
        bands=[BandFacts(name, "scalar", 0.0, 1.0) for name in names],
        classes=["landslide"],
        window_px=128,
        sun=Sun(315.0, 45.0),
        trained_on=[],
        pixel_m=[PIXEL_M],
        fold=1,
        folds=1,
        areas={},
        held=NO_HELD,
    )
    store.save(folder / "model" / "1", network, facts)
    grid = raster.Grid((side_px, side_px), Affine(PIXEL_M, 0, 5e5, 0, -PIXEL_M, 4e6), "EPSG:32648")
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=(len(names), 1024, 1024)).astype(np.float32)
        if noise
        else np.ones((len(names), 1024, 1024), np.float32)
    )
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", height=side_px, width=side_px, count=len(names), dtype="float32",
        crs=str(grid.crs), transform=grid.affine, nodata=np.nan, tiled=True, blockxsize=512, blockysize=512,
        interleave="band", compress="deflate", zlevel=1, BIGTIFF="IF_SAFER",
    ) as file:  # fmt: skip
        file.descriptions = names
        sink = cog.Sink(file, grid)
        for rows, columns in blocks.walk(grid.shape, 1024):
            sink.write(values[:, : rows.stop - rows.start, : columns.stop - columns.start], (rows, columns))
    return load(folder / "model")


def map_scene(folder: str, overlap_frac: float) -> int:
    """Map a scene as the stage does, into a probability raster; how many windows that took."""
    place = Path(folder)
    ensemble = load(place / "model")
    settings = InferenceSettings(
        overlap_frac=overlap_frac, batch_size=16, tta="none", adapt_windows=0, missing_bands="refuse", networks="all"
    )
    with RasterScene("large", [place / "scene.tif"], ensemble, "refuse") as scene:
        bands = [raster.Band("probability"), raster.Band("uncertainty")]
        with cog.create(place / "probability.tif", scene.grid, bands) as sink:
            for part in predict.predict(scene, ensemble, settings):
                sink.write(np.stack([part.probability, part.uncertainty]), part.roi)
        window_px = ensemble.facts.window_px
        return math.prod(len(starts(side, window_px, round(window_px * (1 - overlap_frac)))) for side in scene.shape)


def prediction(folder: Path) -> list[Row]:
    """Windows a second of a whole map over those of the bare network on batches that are ready: with the overlap of
    params.yaml, and with a quarter, where the same reading and writing is spread over half as many windows."""
    ensemble = make_scene(folder, 2048, noise=True)
    with RasterScene("large", [folder / "scene.tif"], ensemble, "refuse") as scene:
        places = [(slice(0, 128), slice(left, left + 128)) for left in range(0, 16 * 96, 96)]
        batch = scene.tensors([scene.read(place) for place in places], ensemble.facts.bands, device())
    network = ensemble.members[0].network.to(device()).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def bare() -> float:
        began = time.perf_counter()
        for _ in range(12):
            float(network(batch).logits.sum())
        return (time.perf_counter() - began) / (12 * len(places))

    def whole(overlap_frac: float) -> float:
        began = time.perf_counter()
        windows = map_scene(str(folder), overlap_frac)
        return (time.perf_counter() - began) / windows

    shipped = params("inference", InferenceSettings).overlap_frac
    forward, *mapped = in_turn(5, bare, partial(whole, shipped), partial(whole, 0.25))
    what = "windows/s of a map of 2048 x 2048 px, files included, over those of the bare forward pass, overlap"
    return [
        row(name, [a / b for a, b in zip(forward, taken, strict=True)], f"{what} {overlap:g}")
        for name, overlap, taken in zip(
            ("predict_vs_forward", "predict_quarter_vs_forward"), (shipped, 0.25), mapped, strict=True
        )
    ]


def peaks(folder: Path, side_px: int) -> Row:
    """Peak memory of mapping a large scene over that of mapping a small one."""
    for side in (SMALL_PX, side_px):
        make_scene(folder / str(side), side, noise=False)
    ratios = []
    for _ in range(PEAK_ROUNDS):
        found = {}
        for side in (SMALL_PX, side_px):
            seconds, found[side] = run(PREDICT.format(folder=str(folder / str(side))))
            print(f"bench: {side} x {side} px mapped in {seconds / 60:.1f} min, peak {found[side]:.0f} MiB", flush=True)
        ratios.append(found[side_px] / found[SMALL_PX])
    what = f"peak memory, {side_px} x {side_px} px over {SMALL_PX} x {SMALL_PX} px"
    return row("predict_peak_20k_vs_4k", ratios, what)


def coregistration(folder: Path) -> Row:
    """Finding a planted shift: xDEM's Nuth and Kaab alone, on all pixels, over ours with its sampling and its judgement."""
    from xdem import DEM  # noqa: PLC0415  (6 s of import)
    from xdem.coreg import NuthKaab  # noqa: PLC0415  (6 s of import)

    reference, moved = folder / "reference.tif", folder / "moved.tif"
    make_dem(reference, 2000)
    with raster.Source(reference) as source:
        grid = source.grid
        values = ndimage.shift(source.read()[0], (1.4, -0.8), order=1, mode="nearest")
    cog.write(moved, raster.Raster(values[None].astype(np.float32), grid, (raster.Band("elevation", "m"),)))
    settings = params("coregister", CoregisterSettings)

    def ours() -> float:
        began = time.perf_counter()
        align(reference, moved, settings)
        return time.perf_counter() - began

    def alone() -> float:
        began = time.perf_counter()
        NuthKaab(subsample=1).fit(DEM(str(reference)), DEM(str(moved)))
        return time.perf_counter() - began

    other, own = in_turn(ROUNDS, alone, ours)
    what = "speed of finding a shift over xDEM's Nuth-Kaab alone, 2000 x 2000 px"
    return row("coregister_vs_xdem", [a / b for a, b in zip(other, own, strict=True)], what)


def main() -> None:
    """Measure at the given side (20,000 pixels by default), and keep the rows."""
    side_px = int(sys.argv[1]) if len(sys.argv) > 1 else SIDE_PX
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as place:
        folder = Path(place).resolve()
        print(f"bench: {json.dumps({'side_px': side_px, 'free_gb': shutil.disk_usage(folder).free // 10**9})}")
        keep(terrain(folder, side_px))
        keep(prediction(folder / "map"))
        keep([coregistration(folder)])
        keep([peaks(folder, side_px)])


if __name__ == "__main__":
    main()
