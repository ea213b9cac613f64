"""MLflow's store while we hold its lock: the client, the experiment, and the parent run of a pipeline state."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from stages.tracking.addresses import OWN_STORE, local, without_password
from stages.tracking.errors import TrackingError
from stages.tracking.journal import folder
from stages.tracking.state import State

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PIPELINE = {"dvc.role": "pipeline"}  # the tag of parent runs
PARAM_CHARACTERS = 6000  # that MLflow keeps of a parameter's value
JOURNALS = ("-journal", "-wal", "-shm")


class Store:
    """What we do with MLflow while we hold the lock."""

    def __init__(self, root: Path, client: MlflowClient, uri: str, experiment: str) -> None:
        """See `opened`."""
        from mlflow import entities  # noqa: PLC0415  # 3-5 s of import

        self.entities = entities
        self.root, self.client, self.uri, self.experiment = root, client, uri, experiment

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        """Runs that bear all these tags, oldest first."""
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], condition, order_by=["attributes.start_time ASC"], page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def parent(self, state: State, since_ms: int) -> Run:
        """The run of a pipeline state, the latest if repeats gave other results; made when there is none."""
        found = self.find({**PIPELINE, "hpcl.input_key": state["key"]})
        if not found:
            return self.new_parent(state, state["name"], since_ms)
        for tag in ("dvc.exp.name", "dvc.exp.baseline"):
            if tag in state["tags"] and tag not in found[-1].data.tags:
                self.client.set_tag(found[-1].info.run_id, tag, state["tags"][tag])
        return found[-1]

    def new_parent(self, state: State, name: str, since_ms: int) -> Run:
        """A new parent run with the state's tags and parameters."""
        run = self.client.create_run(self.experiment, start_time=since_ms, tags=state["tags"], run_name=name)
        params = [self.entities.Param(key, value[:PARAM_CHARACTERS]) for key, value in state["params"].items()]
        for start in range(0, len(params), 100):  # MLflow takes 100 at once
            self.client.log_batch(run.info.run_id, params=params[start : start + 100])
        return run


@contextmanager
def opened(root: Path, wait_s: float) -> Iterator[Store]:
    """The store, alone: processes that create one sqlite file at once spoil it, and two would make two parents."""
    with FileLock(folder(root) / "lock", timeout=wait_s):
        yield Store(root, *connect(root))


@functools.lru_cache(maxsize=1)
def connect(root: Path) -> tuple[MlflowClient, str, str]:
    """Client, its URI and the experiment, made when they do not exist."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else a silent server holds us for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient  # noqa: PLC0415  # 3-5 s, which only those pay who deliver

    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # we say it ourselves, once

    uri = without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "hpcl"
    with _own_store(root) if not uri else nullcontext():
        uri = uri or local(root)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return client, uri, experiment.experiment_id
    # Without a location, a local store puts artifacts in the working directory of whoever comes first.
    location = None if uri.startswith(("http", "databricks")) else (root / "mlartifacts").absolute().as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on chat traces
    return client, uri, client.create_experiment(name, artifact_location=location, tags=kind)


@contextmanager
def _own_store(root: Path) -> Iterator[None]:
    """Inside, the clone has a store of its own, made beside and moved: what a full disk leaves of one never heals."""
    store, draft = root / OWN_STORE, root / f"{OWN_STORE}.draft"
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a traceback beside our sentence
    if not store.exists():
        from mlflow import MlflowClient  # noqa: PLC0415  # 3-5 s of import

        draft.unlink(missing_ok=True)
        MlflowClient(local(root, draft.name)).search_experiments(max_results=1)  # makes all tables
        for rest in (f"{OWN_STORE}{ending}" for ending in JOURNALS):
            (root / rest).unlink(missing_ok=True)  # of a store that was moved away: SQLite would take it for this one's
        draft.replace(store)
    try:
        yield
    except Exception as error:
        raise TrackingError(
            f"{store} cannot be used ({' '.join(str(error).split())}). If that says no way on, move the file away and run"
            " `python -m stages.tracking init`: it makes a new one, with the results that are here."
        ) from error
