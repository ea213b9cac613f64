"""What the items of a model and of a map have in common: place, time, provenance, and files as assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pyproj import CRS
from pystac import Asset, Item
from pystac.extensions.file import FileExtension
from shapely.geometry import mapping

from hpcl.export import files
from hpcl.export.body import EARTH, body
from hpcl.export.content import Content
from hpcl.export.footprint import footprint, joined
from hpcl.export.origin import Origin
from hpcl.geo.raster import Grid

SSYS = "https://stac-extensions.github.io/ssys/v1.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
UNKNOWN_TIME = (datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""STAC demands a time or a range. Nothing that the pipeline reads says when an image was taken, and the date of a commit or of a
file would be found by whoever looks for a map of that day. So the range is that of MLM's own examples for what holds at any time."""
MULTIHASH = "1220"
"""In front of the digits of a SHA-256, as STAC's checksums want it: the function's number, and 32 bytes."""


def item(name: str, grids: Sequence[Grid], weights: str, origin: Origin) -> Item:
    """An item without assets. It has a geometry if all grids lie on one body and somebody can say where."""
    bodies = {body(CRS(grid.crs.proj)) if grid.crs else None for grid in grids}
    place = joined([place for place in map(footprint, grids) if place]) if len(bodies) == 1 else None
    version = f"{origin.software.version} ({origin.commit or 'commit not known'})"
    properties = {"license": "other", "processing:software": {"HPCL-Net": version}, "hpcl:weights_sha256": weights}
    extensions = [PROCESSING]
    if targets := sorted(name for name in bodies - {EARTH, None} if name):
        properties["ssys:targets"] = targets
        extensions.append(SSYS)
    start, end = UNKNOWN_TIME
    return Item(
        name, None if place is None else mapping(place.shape), None if place is None else list(place.box_deg),
        None, properties, start, end, stac_extensions=extensions,
    )  # fmt: skip


def add_assets(of: Item, contents: Mapping[str, Content]) -> None:
    """Add each file beside the item, with its hash and size."""
    for name, content in sorted(contents.items()):
        asset = Asset(f"./{name}", description=files.what(name), media_type=files.media_type(name), roles=["data"])
        of.add_asset(name, asset)
        FileExtension.ext(asset, add_if_missing=True).apply(checksum=MULTIHASH + content.sha256, size=content.size)
