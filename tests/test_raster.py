import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.env import get_gdal_config

from hpcl.geo import blocks, cog, raster, vector

GRID = raster.Grid((300, 500), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
MARS = (
    'PROJCS["Mars equirectangular",GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,0]],PRIMEM["Reference",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Equirectangular"],PARAMETER["standard_parallel_1",0],'
    'PARAMETER["central_meridian",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
)


def values() -> np.ndarray:
    out = np.random.default_rng(0).normal(size=(2, 300, 500)).astype(np.float32)
    out[:, 40:60, :30] = np.nan
    return out


def write(path: Path, grid: raster.Grid = GRID) -> np.ndarray:
    cog.write(path, raster.Raster(values(), grid, (raster.Band("slope", "deg"), raster.Band("n_up"))))
    return values()


@pytest.mark.parametrize("crs", ["EPSG:32648", MARS])
def test_what_is_written_comes_back(tmp_path: Path, crs: str) -> None:
    grid = raster.Grid((300, 500), GRID.affine, crs)
    written = write(tmp_path / "a.tif", grid)
    back = raster.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.values, written)
    assert back.bands == (raster.Band("slope", "deg"), raster.Band("n_up"))
    assert back.grid.affine == grid.affine
    assert back.grid.crs == grid.crs
    np.testing.assert_array_equal(back["n_up"], written[1])


def test_the_copy_has_a_small_cache_and_leaves_the_bound_as_it_was(tmp_path, monkeypatch):
    bound, seen = get_gdal_config("GDAL_CACHEMAX"), []
    copy = rasterio.shutil.copy
    monkeypatch.setattr(
        rasterio.shutil, "copy", lambda *a, **k: (seen.append(get_gdal_config("GDAL_CACHEMAX")), copy(*a, **k))
    )
    grid = raster.Grid((8, 8), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    with (
        rasterio.Env(GDAL_NUM_THREADS=1),
        cog.create(tmp_path / "a.tif", grid, [raster.Band("a")]) as one,
        cog.create(tmp_path / "b.tif", grid, [raster.Band("b")]) as other,
    ):
        for sink in (one, other):
            sink.write(np.ones((1, 8, 8), np.float32))
    assert seen == [cog.COPY_CACHE_MIB * 2**20] * 2
    assert get_gdal_config("GDAL_CACHEMAX") == bound


def test_equal_rasters_are_equal_bytes_and_cloud_optimised(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write(tmp_path / name)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif"]


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", np.nan), ("float32", -9999.0), ("uint8", 255)])
def test_overviews_are_those_that_gdal_makes(tmp_path: Path, dtype: str, nodata: float) -> None:
    rng = np.random.default_rng(0)
    written = rng.integers(0, 200, (2, 1200, 2400)).astype(dtype)
    written[:, rng.random((1200, 2400)) < 0.3] = nodata
    written[:, :90, :70] = nodata
    grid = raster.Grid((1200, 2400), GRID.affine, GRID.crs)
    cog.write(tmp_path / "a.tif", raster.Raster(written, grid, (raster.Band("x"), raster.Band("y"))), nodata)
    how = "average" if dtype == "float32" else "nearest"
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", height=1200, width=2400, count=2, dtype=dtype, nodata=nodata,
        crs=str(GRID.crs), transform=GRID.affine,
    ) as file:  # fmt: skip
        file.write(written)
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "gdal.tif", driver="COG", blocksize=512, resampling=how)
    for level, shape in enumerate([(600, 1200), (300, 600), (150, 300)]):
        with (
            rasterio.open(tmp_path / "a.tif", overview_level=level) as ours,
            rasterio.open(tmp_path / "gdal.tif", overview_level=level) as theirs,
        ):
            assert ours.shape == shape
            np.testing.assert_array_equal(ours.read(), theirs.read())
    with rasterio.open(tmp_path / "a.tif") as ours:
        assert ours.overviews(1) == [2, 4, 8]


