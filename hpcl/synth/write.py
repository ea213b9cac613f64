"""A scene whose truth is known: loess relief, old landslides, look-alikes, and what an image and a DEM show of them.

Everything is a function of the coordinates: east and north in metres from the upper left corner of the area (so ``north``
is negative inside it). Noise is hashed from lattice points and features have an end, so any window of a scene can be
computed alone and in any order; only the short tables of features are made for the whole area. No number here was
measured on real ground: shapes follow textbook sketches of loess country and of rotational slides, sizes are chosen.

The files are those of a user's raw area, perhaps with an image of an earlier date, plus ``truth.json``, which no later stage reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from shapely.geometry import Polygon, box
from skimage.measure import find_contours

from hpcl.core.digest import sha256
from hpcl.geo import blocks, cog, raster, vector
from hpcl.settings.synthesize import BANDS, SynthesizeSettings
from hpcl.synth.landforms import Feature, SynthError, area_m2, outline_distance
from hpcl.synth.noise import Array
from hpcl.synth.sensors import CRS, DEM_NODATA, OPTICAL_NODATA, Scene, dem, optical, scene

MARKER = "truth.json"

DEM_MARGIN_M = 100.0  # a DEM comes from another tile scheme, so it reaches beyond the image


def outline(slide: Feature) -> Array:
    """True outline of a landslide as closed ``(vertex, [east, north])`` in metres, every 3 m or less."""
    cell_m = 3.0
    (east, north), r = slide.centre, slide.reach_m * 1.2
    line = np.arange(-r, r + cell_m, cell_m)
    x, y = np.meshgrid(east + line, north + line)
    longest = max(find_contours(outline_distance(slide, x, y), 0.0), key=len)
    return np.column_stack([east - r + cell_m * longest[:, 1], north - r + cell_m * longest[:, 0]])


def inventory(world: Scene, rng: np.random.Generator) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """The landslides as a mapper drew them, and what that mapper did wrong.

    Vertices lie about 14 m apart and off the line, each polygon is a little too large or too small, some of the
    smallest are missed, and one polygon crosses itself.
    """
    by_size = sorted(range(len(world.slides)), key=lambda i: area_m2(world.slides[i]))
    missed = sorted(by_size[: len(by_size) // 10])
    crossed = by_size[-1]
    rows = []
    for i, slide in enumerate(world.slides):
        if i in missed:
            continue
        drawn = _sloppy(outline(slide), world.settings.mapper_jitter_m, rng)
        kind = {"class": "new" if i in world.new else "old"} if world.new else {}
        rows.append({"id": i + 1, **kind, "geometry": Polygon(_crossed(drawn) if i == crossed else drawn)})
    table = gpd.GeoDataFrame(rows, geometry="geometry", crs=CRS)
    table.geometry = table.translate(*world.corner)
    return table, {"mapped": len(rows), "missed_ids": [i + 1 for i in missed], "invalid_ids": [crossed + 1]}


def _sloppy(line: Array, jitter_m: float, rng: np.random.Generator) -> Array:
    """Fewer vertices, each off by ``jitter_m``, the whole up to 7 % too wide or too narrow."""
    centre = line.mean(axis=0)
    length_m = np.hypot(*np.diff(line, axis=0).T).sum()
    kept = line[np.linspace(0, len(line) - 1, max(9, int(length_m / 14)), endpoint=False).astype(int)]
    kept = centre + (kept - centre) * rng.uniform(0.93, 1.07)
    for _ in range(20):
        drawn = kept + rng.normal(0, jitter_m, kept.shape)
        if Polygon(drawn).is_valid:
            return drawn
    return kept


def _crossed(ring: Array) -> Array:
    """The ring with two neighbouring vertices in the wrong order, so that it crosses itself near them."""
    for i in range(len(ring) - 1):
        swapped = ring.copy()
        swapped[[i, i + 1]] = ring[[i + 1, i]]
        if not Polygon(swapped).is_valid:
            return swapped
    raise SynthError("no two vertices of the largest landslide make it cross itself; change the seed.")


def labelled_extent(world: Scene) -> gpd.GeoDataFrame:
    """The ground that the mapper looked at: the area without a strip along its edge."""
    x, y = world.corner
    width_m, height_m = world.area.columns * world.settings.pixel_m, world.area.rows * world.settings.pixel_m
    return gpd.GeoDataFrame({"id": [1]}, geometry=[box(x + 12, y - height_m + 16, x + width_m - 12, y - 20)], crs=CRS)


def refuse_foreign(folder: Path) -> None:
    """Raise `SynthError` unless ``folder`` is absent or holds nothing but what `synthesize` wrote there, unchanged, and a review."""
    if not folder.exists() and not folder.is_symlink():
        return
    name = folder.name
    remedy = f"rename it, or take '{name}' out of synthesize.areas"
    marker = folder / MARKER
    if folder.is_symlink() or not folder.is_dir() or not marker.is_file():
        raise SynthError(f"{folder} is not a synthetic area ({MARKER} is missing), so it is not overwritten; {remedy}.")
    try:
        written = json.loads(marker.read_text())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise SynthError(
            f"{marker} was not written by synthesize, so {folder} is not overwritten; {remedy}."
        ) from error
    for path in sorted(folder.rglob("*")):
        if path != marker and not is_review(path) and (path.is_dir() or written.get(path.name) != sha256(path)):
            raise SynthError(f"{path} was not written by synthesize, so {folder} is not overwritten; {remedy}.")


def synthesize(
    folder: Path,
    name: str,
    settings: SynthesizeSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the area ``name`` to ``folder``, whole or not at all, in place of an earlier synthetic one; return its truth.

    Raises `SynthError` if there is no such area, or if ``folder`` holds anything else.
    """
    if name not in settings.areas:
        known = ", ".join(settings.areas) or "none"
        raise SynthError(f"synthesize.areas has no area '{name}' (it has: {known}); name one of them.")
    _finish(folder)
    refuse_foreign(folder)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        truth = _write(draft, scene(settings.areas[name], settings), progress)
        truth["sha256"] = {path.name: sha256(path) for path in sorted(draft.iterdir())}
        (draft / MARKER).write_text(json.dumps(truth, sort_keys=True, indent=1) + "\n")
        for path in folder.glob("*"):
            if is_review(path):
                shutil.copy2(path, draft / path.name)
        if folder.exists():
            folder.rename(_old(folder))
        draft.rename(folder)
        _finish(folder)
        return truth
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_review(path: Path) -> bool:
    """Whether a file in the folder of an area is a person's: their answers, or what a program that shows them leaves beside."""
    return path.name.casefold().startswith("review.") and path.is_file()


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _finish(folder: Path) -> None:
    """Remove the folder that a new one took the place of; after a kill between the two, the old one takes it again."""
    if not folder.exists() and _old(folder).exists():
        _old(folder).rename(folder)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _counted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def _write(folder: Path, world: Scene, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Write all files of an area but the truth, which is returned."""
    area, settings = world.area, world.settings
    image, elevation = world.grid(settings.pixel_m), world.grid(settings.dem_pixel_m, DEM_MARGIN_M)
    reference = world.grid(settings.reference_pixel_m, DEM_MARGIN_M)
    metres = (raster.Band("elevation", "m"),)
    colours = tuple(raster.Band(n, "reflectance x 10000") for n in BANDS)
    files: dict[str, tuple[raster.Grid, tuple[raster.Band, ...], str, float, Callable[[raster.Roi], Array]]] = {
        "optical": (image, colours, "uint16", OPTICAL_NODATA, partial(optical, world, image)),
        "optical_before": (image, colours, "uint16", OPTICAL_NODATA, partial(optical, world.earlier(), image)),
        "dem": (elevation, metres, "float32", DEM_NODATA, partial(dem, world, elevation, shifted=True)),
        "reference_dem": (reference, metres, "float32", DEM_NODATA, partial(dem, world, reference, shifted=False)),
    }
    if not area.reference_dem:
        del files["reference_dem"]
    if area.before is None:
        del files["optical_before"]
    sizes = [len(list(blocks.walk(grid.shape))) for grid, *_ in files.values()]
    before = 0
    for (name, (grid, bands, dtype, nodata, compute)), size in zip(files.items(), sizes, strict=True):
        with cog.create(folder / f"{name}.tif", grid, bands, dtype, nodata) as sink:
            blocks.fill(sink, compute, progress=_counted(progress, before, sum(sizes)))
        before += size
    slides, mistakes = inventory(world, np.random.default_rng([area.seed, 1]))
    vector.write(folder / "landslides.gpkg", slides)
    vector.write(folder / "labelled_extent.gpkg", labelled_extent(world))
    ground_m2 = area.rows * area.columns * settings.pixel_m**2
    return {
        "seed": area.seed,
        "shift": {"east_m": area.shift_east_m, "north_m": area.shift_north_m, "up_m": area.shift_up_m},
        "sun": {"azimuth_deg": settings.sun_azimuth_deg, "altitude_deg": settings.sun_altitude_deg},
        "landslides": {
            "planted": len(world.slides),
            "frac": round(sum(Polygon(outline(s)).area for s in world.slides) / ground_m2, 6),
            **mistakes,
        },
        "look_alikes": {"cut_banks": len(world.banks), "gully_heads": len(world.heads)},
        **_before(world),
    }


def _before(world: Scene) -> dict[str, Any]:
    """What is true of the earlier image, where there is one."""
    if world.area.before is None:
        return {}
    shift = {"east_m": world.area.before.shift_east_m, "north_m": world.area.before.shift_north_m}
    return {"before": {"shift": shift, "new_ids": [number + 1 for number in sorted(world.new)]}}
