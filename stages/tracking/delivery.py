"""The way of journals to MLflow: each becomes a child run under the parent of its state, and is removed once its end is there.
A part of a stage becomes a run under that of the stage.

``<execution>.sent`` beside a journal notes its run, those of its parts and how many lines have arrived.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tracking.errors import sentence
from stages.tracking.journal import folder
from stages.tracking.processes import is_gone
from stages.tracking.store import Store, connect, opened

if TYPE_CHECKING:
    from mlflow.entities import Metric


def deliver(root: Path, wait_s: float) -> None:
    """Carry all journals to MLflow; those of ended executions are closed and removed."""
    with opened(root, wait_s) as store:
        carry_all(store)


def carry_all(store: Store) -> None:
    """Carry every journal; one that MLflow refuses (its run was deleted in the UI) is put aside, not retried."""
    refused = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
    for path in sorted(folder(store.root).glob("*.jsonl")):
        try:
            _carry(store, path)
        except Exception as error:
            if getattr(error, "error_code", "") not in refused and not isinstance(error, ValueError | KeyError):
                raise
            path.rename(path.with_suffix(".refused"))
            path.with_suffix(".sent").unlink(missing_ok=True)
            print(f"tracking: {path.name} cannot be delivered: {sentence(error)}", file=sys.stderr)


def _carry(store: Store, path: Path) -> None:
    """Bring one journal's news to its child run."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # the last line may be half written
    lines = [json.loads(line) for line in whole.splitlines()]
    if not lines:
        return
    head, end = lines[0], lines[-1] if "status" in lines[-1] else None
    if end is None and is_gone(head["process"]):
        killed_ms = int(path.stat().st_mtime * 1000)
        end = {"time_ms": killed_ms, "status": "KILLED", "note": "The process ended without a word."}
    sent_path = path.with_suffix(".sent")
    if sent_path.exists():
        sent = json.loads(sent_path.read_text())
    else:
        sent = {**_new_child(store, head), "lines": 1, "parts": {}}
        sent_path.write_text(json.dumps(sent))
    for line in lines[sent["lines"] :]:
        part = line.get("part")
        if part is not None and part not in sent["parts"]:
            _end_part(store, sent["parts"], "FINISHED", line["time_ms"])
            sent["parts"][part] = _new_part(store, head, sent["run_id"], part, line["time_ms"])
            sent_path.write_text(json.dumps(sent))
    _log_metrics(store, lines[sent["lines"] :], sent)
    if end is None:
        sent_path.write_text(json.dumps({**sent, "lines": len(lines)}))
        return
    _end_part(store, sent["parts"], end["status"], end["time_ms"])
    if end["note"]:
        store.client.set_tag(sent["run_id"], "mlflow.note.content", f"```\n{end['note'].strip()[-7900:]}\n```")
    store.client.set_terminated(sent["run_id"], end["status"], end["time_ms"])
    if end["status"] != "FINISHED" and not store.client.get_run(sent["parent_id"]).data.tags.get("hpcl.lock_key"):
        store.client.set_terminated(sent["parent_id"], end["status"], end["time_ms"])
    path.unlink()
    sent_path.unlink()


def _log_metrics(store: Store, lines: Iterable[Mapping[str, Any]], sent: Mapping[str, Any]) -> None:
    """The numbers of these lines, in the run of the stage or of the part that they are of."""
    metrics: dict[str, list[Metric]] = {}
    for line in lines:
        part = line.get("part")
        points = metrics.setdefault(sent["run_id"] if part is None else sent["parts"][part], [])
        points += [
            store.entities.Metric(name, value, line["time_ms"], line["step"])
            for name, value in line.get("metrics", {}).items()
        ]
    for run_id, points in metrics.items():
        for start in range(0, len(points), 1000):  # MLflow takes 1000 at once
            store.client.log_batch(run_id, metrics=points[start : start + 1000])


def _new_part(store: Store, head: Mapping[str, Any], stage_id: str, part: str, time_ms: int) -> str:
    """A run under that of its stage: ``train#1 fold 2``."""
    stage = store.client.get_run(stage_id)
    tags = {
        "dvc.role": "part",
        "dvc.stage": head["stage"],
        "hpcl.part": part,
        "mlflow.parentRunId": stage_id,
        "mlflow.source.name": head["stage"],
        "mlflow.user": head["state"]["tags"]["mlflow.user"],
    }
    name = f"{stage.info.run_name} {part}"
    run = store.client.create_run(store.experiment, start_time=time_ms, tags=tags, run_name=name)
    return str(run.info.run_id)


def _end_part(store: Store, parts: Mapping[str, str], status: str, time_ms: int) -> None:
    """End the latest part, if there is one: it ends when the next begins, or as its stage does."""
    if parts:
        store.client.set_terminated(list(parts.values())[-1], status, time_ms)


def _new_child(store: Store, head: Mapping[str, Any]) -> dict[str, str]:
    """A child run under the parent of its state, numbered: ``train#2`` is the second training of this state."""
    parent = store.parent(head["state"], head["time_ms"])
    if parent.info.status != "RUNNING" and "hpcl.lock_key" not in parent.data.tags:
        store.client.update_run(parent.info.run_id, status="RUNNING")
    if parent.data.tags.get("hpcl.caller") != (caller := json.dumps(head["caller"])):
        store.client.set_tag(parent.info.run_id, "hpcl.caller", caller)
    number = 1 + len(store.find({"mlflow.parentRunId": parent.info.run_id, "dvc.stage": head["stage"]}))
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
    run = store.client.create_run(store.experiment, start_time=head["time_ms"], tags=tags, run_name=name)
    return {"run_id": run.info.run_id, "parent_id": parent.info.run_id}


def monitor(root: Path, journal: Path) -> Any:
    """MLflow's own sampling of processor, memory, network and GPU for a live child run, every 10 s."""
    sent = journal.with_suffix(".sent")
    if not sent.exists():
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # noqa: PLC0415  # 3-5 s of import

    _, uri, _ = connect(root)
    run_id = json.loads(sent.read_text())["run_id"]
    sampling: Any = SystemMetricsMonitor(run_id, tracking_uri=uri)
    sampling.start()
    return sampling
