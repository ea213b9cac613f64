"""What the numbers of a raw raster say against it: units, nodata that nobody declared, no data at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.geo import blocks
from hpcl.geo.raster import Grid, Roi
from hpcl.ingest import elevations, remedies
from hpcl.ingest.edges import NEAR, Edge
from hpcl.ingest.elevations import Ground
from hpcl.ingest.extremes import Extremes
from hpcl.ingest.grids import crs_of
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError

METRES = ("m", "metre", "metres", "meter", "meters")


def check_unit(dem: Raw) -> None:
    """Refuse elevations that are not metres, by the band's unit, else the vertical axis, else the horizontal unit."""
    remedy = f"convert them to metres and set `{remedies.edit_info(dem.path, '--bidx', '1', '--units', 'metre')}`"
    unit = dem.bands[0].unit
    if unit:
        if unit.strip().lower() not in METRES:
            raise IngestError(f"{dem.path} has elevations in '{unit}' by the unit of its band; {remedy}.")
        return
    axes = dem.crs.axis_info
    vertical = [axis for axis in axes if axis.direction in ("up", "down")]
    horizontal = [axis for axis in axes if axis.direction in ("east", "north") and crs_of(dem.grid).projected]
    what = "by its vertical CRS" if vertical else "like its map, as far as one can tell"
    for axis in vertical or horizontal:
        if abs(axis.unit_conversion_factor - 1) > 1e-9:
            raise IngestError(
                f"{dem.path} has elevations in {axis.unit_name} {what}; {remedy}"
                " (if they are metres already, set that alone)."
            )


def check_values(raw: Raw, window: Roi, core: Roi, elevation: bool, tick: Callable[[], None]) -> list[str]:
    """Read a window of a raw file once: is it whole, has it data where the image lies (``core``), is nodata declared?

    Returns what is not wrong but must be known. Only a DEM with walls that hardly any ground has is read again.
    """
    grid = raw.grid[window]
    ground = Ground(grid, *raw.scaling) if elevation else None
    layers = [] if elevation else [Extremes() for _ in raw.bands]
    edges = [] if elevation else _edges(raw, grid)
    covered = False
    for values, valid, roi in _blocks(raw, window, halo_px=1 if elevation else 0):
        if ground is not None:
            shape = _shape(roi)
            ground.add(values[0], valid[0], shape)
            valid = valid[:, : shape[0], : shape[1]]
        everything = bool(valid.all())
        for layer, layer_values, layer_valid in zip(layers, values, valid, strict=bool(layers)):
            layer.add(layer_values.ravel() if everything else layer_values[layer_valid])
        if edges:
            darkest, brightest = values.min(axis=0), values.max(axis=0)
            known = np.ones(darkest.shape, bool) if everything else np.all(valid, axis=0)
            for edge in edges:
                edge.add(darkest, brightest, known, roi)
        inside = tuple(
            slice(max(want.start - start.start - at.start, 0), max(want.stop - start.start - at.start, 0))
            for want, start, at in zip(core, window, roi, strict=True)
        )
        covered = covered or bool(valid[:, inside[0], inside[1]].any())
        tick()
    for layer in layers:
        if found := layer.stray():
            _refuse_number(raw, *found, "far from all its other values")
    for edge in edges if not all(layer.is_classes(raw.dtype) for layer in layers) else []:
        if filled := edge.filled_frac(raw.lossy):
            _refuse_edge(raw, edge, filled)
    findings = _check_ground(raw, window, ground) if ground is not None else []
    if not covered:
        raise IngestError(f"{raw.path} has no data where the image lies; give a file that covers the area.")
    return findings


def _blocks(raw: Raw, window: Roi, halo_px: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Roi]]:
    """A window of a file block by block: stored numbers, whether each is data, and where in the window the block lies.

    With a halo a block goes on by that number of rows and columns, but not beyond the window.
    """
    top, left = window[0].start, window[1].start
    height, width = window[0].stop - top, window[1].stop - left
    for roi in blocks.walk((height, width)):
        rows = slice(top + roi[0].start, top + min(roi[0].stop + halo_px, height))
        columns = slice(left + roi[1].start, left + min(roi[1].stop + halo_px, width))
        yield *raw.read_native((rows, columns)), roi


