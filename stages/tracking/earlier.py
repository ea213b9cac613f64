"""The table of scores by block of another run: by git revision, DVC experiment or MLflow run; and which run one follows.

The table is small and belongs to git, so a revision has it without DVC's cache; MLflow keeps it among a run's artifacts.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stages.tracking import revisions
from stages.tracking.addresses import OWN_STORE
from stages.tracking.errors import sentence
from stages.tracking.state import git, parsed, texts
from stages.tracking.store import PIPELINE, Store, opened

if TYPE_CHECKING:
    from mlflow.entities import Run

TABLE = Path("reports/evaluate/blocks.csv")


class EarlierError(ValueError):
    """A run that is not known, or has no scores."""


class Earlier(NamedTuple):
    """Another run: how to call it, and its table as text."""

    name: str
    table: str


class Told(NamedTuple):
    """What a comparison with another run says, in words and as metrics."""

    words: str
    metrics: dict[str, float]


def here() -> Earlier:
    """The results in the working directory."""
    if not TABLE.exists():
        raise EarlierError(f"There is no {TABLE} here; `dvc repro evaluate` makes it.")
    return Earlier("the results in this folder", TABLE.read_text(encoding="utf-8"))


def named(root: Path, name: str) -> Earlier:
    """The run that a person calls ``name``: a git revision before a DVC experiment before a run in MLflow.

    Raises `EarlierError`.
    """
    commits = [commit for commit in (_commit(root, name),) if commit]
    commits = commits or [commit for commit, known in revisions.experiments(root).items() if known == name]
    if len(commits) > 1:
        raise EarlierError(f"'{name}' are {len(commits)} experiments; say which by commit: {', '.join(commits)}.")
    if commits:
        table = _table_of(root, commits[0])
        if table is None:
            raise EarlierError(f"'{name}' has no scores: no {TABLE} is committed there.")
        return Earlier(f"{name} (commit {commits[0][:12]})" if commits[0] != name else f"commit {name[:12]}", table)
    unknown = f"'{name}' is no git revision, no DVC experiment (`dvc exp list --all`) and no run in MLflow (`make ui`)."
    if not (os.environ.get("MLFLOW_TRACKING_URI") or (root / OWN_STORE).exists()):
        raise EarlierError(unknown)
    try:
        with opened(root, wait_s=10.0) as store:
            return _of_run(store, name, unknown)
    except EarlierError:
        raise
    except Exception as error:
        raise EarlierError(
            f"'{name}' is no git revision and no DVC experiment here, and MLflow cannot be asked ({sentence(error)})."
        ) from error


def followed(store: Store, run_id: str) -> Earlier | None:
    """The scores that the results here follow; None where nothing went before them, or had none."""
    before = _before(store, run_id)
    if before is None:
        return None
    table = _table_of(store.root, before) if isinstance(before, str) else _artifact(store, before.info.run_id)
    return None if table is None else Earlier(_called(before), table)


def followed_params(store: Store, run_id: str) -> tuple[str, dict[str, str]] | None:
    """What the results here follow, by name, and its parameters as `state.texts` has them; None where nothing went before."""
    before = _before(store, run_id)
    if before is None:
        return None
    if isinstance(before, str):
        return _called(before), texts(parsed(git("show", f"{before}:params.yaml", root=store.root)))
    return _called(before), dict(before.data.params)


def _before(store: Store, run_id: str) -> str | Run | None:
    """What the results here follow: the commit that they were made from, as `dvc metrics diff` has it; where no scores are
    committed, the other finished run of a pipeline whose results were here last."""
    commit = _commit(store.root, os.environ.get("DVC_EXP_BASELINE_REV") or "HEAD")
    if commit and _table_of(store.root, commit) is not None:
        return commit
    done = [run for run in store.find(PIPELINE) if "hpcl.lock_key" in run.data.tags and run.info.run_id != run_id]
    return max(done, key=lambda run: int(run.data.tags["hpcl.confirmed_ms"]), default=None)


def _called(before: str | Run) -> str:
    return f"commit {before[:12]}" if isinstance(before, str) else f"run {before.info.run_name}"


def _commit(root: Path, revision: str) -> str:
    """The full hash of a commit; empty if git knows none by that name."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", root=root).strip()


def _table_of(root: Path, commit: str) -> str | None:
    """None where nothing of it is committed."""
    return git("show", f"{commit}:{TABLE.as_posix()}", root=root) or None


def _of_run(store: Store, name: str, unknown: str) -> Earlier:
    found = [run for run in store.find(PIPELINE) if name in (run.info.run_name, run.info.run_id)]
    if not found:
        raise EarlierError(unknown)
    if len(found) > 1:
        ids = ", ".join(run.info.run_id for run in found)
        raise EarlierError(f"{len(found)} runs in MLflow are called '{name}'; say which by id: {ids}.")
    table = _artifact(store, found[0].info.run_id)
    if table is None:
        raise EarlierError(f"The run '{name}' in MLflow has no scores: its pipeline did not come to its end.")
    return Earlier(f"run {found[0].info.run_name}", table)


def _artifact(store: Store, run_id: str) -> str | None:
    """The table among a run's artifacts, None where it is not there."""
    path = "/".join(TABLE.parts[1:])
    if path not in [file.path for file in store.client.list_artifacts(run_id, TABLE.parent.name)]:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(store.client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")
