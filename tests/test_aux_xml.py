"""The .aux.xml that GIS programs leave beside a raster changes nothing: what only it says is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from test_dvc_yaml import ROOT

from hpcl.ingest.opening import open_raster
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError

VALUES = np.arange(30, dtype=np.float32).reshape(5, 6)
PLACE: dict[str, Any] = {"crs": "EPSG:32648", "transform": Affine(2, 0, 500000, 0, -2, 4000000)}
STATISTICS = """<PAMDataset><PAMRasterBand band="1"><Histograms/><Metadata>
<MDI key="STATISTICS_MAXIMUM">29</MDI><MDI key="STATISTICS_MINIMUM">0</MDI></Metadata></PAMRasterBand></PAMDataset>"""


def written(path: Path, driver: str = "GTiff", **facts: Any) -> Path:
    values = VALUES if driver == "GTiff" else VALUES.astype(np.uint8)
    with rasterio.open(path, "w", driver=driver, height=5, width=6, count=1, dtype=values.dtype, **facts) as file:
        file.write(values, 1)
    return path


SAYS = {
    "nodata value": '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>',
    "coordinate reference system": "<SRS>EPSG:32649</SRS>",
    "position": "<GeoTransform>400000, 30, 0, 3000000, 0, -30</GeoTransform>",
    "scale": '<PAMRasterBand band="1"><Scale>0.1</Scale></PAMRasterBand>',
    "unit": '<PAMRasterBand band="1"><UnitType>ft</UnitType></PAMRasterBand>',
    "names of bands": '<PAMRasterBand band="1"><Description>green</Description></PAMRasterBand>',
}


def beside(path: Path, what: str) -> None:
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{SAYS[what]}</PAMDataset>")


@pytest.mark.parametrize("what", SAYS)
def test_what_stands_beside_a_raster_alone_is_refused(tmp_path: Path, what: str) -> None:
    path = written(tmp_path / "dem.tif", **PLACE | ({"crs": None} if what == "coordinate reference system" else {}))
    beside(path, what)
    with pytest.raises(IngestError, match=f"does not say its {what} itself") as caught:
        open_raster(path)
    remedy = str(caught.value).split("`")[1]
    bin_folder = Path(sys.executable).parent
    assert subprocess.run(["bash", "-c", f"PATH={bin_folder}:$PATH; {remedy}"], cwd=ROOT, check=False).returncode == 0
    with open_raster(path) as mended, rasterio.open(path) as gis:
        assert mended.nodata == gis.nodata
        assert mended.crs == gis.crs
        assert (mended.transform, mended.scales) == (gis.transform, gis.scales)
        assert (mended.units, mended.descriptions) == (gis.units, gis.descriptions)
        plain = (None, rasterio.CRS.from_epsg(32648), PLACE["transform"], (1.0,), (None,), (None,))
        assert (
            mended.nodata, mended.crs, mended.transform, mended.scales, mended.units, mended.descriptions
        ) != plain, "GDAL believes the .aux.xml"  # fmt: skip


def test_a_png_that_gdal_placed_by_the_file_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path / "optical.tif", "PNG", **PLACE)
    assert path.with_name("optical.tif.aux.xml").exists()
    with pytest.raises(IngestError, match="coordinate reference system"):
        Raw(path)


@pytest.mark.parametrize(
    "text", [STATISTICS, "<PAMDataset/>", "", "no XML", "<PAMDataset><SRS>nonsense</SRS></PAMDataset>"]
)
def test_statistics_and_rubbish_beside_a_raster_pass(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "dem.tif", nodata=-9999, **PLACE)
    path.with_name("dem.tif.aux.xml").write_text(text)
    with Raw(path) as raw:
        assert raw.grid.affine == PLACE["transform"]
        assert raw.crs.to_epsg() == 32648


@pytest.mark.parametrize("name", ["nodata value", "coordinate reference system", "position", "scale"])
def test_the_same_beside_the_file_as_in_it_passes(tmp_path: Path, name: str) -> None:
    path = written(
        tmp_path / "dem.tif", nodata=7, **{"crs": "EPSG:32649", "transform": Affine(30, 0, 400000, 0, -30, 3000000)}
    )
    with rasterio.open(path, "r+") as file:
        file.scales = [0.1]
    beside(path, name)
    with Raw(path) as raw:
        assert raw.crs.to_epsg() == 32649
