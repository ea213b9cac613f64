"""The one file that knows MLflow: a pipeline state is a parent run, an execution of a stage is a child run.

A stage only appends what happens to a journal of its own, ``$DVC_ROOT/.dvc/tmp/hpcl_track/<execution>.jsonl``. That
needs no import of MLflow (several seconds, in each of some twenty processes), and nothing is lost when a server is
down or a process is killed. `deliver` carries the journals to MLflow: after each epoch of the training, when a stage
fails, in the last stage `track` and in ``python -m stages.tracking sync``.

Outside DVC (no ``DVC_ROOT``) nothing is tracked. ``HPCL_TRACK=off`` switches tracking off, ``HPCL_TRACK=strict`` makes
its errors stop the work; otherwise they are reported and the work goes on.
"""

from __future__ import annotations

import csv
import functools
import getpass
import hashlib
import json
import logging
import math
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import psutil
from configobj import ConfigObj
from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from stages._caller import CALLER, is_first
from stages._inputs import files_of, md5_of, remembered_md5s

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

LIVE = ("train",)  # stages whose curves are worth the import of MLflow while they run
LAST = "track"  # the stage that completes the parent run; its own entry in dvc.lock proves a finished pipeline
PATIENCE_S = 60.0  # after a failed delivery, training does not try again for so long
PIPELINE = {"dvc.role": "pipeline"}  # the tag of parent runs
LATER = "the work goes on; `python -m stages.tracking sync` delivers it later"
COUNTS = "counts"  # what was scored, not how well: that is in the artifacts
METRICS = 40  # keys per run, beyond which the MLflow UI gets slow (mlflow#1902)
JOURNALS = ("-journal", "-wal", "-shm")
OWN_STORE = "mlflow.db"  # in the root of the clone; MLFLOW_TRACKING_URI names another
STATE_FILES = ("dvc.lock", "dvc.yaml", "params.yaml")


class OrphanError(RuntimeError):
    """DVC, which started this stage, is gone."""


class TrackingError(RuntimeError):
    """Tracking failed, and HPCL_TRACK=strict asks to stop then."""


# --- the journal of one execution: needs no MLflow ----------------------------------------------------------------


