"""The DVC experiments and git commits that hold the results of a run, named on it: they come to be after it has ended."""

from __future__ import annotations

import re
from pathlib import Path

from stages.tracking import lock
from stages.tracking.state import git
from stages.tracking.store import PIPELINE, Store


def tie(store: Store) -> int:
    """Name on each completed parent the DVC experiments and the commits that hold its results; how many did."""
    names: dict[str, set[str]] = {}
    found = (("dvc.exp.name", experiments(store.root)), ("git.results_commit", _commits(store.root)))
    for tag, revisions in found:
        for revision, name in revisions.items():
            texts = [git("show", f"{revision}:{file}", root=store.root) for file in lock.STATE_FILES]
            if texts[0]:
                names.setdefault(f"{tag} {lock.key(lock.living(*texts))}", set()).add(name)
    tied = 0
    for run in store.find(PIPELINE):
        for tag in ("dvc.exp.name", "git.results_commit"):
            here = names.get(f"{tag} {run.data.tags.get('hpcl.lock_key')}")
            if here and run.data.tags.get(tag) != (value := ", ".join(sorted(here))[:8000]):
                store.client.set_tag(run.info.run_id, tag, value)
                tied += 1
    return tied


def experiments(root: Path) -> dict[str, str]:
    """Commit and name of each DVC experiment; refs/exps/exec, /stash and /celery are DVC's workbench."""
    lines = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps", root=root).splitlines()
    found = [re.fullmatch(r"([0-9a-f]+) refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def _commits(root: Path) -> dict[str, str]:
    """The commits on branches and tags that changed dvc.lock."""
    listed = git("log", "--branches", "--tags", "--remotes", "--format=%H", "--", "dvc.lock", root=root).split()
    return {commit: commit[:12] for commit in listed}
