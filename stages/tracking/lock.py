"""What came out of the pipeline, by dvc.lock: the identity of the results, and whether they are those of this folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.tracking.state import md5, parsed, yaml_file

STATE_FILES = ("dvc.lock", "dvc.yaml", "params.yaml")
LAST = "track"  # the stage that completes the parent run; its own entry in dvc.lock proves a finished pipeline


def living(lock: str, pipeline: str, params: str) -> dict[str, dict[str, Any]]:
    """The entries of dvc.lock, given as text, without those of areas and stages that are gone: DVC keeps them."""
    stages, items = parsed(pipeline).get("stages", {}), set(map(str, parsed(params).get("areas") or []))
    found = {}
    for name, entry in parsed(lock).get("stages", {}).items():
        stage, _, item = name.partition("@")
        if stage in stages and (not item or item in items):
            found[name] = entry
    return found


def living_here() -> dict[str, dict[str, Any]]:
    """The living entries of the dvc.lock in the working directory."""
    return living(*(Path(name).read_text(encoding="utf-8") for name in STATE_FILES))


def hashes(entries: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, str]:
    """Path and hash of all ``outs`` or ``deps`` of entries of dvc.lock."""
    return {item["path"]: item.get("md5", "") for entry in entries.values() for item in entry.get(kind, [])}


def key(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Identity of the results: the hash of all outs."""
    return hashlib.sha256(json.dumps(hashes(entries, "outs"), sort_keys=True).encode()).hexdigest()


def is_complete() -> bool:
    """Whether code, parameters and reports in the working directory are those of a pipeline run to its end."""
    entry = yaml_file("dvc.lock").get("stages", {}).get(LAST)
    if entry is None:
        return False
    params = yaml_file("params.yaml")
    if any(params.get(name) != value for name, value in entry.get("params", {}).get("params.yaml", {}).items()):
        return False
    deps = {Path(dep["path"]): dep["md5"] for dep in entry.get("deps", []) if not dep["path"].startswith("data/")}
    return all(path.exists() and md5(path) == noted for path, noted in deps.items())
