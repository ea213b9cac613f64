"""From each file and polygon of an export to weights, inputs, commit and run: the hashes, written down and held against what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import geopandas as gpd

from hpcl.core.artifacts import ArtifactError, read_json
from hpcl.core.digest import joint, joint_bytes, sha256
from hpcl.export.content import Content
from hpcl.export.form import ExportError
from hpcl.geo import vector

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class AreaLinks:
    """Where the polygons of an area come from."""

    inputs: dict[str, str]
    """SHA-256 of the rasters that were mapped, by path in the project."""
    input_sha256: str
    """Of both together, as each polygon names it."""
    outlines_sha256: str
    """Of all outlines together, in their order."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """data/export/manifest.json. Paths are those in the project, but ``files`` are named below the folder of the export."""

    commit: str
    """Of git; with ``+`` where code was edited since, empty where there is none."""
    run: str
    """The name of the run in MLflow."""
    run_key: str
    """The hash of parameters, code and raw data, by which the run is known."""
    params_sha256: str
    weights_sha256: str
    networks: dict[str, str]
    """SHA-256 of the weights of each fold's network, by path."""
    areas: dict[str, AreaLinks]
    files: dict[str, str]


def of_area(polygons: gpd.GeoDataFrame, rasters: list[Path], input_sha256: str) -> AreaLinks:
    """The links of an area as it lies in the project. Raises `ExportError` where the rasters are no longer those that were mapped."""
    inputs = {path.as_posix(): sha256(path) for path in rasters}
    if joint_bytes(inputs.values()) != input_sha256:
        raise ExportError(
            f"{' and '.join(inputs)} are not the files that the map was made from; map the area again (dvc repro predict outline)."
        )
    return AreaLinks(inputs=inputs, input_sha256=input_sha256, outlines_sha256=outlines(polygons))


def outlines(polygons: gpd.GeoDataFrame) -> str:
    """The digest of all outlines of a table, in its order."""
    return joint(vector.digest(shape) for shape in polygons.geometry)


def of_files(files: Mapping[str, Content]) -> dict[str, str]:
    """The SHA-256 of each file that is to be written."""
    return {name: content.sha256 for name, content in files.items()}


def read(folder: Path) -> Manifest:
    """The manifest of an export. Raises `ExportError` or `ArtifactError`."""
    if not (folder / NAME).exists():
        raise ExportError(
            f"{folder / NAME} does not exist; name the folder of an export, or make it again (make export)."
        )
    return read_json(folder / NAME, Manifest)


def remove_earlier(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Delete what the export that lies in ``folder`` wrote and one of these ``files`` would not; a file that was changed since stays, as
    all do that no export wrote. The names of those deleted; call it before the new manifest is written."""
    try:
        earlier = read(folder).files
    except (ExportError, ArtifactError):
        return []  # nothing says what an export wrote; `broken` names what is too much
    ours = {name: digest for name, digest in earlier.items() if name not in files and ".." not in Path(name).parts}
    gone = [name for name, digest in ours.items() if not Path(name).is_absolute() and _is(folder / name, digest)]
    for name in gone:
        (folder / name).unlink()
        for parent in (folder / name).relative_to(folder).parents:
            if not any((folder / parent).iterdir()):
                (folder / parent).rmdir()
    return gone


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def broken(folder: Path, links: Manifest) -> Iterator[str]:
    """A sentence for each link that does not hold within the export: files, polygons, weights, inputs."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {NAME}
    for name in sorted(there - links.files.keys()):
        yield f"{folder / name} was not written by the export."
    for name, digest in sorted(links.files.items()):
        if name not in there:
            yield f"{folder / name} is missing."
        elif sha256(folder / name) != digest:
            yield f"{folder / name} is not the file that was exported: its SHA-256 is another."
    if joint(links.networks.values()) != links.weights_sha256:
        yield f"{folder / NAME}: the networks that it names do not make the weights {links.weights_sha256[:12]}."
    for area, own in sorted(links.areas.items()):
        if joint_bytes(own.inputs.values()) != own.input_sha256:
            yield f"{folder / NAME}: the rasters that it names for {area} do not make the input {own.input_sha256[:12]}."
        if f"{area}/landslides.parquet" in there:
            yield from _of_polygons(folder / area / "landslides.parquet", own, links.weights_sha256)


def _of_polygons(path: Path, own: AreaLinks, weights_sha256: str) -> Iterator[str]:
    """What polygons say of their origin, against what the manifest says."""
    try:
        table = gpd.read_parquet(BytesIO(path.read_bytes()))
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        yield f"{path} is no GeoParquet that can be read ({' '.join(str(error).split())})."
        return
    for column, known in {"weights_sha256": weights_sha256, "input_sha256": own.input_sha256}.items():
        if column not in table:
            yield f"{path} has no column {column}, so nobody can say where its polygons come from."
        elif (other := table.index[table[column] != known]).size:
            what = "weights" if column == "weights_sha256" else "inputs"
            yield f"{path}: {len(other)} of {len(table)} polygons, first that of row {other[0] + 1}, name other {what} than the manifest."
    if outlines(table) != own.outlines_sha256:
        yield f"{path}: its outlines are not those of the map that was exported."


def not_here(links: Manifest, project: Path) -> Iterator[str]:
    """A sentence for each link to the project that does not hold: networks, rasters, polygons, parameters."""
    known = {**links.networks, "params.yaml": links.params_sha256}
    for own in links.areas.values():
        known |= own.inputs
    for name, digest in sorted(known.items()):
        if not (project / name).exists():
            yield f"{name}, which the export was made from, is not in this project."
        elif sha256(project / name) != digest:
            yield f"{name} is not the file that the export was made from: its SHA-256 is another."
    for area, own in sorted(links.areas.items()):
        path = project / "data/outline" / area / "landslides.gpkg"
        if not path.exists():
            yield f"{path.relative_to(project)}, the map that was exported, is not in this project."
        elif outlines(vector.read(path)) != own.outlines_sha256:
            yield f"{path.relative_to(project)} has other outlines than those that were exported."
