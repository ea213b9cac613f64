"""A person's work in the outs of a stage is never overwritten: the stage refuses to begin, and says how to go on.

What a person is asked to do there is no obstacle: answers that were gathered from a review, the review that lies in a raw area, and
a project of the stage's own that was saved again, which stays as the person has it.

DVC deletes the outs of a stage before it starts, so the outs are ``persist: true`` in dvc.yaml, and what DVC did is done
here, at the end: what the stage did not write is removed. What it wrote is noted in .dvc/tmp/hpcl_outs; a file that
is neither as noted nor as dvc.lock says was changed by a person.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from stages._caller import is_first
from stages._inputs import declared, files_of, md5_of, pipeline_of, section_of, sidecars_of

NOTES = Path(".dvc/tmp/hpcl_outs")
KEPT = Path("data/kept")
"""Where a person's work is moved to, out of DVC's sight and git's."""
PROJECTS = (".qgs", ".qgz")
"""What no stage writes, so that it is a person's even where a run was killed. DVC looks past it: `dvc exp run` and `dvc exp
apply` put outs back as they are recorded, without a stage that could refuse."""
ASIDE = NOTES / "projects"
"""Where projects that a stage had written and a person saved again wait while the stage runs."""
RUNNING = "running"
"""Noted while a stage runs. If it is killed, what lies in its outs is its own."""
SQLITE, MASKED = b"SQLite format 3\0", ((18, 20), (24, 28), (92, 100))
"""How a GeoPackage begins, and the bytes that change when a program only looks at it: journal mode, counter, version."""


class EditedOutError(RuntimeError):
    """An out of a stage holds what the stage did not write."""


@contextmanager
def protected(stage: str, arguments: tuple[str, ...]) -> Iterator[None]:
    """Run a stage inside. Raises `EditedOutError` before it if a person's work is in the way.

    If the stage ends well, what an earlier run left in its outs is gone; if it fails, that is still there.
    """
    plain = all(Path(argument).name == argument != ".." for argument in arguments)  # others lead elsewhere
    outs = list(declared(stage, arguments, "outs", "metrics", "plots")) if plain else []
    if not outs or not Path(".dvc").is_dir() or not is_first():
        yield
        return
    memory = _memory(stage, arguments)
    noted = _read(memory)
    _put_back()
    known = {} if noted is None or noted == RUNNING else noted
    edited = {out: [file for file in _projects(out) if str(file) not in known] for out in outs}
    if noted != RUNNING:
        for out in outs:
            edited[out] += _edited(out, noted, pipeline_of(stage))
    _refuse({out: files for out, files in edited.items() if files})
    for out in outs:
        for project in _projects(out):
            if not _is_as_noted(project, known[str(project)]):
                _set_aside(project)
        for sidecar in _beside(out):
            sidecar.unlink()  # statistics of a raster or the log of a database would be taken for those of the next one
    before = {file: _identity(file) for out in outs for file in _own(out)}
    _write(memory, RUNNING)
    ended = False
    try:
        yield
        ended = True
    finally:
        after = [file for out in outs for file in _own(out)]
        if ended:
            for file in after:
                if _identity(file) == before.get(file):
                    file.unlink()
            for out in outs:
                _remove_empty(out)
        if ended or {file: _identity(file) for file in after} != before:
            _write(memory, {str(file): _stamp(file) for out in outs for file in [*_own(out), *_projects(out)]})
        elif noted is None:
            memory.unlink()  # what lies there is still nobody's that we know of
        else:
            _write(memory, noted)
        _put_back()


def gathered(stage: str, arguments: tuple[str, ...], file: Path) -> None:
    """Let the next run of a stage overwrite ``file``, an out of it whose edits are in safety, as far as they are there by now."""
    memory = _memory(stage, arguments)
    noted = _read(memory)
    outs = declared(stage, arguments, "outs")
    if isinstance(noted, dict) or (noted is None and any(_recorded(out, pipeline_of(stage))[1] for out in outs)):
        _write(memory, {**(noted or {}), str(file): _stamp(file)})


def _memory(stage: str, arguments: tuple[str, ...]) -> Path:
    return NOTES / f"{quote('@'.join((stage, *arguments)), safe='@')}.json"


def _is_review(file: Path) -> bool:
    """Whether a person's answers lie in a raw area, where `synthesize` has its outs and writes none."""
    return file.parts[:2] == ("data", "raw") and file.name.casefold().startswith("review.")


def _own(out: Path) -> list[Path]:
    return [file for file in files_of(out) if not _is_review(file)]


def _beside(out: Path) -> list[Path]:
    return [file for file in sidecars_of(out) if not _is_review(file)]


def _projects(out: Path) -> list[Path]:
    return [file for file in _beside(out) if file.suffix in PROJECTS]


def _set_aside(project: Path) -> None:
    ASIDE.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project, ASIDE / quote(str(project), safe=""))
    print(f"{project} stays as you saved it; delete it, and the next run writes one of its own.")


def _put_back() -> None:
    """Give projects that were set aside their places again, also those of a run that was killed."""
    for project in ASIDE.iterdir() if ASIDE.is_dir() else ():
        place = Path(unquote(project.name))
        place.parent.mkdir(parents=True, exist_ok=True)
        project.replace(place)


