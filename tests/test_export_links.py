"""Links of the catalogue that lead nowhere, and hashes of catalogue and crate that disagree with the files, are found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exported
import pytest

from hpcl.export import crate
from hpcl.export.stac import links

AREA = "Val d 1"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.write(tmp_path_factory.mktemp("project"), {AREA: "UTM"})[0]


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "export")
    return tmp_path / "export"


def edited(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """A change of what a JSON file says."""

    def edit(folder: Path) -> None:
        told = json.loads((folder / name).read_text())
        change(told)
        (folder / name).write_text(json.dumps(told))

    return edit


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def without(told: dict[str, Any], key: str) -> None:
    told["links"] = [link for link in told["links"] if link["rel"] != key]


def entity(told: Any, identity: str) -> Any:
    return next(one for one in told["@graph"] if one["@id"] == identity)


MAP = f"{AREA}/map.json"
FILES = ["model.onnx", "catalog.json", MAP, crate.NAME]
"""Some of those that the manifest names."""
CATALOGUE: dict[str, tuple[Callable[[Path], None], str]] = {
    "item gone": (removed(MAP), f"catalog.json: the link 'item' leads nowhere: there is no ./{MAP}."),
    "model gone": (removed("model.json"), "map.json: the link 'derived_from' leads nowhere: there is no ../model.json."),
    "card gone": (removed("model_card.md"), "model.json: the link 'license' leads nowhere"),
    "root gone": (removed("catalog.json"), "catalog.json is no part of a STAC catalogue that can be read"),
    "parent moved": (
        edited(MAP, lambda told: told["links"].append({"rel": "parent", "href": "../up.json"})), "the link 'parent' leads nowhere"
    ),
    "address": (
        edited(MAP, lambda told: told["links"].append({"rel": "parent", "href": "https://example.org/x.json"})),
        "the link 'parent' leads nowhere: there is no https://example.org/x.json",
    ),
    "asset gone": (removed(f"{AREA}/landslides.gpkg"), "map.json: the asset 'landslides.gpkg' leads nowhere"),
    "graph gone": (removed("model.onnx"), "model.json: the asset 'model.onnx' leads nowhere"),
    "asset changed": (
        written(f"{AREA}/inventory.gpkg", "x"), "map.json: the checksum of the asset 'inventory.gpkg' is not that of ./inventory.gpkg."
    ),
    "checksum changed": (
        edited("model.json", lambda told: told["assets"]["model.onnx"].update({"file:checksum": "1220" + "00" * 32})),
        "model.json: the checksum of the asset 'model.onnx' is not that",
    ),
    "no checksum": (
        edited("model.json", lambda told: told["assets"]["model.onnx"].pop("file:checksum")), "the checksum of the asset 'model.onnx'"
    ),
    "not linked": (edited("catalog.json", lambda told: without(told, "item")), "map.json is not linked from"),
    "no JSON": (written(MAP, "{"), "map.json is no part of a STAC catalogue that can be read"),
    "other JSON": (written("model.json", "[1]"), "model.json is no part of a STAC catalogue that can be read"),
    "deep JSON": (written("model.json", "[" * 100_000), "model.json is no part of a STAC catalogue that can be read"),
    "no text": (edited("model.json", lambda told: told["links"].append({"rel": 1, "href": 2})), "the link '1' leads nowhere"),
}  # fmt: skip
CRATE: dict[str, tuple[Callable[[Path], None], str]] = {
    "file gone": (removed(f"{AREA}/probability.tif"), f"names {AREA}/probability.tif, which is not there."),
    "file changed": (written("model.onnx", "other"), "gives model.onnx a SHA-256 that is not that of the file."),
    "hash changed": (
        edited(crate.NAME, lambda told: entity(told, "catalog.json").update(sha256="00" * 32)), "gives catalog.json a SHA-256"
    ),
    "no hash": (edited(crate.NAME, lambda told: entity(told, "model.json").pop("sha256")), "gives model.json a SHA-256"),
    "file left out": (
        edited(crate.NAME, lambda told: told["@graph"].remove(entity(told, "model.onnx"))), "does not name model.onnx."
    ),
    "in no folder": (
        edited(crate.NAME, lambda told: entity(told, "Val%20d%201/")["hasPart"].clear()), "map.json is part of no folder of the crate."
    ),
    "gone": (removed(crate.NAME), "is no RO-Crate that can be read"),
    "no JSON": (written(crate.NAME, "]"), "is no RO-Crate that can be read"),
    "other JSON": (written(crate.NAME, '{"@graph": [1]}'), "is no RO-Crate that can be read"),
    "other parts": (
        edited(crate.NAME, lambda told: entity(told, "./").update(hasPart="x")), "is no RO-Crate that can be read"
    ),
}  # fmt: skip


def test_a_sound_export_passes_without_a_word(folder: Path) -> None:
    assert not [*links.broken(folder), *crate.broken(folder, FILES)]


@pytest.mark.parametrize("kind", CATALOGUE)
def test_a_broken_link_of_the_catalogue_is_named(folder: Path, kind: str) -> None:
    break_it, sentence = CATALOGUE[kind]
    break_it(folder)
    found = list(links.broken(folder))
    assert [line for line in found if sentence in line], found
    assert all(line.endswith(".") and "\n" not in line for line in found)


@pytest.mark.parametrize("kind", CRATE)
def test_a_wrong_line_of_the_crate_is_named(folder: Path, kind: str) -> None:
    break_it, sentence = CRATE[kind]
    break_it(folder)
    found = list(crate.broken(folder, FILES))
    assert [line for line in found if sentence in line], found
    assert all(line.endswith(".") and "\n" not in line for line in found)


def test_a_catalogue_that_links_itself_comes_to_an_end(folder: Path) -> None:
    edited("catalog.json", lambda told: told["links"].append({"rel": "item", "href": "./catalog.json"}))(folder)
    edited("model.json", lambda told: told["links"].append({"rel": "item", "href": "./model.json"}))(folder)
    assert not list(links.broken(folder))
