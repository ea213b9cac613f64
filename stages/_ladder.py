"""What the stage `rung` and the command `ladder` know of ladder/params.yaml."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages._stage import ParameterError, params

FILE, RUNGS = Path("ladder/params.yaml"), Path("data/ladder")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Row:
    """One row of the ladder: params.yaml with ``set`` laid over it, and of the branches only those named, if any are."""

    label: str
    against: str = ""
    branches: tuple[str, ...] = ()
    set: dict[str, dict[str, Any]] | None = None


def rows() -> dict[str, Row]:
    """All rows by name."""
    return params("rows", dict[str, Row], file=FILE)


def row(name: str) -> Row:
    """The row of that name."""
    found = rows()
    if name not in found:
        raise ParameterError(f"{FILE} has no row '{name}'; there are {', '.join(found)}.")
    return found[name]
