"""Split the ground by place, lay the windows, and write what training needs: a few memory-mapped arrays."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio.features
import shapely
from affine import Affine

from hpcl import scale
from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.geo import blocks, raster, vector
from hpcl.maps import likeness
from hpcl.settings.terrain import check_own_bands
from hpcl.settings.tile import TileError, TileSettings, check_labelled, check_sizes
from hpcl.tiles import split
from stages._stage import params, progress, run, write_json

OUT = Path("data/tiles")


def main() -> None:
    """Read every listed area that has an inventory; areas without one are mapped later, not trained on."""
    settings = params("tile", TileSettings)
    check_sizes(settings)
    areas = [area for area in params("areas", Names) if _has_inventory(area)]
    check_labelled(areas)
    for area in areas:
        _check_grids(area)
    OUT.mkdir(parents=True, exist_ok=True)
    sizes = {area: _sizes(area) for area in areas}
    findings = {area: _findings(sizes[area], settings) for area in areas}
    bands, kinds = _common_bands(areas)
    classes = sorted({name for area in areas for name in _classes(area)})
    labels = {a: _labels(a, classes) for a in areas}
    laid = {a: split.lay_blocks(a, labels[a], settings.block_px) for a in areas}
    objects = [found for a in areas for found in split.spread(_landslides(a), laid[a])]
    blocks = split.assign([b for found in laid.values() for b in found], settings, objects)
    moments, windows, facts, sampled = split.Moments(len(bands)), {}, {}, []
    # A lattice, so that what is kept of the training ground does not depend on how it is walked.
    step_px = math.ceil(
        math.sqrt(max(1.0, sum(b.labelled_px for b in blocks if b.split == "train") / likeness.SAMPLE_PX))
    )
    polygons = {area: _polygons(area, labels[area]) for area in areas}
    held = {s: {"blocks": sum(b.split == s for b in blocks), "labelled_px": 0, "landslide_px": 0} for s in split.SPLITS}
    train_px = np.zeros(1 + len(classes), np.int64)  # by class code
    for done, area in enumerate(areas):
        mine = [b for b in blocks if b.area == area]
        grid = _write_bands(area, bands)
        split_map = _array(area, "split", np.uint8, grid.shape)
        block_map = _array(area, "block", np.int32, grid.shape)
        split.paint(mine, labels[area], settings.gap_px, split_map, block_map)
        divided = split.keep_whole(_landslides(area), split_map)
        found = split.lay_windows(mine, labels[area], split_map, settings)
        split.check(found, split_map, _landslides(area), settings.gap_px, settings.window_px)
        windows[area] = pd.DataFrame(found)
        values = np.load(OUT / f"{area}.bands.npy", mmap_mode="r")
        for rows, columns in blocks.walk(grid.shape):
            moments.add(values[:, rows, columns], split_map[rows, columns] == 0)
            for code, split in enumerate(split.SPLITS):
                mine_px = labels[area][rows, columns][split_map[rows, columns] == code]
                held[split]["labelled_px"] += int(mine_px.size)
                held[split]["landslide_px"] += int((mine_px > 0).sum())
                if split == "train":
                    train_px += np.bincount(mine_px, minlength=len(train_px))
        lattice = (slice(None, None, step_px), slice(None, None, step_px))
        sampled.append(values[:, *lattice][:, split_map[lattice] == 0])
        facts[area] = {
            "crs": str(grid.crs),
            "transform": list(grid.affine)[:6],
            "shape": list(grid.shape),
            "pixel_m": abs(grid.affine.a),
            "dem_pixel_m": sizes[area].dem_pixel_m,
            "divided_landslides": divided,
            "findings": findings[area]
            + scale.seen(sizes[area], *polygons[area][["pixels", "labelled_px"]].to_numpy().T),
            "blocks": [{"id": b.number, "split": b.split or "none"} for b in mine],
        }
        progress("tile")(done + 1, len(areas))
    table = pd.concat(windows, names=["area"]).reset_index("area")
    if not {"train", "val"} <= set(table["split"]):
        raise TileError(
            f"No window of {settings.window_px} px fits into the train or the val blocks of {settings.block_px} px between "
            f"gaps of {settings.gap_px} px and landslides that count for another split; lower tile.window_px, tile.gap_px or "
            "tile.minimum_valid_frac, or raise tile.block_px."
        )
    split.require_landslides(table, held["test"]["landslide_px"] if held["test"]["blocks"] else None)
    for name, pixels in zip(classes, train_px[1:], strict=True):
        if not pixels:
            print(f"tile: class '{name}' has no pixel in the train blocks, so no model can learn it.")
    described = [
        {"name": b.name, "unit": b.unit, "kind": kind, **norm}
        for b, kind, norm in zip(bands, kinds, moments.normalisation(kinds), strict=True)
    ]
    write_json(
        OUT / "facts.json",
        {
            "areas": facts,
            "bands": described,
            "ground": likeness.statistics([b.name for b in bands], kinds, np.concatenate(sampled, axis=1)),
            "classes": classes,
            "window_px": settings.window_px,
            "gap_px": settings.gap_px,
            "sun": _terrain_facts(areas[0])["sun"],
            "split": held,
        },
    )
    artifacts.write_csv(OUT / "windows.csv", table, "%.4f")
    artifacts.write_csv(OUT / "landslides.csv", pd.concat(polygons, names=["area"]).reset_index("area"))
    _write_split(blocks, facts)
    for area in areas:
        for finding in facts[area]["findings"]:
            print(f"tile: {area}: {finding}")
    for split, ground in held.items():
        count = int((table["split"] == split).sum())
        share = ground["landslide_px"] / max(ground["labelled_px"], 1)
        print(f"tile: {split:5s} {ground['blocks']:4d} blocks, {count:5d} windows, landslide share {share:.3f}")


def _has_inventory(area: str) -> bool:
    """Whether an area is trained on, which is said if not; what `ingest` left of an inventory must be whole."""
    folder = Path("data/ingest") / area
    facts = artifacts.read_json(folder / "facts.json")
    inventory, labels = folder / "landslides.gpkg", folder / "labels.tif"
    given = bool(facts.get("inventory")) or bool(facts["classes"]) or inventory.exists() or labels.exists()
    if not given:
        print(f"tile: {area} has no inventory of landslides; it is mapped, and neither trained on nor scored.")
    for path in (inventory, labels):
        if given and not path.exists():
            raise TileError(f"{path} does not exist, though the area has an inventory; {artifacts.remedy(path)}.")
    return given


def _check_grids(area: str) -> None:
    """Raise `raster.RasterError` if the area's rasters are not on one grid, that which `ingest` noted."""
    image, relief = _stacks(area)
    noted, labels = image.with_name("facts.json"), image.with_name("labels.tif")
    facts = artifacts.read_json(noted)
    with raster.Source(image) as a, raster.Source(relief) as b, raster.Source(labels) as c:
        grid = raster.Grid(facts["shape"], Affine(*facts["transform"]), facts["crs"])
        raster.common_grid({noted: grid, **{source.path: source.grid for source in (a, b, c)}})


