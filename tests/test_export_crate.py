"""The export as an RO-Crate: ro-crate-py reads it, every reference leads somewhere, and it names what it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import exported
import pytest
from rocrate.rocrate import ROCrate

from hpcl.core.digest import sha256
from hpcl.export import crate
from hpcl.export.form import ExportError
from hpcl.export.origin import software

PLACES = {"Val d-Ultimo 1": "UTM", "甘肃": "Mars"}
ELSEWHERE = ("https://w3id.org/ro/crate/1.2",)
"""References that are no entities of the crate."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.write(tmp_path_factory.mktemp("project"), PLACES)[0]


def test_the_library_finds_every_file_with_its_hash(folder: Path) -> None:
    read = ROCrate(folder)
    named = {unquote(entity.id): entity for entity in read.data_entities if entity.type == "File"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert named.keys() == there - {crate.NAME}
    for name, entity in named.items():
        assert entity["name"] == name
        if name != "manifest.json":
            assert entity["sha256"] == sha256(folder / name)
            assert int(entity["contentSize"]) == (folder / name).stat().st_size
    root = read.root_dataset
    assert root["datePublished"] == exported.ORIGIN.date
    assert [author["name"] for author in root["author"]] == ["The developers", "Ada Lovelace"]
    assert [author.type for author in root["author"]] == ["Organization", "Person"]
    assert "depends on the data" in root["license"]["description"]


def test_the_run_names_software_inputs_and_results(folder: Path) -> None:
    run = ROCrate(folder).get("#run")
    assert run["name"] == exported.ORIGIN.run
    assert run["instrument"]["softwareVersion"] == exported.ORIGIN.commit
    assert run["instrument"]["license"].id == "http://spdx.org/licenses/Apache-2.0"
    inputs = {entity["name"]: entity["sha256"] for entity in run["object"]}
    assert inputs == {
        "params.yaml": "ef" * 32, "data/model/1/model.safetensors": "12" * 32, "data/ingest/x/image.tif": "01" * 32
    }  # fmt: skip
    assert {unquote(one.id) for one in run["result"]} >= {"model.onnx", "catalog.json", "甘肃/probability.tif"}


def test_every_reference_leads_to_an_entity(folder: Path) -> None:
    graph = json.loads((folder / crate.NAME).read_text())["@graph"]
    known = [entity["@id"] for entity in graph]
    assert len(known) == len(set(known))

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return (
                [value["@id"]] if value.keys() == {"@id"} else [r for part in value.values() for r in references(part)]
            )
        return [r for part in value for r in references(part)] if isinstance(value, list) else []

    asked = set(references(graph))
    assert asked - set(known) == set(ELSEWHERE)
    assert set(known) - asked == {crate.NAME}  # nothing lies in it that nothing leads to
    assert all(identity == identity.encode("ascii", "ignore").decode() and " " not in identity for identity in known)


@pytest.mark.parametrize("key", ["title", "version", "license", "date-released", "authors"])
def test_a_citation_without_what_is_passed_on_is_refused(key: str) -> None:
    told = {name: value for name, value in exported.CITATION.items() if name != key}
    with pytest.raises(ExportError, match=f"CITATION.cff lacks '{key}'"):
        software(told)
