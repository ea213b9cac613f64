"""Layers on another grid: the one place that asks GDAL to resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from pyproj.transformer import TransformerGroup
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from hpcl.geo.raster import Grid

KERNELS = {Resampling.bilinear: "Bilinear", Resampling.cubic: "Cubic"}
"""What GDAL calls them in a VRT."""


def pipeline_between(source: Any, target: Any) -> str | None:
    """PROJ's steps from x and y of one CRS to those of another, its best for both; None if the two are one."""
    if source == target:
        return None
    best = TransformerGroup(source.proj, target.proj, always_xy=True).transformers[0]
    return str(
        best.definition if best.definition.startswith("proj=pipeline") else f"proj=pipeline step {best.definition}"
    )


@dataclass(frozen=True)
class Warp:
    """How layers are brought from one grid onto another; the same for all blocks of the two, so that no seam shows."""

    how: Resampling
    zoom: float
    """How many pixels of the target lie along one of the source where there are fewer, else 1."""
    pipeline: str | None
    """PROJ's, from x and y of the source to those of the target; None where both grids have one CRS."""


def resample(values: npt.NDArray[Any], source: Grid, target: Grid, warp: Warp) -> npt.NDArray[np.float32]:
    """Layers ``(band, row, column)`` on ``source``, NaN where unknown, brought onto ``target``.

    GDAL's kernel weighs what is known alone, each layer by itself. Positions are right to 1e-4 pixel.
    """
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "float32"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", transform=source.affine, nodata=np.nan, **shape) as file:
            file.write(values)
        with rasterio.open(_warped(memory.name, len(values), source, target, warp)) as warped:
            out: npt.NDArray[np.float32] = warped.read()
    return out


def in_halves(target: Grid, read: Callable[[Grid], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """What ``read`` gives for a grid, read for one half of its longer side and then for the other, to save memory."""
    axis = int(target.shape[1] > target.shape[0])
    half = target.shape[axis] // 2
    parts = (target[:half], target[half:]) if axis == 0 else (target[:, :half], target[:, half:])
    return np.concatenate([read(part) for part in parts], axis=1 + axis)


def _warped(path: str, bands: int, source: Grid, target: Grid, warp: Warp) -> str:
    """GDAL's description of a raster that warps another when it is read.

    Written out, because neither rasterio's WarpedVRT nor its reproject() can be given a pipeline in lower case, and the
    latter's tolerance is 0.125 pixel whatever it is told. GDAL is told no CRS of ours: with a pipeline it needs some, and
    any two do that have x before y and no longitudes, which it would wrap.
    """

    def numbers(affine: Affine) -> str:
        return ", ".join(repr(float(number)) for number in affine.to_gdal())

    def transform(name: str, affine: Affine) -> str:
        there, back = f"{name}GeoTransform", f"{name}InvGeoTransform"
        return f"<{there}>{numbers(affine)}</{there}><{back}>{numbers(~affine)}</{back}>"

    any_crs = "EPSG:32631"
    reprojected = f"""
        <ReprojectTransformer><ReprojectionTransformer>
          <SourceSRS>{any_crs}</SourceSRS><TargetSRS>{any_crs}</TargetSRS>
          <Options><Option key="COORDINATE_OPERATION">{warp.pipeline}</Option></Options>
        </ReprojectionTransformer></ReprojectTransformer>"""
    unknown = "<SrcNoDataReal>nan</SrcNoDataReal><DstNoDataReal>nan</DstNoDataReal>"
    layers = "".join(
        f'<VRTRasterBand dataType="Float32" band="{band}" subClass="VRTWarpedRasterBand"><NoDataValue>nan</NoDataValue></VRTRasterBand>'
        for band in range(1, bands + 1)
    )
    mapped = "".join(f'<BandMapping src="{band}" dst="{band}">{unknown}</BandMapping>' for band in range(1, bands + 1))
    # XSCALE is else guessed from the sizes of windows: a rotated grid would be blurred. With UNIFIED_SRC_NODATA a hole in
    # one layer would be data as long as another layer has some. MaxError is in pixels of the source.
    return f"""<VRTDataset rasterXSize="{target.shape[1]}" rasterYSize="{target.shape[0]}" subClass="VRTWarpedDataset">
      <GeoTransform>{numbers(target.affine)}</GeoTransform>{layers}
      <GDALWarpOptions>
        <ResampleAlg>{KERNELS[warp.how]}</ResampleAlg><WorkingDataType>Float32</WorkingDataType>
        <Option name="INIT_DEST">NO_DATA</Option><Option name="UNIFIED_SRC_NODATA">NO</Option>
        <Option name="XSCALE">{float(warp.zoom)!r}</Option><Option name="YSCALE">{float(warp.zoom)!r}</Option>
        <SourceDataset relativeToVRT="0">{path}</SourceDataset>
        <Transformer><ApproxTransformer><MaxError>0.0001</MaxError><BaseTransformer><GenImgProjTransformer>
          {transform("Src", source.affine)}{reprojected if warp.pipeline else ""}
          {transform("Dst", target.affine)}
        </GenImgProjTransformer></BaseTransformer></ApproxTransformer></Transformer>
        <BandList>{mapped}</BandList>
      </GDALWarpOptions>
    </VRTDataset>"""
