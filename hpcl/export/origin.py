"""Where an export comes from: the software as its citation names it, its commit, and the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcl.export.form import ExportError

CITATION = "CITATION.cff"
DATA_LICENCE = "Whether weights and maps may be passed on depends on the data that they were made from."
"""The software's licence says nothing about them, and nobody told the project that of the data."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The state of the project that an export was made in."""

    commit: str
    """Of git; with ``+`` where code was edited since, empty where there is none."""
    run: str
    """Its name in MLflow."""
    params_sha256: str
    software: Software
    date: str
    """Of the commit, in ISO 8601; of the software's release where there is no commit. Never of the clock: equal exports are equal
    bytes."""


@dataclass(frozen=True, kw_only=True)
class Software:
    """What CITATION.cff says of the program."""

    title: str
    version: str
    licence: str
    """By its SPDX identifier."""
    released: str
    authors: tuple[Mapping[str, str], ...]
    """Persons and organisations as the file has them: ``name``, or ``given-names`` and ``family-names``, perhaps ``orcid``."""


def software(citation: Mapping[str, Any]) -> Software:
    """The content of CITATION.cff. Raises `ExportError` where what a catalogue must know is not in it."""
    try:
        return Software(
            title=str(citation["title"]),
            version=str(citation["version"]),
            licence=str(citation["license"]),
            released=str(citation["date-released"]),
            authors=tuple({key: str(value) for key, value in author.items()} for author in citation["authors"]),
        )
    except KeyError as error:
        raise ExportError(
            f"{CITATION} lacks '{error.args[0]}', which the export passes on; restore it (git checkout {CITATION})."
        ) from error
