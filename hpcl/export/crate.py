"""The export as an RO-Crate: `ro-crate-metadata.json` names every file with its hash, the software, the run, its inputs and the licence.

Written here, not by ro-crate-py, which would take its date from the clock and copy the files itself; the tests read it with that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from hpcl.core.digest import sha256
from hpcl.export import files, manifest
from hpcl.export.content import Content
from hpcl.export.manifest import Manifest
from hpcl.export.origin import DATA_LICENCE, Origin, Software

NAME = "ro-crate-metadata.json"
VERSION = "https://w3id.org/ro/crate/1.2"

Entity = dict[str, Any]


def crate(contents: Mapping[str, Content], links: Manifest, origin: Origin) -> Content:
    """The crate of ``contents`` by name, and of the manifest, which is written after it."""
    names = sorted([*contents, manifest.NAME])
    folders = sorted({str(PurePosixPath(name).parent) for name in names} - {"."})
    top = [quote(name) for name in names if "/" not in name] + [_folder_id(folder) for folder in folders]
    entities = [
        _entity(NAME, "CreativeWork", conformsTo=_ref(VERSION), about=_ref("./")),
        _root(top, origin),
        *(
            _directory(folder, [name for name in names if str(PurePosixPath(name).parent) == folder])
            for folder in folders
        ),
        *(_file(name, contents.get(name)) for name in names),
        *_run(contents, links, origin),
        *_software(origin),
        _entity("#licence", "CreativeWork", name="Licence of the data", description=DATA_LICENCE),
    ]
    graph = {"@context": f"{VERSION}/context", "@graph": entities}
    return Content((json.dumps(graph, indent=1, ensure_ascii=False) + "\n").encode())


def _root(top: Iterable[str], origin: Origin) -> Entity:
    return _entity(
        "./",
        "Dataset",
        name="A landslide model and its maps",
        description=f"Written by run {origin.run}. The date is that of the commit of the software, not of the images or of the run.",
        datePublished=origin.date,
        license=_ref("#licence"),
        author=[_ref(identity) for identity, _ in _authors(origin.software)],
        hasPart=[_ref(identity) for identity in top],
        mentions=_ref("#run"),
    )


def _directory(folder: str, names: Iterable[str]) -> Entity:
    parts = [_ref(quote(name)) for name in names]
    return _entity(_folder_id(folder), "Dataset", name=folder, description=f"The map of {folder}", hasPart=parts)


def _file(name: str, content: Content | None) -> Entity:
    """A file; the manifest has no hash, for it names that of the crate."""
    known = {} if content is None else {"contentSize": str(content.size), "sha256": content.sha256}
    told = {"name": name, "description": files.what(name), "encodingFormat": files.media_type(name)}
    return _entity(quote(name), "File", **told, **known)


def _run(contents: Mapping[str, Content], links: Manifest, origin: Origin) -> Iterator[Entity]:
    """The run, and what went into it: files that stayed in the project, by their hashes."""
    inputs = dict(sorted(chain(links.networks.items(), *(own.inputs.items() for own in links.areas.values()))))
    inputs["params.yaml"] = origin.params_sha256
    yield _entity(
        "#run",
        "CreateAction",
        name=origin.run,
        description=f"State of the pipeline with the key {links.run_key}",
        instrument=_ref("#software"),
        object=[_ref(_input_id(path)) for path in inputs],
        result=[_ref(quote(name)) for name in sorted(contents)],
    )
    for path, digest in inputs.items():
        yield _entity(_input_id(path), "CreativeWork", name=path, description="Stays in the project", sha256=digest)


def _software(origin: Origin) -> Iterator[Entity]:
    told = origin.software
    licence = f"http://spdx.org/licenses/{told.licence}"
    yield _entity(
        "#software",
        ["SoftwareApplication", "SoftwareSourceCode"],
        name=told.title,
        version=told.version,
        softwareVersion=origin.commit or "commit not known",
        datePublished=told.released,
        license=_ref(licence),
        author=[_ref(identity) for identity, _ in _authors(told)],
    )
    yield _entity(licence, "CreativeWork", name=told.licence, description="Licence of the software")
    for _, author in _authors(told):
        yield author


def _authors(software: Software) -> Iterator[tuple[str, Entity]]:
    """Each author's identity and entity, as CITATION.cff knows them."""
    for number, author in enumerate(software.authors, start=1):
        identity = author.get("orcid", f"#author-{number}")
        if "name" in author:
            yield identity, _entity(identity, "Organization", name=author["name"])
            continue
        name = " ".join(author[key] for key in ("given-names", "family-names") if key in author)
        yield identity, _entity(identity, "Person", name=name)


def _entity(identity: str, kind: str | list[str], **properties: Any) -> Entity:
    return {"@id": identity, "@type": kind, **properties}


def _ref(identity: str) -> dict[str, str]:
    return {"@id": identity}


def _folder_id(folder: str) -> str:
    return f"{quote(folder)}/"


def _input_id(path: str) -> str:
    return f"#{quote(path)}"


def broken(folder: Path, exported: Iterable[str]) -> Iterator[str]:
    """A sentence for each of the files ``exported`` that the crate does not name, and each that it names otherwise than it is."""
    path = folder / NAME
    try:
        graph = {entity["@id"]: entity for entity in json.loads(path.read_bytes())["@graph"]}
        named = {unquote(name): entity.get("sha256") for name, entity in graph.items() if entity["@type"] == "File"}
        parts = {unquote(part["@id"]) for entity in graph.values() for part in entity.get("hasPart", [])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield f"{path} is no RO-Crate that can be read ({type(error).__name__}: {error})."
        return
    for name in sorted(set(exported) - named.keys() - {NAME}):
        yield f"{path} does not name {name}."
    for name, digest in sorted(named.items()):
        if not (folder / name).is_file():
            yield f"{path} names {name}, which is not there."
        elif name != manifest.NAME and digest != sha256(folder / name):
            yield f"{path} gives {name} a SHA-256 that is not that of the file."
    for name in sorted(named.keys() - parts):
        yield f"{path}: {name} is part of no folder of the crate."
