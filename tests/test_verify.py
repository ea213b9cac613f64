"""Each kind of broken link between an export and the project is found, and named; a sound export passes without a word."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import exported
import geopandas as gpd
import pytest
from shapely.geometry import box

from hpcl.core.artifacts import write_json
from hpcl.core.digest import joint, sha256
from hpcl.export import manifest
from hpcl.export.content import Content
from hpcl.export.form import ExportError
from hpcl.geo import vector
from stages import verify
from stages.tracking import state

FOLDER = Path("data/export")
RASTERS = [Path("data/ingest/a b/image.tif"), Path("data/terrain/a b/terrain.tif")]
NETWORKS = [Path(f"data/model/{fold}/model.safetensors") for fold in (1, 2)]
PARQUET = FOLDER / "a b/landslides.parquet"


def polygons(weights: str, inputs: str, shift_m: float = 0.0) -> gpd.GeoDataFrame:
    shapes = [box(500000 + shift_m, 4000000, 500040, 4000050), box(500100, 4000000, 500150, 4000090)]
    columns = {"id": [1, 2], "weights_sha256": weights, "input_sha256": inputs}
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32648")


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> manifest.Manifest:
    """A project with an export, as far as hashes go; the files hold a word each."""
    monkeypatch.chdir(tmp_path)
    params_sha256 = put(Path("params.yaml"), "areas: ['a b']\n")
    put(Path("hpcl/code.py"), "")
    networks = {path.as_posix(): put(path, path.parent.name) for path in NETWORKS}
    digests = [put(path, path.name) for path in RASTERS]
    weights = hashlib.sha256("".join(networks.values()).encode()).hexdigest()
    inputs = hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()
    table = polygons(weights, inputs)
    Path("data/outline/a b").mkdir(parents=True)
    vector.write(Path("data/outline/a b/landslides.gpkg"), table)
    PARQUET.parent.mkdir(parents=True)
    table.to_parquet(PARQUET, index=False)
    git = ["git", "-c", "user.name=mapper", "-c", "user.email=mapper@example.org"]
    for arguments in (["init", "-q"], ["add", "params.yaml", "hpcl"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *arguments], check=True)
    here = state.here(Path.cwd())
    area = exported.area(Path("elsewhere"), "a b")
    area = replace(area, files=area.files | {"landslides.parquet": Content(PARQUET)})
    links = manifest.Manifest(
        commit=here["tags"]["git.commit"], run=here["name"], run_key=here["key"], params_sha256=params_sha256,
        weights_sha256=weights, networks=networks, areas={"a b": manifest.of_area(table, RASTERS, inputs)}, files={},
    )  # fmt: skip
    files = exported.contents(exported.model_facts({"a b": "UTM"}), [area], links)
    for name, content in files.items():
        content.write(FOLDER / name)
    links = replace(links, files=manifest.of_files(files))
    write_json(FOLDER / manifest.NAME, links)
    return links


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """What the command returns and prints."""
    monkeypatch.setattr(sys, "argv", ["verify", str(FOLDER)])
    try:
        verify.main()
    except SystemExit as end:
        return 1, [*capsys.readouterr().out.splitlines(), *([end.code] if isinstance(end.code, str) else [])]
    return 0, capsys.readouterr().out.splitlines()


def signed(links: manifest.Manifest, table: gpd.GeoDataFrame) -> None:
    """Replace the polygons, and have the manifest name the file as it is now."""
    table.to_parquet(PARQUET, index=False)
    files = links.files | {"a b/landslides.parquet": sha256(PARQUET)}
    write_json(FOLDER / manifest.NAME, replace(links, files=files))


def renamed(links: manifest.Manifest, **changes: object) -> None:
    write_json(FOLDER / manifest.NAME, replace(links, **changes))  # type: ignore[arg-type]  # fields of several types


def other_inputs(links: manifest.Manifest) -> None:
    own = links.areas["a b"]
    renamed(links, areas={"a b": replace(own, inputs=dict.fromkeys(own.inputs, "00" * 32))})


BROKEN: dict[str, tuple[Callable[[manifest.Manifest], object], str]] = {
    "file": (lambda _: put(FOLDER / "model.onnx", "another"), "data/export/model.onnx is not the file that was exported"),
    "lost": (lambda _: (FOLDER / "model.onnx").unlink(), "data/export/model.onnx is missing"),
    "added": (lambda _: put(FOLDER / "notes.txt", "x"), "data/export/notes.txt was not written by the export"),
    "polygons of other weights": (
        lambda links: signed(links, polygons("00" * 32, links.areas["a b"].input_sha256)),
        "2 of 2 polygons, first that of row 1, name other weights",
    ),
    "polygons of other input": (
        lambda links: signed(links, polygons(links.weights_sha256, "00" * 32)), "name other inputs than the manifest"
    ),
    "polygons without a hash": (
        lambda links: signed(links, polygons("", links.areas["a b"].input_sha256).drop(columns="weights_sha256")),
        "has no column weights_sha256",
    ),
    "moved polygon": (
        lambda links: signed(links, polygons(links.weights_sha256, links.areas["a b"].input_sha256, 5.0)),
        "outlines are not those of the map that was exported",
    ),
    "no polygons": (lambda _: put(PARQUET, "word"), "is no GeoParquet that can be read"),
    "catalogue": (
        lambda _: (FOLDER / "a b/map.json").unlink(), "data/export/catalog.json: the link 'item' leads nowhere: there is no ./a b/map.json."
    ),
    "crate": (lambda _: put(FOLDER / "catalog.json", "{}"), "gives catalog.json a SHA-256 that is not that of the file."),
    "networks": (
        lambda links: renamed(links, weights_sha256=joint(["ab"])), "the networks that it names do not make the weights"
    ),
    "rasters": (other_inputs, "the rasters that it names for a b do not make the input"),
    "trained again": (lambda _: put(NETWORKS[1], "new"), "data/model/2/model.safetensors is not the file"),
    "weights gone": (lambda _: NETWORKS[0].unlink(), "data/model/1/model.safetensors, which the export was made from, is not"),
    "input edited": (lambda _: put(RASTERS[0], "new"), "data/ingest/a b/image.tif is not the file"),
    "parameters": (lambda _: put(Path("params.yaml"), "areas: []\n"), "params.yaml is not the file"),
    "map drawn again": (
        lambda _: vector.write(Path("data/outline/a b/landslides.gpkg"), polygons("", "", 9.0)),
        "data/outline/a b/landslides.gpkg has other outlines",
    ),
    "map gone": (lambda _: shutil.rmtree("data/outline"), "landslides.gpkg, the map that was exported, is not in this project"),
    "commit": (lambda links: renamed(links, commit="12" * 20), "Commit 121212121212, which the export was made at, is not"),
    "edited code": (lambda links: renamed(links, commit=links.commit + "+"), "Code was edited after commit"),
    "no commit": (lambda links: renamed(links, commit=""), "The export names no commit"),
    "run": (lambda _: put(Path("hpcl/code.py"), "x = 1"), "Parameters, code or raw data are not those of run repro-"),
}  # fmt: skip


def test_a_sound_export_passes(
    project: manifest.Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(monkeypatch, capsys)
    assert (code, len(lines)) == (0, 1)
    assert "all links of data/export hold: 10 files and the polygons of 1 areas" in lines[0]
    assert project.run in lines[0]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_link_is_named(
    project: manifest.Manifest, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it, sentence = BROKEN[kind]
    break_it(project)
    code, lines = said(monkeypatch, capsys)
    assert code == 1
    assert [line for line in lines if sentence in line], lines
    assert all(line.startswith("verify: ") and line.endswith(".") for line in lines)


def test_without_a_manifest_nothing_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(monkeypatch, capsys) == (
        1, ["verify: data/export/manifest.json does not exist; name the folder of an export, or make it again (make export)."]
    )  # fmt: skip


def test_rasters_that_changed_since_the_map_are_not_exported(project: manifest.Manifest) -> None:
    put(RASTERS[1], "new")
    with pytest.raises(ExportError, match="are not the files that the map was made from"):
        manifest.of_area(polygons("", ""), RASTERS, project.areas["a b"].input_sha256)


def test_a_new_export_deletes_what_only_the_last_one_wrote(project: manifest.Manifest) -> None:
    """An area that left the project, say; not what was edited, nor what somebody else put there."""
    put(FOLDER / "notes.txt", "mine")
    put(FOLDER / "a b/landslides.gpkg", "edited")
    fewer = {name: digest for name, digest in project.files.items() if not name.startswith("a b/")}
    gone = manifest.remove_earlier(FOLDER, fewer)
    assert sorted(gone) == sorted(project.files.keys() - fewer.keys() - {"a b/landslides.gpkg"})
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert there == {*fewer, manifest.NAME, "notes.txt", "a b/landslides.gpkg"}


def test_an_area_that_is_gone_leaves_no_folder(project: manifest.Manifest) -> None:
    fewer = {name: digest for name, digest in project.files.items() if not name.startswith("a b/")}
    manifest.remove_earlier(FOLDER, fewer)
    assert not (FOLDER / "a b").exists()
    assert FOLDER.is_dir()


@pytest.mark.parametrize("text", [None, "{"])
def test_without_a_sound_manifest_nothing_is_deleted(project: manifest.Manifest, text: str | None) -> None:
    (FOLDER / manifest.NAME).unlink() if text is None else put(FOLDER / manifest.NAME, text)
    before = sorted(FOLDER.rglob("*"))
    assert manifest.remove_earlier(FOLDER, {}) == []
    assert sorted(FOLDER.rglob("*")) == before


def test_a_manifest_deletes_nothing_elsewhere(project: manifest.Manifest) -> None:
    digest = put(Path("data/raw.txt"), "precious")
    renamed(project, files={"../raw.txt": digest, str(Path("data/raw.txt").resolve()): digest})
    assert manifest.remove_earlier(FOLDER, {}) == []
    assert Path("data/raw.txt").exists()
