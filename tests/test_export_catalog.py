"""The catalogue of an export: pystac opens it anywhere without a network, and it says of place, time and files what is true."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pystac
import pytest
import rasterio
from pyproj import CRS
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from hpcl.core.digest import sha256
from hpcl.core.records import BandFacts
from hpcl.export.content import Content
from hpcl.export.stac import links

PLACES = {"Val d-Ultimo 1": "UTM", "甘肃": "Mars", "island": "antimeridian", "site": "nowhere"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for an address fails."""

    def refused(*_: Any) -> None:
        raise AssertionError("a test of the catalogue asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    exported.write(root, PLACES)
    return root


@pytest.fixture
def items(project: Path, tmp_path: Path) -> dict[str, pystac.Item]:
    """By title, from a copy that lies elsewhere."""
    moved = tmp_path / "received"
    moved.symlink_to(project / exported.FOLDER)
    catalogue = pystac.Catalog.from_file(str(moved / "catalog.json"))
    assert catalogue.catalog_type == pystac.CatalogType.SELF_CONTAINED
    return {item.properties["title"]: item for item in catalogue.get_items(recursive=True)}


def test_every_object_follows_the_specification(project: Path) -> None:
    """Against the JSON schemas of STAC 1.1, which pystac ships."""
    files = [project / exported.FOLDER / name for name in ("catalog.json", "model.json")]
    files += [project / exported.FOLDER / name / "map.json" for name in PLACES]
    for file in files:
        told = json.loads(file.read_text())
        kind = pystac.STACObjectType(told["type"])
        JsonSchemaSTACValidator().validate_core(told, kind, told["stac_version"])
        assert told["stac_version"] == "1.1.0"
        assert not [link for link in told["links"] if Path(link["href"]).is_absolute() or "://" in link["href"]]
    assert not list(links.broken(project / exported.FOLDER))


def test_the_schemas_would_find_a_fault(project: Path) -> None:
    told = json.loads((project / exported.FOLDER / "model.json").read_text())
    del told["properties"]["end_datetime"]
    with pytest.raises(pystac.STACValidationError):
        JsonSchemaSTACValidator().validate_core(told, pystac.STACObjectType.ITEM, "1.1.0")


def test_assets_are_the_files(items: dict[str, pystac.Item]) -> None:
    assert list(items) == ["Landslide model", *(f"Landslides of {name}" for name in PLACES)]
    for title, item in items.items():
        wanted = {"probability.tif", "landslides.gpkg", "landslides.parquet", "inventory.gpkg"}
        assert set(item.assets) == ({"model.onnx", "model_card.md"} if title == "Landslide model" else wanted)
        for asset in item.assets.values():
            file, told = Path(str(asset.get_absolute_href())), FileExtension.ext(asset)
            assert told.size == file.stat().st_size
            assert told.checksum == "1220" + sha256(file)


@pytest.mark.parametrize(("name", "place"), PLACES.items())
def test_a_map_lies_where_its_raster_does(items: dict[str, pystac.Item], name: str, place: str) -> None:
    item = items[f"Landslides of {name}"]
    told = ProjectionExtension.ext(item)
    with rasterio.open(str(item.assets["probability.tif"].get_absolute_href())) as file:
        assert told.shape == list(file.shape)
        assert told.transform == list(file.transform)[:6]
        assert told.bbox == list(file.bounds)
        assert [band["name"] for band in item.assets["probability.tif"].extra_fields["bands"]] == list(
            file.descriptions
        )
        assert CRS(told.wkt2) == CRS(file.crs.to_wkt())
    assert told.code == {"UTM": "EPSG:32648", "antimeridian": "EPSG:3832"}.get(place)
    assert item.properties.get("ssys:targets") == (["Mars"] if place == "Mars" else None)
    assert any("/ssys/" in url for url in item.stac_extensions) == (place == "Mars")
    if place == "nowhere":
        assert (item.geometry, item.bbox) == (None, None)
        return
    assert item.bbox is not None
    assert item.geometry is not None
    west, south, east, north = item.bbox
    assert (west > east) == (place == "antimeridian") == (item.geometry["type"] == "MultiPolygon")
    if place == "Mars":  # on a sphere, without a projection library
        _, x, y = exported.PLACES[place]
        size_m = np.array([exported.SHAPE[1], exported.SHAPE[0]]) * exported.PIXEL_M
        expected = np.degrees(np.array([x, y - size_m[1], x + size_m[0], y]) / 3_396_190)
        np.testing.assert_allclose([west, south, east, north], expected, atol=1e-6)


def test_the_model_is_described_as_its_graph_is(items: dict[str, pystac.Item]) -> None:
    item = items["Landslide model"]
    told = MLMExtension.ext(item)
    (given,), (output,) = told.input, told.output
    assert told.mlm_name == "HPCL-Net"
    assert given.input.shape == [-1, 1, 64, 64]
    assert given.bands == [band["name"] for band in item.properties["bands"]] == ["red"]
    assert output.result.shape == [-1, 1, 64, 64]
    assert len(given.input.dim_order) == len(output.result.dim_order) == 4
    assert "mlm:model" in (item.assets["model.onnx"].roles or [])
    assert item.assets["model.onnx"].extra_fields["mlm:artifact_type"] == "onnx"
    assert item.geometry is None  # it learnt ground on two planets


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ({"pretrained": False, "weights": {}}, None),
        ({"pretrained": True, "weights": {}}, "timm's weights of tiny"),
        (
            {
                "pretrained": False,
                "weights": {b: {"file": f"{b}.bin", "sha256": b * 8} for b in ("optical", "terrain")},
            },
            f"optical: optical.bin (SHA-256 {'optical' * 8}); terrain: terrain.bin (SHA-256 {'terrain' * 8})",
        ),
    ],
)
def test_what_the_encoders_started_from_is_told(tmp_path: Path, start: dict[str, Any], told: str | None) -> None:
    settings = {"architecture": "hpcl_net", "encoder": "tiny", "branches": {"optical": ["red"]}} | start
    folder, _ = exported.write(tmp_path, {"valley": "UTM"}, settings=settings)
    properties = pystac.Item.from_file(str(folder / "model.json")).properties
    assert properties["mlm:pretrained"] is (told is not None)
    assert properties["mlm:pretrained_source"] == told


