"""The catalogue as files: pystac makes it, and nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pystac
from pystac import CatalogType

from hpcl.core.records import ModelFacts
from hpcl.export.content import Content
from hpcl.export.origin import Origin
from hpcl.export.stac.area import NAME as MAP_ITEM
from hpcl.export.stac.area import MappedArea, area_item
from hpcl.export.stac.model import NAME as MODEL_ITEM
from hpcl.export.stac.model import model_item

NAME = "catalog.json"
ROOT = "/export"
"""Of paths, which are written relatively."""


class _Kept(pystac.StacIO):
    """Keeps what pystac would write."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Nothing is read while a catalogue is made."""
        raise NotImplementedError(source)

    def write_text(self, dest: Any, txt: str, *args: Any, **kwargs: Any) -> None:
        """Keep the text by its path."""
        self.texts[str(dest)] = txt


def catalogue(
    model: ModelFacts, model_files: Mapping[str, Content], areas: Sequence[MappedArea], origin: Origin
) -> dict[str, Content]:
    """The files of the catalogue by their names in the export; ``model_files`` are those beside the folders of the areas."""
    weights = areas[0].facts.weights_sha256
    title = f"{origin.software.title}: model and maps"
    made = pystac.Catalog(f"hpcl-net-{weights[:12]}", f"Landslide model {weights[:12]} and its maps.", title)
    items = {MODEL_ITEM: model_item(model, model_files, weights, origin)}
    items |= {f"{area.facts.area}/{MAP_ITEM}": area_item(area, origin) for area in areas}
    for item in items.values():
        made.add_item(item)
    # Only now: a catalogue that has a place gives each new item one of its own, and moves its assets.
    made.set_self_href(f"{ROOT}/{NAME}")
    for name, item in items.items():
        item.set_self_href(f"{ROOT}/{name}")
    kept = _Kept()
    made.save(CatalogType.SELF_CONTAINED, stac_io=kept)
    return {name.removeprefix(f"{ROOT}/"): Content((text + "\n").encode()) for name, text in sorted(kept.texts.items())}