def _edges(raw: Raw, grid: Grid) -> list[Edge]:
    """What an image may be filled with: black, and white where the type has one; not what is declared already.

    A palette says itself which of its colours is none.
    """
    if raw.palette is not None:
        return []
    near = NEAR if raw.dtype == np.uint8 else 0
    fills = [0.0] + ([float(np.iinfo(raw.dtype).max)] if raw.dtype.kind == "u" else [])
    return [Edge(fill, (grid.shape[0], grid.shape[1]), near) for fill in fills if near or raw.nodata != fill]


def _check_ground(raw: Raw, window: Roi, ground: Ground) -> list[str]:
    """Refuse elevations that no ground has; tell of steps that hardly any has."""
    smeared = ground.is_smeared and not ground.has_other_unit
    if not smeared and (found := ground.stray()):
        _refuse_number(raw, *found, "far from all its other values")
    if ground.has_other_unit:
        raise IngestError(
            f"{raw.path} has slopes or heights that no ground has, by its pixels of {max(ground.pixel_m):.3g} m, so its elevations"
            " are hardly metres; convert them to metres or set the scale of the band, as in"
            f" `{remedies.scale(raw.path, 0.001)}` for millimetres."
        )
    if not smeared and len(ground.beyond_numbers):
        share = ground.beyond / ground.extremes.valid
        _refuse_number(raw, float(ground.beyond_numbers[0]), share, f"beyond any ground of {ground.body.name}")
    blocks = _blocks(raw, window, halo_px=1)
    if (
        not smeared
        and ground.suspects()
        and (found := ground.plateau((x[0], valid[0], _shape(roi)) for x, valid, roi in blocks))
    ):
        _refuse_number(raw, *found, "walled by steps that no ground has")
    if smeared or ground.has_impossible_step:
        low, high = sorted(ground.scale * end + ground.offset for end in (ground.extremes.low, ground.extremes.high))
        raise IngestError(
            f"{raw.path} has elevations from {low:.6g} to {high:.6g} m and steps of up to {ground.highest_step_m:.6g} m between"
            " neighbouring pixels, which no ground has and the rim of a void that was warped as if it were ground does;"
            " take the DEM as it was before it was warped, or declare its nodata before warping."
        )
    if ground.cliffs:
        return [
            f"{raw.path.name} has steps of up to {ground.highest_step_m:.4g} m between neighbouring pixels ({ground.cliffs} of more than"
            f" {elevations.CLIFF_M + elevations.WALL_SLOPE * max(ground.pixel_m):.4g} m), which few cliffs have; look whether they lie"
            " around a void."
        ]
    return []


def _shape(roi: Roi) -> tuple[int, int]:
    return roi[0].stop - roi[0].start, roi[1].stop - roi[1].start


def _refuse_number(raw: Raw, number: float, share: float, why: str) -> None:
    code = number_text(number, raw.dtype)
    if raw.nodata is None:
        remedy = f"declare it, as in `{remedies.edit_info(raw.path, '--nodata', code)}`"
    else:
        what = f"make it the {number_text(raw.nodata, raw.dtype)} that is"
        remedy = f"{what}, as in `{remedies.mark_number(raw.path, code)}`"
    raise IngestError(
        f"{raw.path} is {code} at {share:.2%} of its pixels, {why}, which looks like nodata that is not declared;"
        f" {remedy}."
    )


def _refuse_edge(raw: Raw, edge: Edge, filled: float) -> None:
    near = edge.near if raw.lossy or edge.is_blurred else 0
    also = f" or within {near:.9g} of it" if near else ""
    if near or raw.nodata is not None or raw.has_other_marks:
        remedy = f"mark it, as in `{remedies.mark_rim(raw.path, edge.code, near)}`"
    else:
        remedy = f"declare it, as in `{remedies.edit_info(raw.path, '--nodata', f'{edge.code:.9g}')}`"
    raise IngestError(
        f"{raw.path} is {edge.code:.9g}{also} in all bands along {filled:.0%} of the edge of its data, which looks like nodata"
        f" that is not declared; {remedy}."
    )


def number_text(number: float, dtype: np.dtype[Any]) -> str:
    """The shortest text of a stored number that reads as the same number and is inside the type's range."""
    stored = dtype.type(number)
    text = str(stored).removesuffix(".0")
    outside = dtype.kind == "f" and abs(float(text)) > float(np.finfo(dtype).max)
    return f"{float(stored):.17g}" if outside else text


def count_blocks(shape: Any) -> int:
    """How many blocks a (row, column) shape makes: the steps of a progress bar."""
    return sum(1 for _ in blocks.walk(shape))
