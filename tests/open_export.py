"""Opens an export as other programs do, with nothing of this project, and prints as JSON what they find.

Usage: open_export.py FOLDER. pystac follows the catalogue, onnxruntime runs the model on windows of each stack of bands,
pyarrow reads the polygons. With a python that has QGIS, `export_in_qgis.py` beside this file says what QGIS finds.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pystac
import rasterio
from rasterio.windows import Window

WINDOWS = 4
"""Of each area, along its diagonal."""


def files(item: pystac.Item) -> dict[str, Path]:
    """The files of an item, each with the hash that the catalogue gives it."""
    found = {name: Path(str(asset.get_absolute_href())) for name, asset in item.assets.items()}
    for name, path in found.items():
        assert (
            item.assets[name].extra_fields["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
        ), path
    return found


def windows(stack: Path, size_px: int) -> list[Window]:
    """Squares along the diagonal of a raster."""
    with rasterio.open(stack) as bands:
        steps = np.linspace(0, 1, WINDOWS)
        tops, lefts = (np.round(steps * (side - size_px)).astype(int) for side in bands.shape)
        return [Window(left, top, size_px, size_px) for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)]


def probabilities(model: Path, stack: Path, places: list[Window]) -> np.ndarray:
    """What onnxruntime finds in windows ``(window, row, column)``; NaN where nothing is known."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with rasterio.open(stack) as bands:
        assert list(bands.descriptions) == json.loads(session.get_modelmeta().custom_metadata_map["hpcl_bands"])
        raw = np.stack([bands.read(window=place) for place in places])
    found = session.run(["landslide"], {"bands": raw})[0][:, 0]
    return np.where(found < 0, np.nan, found)


def of_map(path: Path, places: list[Window]) -> np.ndarray:
    """The pipeline's probabilities in the same windows."""
    with rasterio.open(path) as bands:
        return np.stack([bands.read(1, window=place) for place in places])


def area(model: Path, size_px: int, item: pystac.Item) -> dict[str, Any]:
    """What is found of one area."""
    found = files(item)
    table = pq.read_table(found["landslides.parquet"])
    told = {
        "polygons": table.num_rows,
        "area_m2": float(np.sum(table["area_m2"].to_numpy())),
        "geo_bbox": json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]["bbox"],
    }
    if "bands.vrt" not in found:
        return told
    places = windows(found["bands.vrt"], size_px)
    theirs, ours = probabilities(model, found["bands.vrt"], places), of_map(found["probability.tif"], places)
    known = np.isfinite(theirs) & np.isfinite(ours)
    away = np.abs(theirs - ours)[known]
    return told | {
        "windows": len(places), "pixels": int(known.sum()), "median_difference": float(np.median(away)),
        "largest_difference": float(away.max()), "correlation": float(np.corrcoef(theirs[known], ours[known])[0, 1]),
    }  # fmt: skip


def opened(folder: Path) -> dict[str, Any]:
    """What is found of a whole export, by title of the item."""
    items = list(pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True))
    (model,) = [item for item in items if "mlm:name" in item.properties]
    size_px = model.properties["mlm:input"][0]["input"]["shape"][-1]
    graph = files(model)["model.onnx"]
    return {item.properties["title"]: area(graph, size_px, item) for item in items if item is not model}


if __name__ == "__main__":
    print(json.dumps(opened(Path(sys.argv[1])), indent=1))
