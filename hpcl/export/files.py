"""What each file of an export is, for all that name it: the catalogue and the crate."""

from __future__ import annotations

from pathlib import PurePosixPath

_WHAT = {
    "model.onnx": "What maps new ground: raw bands of a window in, probabilities out",
    "model_card.md": "Bands, data and split, scores with intervals, operating points, limits, licence, hashes",
    "probability.tif": "Probability of landslide, 0 to 1, and its uncertainty: the standard deviation between windows and networks",
    "landslides.parquet": "Polygons of the map, each with the hashes of weights and inputs",
    "landslides.gpkg": "The same polygons as a GeoPackage",
    "inventory.gpkg": "The inventory that the area was given, repaired",
    "bands.vrt": "The bands that the model reads, in its order; refers to rasters of the project",
    "catalog.json": "STAC catalogue of model and maps",
    "model.json": "STAC item of the model",
    "map.json": "STAC item of the map",
    "manifest.json": "SHA-256 of all files, and of the weights and rasters that they come from",
}
_MEDIA_TYPES = {
    ".onnx": "application/octet-stream; framework=onnx",
    ".md": "text/markdown",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".parquet": "application/vnd.apache.parquet",
    ".gpkg": "application/geopackage+sqlite3",
    ".vrt": "application/xml",
    ".json": "application/json",
}


def what(name: str) -> str:
    """In words, by its name, with or without the folder of an area."""
    return _WHAT[PurePosixPath(name).name]


def media_type(name: str) -> str:
    """By its suffix."""
    return _MEDIA_TYPES[PurePosixPath(name).suffix]
