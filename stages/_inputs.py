"""What a stage was started with, and whether it still is so when the stage ends.

DVC notes parameters, code and data when a stage has ended. What was edited meanwhile, the next experiment in params.yaml
for instance, would be noted for a result that was made without it, and be served for it from then on.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

PIPELINES = dict.fromkeys(
    ("train_variant", "score_variant", "share_labels", "train_share", "score_share"), Path("ablation/dvc.yaml")
)
"""Where a stage is declared, if not in dvc.yaml."""


class EditedError(RuntimeError):
    """What a stage read is not what DVC would note."""


class Inputs:
    """Parameters and files as they were when a stage began; made before the stage does anything."""

    def __init__(self, stage: str, arguments: tuple[str, ...]) -> None:
        self._paths = list(declared(stage, arguments, "deps"))
        self._files = self._stamps()
        self._params: dict[tuple[Path, str], Any] = {}

    def note(self, file: Path, section: str, value: Any) -> None:
        """Remember what the stage was told that ``section`` of ``file`` is."""
        self._params[file, section] = value

    def check(self) -> None:
        """Raise `EditedError` if parameters or declared files are not as they were."""
        edited = [
            f"{name} in {file} (was {was!r}, is {now!r})"
            for (file, section), before in self._params.items()
            for name, was, now in _differences(section, before, section_of(file, section))
        ]
        after = self._stamps()
        edited += sorted(
            str(path) for path in self._files.keys() | after.keys() if self._files.get(path) != after.get(path)
        )
        if edited:
            more = f" and {len(edited) - 4} more" if len(edited) > 4 else ""
            raise EditedError(
                f"While this stage ran, {', '.join(edited[:4])}{more} changed, and DVC would note the result as made with that;"
                " it was not kept. Run again: as things are now, or with the edit taken back (then a training goes on from its"
                " checkpoint)."
            )

    def _stamps(self) -> dict[Path, Any]:
        """What tells an edited file: the hash of code, which is small; size and time of data."""
        return {file: _stamp(file) for path in self._paths for file in files_of(path)}


@lru_cache(maxsize=512)
def parsed(text: str) -> Any:
    """YAML 1.2 as DVC reads it. Kept, for a stage asks for many sections, and tracking for many commits; not to be changed."""
    return YAML(typ="safe", pure=True).load(text)


def section_of(file: Path, section: str) -> Any:
    """What a parameter file says under a dotted name, None if it says nothing."""
    try:
        value = parsed(file.read_text(encoding="utf-8")) if file.exists() else None
    except YAMLError:
        return "no YAML"  # an editor saves what is half written
    for name in section.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _differences(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield name, before, after


def pipeline_of(stage: str) -> Path:
    """The file that declares a stage."""
    return PIPELINES.get(stage, Path("dvc.yaml"))


def declared(stage: str, arguments: tuple[str, ...], *kinds: str) -> Iterator[Path]:
    """The paths that the pipeline names as ``deps``, ``outs``, ``metrics`` or ``plots`` of a stage."""
    body = section_of(pipeline_of(stage), f"stages.{stage}") or {}
    for kind in kinds:
        for entry in body.get("do", body).get(kind, []):
            for path in [entry] if isinstance(entry, str) else entry:
                yield pipeline_of(stage).parent / _filled(path, arguments)


def _filled(template: str, arguments: tuple[str, ...]) -> str:
    """A path of dvc.yaml with the arguments of one stage of a matrix in place of ``${item.area}`` and the like."""
    values = iter(arguments)
    return re.sub(r"\$\{[^}]+\}", lambda match: next(values, match[0]), template)


def files_of(path: Path) -> list[Path]:
    """A file, or all files below a folder that DVC looks at."""
    return list(_below(path, ignored=False))


def sidecars_of(path: Path) -> list[Path]:
    """The files below a folder that DVC looks past, which programs leave beside data."""
    return list(_below(path, ignored=True))


def _below(path: Path, ignored: bool) -> Iterator[Path]:
    """By the patterns of .dvcignore that are names; its paths lie outside of what stages read and write."""
    patterns = [line for line in _lines(Path(".dvcignore")) if "/" not in line and not line.startswith("!")]
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and ignored == any(fnmatch(part, pattern) for part in file.parts for pattern in patterns):
            yield file


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def md5_of(file: Path) -> str:
    """The hash of a file that DVC notes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def remembered_md5s(folder: Path, memory: Path) -> dict[str, str]:
    """Hashes of a folder's files by name; an unchanged file (name, size, time) is read once, not by every stage.

    ``memory`` is the file that remembers them.
    """
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    md5s, seen = {}, dict(known)
    for file in files_of(folder) if folder.is_dir() else []:
        stamp = [file.stat().st_size, file.stat().st_mtime_ns]
        entry = known.get(str(file.absolute()))
        md5s[str(file)] = entry[1] if entry and entry[0] == stamp else md5_of(file)
        seen[str(file.absolute())] = [stamp, md5s[str(file)]]
    if seen != known:
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft = memory.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(seen))
        draft.replace(memory)
    return md5s


def _stamp(file: Path) -> Any:
    if file.suffix == ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return file.stat().st_size, file.stat().st_mtime_ns