class Journal:
    """Facts of one execution of a stage, one JSON object per line; only its own process writes to it."""

    def __init__(self, root: Path, stage: str, arguments: tuple[str, ...], caller: psutil.Process) -> None:
        """Open the journal with who runs what, in which pipeline state."""
        self.root, self.stage = root, stage
        self.path = _folder(root) / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self.retry_at_s = 0.0
        self.append(
            stage="@".join((stage, *arguments)),
            process=_fingerprint(psutil.Process()),
            caller=_fingerprint(caller),
            state=_state(root),
        )

    def append(self, **facts: Any) -> None:
        """Add one line, in one write."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time_ms": _now_ms(), **facts}) + "\n")

    def end(self, status: str, note: str = "") -> None:
        """Add the last line."""
        self.append(status=status, note=note, metrics=_resources(), step=0)

    def deliver(self) -> None:
        """Carry this and all other journals to MLflow now, unless that failed a moment ago."""
        if time.monotonic() >= self.retry_at_s:
            try:
                deliver(self.root, wait_s=1.0)
            except Timeout:
                pass  # another process is delivering; this journal comes with the next delivery
            except Exception:
                self.retry_at_s = time.monotonic() + PATIENCE_S
                raise


_open: list[Journal] = []  # the journal of the execution that this process is, if it is tracked


@contextmanager
def execution(stage: str, *arguments: str) -> Iterator[None]:
    """Record what happens inside as one execution of ``stage``: time, status, traceback, resources."""
    mode, root = _mode(), os.environ.get("DVC_ROOT")
    if root is None or not is_first():
        yield
        return
    caller = CALLER
    if caller is None or _is_gone(_fingerprint(caller)):
        raise OrphanError("DVC ended before this stage began, so nothing was done; run `dvc repro` again.")
    if mode != "off":
        with _reported("the work goes on, but nothing of this execution will be in MLflow"):
            _open.append(Journal(Path(root), stage, arguments, caller))
    over = _watch(caller)
    monitor, status, note = None, "FINISHED", ""
    try:
        if _open and (stage in LIVE or mode == "strict"):
            with _reported():
                _open[-1].deliver()
                monitor = _monitor(_open[-1]) if stage in LIVE else None
        yield
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            note = traceback.format_exc()
        raise
    finally:
        over.set()
        if _open:
            with _reported():
                _close(_open.pop(), status, note, monitor)


def _close(journal: Journal, status: str, note: str, monitor: Any) -> None:
    """End a journal; deliver at once where that is worth it: after a failure, or when MLflow is loaded anyway."""
    if monitor is not None:
        monitor.finish()
    journal.end(status, note)
    if status != "FINISHED" or "mlflow" in sys.modules or _mode() == "strict":
        journal.deliver()


def live(metrics: Mapping[str, float], step: int) -> None:
    """Note numbers of a stage that is still running, such as one epoch's, under their names in curves.csv; training
    shows them at once, others at the next delivery."""
    if _open:
        with _reported(f"the work goes on, but the numbers of step {step} will not be in MLflow"):
            _open[-1].append(metrics={f"curves/{name}": float(value) for name, value in metrics.items()}, step=step)
        if _open[-1].stage in LIVE:
            with _reported():
                _open[-1].deliver()


@contextmanager
def _reported(outcome: str = LATER) -> Iterator[None]:
    """Tracking must not kill a night of training: say what failed and go on, unless HPCL_TRACK=strict."""
    try:
        yield
    except Exception as error:
        what = sentence(error)
        if _mode() == "strict":
            raise TrackingError(f"tracking failed and HPCL_TRACK is strict: {what}") from error
        print(f"tracking: {what}: {outcome}", file=sys.stderr, flush=True)


def sentence(error: Exception) -> str:
    """An error in one line, whole: what to do often stands at its end."""
    return _public(" ".join(f"{type(error).__name__}: {error}".split()))


def _public(text: str) -> str:
    """Without the name, password and query of an address.

    >>> _public("at http://me:se/c@ret@host:5000/api?token=secret failed")
    'at http://host:5000/api failed'
    """
    return re.sub(r"(://)(?:\S*@)?([^\s?]*)(?:\?\S*)?", r"\1\2", text)


def _shown(uri: str) -> str:
    """An address for people: no password, and a path as it is on the disk."""
    return unquote(_public(uri)) if uri.startswith("sqlite:") else _public(uri)


def _without_password(uri: str) -> str:
    """The address of a server, its name and password moved to where MLflow reads them and does not print them.

    They end at the last ``@``, for people write passwords with ``@`` and ``/`` unquoted.
    """
    scheme, _, rest = uri.partition("://")
    login, at, server = rest.rpartition("@")
    if not (at and ":" in login and scheme.startswith("http")):
        return uri
    name, _, password = login.partition(":")
    os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(name), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
    os.environ["MLFLOW_TRACKING_URI"] = f"{scheme}://{server}"
    return os.environ["MLFLOW_TRACKING_URI"]


def _mode() -> str:
    mode = os.environ.get("HPCL_TRACK", "") or "on"
    if mode not in ("on", "off", "strict"):
        raise TrackingError(f"HPCL_TRACK is '{mode}'; it may be on, off or strict.")
    return mode


def _folder(root: Path) -> Path:
    folder = root / ".dvc" / "tmp" / "hpcl_track"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _resources() -> dict[str, float]:
    """Peak memory and processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    per_gib = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, KiB elsewhere
    return {
        "system/peak_memory_gib": round(usage.ru_maxrss / per_gib, 4),
        "system/processor_s": round(usage.ru_utime + usage.ru_stime, 2),
    }


# --- processes: who called us, and is it still there --------------------------------------------------------------


def _fingerprint(process: psutil.Process) -> list[Any]:
    """Host, id and birth of a process: ids alone are used again."""
    return [socket.gethostname(), process.pid, process.create_time()]


def _is_gone(fingerprint: list[Any]) -> bool:
    """Whether that process has ended; of one on another machine we cannot know."""
    host, pid, created_s = fingerprint
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - created_s) > 1.0 or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _watch(caller: psutil.Process) -> threading.Event:
    """Until the event is set, end this process when DVC is gone: killing DVC would leave us training unseen."""
    born, over = _fingerprint(caller), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            if _is_gone(born):
                for journal in _open:
                    journal.end("KILLED", "DVC's process ended before this stage did.")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, name="watch-dvc", daemon=True).start()
    return over


# --- the pipeline state: what went in, what came out --------------------------------------------------------------


