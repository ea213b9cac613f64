"""What the last stage and a person ask of the tracking: complete a run, set up a clone, bring MLflow up to date, look at it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from configobj import ConfigObj

from stages.tracking import delivery, lock, results, revisions, state, view
from stages.tracking.addresses import public, shown
from stages.tracking.errors import mode, reported
from stages.tracking.processes import is_gone
from stages.tracking.store import PIPELINE, Store, connect, opened


def complete(compare: results.Compare = lambda before: None) -> None:
    """What the last stage does: deliver the journals, complete the parent, tie experiments; says where that is.

    ``compare`` says how the results here compare with the run that they follow.
    """
    root = os.environ.get("DVC_ROOT")
    if root is None or mode() == "off":
        print("not tracked: " + ("HPCL_TRACK is off" if root else "DVC does not run this"))
        return
    with reported(), opened(Path(root), wait_s=120.0) as store:
        delivery.carry_all(store)
        run = results.complete(store, state.here(Path(root)), compare)
        revisions.tie(store)
        print(f"MLflow run '{run.info.run_name}' of {shown(store.uri)}")


def sync(root: Path) -> None:
    """Bring MLflow up to date with what DVC and git know: journals, finished results, experiments, commits."""
    with opened(root, wait_s=120.0) as store:
        delivery.carry_all(store)
        whole = lock.is_complete()
        if whole:
            results.complete(store, state.here(root), lambda before: None)  # only the library can compare
        _close_idle(store)
        tied = revisions.tie(store)
        outcome = "has the results that are here" if whole else "got no results: there are no finished ones here"
        print(f"{shown(store.uri)} {outcome}; {tied} names of experiments and commits are new.")


def _close_idle(store: Store) -> None:
    """An unfinished parent whose pipeline no longer runs was stopped between two stages."""
    for run in store.find(PIPELINE):
        caller = run.data.tags.get("hpcl.caller")
        if run.info.status == "RUNNING" and caller and is_gone(json.loads(caller)):
            store.client.set_terminated(run.info.run_id, "KILLED")


def init(root: Path) -> None:
    """Once per clone: DVC's site cache in a private folder, the MLflow store, the committed results in it.

    DVC's default site cache is world-writable (CVE-2025-69872); the option takes an absolute path only, so it goes
    into .dvc/config.local, which git does not keep and which DVC copies into its temporary clones.
    """
    for folder in (root / ".dvc", root / "ablation" / ".dvc"):
        if folder.is_dir():
            _private_site_cache(folder)
    if mode() != "off":
        with reported():
            sync(root)


def _private_site_cache(folder: Path) -> None:
    """Have the DVC repository with the settings ``folder`` keep its site cache in there."""
    private = folder / "site_cache"
    private.mkdir(mode=0o700, exist_ok=True)
    private.chmod(0o700)
    # What DVC itself writes with, for a path may hold commas or hashes; `dvc config --local` does the same in 4 s.
    settings = ConfigObj(str(folder / "config.local"), encoding="utf-8")
    settings.setdefault("core", {})["site_cache_dir"] = str(private)
    settings.write()


def ui(root: Path) -> None:
    """The MLflow UI on this machine alone, open on the pipeline's runs; after a `sync`, until Ctrl-C."""
    sync(root)
    client, uri, experiment = connect(root)
    port = os.environ.get("PORT") or "5000"
    server = public(uri) if uri.startswith("http") else f"http://127.0.0.1:{port}"
    print(f"The runs: {view.link(server, client, experiment)}", flush=True)
    if uri.startswith("http"):
        return
    print(
        "The server starts in about 10 s and has no password: it answers this machine only. Ctrl-C ends it.", flush=True
    )
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}  # 2 processes, not 10
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    os.execve(sys.executable, command, {**os.environ, **lean, "MLFLOW_BACKEND_STORE_URI": uri})
