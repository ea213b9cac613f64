"""The state of the pipeline: the identity of all that goes in (parameters, code, raw data), and how to describe it."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from stages import _inputs
from stages._inputs import files_of, md5_of, remembered_md5s
from stages.tracking.journal import folder


class State(TypedDict):
    """A state of the pipeline; a dictionary, because it travels in a journal."""

    name: str  # of its run in MLflow
    key: str  # the hash of all that goes in
    tags: dict[str, str]
    params: dict[str, str]


def here(root: Path) -> State:
    """Identity and description of the state of the pipeline in the working directory, before anything has run."""
    params = yaml_file("params.yaml")
    key = _input_key(params, root)
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {
        "dvc.role": "pipeline",
        "hpcl.input_key": key,
        "dvc.exp.name": experiment,
        "dvc.exp.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "git.commit": git("rev-parse", "HEAD").strip(),
        "git.dirty_code": str(bool(git("status", "--porcelain", "--", "hpcl", "stages", "dvc.yaml"))).lower(),
        "mlflow.source.name": "dvc.yaml",
        "mlflow.user": _user(),
    }
    tags = {name: value for name, value in tags.items() if value}
    return {"name": experiment or f"repro-{key[:7]}", "key": key, "tags": tags, "params": texts(params)}


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them: the leaves, as texts.

    >>> texts({"tile": {"seed": 0, "split": "areas"}, "areas": ["a"]})
    {'tile.seed': '0', 'tile.split': 'areas', 'areas': '["a"]'}
    """
    return {name: value if isinstance(value, str) else json.dumps(value, default=str) for name, value in flat(params)}


def _user() -> str:
    """Who runs this; in a container, a user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _input_key(params: Mapping[str, Any], root: Path) -> str:
    """Hash of parameters, pipeline, code, DVC's pointers and the raw data that DVC does not keep yet."""
    digest = hashlib.sha256(json.dumps([params, yaml_file("dvc.yaml")], sort_keys=True, default=str).encode())
    files = [file for package in ("hpcl", "stages") for file in Path(package).rglob("*.py")]
    files += [*Path("data").glob("*.dvc"), *Path("data/raw").glob("*.dvc")]
    hashes = {str(file): md5(file) for file in files}
    synthetic = (params.get("synthesize") or {}).get("areas") or {}
    for area in params.get("areas") or []:
        raw = Path("data/raw", str(area))
        if area not in synthetic and not {f"{raw}.dvc", "data/raw.dvc"} & hashes.keys():
            hashes.update(remembered_md5s(raw, folder(root) / "hashes.json"))
    digest.update(json.dumps(hashes, sort_keys=True).encode())
    return digest.hexdigest()


def md5(path: Path) -> str:
    """The hash that DVC gives to a file, or to a folder (of its sorted list of hashes and names)."""
    if path.is_dir():
        listing = [{"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()} for file in files_of(path)]
        listing.sort(key=lambda entry: entry["relpath"])
        return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    return md5_of(path)


def parsed(text: str) -> dict[str, Any]:
    """YAML 1.2, as DVC and the stages read it; empty of an empty text."""
    return _inputs.parsed(text) or {}


def yaml_file(name: str) -> dict[str, Any]:
    """A YAML file in the working directory; empty if it is not there."""
    path = Path(name)
    return parsed(path.read_text(encoding="utf-8")) if path.exists() else {}


def flat(value: Any, name: str = "", between: str = ".") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dictionaries with their joined names; a list is a leaf.

    >>> dict(flat({"tile": {"seed": 0}, "areas": ["a"]}))
    {'tile.seed': 0, 'areas': ['a']}
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}{between}{key}" if name else str(key), between)
    else:
        yield name, value


def git(*arguments: str, root: Path | None = None) -> str:
    """What git prints, in ``root`` or the working directory; nothing if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False).stdout.decode(
            errors="replace"
        )
    except OSError:
        return ""  # no git: a state is then known by its keys alone
