"""The item of a map: grid and CRS by the extension of projections, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyproj import CRS
from pystac import Item, Link
from pystac.extensions.projection import ProjectionExtension

from hpcl.core.records import MapFacts
from hpcl.export.content import Content
from hpcl.export.origin import Origin
from hpcl.export.stac import model
from hpcl.export.stac.item import add_assets, item
from hpcl.geo.raster import Band, Grid

NAME = "map.json"


@dataclass(frozen=True, kw_only=True)
class MappedArea:
    """An area whose map is exported."""

    facts: MapFacts
    grid: Grid
    bands: Sequence[Band]
    """Of probability.tif."""
    files: Mapping[str, Content]
    """By their names in the folder of the area."""


def area_item(area: MappedArea, origin: Origin) -> Item:
    """The item in the folder of the area."""
    facts = area.facts
    made = item(f"{facts.area}-map-{facts.weights_sha256[:12]}", [area.grid], facts.weights_sha256, origin)
    made.properties |= {
        "title": f"Landslides of {facts.area}",
        "description": "Probability of landslide, and polygons at the operating point. It has no time, for that of the image is"
        " not known.",
        "hpcl:input_sha256": facts.input_sha256,
    }
    _add_projection(made, area.grid)
    add_assets(made, area.files)
    made.assets["probability.tif"].extra_fields["bands"] = [
        {"name": band.name, "data_type": "float32", "nodata": "nan", **({"unit": band.unit} if band.unit else {})}
        for band in area.bands
    ]
    made.add_link(Link("derived_from", f"../{model.NAME}", "application/geo+json", "The model that mapped it"))
    made.add_link(Link("license", "../model_card.md", "text/markdown", "What weights and maps depend on"))
    return made


def _add_projection(of: Item, grid: Grid) -> None:
    crs = None if grid.crs is None else CRS(grid.crs.proj)
    authority = crs.to_authority(min_confidence=100) if crs else None
    projection = ProjectionExtension.ext(of, add_if_missing=True)
    projection.apply(
        code=":".join(authority) if authority else None,
        wkt2=crs.to_wkt() if crs else None,
        bbox=list(grid.boundingbox.bbox),
        shape=list(grid.shape),
        transform=list(grid.affine)[:6],
    )