def _state(root: Path) -> dict[str, Any]:
    """Identity and description of the state of the pipeline in the working directory, before anything has run."""
    params = _yaml_file("params.yaml")
    key = _input_key(params, root)
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {
        "dvc.role": "pipeline",
        "hpcl.input_key": key,
        "dvc.exp.name": experiment,
        "dvc.exp.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "git.commit": _git("rev-parse", "HEAD").strip(),
        "git.dirty_code": str(bool(_git("status", "--porcelain", "--", "hpcl", "stages", "dvc.yaml"))).lower(),
        "mlflow.source.name": "dvc.yaml",
        "mlflow.user": _user(),
    }
    flat = {name: value if isinstance(value, str) else json.dumps(value, default=str) for name, value in _flat(params)}
    tags = {name: value for name, value in tags.items() if value}
    return {"name": experiment or f"repro-{key[:7]}", "key": key, "tags": tags, "params": flat}


def _user() -> str:
    """Who runs this; in a container, a user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _input_key(params: Mapping[str, Any], root: Path) -> str:
    """Hash of parameters, pipeline, code, DVC's pointers and the raw data that DVC does not keep yet."""
    digest = hashlib.sha256(json.dumps([params, _yaml_file("dvc.yaml")], sort_keys=True, default=str).encode())
    files = [file for folder in ("hpcl", "stages") for file in Path(folder).rglob("*.py")]
    files += [*Path("data").glob("*.dvc"), *Path("data/raw").glob("*.dvc")]
    hashes = {str(file): _md5(file) for file in files}
    synthetic = (params.get("synthesize") or {}).get("areas") or {}
    for area in params.get("areas") or []:
        raw = Path("data/raw", str(area))
        if area not in synthetic and not {f"{raw}.dvc", "data/raw.dvc"} & hashes.keys():
            hashes.update(remembered_md5s(raw, _folder(root) / "hashes.json"))
    digest.update(json.dumps(hashes, sort_keys=True).encode())
    return digest.hexdigest()