def _sizes(area: str) -> scale.Sizes:
    folder = Path("data/ingest") / area
    return scale.Sizes.of(
        artifacts.read_json(folder / "facts.json", artifacts.AreaSizes),
        vector.read(folder / "landslides.gpkg")["area_m2"],
    )


def _findings(sizes: scale.Sizes, settings: TileSettings) -> list[str]:
    return scale.tile(
        sizes,
        window_px=settings.window_px,
        stride_px=settings.stride_px,
        block_px=settings.block_px,
        gap_px=settings.gap_px,
    )


def _stacks(area: str) -> tuple[Path, Path]:
    return Path("data/ingest") / area / "image.tif", Path("data/terrain") / area / "terrain.tif"


def _common_bands(areas: list[str]) -> tuple[tuple[raster.Band, ...], list[str]]:
    """The bands that every area has, by name, in the first area's order, and their kinds; others are left out and said."""
    seen: dict[str, dict[str, tuple[raster.Band, str]]] = {}
    pixel_m = {}
    for area in areas:
        image, relief = _stacks(area)
        kinds = {band["name"]: band["kind"] for band in _terrain_facts(area)["bands"]}
        with raster.Source(image) as a, raster.Source(relief) as b:
            check_own_bands(area, [x.name for x in a.bands], [x.name for x in b.bands])
            seen[area] = {x.name: (x, "image") for x in a.bands} | {x.name: (x, kinds[x.name]) for x in b.bands}
            pixel_m[area] = abs(a.grid.affine.a)
    if max(pixel_m.values()) > 1.25 * min(pixel_m.values()):
        sizes = ", ".join(f"{area} {size:g} m" for area, size in pixel_m.items())
        raise TileError(f"The areas have pixels of different size ({sizes}); resample them to one before training.")
    common = [name for name in seen[areas[0]] if all(name in found for found in seen.values())]
    for area, found in seen.items():
        for name in found.keys() - set(common):
            print(f"tile: band '{name}' of {area} is left out, because not every area has it.")
    chosen = [seen[areas[0]][name] for name in common]
    return tuple(band for band, _ in chosen), [kind for _, kind in chosen]


def _terrain_facts(area: str) -> Any:
    """How the terrain bands turn, and the sun of their hillshade; one parameter section makes them equal in all areas."""
    return artifacts.read_json(Path("data/terrain") / area / "facts.json")


def _classes(area: str) -> list[str]:
    return list(artifacts.read_json(Path("data/ingest") / area / "facts.json")["classes"])


