"""What stages hand each other: read sound or refused in a sentence, written whole or not at all.

A stage by hand, a full disk, an editor or another area's file may leave anything in their place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    import pandas as pd

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Shape = Annotated[list[Count], Field(min_length=2, max_length=2)]
Transform = Annotated[list[Finite], Field(min_length=6, max_length=6)]

T = TypeVar("T")

FOLDERS = {"model": "train", "tiles": "tile"}
"""Stages whose folder is not called as they are."""
WHOLE = ("raw", "tiles", "model", "baselines", "calibrate", "audit", "illustrate")
"""Folders whose subfolders, if any, are not areas with a stage each."""


class ArtifactError(ValueError):
    """A file that a stage left and another cannot use, or that cannot be written; file, finding and remedy in one sentence."""


class Sparse:
    """A record whose fields are not written where they are None; in other records None is written, as null."""


def remedy(path: Path) -> str:
    """How a file that a stage wrote is had again, as the end of a sentence.

    >>> remedy(Path("data/terrain/valley/terrain.tif"))
    'restore it (dvc checkout -f data/terrain/valley/terrain.tif) or make it again (dvc repro -s -f terrain@valley)'
    >>> remedy(Path("data/model/1/model.json"))
    'restore it (dvc checkout -f data/model/1/model.json) or make it again (dvc repro -s -f train)'
    >>> remedy(Path("reports/evaluate/metrics.json"))
    'restore it (git checkout reports/evaluate/metrics.json) or make it again (dvc repro -s -f evaluate)'
    >>> remedy(Path("elsewhere/dem.tif"))
    'give a complete file there'
    """
    match path.parts:
        case ("data", folder, area, _) if folder not in WHOLE:
            stage, keeper = f"{folder}@{area}", "dvc checkout -f"
        case ("data", folder, _, *_) if folder != "raw":
            stage, keeper = FOLDERS.get(folder, folder), "dvc checkout -f"
        case ("reports", stage, _):
            keeper = "git checkout"
        case ("reports", "ablation.csv"):
            return "restore it (git checkout reports/ablation.csv) or make it again (python -m stages.ablation)"
        case ("reports", "budget.csv"):
            return "restore it (git checkout reports/budget.csv) or make it again (make budget)"
        case ("reports", "trials.csv"):
            return "restore it (git checkout reports/trials.csv) or make it again (make trial)"
        case ("reports", "inference.csv"):
            return "restore it (git checkout reports/inference.csv), or delete it and make it again (make inference)"
        case ("ablation", "models" | "results", *_):
            return "make it again (make ablation)"
        case ("ablation", "shares", *_):
            return "make it again (make budget)"
        case _:
            return "give a complete file there"
    return f"restore it ({keeper} {quote(str(path))}) or make it again (dvc repro -s -f {quote(stage)})"


def _unsound(path: Path, finding: str) -> ArtifactError:
    return ArtifactError(f"{path} {finding}; {remedy(path)}.")


def read_json(path: Path, record: type[T]) -> T:
    """The ``record`` that a JSON file holds; more may be there.

    A file that names an area must lie in its folder. Raises `ArtifactError`.
    """

    def no_number(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text, parse_constant=no_number)  # pydantic would take NaN for a number
        facts: T = _adapter(record).validate_json(text, strict=True)  # type: ignore[arg-type]  # a type can be hashed
    except FileNotFoundError as error:
        raise _unsound(path, "does not exist") from error
    except ValidationError as error:
        raise _unsound(path, _findings(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unsound(path, f"is no sound JSON ({error})") from error
    if path.parts[:1] == ("data",) and len(path.parts) == 4:
        named, area = getattr(facts, "area", None), path.parent.name
        if named not in (None, area):
            raise _unsound(path, f"is the file of another area, {named!r}")
    return facts


@cache
def _adapter(record: Any) -> TypeAdapter[Any]:
    """Of a type. Made when a file is read, for it takes milliseconds and a stage reads few kinds of files."""
    return TypeAdapter(record)


def _findings(error: ValidationError) -> str:
    """What a record found first, in words."""
    detail = error.errors(include_url=False)[0]
    at = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"lacks '{at}'"
    what = repr(detail["input"])
    shown = what if len(what) < 60 else f"{what[:60]}..."
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"says {shown} for '{at}', but {message}" if at else f"holds {shown}, but {message}"


def read_npy(path: Path, kind: str, shape: Sequence[int | None]) -> npt.NDArray[Any]:
    """An array file, memory-mapped, of a ``kind`` of numpy's (``f``, ``i`` or ``u``; several are alternatives) and a
    ``shape``, of which None may be any. Raises `ArtifactError`."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise _unsound(path, "does not exist") from error
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError, TypeError) as error:
        raise _unsound(path, f"is no whole array ({error})") from error
    if array.dtype.kind not in kind:
        raise _unsound(path, "holds other than the numbers that belong there")
    if len(array.shape) != len(shape) or any(w not in (None, n) for n, w in zip(array.shape, shape, strict=True)):
        wanted = " x ".join("any" if side is None else str(side) for side in shape)
        raise _unsound(path, f"is an array of {' x '.join(map(str, array.shape))}, where {wanted} belong")
    return array


def read_csv(path: Path, columns: Mapping[str, Any]) -> pd.DataFrame:
    """A table that has ``columns``, each with its pandas type, and perhaps others. Raises `ArtifactError`."""
    import pandas as pd  # noqa: PLC0415  (half a second, which `check` and others without a table do not need)

    try:
        table = pd.read_csv(path, dtype=dict(columns))
    except FileNotFoundError as error:
        raise _unsound(path, "does not exist") from error
    except (OSError, ValueError, OverflowError) as error:
        raise _unsound(path, f"is no sound table ({' '.join(str(error).split())})") from error
    if lacking := [name for name in columns if name not in table]:
        raise _unsound(path, f"lacks the column '{lacking[0]}'")
    return table


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside ``path``, which takes its place when all is written: the file is the old one or the new one, whole.

    Raises `ArtifactError` for any OSError, a full disk's among them.
    """
    draft = path.with_name(f".draft.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)  # what a killed run left
        yield draft
        draft.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def unwritten(path: Path, error: Exception) -> ArtifactError:
    """The sentence for a file that could not be written."""
    return ArtifactError(f"{path} could not be written ({error}); is the disk full, or the folder read-only?")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # some disks say only here that they are full


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table without its index, whole or not at all."""
    write_bytes(path, table.to_csv(index=False, float_format=float_format, lineterminator="\n").encode())


def write_json(path: Path, facts: Any, digits: int | None = 12) -> None:
    """Write a record with sorted keys; floats keep ``digits`` significant digits, by default a tenth of a millimetre of a
    northing, or all of them (None)."""
    text = json.dumps(_plain(facts, digits), sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def _plain(value: Any, digits: int | None) -> Any:
    """What JSON can hold of a value: a record becomes an object, and NaN becomes null."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(value) if digits is None else float(f"{value:.{digits}g}")
    sparse = isinstance(value, Sparse)
    if is_dataclass(value):
        return {
            name.removesuffix("_"): _plain(part, digits)  # from_ is written as from
            for name, part in vars(value).items()
            if not (sparse and part is None)
        }
    if isinstance(value, dict):
        return {str(k): _plain(v, digits) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, digits) for v in value]
    return value.item() if hasattr(value, "item") else value