def _md5(path: Path) -> str:
    """The hash that DVC gives to a file, or to a folder (of its sorted list of hashes and names)."""
    if path.is_dir():
        listing = [{"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()} for file in files_of(path)]
        listing.sort(key=lambda entry: entry["relpath"])
        return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    return md5_of(path)


@functools.lru_cache(maxsize=512)
def _yaml(text: str) -> dict[str, Any]:
    """YAML 1.2, as DVC and the stages read it."""
    return YAML(typ="safe", pure=True).load(text) or {}


def _yaml_file(name: str) -> dict[str, Any]:
    path = Path(name)
    return _yaml(path.read_text(encoding="utf-8")) if path.exists() else {}


def _flat(value: Any, name: str = "", between: str = ".") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dictionaries with their joined names; a list is a leaf.

    >>> dict(_flat({"tile": {"seed": 0}, "areas": ["a"]}))
    {'tile.seed': 0, 'areas': ['a']}
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}{between}{key}" if name else str(key), between)
    else:
        yield name, value


def _living(lock: str, pipeline: str, params: str) -> dict[str, dict[str, Any]]:
    """The entries of dvc.lock, given as text, without those of areas and stages that are gone: DVC keeps them."""
    stages, items = _yaml(pipeline).get("stages", {}), set(map(str, _yaml(params).get("areas") or []))
    found = {}
    for name, entry in _yaml(lock).get("stages", {}).items():
        stage, _, item = name.partition("@")
        if stage in stages and (not item or item in items):
            found[name] = entry
    return found


def _living_here() -> dict[str, dict[str, Any]]:
    return _living(*(Path(name).read_text(encoding="utf-8") for name in STATE_FILES))


def _hashes(entries: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, str]:
    """Path and hash of all ``outs`` or ``deps`` of entries of dvc.lock."""
    return {item["path"]: item.get("md5", "") for entry in entries.values() for item in entry.get(kind, [])}


def _lock_key(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Identity of the results: the hash of all outs."""
    return hashlib.sha256(json.dumps(_hashes(entries, "outs"), sort_keys=True).encode()).hexdigest()


def _is_complete_here() -> bool:
    """Whether code, parameters and reports in the working directory are those of a pipeline run to its end."""
    entry = _yaml_file("dvc.lock").get("stages", {}).get(LAST)
    if entry is None:
        return False
    params = _yaml_file("params.yaml")
    if any(params.get(name) != value for name, value in entry.get("params", {}).get("params.yaml", {}).items()):
        return False
    deps = {Path(dep["path"]): dep["md5"] for dep in entry.get("deps", []) if not dep["path"].startswith("data/")}
    return all(path.exists() and _md5(path) == md5 for path, md5 in deps.items())


def _git(*arguments: str, root: Path | None = None) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False).stdout.decode(
            errors="replace"
        )
    except OSError:
        return ""  # no git: a state is then known by its keys alone


# --- MLflow -------------------------------------------------------------------------------------------------------


def deliver(root: Path, wait_s: float) -> None:
    """Carry all journals to MLflow; those of ended executions are closed and removed."""
    with _store(root, wait_s) as store:
        store.deliver()


@contextmanager
def _store(root: Path, wait_s: float) -> Iterator[Store]:
    """The store, alone: processes that create one sqlite file at once spoil it, and two would make two parents."""
    with FileLock(_folder(root) / "lock", timeout=wait_s):
        yield Store(root, *_connect(root))


@functools.lru_cache(maxsize=1)
def _connect(root: Path) -> tuple[MlflowClient, str, str]:
    """Client, its URI and the experiment, made when they do not exist."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else a silent server holds us for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient  # noqa: PLC0415  # 3-5 s, which only those pay who deliver

    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # we say it ourselves, once

    uri = _without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "hpcl"
    with _own_store(root) if not uri else nullcontext():
        uri = uri or _local_uri(root)
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
        from mlflow import MlflowClient  # noqa: PLC0415  # see _connect

        draft.unlink(missing_ok=True)
        MlflowClient(_local_uri(root, draft.name)).search_experiments(max_results=1)  # makes all tables
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


def _local_uri(root: Path, name: str = OWN_STORE) -> str:
    """The address of the clone's own store, quoted, because a path may hold what means something in an address.

    Slashes too, because MLflow makes the folder that it reads in the address, unquoted.
    """
    return f"sqlite:///{quote(str((root / name).absolute()), safe='')}"


def _monitor(journal: Journal) -> Any:
    """MLflow's own sampling of processor, memory, network and GPU for a live child run, every 10 s."""
    sent = journal.path.with_suffix(".sent")
    if not sent.exists():
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # noqa: PLC0415  # see _connect

    _, uri, _ = _connect(journal.root)
    run_id = json.loads(sent.read_text())["run_id"]
    monitor: Any = SystemMetricsMonitor(run_id, tracking_uri=uri)
    monitor.start()
    return monitor


class Store:
    """What we do with MLflow while we hold the lock."""

    def __init__(self, root: Path, client: MlflowClient, uri: str, experiment: str) -> None:
        """See `_store`."""
        from mlflow import entities  # noqa: PLC0415  # see _connect

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

    def parent(self, state: Mapping[str, Any], since_ms: int) -> Run:
        """The run of a pipeline state, the latest if repeats gave other results; made when there is none."""
        found = self.find({**PIPELINE, "hpcl.input_key": state["key"]})
        if not found:
            return self.new_parent(state, state["name"], since_ms)
        for tag in ("dvc.exp.name", "dvc.exp.baseline"):
            if tag in state["tags"] and tag not in found[-1].data.tags:
                self.client.set_tag(found[-1].info.run_id, tag, state["tags"][tag])
        return found[-1]

    def new_parent(self, state: Mapping[str, Any], name: str, since_ms: int) -> Run:
        """A new parent run with the state's tags and parameters."""
        run = self.client.create_run(self.experiment, start_time=since_ms, tags=state["tags"], run_name=name)
        params = [self.entities.Param(key, value[:6000]) for key, value in state["params"].items()]
        for start in range(0, len(params), 100):  # MLflow takes 100 at once
            self.client.log_batch(run.info.run_id, params=params[start : start + 100])
        return run

    def deliver(self) -> None:
        """Carry every journal; one that MLflow refuses (its run was deleted in the UI) is put aside, not retried."""
        refused = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
        for path in sorted(_folder(self.root).glob("*.jsonl")):
            try:
                self.carry(path)
            except Exception as error:
                if getattr(error, "error_code", "") not in refused and not isinstance(error, ValueError | KeyError):
                    raise
                path.rename(path.with_suffix(".refused"))
                path.with_suffix(".sent").unlink(missing_ok=True)
                print(f"tracking: {path.name} cannot be delivered: {sentence(error)}", file=sys.stderr)

    def carry(self, path: Path) -> None:
        """Bring one journal's news to its child run."""
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            return
        head, end = lines[0], lines[-1] if "status" in lines[-1] else None
        if end is None and _is_gone(head["process"]):
            killed_ms = int(path.stat().st_mtime * 1000)
            end = {"time_ms": killed_ms, "status": "KILLED", "note": "The process ended without a word."}
        sent_path = path.with_suffix(".sent")
        if sent_path.exists():
            sent = json.loads(sent_path.read_text())
        else:
            sent = {**self.new_child(head), "lines": 1}
            sent_path.write_text(json.dumps(sent))
        metrics = [
            self.entities.Metric(name, value, line["time_ms"], line["step"])
            for line in lines[sent["lines"] :]
            for name, value in line.get("metrics", {}).items()
        ]
        for start in range(0, len(metrics), 1000):  # MLflow takes 1000 at once
            self.client.log_batch(sent["run_id"], metrics=metrics[start : start + 1000])
        if end is None:
            sent_path.write_text(json.dumps({**sent, "lines": len(lines)}))
            return
        if end["note"]:
            self.client.set_tag(sent["run_id"], "mlflow.note.content", f"```\n{end['note'].strip()[-7900:]}\n```")
        self.client.set_terminated(sent["run_id"], end["status"], end["time_ms"])
        if end["status"] != "FINISHED" and not self.client.get_run(sent["parent_id"]).data.tags.get("hpcl.lock_key"):
            self.client.set_terminated(sent["parent_id"], end["status"], end["time_ms"])
        path.unlink()
        sent_path.unlink()

    def new_child(self, head: Mapping[str, Any]) -> dict[str, str]:
        """A child run under the parent of its state, numbered: ``train#2`` is the second training of this state."""
        parent = self.parent(head["state"], head["time_ms"])
        if parent.info.status != "RUNNING" and "hpcl.lock_key" not in parent.data.tags:
            self.client.update_run(parent.info.run_id, status="RUNNING")
        if parent.data.tags.get("hpcl.caller") != (caller := json.dumps(head["caller"])):
            self.client.set_tag(parent.info.run_id, "hpcl.caller", caller)
        number = 1 + len(self.find({"mlflow.parentRunId": parent.info.run_id, "dvc.stage": head["stage"]}))
        tags = {
            "dvc.role": "stage",
            "dvc.stage": head["stage"],
            "mlflow.parentRunId": parent.info.run_id,
            "mlflow.source.name": head["stage"],
            "mlflow.user": head["state"]["tags"]["mlflow.user"],
            "host": head["process"][0],
            "platform": platform.platform(),
            "python": platform.python_version(),
            "processors": str(os.cpu_count()),
        }
        name = f"{head['stage']}#{number}"
        run = self.client.create_run(self.experiment, start_time=head["time_ms"], tags=tags, run_name=name)
        return {"run_id": run.info.run_id, "parent_id": parent.info.run_id}

    def complete(self, state: Mapping[str, Any]) -> Run:
        """Give the parent all results in the working directory, once per set of results.

        Other results from the same input make a parent of their own, ``...-rep2``: what should not happen is seen.
        """
        entries = _living_here()
        key = _lock_key(entries)
        repeats = self.find({**PIPELINE, "hpcl.input_key": state["key"]})
        for run in repeats:
            if run.data.tags.get("hpcl.lock_key") == key:
                self.client.set_tag(run.info.run_id, "hpcl.confirmed_ms", str(_now_ms()))
                return run
        if not repeats:
            run = self.new_parent(state, state["name"], _now_ms())
        elif "hpcl.lock_key" not in repeats[-1].data.tags:
            run = repeats[-1]
        else:
            since_ms = int(repeats[-1].data.tags["hpcl.confirmed_ms"])
            run = self.new_parent(state, f"{repeats[0].info.run_name}-rep{len(repeats) + 1}", since_ms)
            for child in self.find({"mlflow.parentRunId": repeats[-1].info.run_id}):
                if child.info.start_time > since_ms:
                    self.client.set_tag(child.info.run_id, "mlflow.parentRunId", run.info.run_id)
        run_id = run.info.run_id
        self.log_numbers(run_id)
        self.log_files(run_id)
        self.log_provenance(run_id, entries)
        self.client.set_tag(run_id, "hpcl.confirmed_ms", str(_now_ms()))
        self.client.set_tag(run_id, "hpcl.lock_key", key)  # last: a broken-off completion is done again
        self.client.set_terminated(run_id, "FINISHED")
        return self.client.get_run(run_id)

    def log_numbers(self, run_id: str) -> None:
        """Curves (tables with a column ``epoch``) as histories, then metrics as numbers, as far as METRICS goes."""
        now_ms = _now_ms()
        histories: dict[str, list[Metric]] = {}
        for path in _declared("plots"):
            if path.suffix == ".csv" and path.exists():
                with path.open(newline="", encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))
                for row in rows if rows and "epoch" in rows[0] else []:
                    for name, value in row.items():
                        if name != "epoch" and (number := _number(value)) is not None:
                            point = self.entities.Metric(f"curves/{name}", number, now_ms, int(float(row["epoch"])))
                            histories.setdefault(point.key, []).append(point)
        for path in reversed(_declared("metrics")):  # the last stage's numbers matter most
            if path.exists():
                for name, value in _flat(json.loads(path.read_text(encoding="utf-8")), path.parent.name, "/"):
                    if (number := _number(value)) is not None and f"/{COUNTS}/" not in name:
                        histories[name] = [self.entities.Metric(name, number, now_ms, 0)]
        kept = list(histories)[:METRICS]
        if len(histories) > METRICS:
            print(f"tracking: {len(histories) - METRICS} numbers beyond {METRICS} are only in the artifacts")
        points = [point for name in kept for point in histories[name]]
        for start in range(0, len(points), 1000):
            self.client.log_batch(run_id, metrics=points[start : start + 1000])

    def log_files(self, run_id: str) -> None:
        """Figures, report, tables and what defines the state, as artifacts."""
        files = {*_declared("metrics"), *_declared("plots"), *_declared("outs")}
        files = {path for path in files if path.parts[0] == "reports"}  # data/ is large, and stays with DVC
        for path in sorted(path for path in files if path.exists()):
            place = "/".join(path.parts[1:] if path.is_dir() else path.parts[1:-1])
            if path.is_dir():
                self.client.log_artifacts(run_id, str(path), place or None)
            else:
                self.client.log_artifact(run_id, str(path), place or None)
        for name in STATE_FILES:
            self.client.log_artifact(run_id, name, "state")

    def log_provenance(self, run_id: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Hashes of all outs; data with DVC's hash as digest; the model, whose bytes stay with DVC."""
        make, outs = self.entities, _hashes(entries, "outs")
        self.client.log_dict(run_id, outs, "state/outs.json")
        readers = {name: entry for name, entry in entries.items() if name.partition("@")[0] in ("ingest", "train")}
        used = {path: md5 for path, md5 in _hashes(readers, "deps").items() if path.startswith("data/")}
        self.client.log_inputs(
            run_id,
            [
                make.DatasetInput(
                    make.Dataset(path, md5[:36], "dvc", json.dumps({"path": path, "md5": md5})),
                    [make.InputTag("mlflow.data.context", "source" if path.startswith("data/raw/") else "training")],
                )
                for path, md5 in sorted(used.items())
            ],
        )
        if "data/model" not in outs:
            return
        tags = {"dvc.path": "data/model", "dvc.md5": outs["data/model"], "mlflow.model.isExternal": "true"}
        facts = Path("data/model/model.json")
        if facts.exists() and (weights := json.loads(facts.read_text()).get("weights_sha256")):
            tags["hpcl.weights_sha256"] = weights
            self.client.set_tag(run_id, "hpcl.weights_sha256", weights)
        model = self.client.create_logged_model(self.experiment, "hpcl_net", run_id, tags, model_type="segmentation")
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run_id, [make.LoggedModelOutput(model.model_id, 0)])

    def tie(self) -> int:
        """Name on each completed parent the DVC experiments and the commits that hold its results; how many did."""
        names: dict[str, set[str]] = {}
        found = (("dvc.exp.name", _experiments(self.root)), ("git.results_commit", _commits(self.root)))
        for tag, revisions in found:
            for revision, name in revisions.items():
                texts = [_git("show", f"{revision}:{file}", root=self.root) for file in STATE_FILES]
                if texts[0]:
                    names.setdefault(f"{tag} {_lock_key(_living(*texts))}", set()).add(name)
        tied = 0
        for run in self.find(PIPELINE):
            for tag in ("dvc.exp.name", "git.results_commit"):
                here = names.get(f"{tag} {run.data.tags.get('hpcl.lock_key')}")
                if here and run.data.tags.get(tag) != (value := ", ".join(sorted(here))[:8000]):
                    self.client.set_tag(run.info.run_id, tag, value)
                    tied += 1
        return tied

    def close_idle(self) -> None:
        """An unfinished parent whose pipeline no longer runs was stopped between two stages."""
        for run in self.find(PIPELINE):
            caller = run.data.tags.get("hpcl.caller")
            if run.info.status == "RUNNING" and caller and _is_gone(json.loads(caller)):
                self.client.set_terminated(run.info.run_id, "KILLED")


def _declared(kind: str) -> list[Path]:
    """Paths that dvc.yaml declares as outs, metrics or plots; those of per-area stages (templates) are left out."""
    paths: list[str] = []
    for stage in _yaml_file("dvc.yaml").get("stages", {}).values():
        for entry in stage.get("do", stage).get(kind, []):
            paths += [path for path in ([entry] if isinstance(entry, str) else entry) if "${" not in path]
    return [Path(path) for path in paths]


def _number(value: Any) -> float | None:
    """A finite number, also from text, else None."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _experiments(root: Path) -> dict[str, str]:
    """Commit and name of each DVC experiment; refs/exps/exec, /stash and /celery are DVC's workbench."""
    lines = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps", root=root).splitlines()
    found = [re.fullmatch(r"([0-9a-f]+) refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def _commits(root: Path) -> dict[str, str]:
    """The commits on branches and tags that changed dvc.lock."""
    listed = _git("log", "--branches", "--tags", "--remotes", "--format=%H", "--", "dvc.lock", root=root).split()
    return {commit: commit[:12] for commit in listed}


# --- the commands -------------------------------------------------------------------------------------------------


def complete() -> None:
    """What the last stage does: deliver the journals, complete the parent, tie experiments; says where that is."""
    root = os.environ.get("DVC_ROOT")
    if root is None or _mode() == "off":
        print("not tracked: " + ("HPCL_TRACK is off" if root else "DVC does not run this"))
        return
    with _reported(), _store(Path(root), wait_s=120.0) as store:
        store.deliver()
        run = store.complete(_state(Path(root)))
        store.tie()
        print(f"MLflow run '{run.info.run_name}' of {_shown(store.uri)}")


def sync(root: Path) -> None:
    """Bring MLflow up to date with what DVC and git know: journals, finished results, experiments, commits."""
    with _store(root, wait_s=120.0) as store:
        store.deliver()
        whole = _is_complete_here()
        if whole:
            store.complete(_state(root))
        store.close_idle()
        tied = store.tie()
        results = "has the results that are here" if whole else "got no results: there are no finished ones here"
        print(f"{_shown(store.uri)} {results}; {tied} names of experiments and commits are new.")


def init(root: Path) -> None:
    """Once per clone: DVC's site cache in a private folder, the MLflow store, the committed results in it.

    DVC's default site cache is world-writable (CVE-2025-69872); the option takes an absolute path only, so it goes
    into .dvc/config.local, which git does not keep and which DVC copies into its temporary clones.
    """
    for folder in (root / ".dvc", root / "ablation" / ".dvc"):
        if folder.is_dir():
            _private_site_cache(folder)
    if _mode() != "off":
        with _reported():
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
    _, uri, experiment = _connect(root)
    port = os.environ.get("PORT") or "5000"
    server = _public(uri) if uri.startswith("http") else f"http://127.0.0.1:{port}"
    query = "workflowType=machine_learning&searchFilter=tags.%60dvc.role%60%20%3D%20%27pipeline%27"
    print(f"The runs: {server}/#/experiments/{experiment}/runs?{query}", flush=True)
    if uri.startswith("http"):
        return
    print(
        "The server starts in about 10 s and has no password: it answers this machine only. Ctrl-C ends it.", flush=True
    )
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}  # 2 processes, not 10
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    os.execve(sys.executable, command, {**os.environ, **lean, "MLFLOW_BACKEND_STORE_URI": uri})