@pytest.mark.parametrize("classes", [["landslide"], ["debris", "rock fall", "甘肃 slide"]])
@pytest.mark.parametrize("bands", [["red"], ["red", "slope", "n_east"]])
def test_shapes_follow_bands_and_classes(tmp_path: Path, classes: list[str], bands: list[str]) -> None:
    facts = [BandFacts(name, "scalar", 0.0, 1.0) for name in bands]
    folder, _ = exported.write(tmp_path, {"valley": "UTM"}, classes=classes, bands=facts, window_px=96)
    item = pystac.Item.from_file(str(folder / "model.json"))
    told = MLMExtension.ext(item)
    assert told.input[0].input.shape == [-1, len(bands), 96, 96]
    channels = [1] if len(classes) == 1 else [1, len(classes) + 1]
    assert [one.result.shape for one in told.output] == [[-1, count, 96, 96] for count in channels]
    area = pystac.Item.from_file(str(folder / "valley/map.json"))
    assert item.bbox == area.bbox  # it was trained there
    JsonSchemaSTACValidator().validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")


def test_a_map_leads_to_its_model(items: dict[str, pystac.Item]) -> None:
    for title, item in items.items():
        if title != "Landslide model":
            (link,) = item.get_links("derived_from")
            model = pystac.Item.from_file(str(link.get_absolute_href()))
            assert model.id == items["Landslide model"].id
            assert model.properties["hpcl:weights_sha256"] == item.properties["hpcl:weights_sha256"]


def test_time_is_not_known_and_not_invented(items: dict[str, pystac.Item]) -> None:
    for item in items.values():
        assert item.datetime is None
        start, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
        assert start is not None
        assert end is not None
        assert (start.year, end.year) == (1900, 9999)
        assert "ab" * 20 in item.properties["processing:software"]["HPCL-Net"]


def test_equal_exports_are_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they are made."""
    made = []
    for name in ("one", "elsewhere"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        folder, _ = exported.write(tmp_path / name, PLACES)
        made.append(
            {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        )
    assert made[0] == made[1]
    assert not [name for name, data in made[0].items() if str(tmp_path).encode() in data]


@pytest.mark.parametrize("source", ["bytes", "file"])
def test_a_content_has_the_hash_and_size_of_what_it_writes(tmp_path: Path, source: str) -> None:
    (tmp_path / "given").write_bytes(b"x" * 1000)
    content = Content(b"x" * 1000 if source == "bytes" else tmp_path / "given")
    content.write(tmp_path / "deep/er/file")
    assert content.sha256 == sha256(tmp_path / "deep/er/file")
    assert content.size == (tmp_path / "deep/er/file").stat().st_size == 1000
