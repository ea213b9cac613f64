"""Where the links of a catalogue lead. Read as plain JSON, for what is looked at may be broken in any way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcl.core.digest import sha256
from hpcl.export.stac.area import NAME as MAP_ITEM
from hpcl.export.stac.catalog import NAME
from hpcl.export.stac.item import MULTIHASH


def broken(folder: Path) -> Iterator[str]:
    """A sentence for each link of the catalogue that leads nowhere, and each checksum that is not the file's."""
    listed = [NAME]
    for name in listed:
        try:
            told = json.loads((folder / name).read_bytes())
            links = [(str(link["rel"]), str(link["href"])) for link in told["links"]]
            assets = [
                (key, str(asset["href"]), asset.get("file:checksum")) for key, asset in told.get("assets", {}).items()
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield f"{folder / name} is no part of a STAC catalogue that can be read ({type(error).__name__}: {error})."
            continue
        yield from _of_links(folder / name, links)
        yield from _of_assets(folder / name, assets)
        items = [(Path(name).parent / href).as_posix() for rel, href in links if rel == "item"]
        listed += [item for item in items if item not in listed and (folder / item).exists()]
    for path in sorted(folder.rglob(MAP_ITEM)):
        if path.relative_to(folder).as_posix() not in listed:
            yield f"{path} is not linked from {folder / NAME}."


def _of_links(path: Path, links: Sequence[tuple[str, str]]) -> Iterator[str]:
    for rel, href in links:
        if not (path.parent / href).exists():
            yield f"{path}: the link '{rel}' leads nowhere: there is no {href}."


def _of_assets(path: Path, assets: Sequence[tuple[str, str, object]]) -> Iterator[str]:
    for key, href, checksum in assets:
        file = path.parent / href
        if not file.is_file():
            yield f"{path}: the asset '{key}' leads nowhere: there is no {href}."
        elif checksum != MULTIHASH + sha256(file):
            yield f"{path}: the checksum of the asset '{key}' is not that of {href}."