def _edited(out: Path, noted: dict[str, Any] | None, pipeline: Path) -> list[Path]:
    """The files of ``out`` that are neither as ``noted`` nor as dvc.lock says; none if there is neither."""
    others = [file for file in _own(out) if not _is_as_noted(file, (noted or {}).get(str(file)))]
    if not others:
        return []
    recorded, cached = _recorded(out, pipeline)
    if noted is None and not cached:
        return []
    return [file for file in others if recorded.get(file) != _content(file)]


def _refuse(edited: dict[Path, list[Path]]) -> None:
    """Raise `EditedOutError` if any files of any outs were edited."""
    if not edited:
        return
    names = [str(file) for files in edited.values() for file in files]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    keep = " && ".join(f"mv {shlex.quote(str(out))} {shlex.quote(str(_free(out)))}" for out in edited)
    drop = " ".join(shlex.quote(str(out)) for out in edited)
    asked = sorted({Path(name).parent.name for name in names if Path(name).match("data/audit/*/review.gpkg")})
    answers = " && ".join(f"python -m stages.review {shlex.quote(area)}" for area in asked)
    gather = f"gather its answers, `{answers}`, " if asked else ""
    raise EditedOutError(
        f"{', '.join(names[:3])}{more} changed after the last run, and this one would overwrite that. Close the programs that"
        f" have it open; then either {gather}keep it, `mkdir -p {KEPT} && {keep}`, or discard it, `rm -r {drop}`; and run again."
    )


def _free(out: Path) -> Path:
    """A name in `KEPT` that nothing bears yet."""
    name = "-".join(out.parts[1:] if out.parts[0] == "data" else out.parts)
    stem, suffix = (name, "") if out.is_dir() else (Path(name).stem, Path(name).suffix)
    free, number = KEPT / name, 1
    while os.path.lexists(free):
        number += 1
        free = KEPT / f"{stem}-{number}{suffix}"
    return free


def _identity(file: Path) -> tuple[int, int, int]:
    """What is never the same again once a file was written."""
    stat = file.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _stamp(file: Path) -> list[Any]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, _content(file)]


def _is_as_noted(file: Path, stamp: list[Any] | None) -> bool:
    if stamp is None:
        return False
    stat = file.stat()
    return (not _log(file) and [stat.st_size, stat.st_mtime_ns] == stamp[:2]) or _content(file) == stamp[2]


def _content(file: Path) -> str:
    """The hash of what a file says; of a GeoPackage with what its write-ahead log adds, for a program that has it open."""
    if not _is_database(file):
        return md5_of(file)
    with tempfile.TemporaryDirectory() as folder:
        database = shutil.copyfile(file, Path(folder) / "copy")
        if log := _log(file):
            shutil.copyfile(log, Path(folder) / "copy-wal")
            connection = sqlite3.connect(database)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.DatabaseError:
                pass  # a log of something else
            finally:
                connection.close()
        text = bytearray(database.read_bytes())
    for start, stop in MASKED:
        text[start:stop] = bytes(stop - start)
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _is_database(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(SQLITE)) == SQLITE


def _log(file: Path) -> Path | None:
    """The write-ahead log beside a database, if it holds anything."""
    log = file.with_name(f"{file.name}-wal")
    return log if log.exists() and log.stat().st_size else None


def _recorded(out: Path, pipeline: Path) -> tuple[dict[Path, str], bool]:
    """What the files of ``out`` say by dvc.lock, and whether DVC has that in its cache.

    So they may have been restored by ``dvc checkout``, ``dvc pull`` or ``git checkout``.
    """
    path = out.relative_to(pipeline.parent).as_posix()
    stages = (section_of(pipeline.with_name("dvc.lock"), "stages") or {}).values()
    outs = [entry for stage in stages for entry in stage.get("outs", [])]
    found = [entry["md5"] for entry in outs if entry["path"] == path and "md5" in entry]
    if not found:
        return {}, False
    cache = _cache(pipeline.parent / ".dvc")

    def stored(md5: str) -> Path:
        return cache / "files" / "md5" / md5[:2] / md5[2:]

    def says(md5: str) -> str:
        return _content(stored(md5)) if stored(md5).exists() and _is_database(stored(md5)) else md5

    if not found[0].endswith(".dir"):
        return {out: says(found[0])}, stored(found[0]).exists()
    if not stored(found[0]).exists():
        return {}, False
    listing = json.loads(stored(found[0]).read_text())
    return {out / entry["relpath"]: says(entry["md5"]) for entry in listing}, True


def _cache(settings: Path) -> Path:
    """DVC's cache, by its settings."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([settings / "config", settings / "config.local"])
    return settings / config.get("cache", "dir", fallback="cache").strip("\"'")


def _remove_empty(out: Path) -> None:
    """Remove the folders in an out that hold nothing."""
    for folder in sorted((path for path in out.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _read(path: Path) -> Any:
    """The facts of a note, None if there is none to be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, facts: Any) -> None:
    """Write facts at once, so that a kill leaves the old ones or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(facts))
    draft.replace(path)