def _labels(area: str, classes: list[str]) -> npt.NDArray[np.uint8]:
    """The area's labels as a memory-mapped copy among the tiles, its own class codes turned into those of all areas."""
    codes = np.full(256, split.UNKNOWN, np.uint8)
    codes[0] = 0
    for own, name in enumerate(_classes(area), start=1):
        codes[own] = 1 + classes.index(name)
    with raster.Source(Path("data/ingest") / area / "labels.tif") as source:
        out = _array(area, "labels", np.uint8, source.grid.shape)
        for roi in blocks.walk(source.grid.shape):
            out[roi] = codes[source.read(roi)[0]]
    return out


def _array(area: str, what: str, dtype: Any, shape: Any) -> Any:
    path = OUT / f"{area}.{what}.npy"
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
        # Else a full disk would kill the process, without a word, at the first page that finds no room.
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise TileError(f"{path} could not be written ({error}); is the disk full, or the folder read-only?") from error
    return array


def _write_bands(area: str, bands: Sequence[raster.Band]) -> raster.Grid:
    image, relief = _stacks(area)
    with raster.Source(image) as a, raster.Source(relief) as b:
        in_image = [x.name for x in bands if x.name in {y.name for y in a.bands}]
        in_relief = [x.name for x in bands if x.name not in in_image]
        out = _array(area, "bands", np.float32, (len(bands), *a.grid.shape))
        for roi in blocks.walk(a.grid.shape):
            out[: len(in_image), roi[0], roi[1]] = a.read(roi, in_image)
            out[len(in_image) :, roi[0], roi[1]] = b.read(roi, in_relief)
        return a.grid


def _landslides(area: str) -> Iterator[tuple[raster.Roi, npt.NDArray[np.bool_]]]:
    """Each landslide of the inventory as its bounding box in pixels and its pixels in there."""
    shapes = vector.read(Path("data/ingest") / area / "landslides.gpkg")
    with raster.Source(_stacks(area)[0]) as source:
        grid = source.grid
    for shape in shapes.geometry:
        if (drawn := _drawn(shape, grid)) is not None:
            yield drawn


def _drawn(shape: Any, grid: raster.Grid) -> tuple[raster.Roi, npt.NDArray[np.bool_]] | None:
    """A polygon's bounding box in pixels and its pixels in there; None off the grid."""
    x0, y0, x1, y1 = shape.bounds
    (c0, r0), (c1, r1) = ~grid.affine * (x0, y1), ~grid.affine * (x1, y0)
    rows = slice(max(int(r0), 0), min(int(r1) + 2, grid.shape[0]))
    columns = slice(max(int(c0), 0), min(int(c1) + 2, grid.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    size = rows.stop - rows.start, columns.stop - columns.start
    origin = grid.affine * grid.affine.translation(columns.start, rows.start)
    return (rows, columns), rasterio.features.rasterize([shape], size, transform=origin, dtype="uint8").astype(bool)


def _polygons(area: str, labels: npt.NDArray[np.uint8]) -> pd.DataFrame:
    """What is seen of each polygon of the inventory: its ``pixels`` on the image, and those that are labelled landslide."""
    table = vector.read(Path("data/ingest") / area / "landslides.gpkg")
    with raster.Source(_stacks(area)[0]) as source:
        grid = source.grid
    pixels = np.zeros((len(table), 2), np.int64)
    for row, shape in enumerate(table.geometry):
        if (drawn := _drawn(shape, grid)) is not None:
            roi, mask = drawn
            codes = labels[roi][mask]
            pixels[row] = codes.size, ((codes > 0) & (codes != split.UNKNOWN)).sum()
    return table[["id", "area_m2"]].assign(pixels=pixels[:, 0], labelled_px=pixels[:, 1])


def _write_split(blocks: list[split.Block], facts: dict[str, Any]) -> None:
    """The split map as polygons, in the first area's CRS."""
    tables = []
    for area, fact in facts.items():
        mine = [b for b in blocks if b.area == area]
        a, _, c, _, e, f = fact["transform"]
        boxes = [
            shapely.box(c + a * b.columns.start, f + e * b.rows.stop, c + a * b.columns.stop, f + e * b.rows.start)
            for b in mine
        ]
        rows = {
            "area": area,
            "id": [b.number for b in mine],
            "split": [b.split or "none" for b in mine],
            "labelled_px": [b.labelled_px for b in mine],
            "landslide_px": [b.landslide_px for b in mine],
        }
        tables.append(gpd.GeoDataFrame(rows, geometry=boxes, crs=fact["crs"]))
    vector.write(OUT / "split.gpkg", pd.concat([t.to_crs(tables[0].crs) for t in tables], ignore_index=True))


if __name__ == "__main__":
    run(main)