def test_overviews_do_not_show_the_windows_that_were_written(tmp_path: Path) -> None:
    """Windows may begin and end anywhere, and come in any order; an odd edge is the mean of what there is."""
    grid = raster.Grid((700, 1301), GRID.affine, GRID.crs)
    written = np.random.default_rng(0).normal(size=(1, 700, 1301)).astype(np.float32)
    for name, block_px in (("whole", 2000), ("odd", 333), ("even", 50)):
        with cog.create(tmp_path / f"{name}.tif", grid, [raster.Band("x")]) as sink:
            for rows, columns in reversed(list(blocks.walk(grid.shape, block_px))):
                sink.write(written[:, rows, columns], (rows, columns))
    assert (tmp_path / "odd.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    assert (tmp_path / "even.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    with rasterio.open(tmp_path / "whole.tif", overview_level=0) as file:
        assert file.shape == (350, 651)
        np.testing.assert_allclose(file.read()[0, :, -1], written[0, :, -1].reshape(350, 2).mean(1), atol=1e-6)


def test_threads_share_a_file_and_processes_open_it_again(tmp_path: Path) -> None:
    import pickle
    from concurrent.futures import ThreadPoolExecutor

    grid = raster.Grid((1500, 1500), GRID.affine, GRID.crs)
    written = np.random.default_rng(0).normal(size=(1, 1500, 1500)).astype(np.float32)
    cog.write(tmp_path / "a.tif", raster.Raster(written, grid, (raster.Band("x"),)))
    rois = list(blocks.walk(grid.shape, 100)) * 3
    with raster.Source(tmp_path / "a.tif") as source, ThreadPoolExecutor(8) as threads:
        for roi, values in zip(rois, threads.map(source.read, rois), strict=True):
            np.testing.assert_array_equal(values, written[:, *roi])
        with pickle.loads(pickle.dumps(source)) as other:
            np.testing.assert_array_equal(other.read(rois[0]), written[:, *rois[0]])


def test_a_window_beyond_the_edge_is_nodata_there(tmp_path: Path) -> None:
    written = write(tmp_path / "a.tif")
    with raster.Source(tmp_path / "a.tif") as source:
        got = source.read((slice(0, 10), slice(490, 500)), ["n_up"], halo_px=3)
    assert got.shape == (1, 16, 16)
    assert np.isnan(got[0, :3]).all()
    assert np.isnan(got[0, :, 13:]).all()
    np.testing.assert_array_equal(got[0, 3:, :13], written[1, :13, 487:])


def test_numeric_nodata_is_nan_from_the_read_on(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "dem.tif", "w", driver="GTiff", height=4, width=4, count=1, dtype="int16", nodata=-32768,
        crs="EPSG:32648", transform=GRID.affine,
    ) as file:  # fmt: skip
        file.write(np.array([[[1, -32768, 3, 4]] * 4], np.int16))
    got = raster.read(tmp_path / "dem.tif").values
    assert got.dtype == np.float32
    assert np.isnan(got[0, :, 1]).all()
    assert np.isnan(got).sum() == 4


def test_failed_writing_leaves_the_old_file_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    before = (tmp_path / "a.tif").read_bytes()

    def half_a_map() -> None:
        with cog.create(tmp_path / "a.tif", GRID, [raster.Band("x")]) as sink:
            sink.write(np.zeros((1, 300, 500), np.float32))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        half_a_map()
    assert (tmp_path / "a.tif").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_missing_broken_and_wrongly_asked_files_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(raster.RasterError, match="does not exist"):
        raster.read(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(raster.RasterError, match="not a raster GDAL can read"):
        raster.read(tmp_path / "text.tif")
    write(tmp_path / "a.tif")
    with pytest.raises(raster.RasterError, match="no band 'aspect'; it has slope, n_up"):
        raster.read(tmp_path / "a.tif", ["aspect"])
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(raster.RasterError, match="truncated"):
        raster.read(tmp_path / "cut.tif")


def mean_of_neighbours(block: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.uniform_filter(block, (0, 5, 5), mode="constant", cval=np.nan)[:, 2:-2, 2:-2]


@pytest.mark.parametrize("block_px", [64, 100, 1024])
def test_blocks_with_a_halo_equal_the_whole(tmp_path: Path, block_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
    written = np.nan_to_num(values())
    cog.write(tmp_path / "a.tif", raster.Raster(written, GRID, (raster.Band("x"), raster.Band("y"))))
    seen: list[tuple[int, int]] = []
    with cog.create(tmp_path / "b.tif", GRID, [raster.Band("x"), raster.Band("y")]) as sink:
        blocks.map_blocks(
            mean_of_neighbours,
            [tmp_path / "a.tif"],
            sink,
            halo_px=2,
            progress=lambda *at: seen.append(at),
        )
    whole = mean_of_neighbours(np.pad(written, ((0, 0), (2, 2), (2, 2)), constant_values=np.nan))
    np.testing.assert_allclose(raster.read(tmp_path / "b.tif").values, whole, atol=1e-6)
    total = len(list(blocks.walk((300, 500), block_px)))
    assert seen == [(n + 1, total) for n in range(total)]


def test_two_inputs_keep_their_order(tmp_path: Path) -> None:
    written = values()
    for name, layer in (("less", written[:1]), ("from", written[1:])):
        cog.write(tmp_path / f"{name}.tif", raster.Raster(layer, GRID, (raster.Band("x"),)))
    with cog.create(tmp_path / "b.tif", GRID, [raster.Band("d")]) as sink:
        blocks.map_blocks(np.subtract, [tmp_path / "from.tif", tmp_path / "less.tif"], sink)
    np.testing.assert_array_equal(raster.read(tmp_path / "b.tif").values[0], written[1] - written[0])


def test_equal_tables_are_equal_bytes_whatever_the_clock_says(tmp_path: Path) -> None:
    import time

    import geopandas as gpd
    import shapely

    table = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32648")
    vector.write(tmp_path / "a.gpkg", table)
    time.sleep(1.1)
    other = tmp_path / "other"
    vector.write(other / "a.gpkg", table)
    assert (tmp_path / "a.gpkg").read_bytes() == (other / "a.gpkg").read_bytes()
    assert vector.read(tmp_path / "a.gpkg").equals(table)


def test_unreadable_vectors_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(vector.VectorError, match="does not exist"):
        vector.read(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("no vector")
    with pytest.raises(vector.VectorError, match="not a vector file"):
        vector.read(tmp_path / "text.gpkg")


def test_of_several_layers_the_one_of_polygons_counts(tmp_path: Path) -> None:
    import geopandas as gpd
    import shapely

    def add(shape: shapely.Geometry, layer: str) -> None:
        table = gpd.GeoDataFrame({"id": [1]}, geometry=[shape], crs="EPSG:32648")
        table.to_file(tmp_path / "a.gpkg", layer=layer, driver="GPKG", engine="pyogrio")

    add(shapely.Point(0, 0), "heads")
    add(shapely.box(0, 0, 2, 2), "slides")
    assert vector.read(tmp_path / "a.gpkg").area.tolist() == [4]
    add(shapely.box(0, 0, 1, 1), "sketch")
    with pytest.raises(vector.VectorError, match="has the layers heads, slides, sketch, of which 2 hold polygons"):
        vector.read(tmp_path / "a.gpkg")
    assert vector.read(tmp_path / "a.gpkg", "sketch").area.tolist() == [1]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(raster.RasterError, match="or the folder read-only"):
        write(tmp_path / "file" / "a.tif")


def test_gdal_keeps_no_more_blocks_than_it_may(tmp_path: Path) -> None:
    """Also between and after our own files: its default is a twentieth of the machine's memory."""
    grid = raster.Grid((64, 64), Affine(2, 0, 5e5, 0, -2, 4e6), "EPSG:32648")
    cog.write(tmp_path / "a.tif", raster.Raster(np.ones((1, 64, 64), np.float32), grid, (raster.Band("a"),)))
    program = f"""
from pathlib import Path
from rasterio.env import get_gdal_config
from hpcl.geo import raster
raster.read(Path({str(tmp_path / "a.tif")!r}))
print(get_gdal_config("GDAL_CACHEMAX"))
"""
    bare = {name: value for name, value in os.environ.items() if name != "GDAL_CACHEMAX"}
    run = functools.partial(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run(env=bare).stdout) == raster.CACHE_MIB * 2**20
    assert int(run(env=bare | {"GDAL_CACHEMAX": "64"}).stdout) == 64 * 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such option")
@pytest.mark.parametrize("package", ["hpcl.geo.raster", "hpcl.networks.device"])
def test_memory_of_a_block_serves_the_next(package: str) -> None:
    """Pages that were given back come again one fault each: 4096 for an array of 2048 x 2048 numbers."""
    program = f"""
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import {package}
def block(_=0):
    arrays = [np.ones((2048, 2048), np.float32) for _ in range(6)]
with ThreadPoolExecutor(2) as threads:
    for work in (lambda: block(), lambda: list(threads.map(block, range(2)))):
        work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            work()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert max(map(int, done.stdout.split())) < 10 * 6 * 4096 / 10
