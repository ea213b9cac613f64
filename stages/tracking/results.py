"""The results of a finished pipeline, in the parent run of its state: numbers, curves, files, data and the model."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tracking import lock
from stages.tracking.changes import changed
from stages.tracking.earlier import Earlier, Told, followed, followed_params
from stages.tracking.journal import now_ms
from stages.tracking.state import State, flat, yaml_file
from stages.tracking.store import PARAM_CHARACTERS, PIPELINE, Store

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

COUNTS = "counts"  # what was scored, not how well: that is in the artifacts
BASELINES = ("pixel_classifier", "slope_threshold")
TRANSFER = "transfer"  # the same scores once more, on test areas
PROMISE = "promise"  # how many rows of a review are right
MAIN = ("/landslide_iou", "/expected")
Compare = Callable[[Earlier], Told | None]  # the results here with another run; None where there is nothing to say
METRICS = 40  # keys per run, beyond which the MLflow UI gets slow (mlflow#1902)


def complete(store: Store, state: State, compare: Compare) -> Run:
    """Give the parent all results in the working directory, once per set of results, and what ``compare`` says of them and
    the run that they follow.

    Other results from the same input make a parent of their own, ``...-rep2``: what should not happen is seen.
    """
    entries = lock.living_here()
    key = lock.key(entries)
    repeats = store.find({**PIPELINE, "hpcl.input_key": state["key"]})
    for run in repeats:
        if run.data.tags.get("hpcl.lock_key") == key:
            store.client.set_tag(run.info.run_id, "hpcl.confirmed_ms", str(now_ms()))
            return run
    if not repeats:
        run = store.new_parent(state, state["name"], now_ms())
    elif "hpcl.lock_key" not in repeats[-1].data.tags:
        run = repeats[-1]
    else:
        since_ms = int(repeats[-1].data.tags["hpcl.confirmed_ms"])
        run = store.new_parent(state, f"{repeats[0].info.run_name}-rep{len(repeats) + 1}", since_ms)
        for child in store.find({"mlflow.parentRunId": repeats[-1].info.run_id}):
            if child.info.start_time > since_ms:
                store.client.set_tag(child.info.run_id, "mlflow.parentRunId", run.info.run_id)
    run_id = run.info.run_id
    told = _compared(store, run, state, compare)
    _log_numbers(store, run_id, told.metrics if told else {})
    _log_files(store, run_id)
    _log_provenance(store, run_id, entries)
    store.client.set_tag(run_id, "hpcl.confirmed_ms", str(now_ms()))
    store.client.set_tag(run_id, "hpcl.lock_key", key)  # last: a broken-off completion is done again
    store.client.set_terminated(run_id, "FINISHED")
    return store.client.get_run(run_id)


def _compared(store: Store, run: Run, state: State, compare: Compare) -> Told | None:
    """Say on the run which parameters differ from what it follows, and how the scores compare where those were of other ground."""
    told, words = None, []
    if before := followed_params(store, run.info.run_id):
        kept = {name: value[:PARAM_CHARACTERS] for name, value in before[1].items()}
        now = {name: value[:PARAM_CHARACTERS] for name, value in state["params"].items()}
        if what := changed(kept, now):
            store.client.set_tag(run.info.run_id, "hpcl.changed", what)
            words.append(f"Changed since {before[0]}: {what}.")
    if scored := followed(store, run.info.run_id):
        told = compare(scored)
    if told:
        store.client.set_tag(run.info.run_id, "hpcl.common_ground", told.words)
        words.append(told.words)
    if words and "mlflow.note.content" not in run.data.tags:  # the description, which people write, too
        store.client.set_tag(run.info.run_id, "mlflow.note.content", " ".join(words))
    return told


def _log_numbers(store: Store, run_id: str, first: Mapping[str, float]) -> None:
    """The ``first`` numbers, curves (tables with a column ``epoch``) as histories, then metrics as numbers, as far as METRICS
    goes."""
    time_ms = now_ms()
    histories: dict[str, list[Metric]] = {}
    for path in _declared("plots"):
        if path.suffix == ".csv" and path.exists():
            for (name, epoch), mean in _curves(path).items():
                point = store.entities.Metric(f"curves/{name}", mean, time_ms, epoch)
                histories.setdefault(point.key, []).append(point)
    for path in reversed(_declared("metrics")):  # the last stage's numbers matter most
        if path.exists():
            for name, value in flat(json.loads(path.read_text(encoding="utf-8")), path.parent.name, "/"):
                if (number := _number(value)) is not None and f"/{COUNTS}/" not in name:
                    histories[name] = [store.entities.Metric(name, number, time_ms, 0)]
    histories = {name: [store.entities.Metric(name, value, time_ms, 0)] for name, value in first.items()} | histories
    for name, number in _decisions().items():
        histories[name] = [store.entities.Metric(name, number, time_ms, 0)]
    kept = sorted(histories, key=_is_detail)[:METRICS]
    if len(histories) > METRICS:
        print(f"tracking: {len(histories) - METRICS} numbers beyond {METRICS} are only in the artifacts")
    points = [point for name in kept for point in histories[name]]
    for start in range(0, len(points), 1000):
        store.client.log_batch(run_id, metrics=points[start : start + 1000])


DECIDED = {"accept": "accepted", "reject": "rejected", "redraw": "redrawn", "unsure": "unsure"}


def _decisions() -> dict[str, float]:
    """How many rows of audits a mapper answered in which way, in all areas, and how many answers could not be applied."""
    numbers: dict[str, float] = {}
    for area in yaml_file("params.yaml").get("areas") or []:
        inventory = _read(f"data/ingest/{area}/facts.json").get("inventory") or {}
        for count in inventory.get("review", []):
            name = f"review/{DECIDED[count['decision']]}"
            numbers[name] = numbers.get(name, 0.0) + count["rows"]
            numbers["review/not_applied"] = numbers.get("review/not_applied", 0.0) + count["rows"] - count["applied"]
    return numbers


def _curves(path: Path) -> dict[tuple[str, int], float]:
    """A table with a column ``epoch`` by column and epoch. Of several folds the mean: a curve for each would leave no room for
    scores among METRICS, and they lie over each other in the runs of the training's parts."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows if rows and "epoch" in rows[0] else []:
        for name, value in row.items():
            if name not in ("epoch", "fold") and (number := _number(value)) is not None:
                found.setdefault((name, int(float(row["epoch"]))), []).append(number)
    return {place: math.fsum(numbers) / len(numbers) for place, numbers in found.items()}


def _is_detail(name: str) -> bool:
    """Whether a number is the first to go: what baselines scored, or maps of test areas, other than the one score that all maps
    are compared by, or the ends of a promise."""
    return any(f"/{part}/" in name for part in (*BASELINES, TRANSFER, PROMISE)) and not name.endswith(MAIN)


def _log_files(store: Store, run_id: str) -> None:
    """Figures, report, tables and what defines the state, as artifacts."""
    files = {*_declared("metrics"), *_declared("plots"), *_declared("outs")}
    files = {path for path in files if path.parts[0] == "reports"}  # data/ is large, and stays with DVC
    for path in sorted(path for path in files if path.exists()):
        place = "/".join(path.parts[1:] if path.is_dir() else path.parts[1:-1])
        if path.is_dir():
            store.client.log_artifacts(run_id, str(path), place or None)
        else:
            store.client.log_artifact(run_id, str(path), place or None)
    for name in lock.STATE_FILES:
        store.client.log_artifact(run_id, name, "state")


def _log_provenance(store: Store, run_id: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Hashes of all outs; data with DVC's hash as digest; the model, whose bytes stay with DVC."""
    make, outs = store.entities, lock.hashes(entries, "outs")
    store.client.log_dict(run_id, outs, "state/outs.json")
    readers = {name: entry for name, entry in entries.items() if name.partition("@")[0] in ("ingest", "train")}
    used = {path: md5 for path, md5 in lock.hashes(readers, "deps").items() if path.startswith("data/")}
    store.client.log_inputs(
        run_id,
        [
            make.DatasetInput(
                make.Dataset(path, md5[:36], "dvc", json.dumps({"path": path, "md5": md5})),
                [make.InputTag("mlflow.data.context", "source" if path.startswith("data/raw/") else "training")],
            )
            for path, md5 in sorted(used.items())
        ],
    )
    if ground := _read("reports/evaluate/metrics.json").get(COUNTS, {}).get("ground_sha256"):
        store.client.set_tag(run_id, "hpcl.scored_ground", ground)  # scores compare where it is the same
    if "data/model" not in outs:
        return
    tags = {"dvc.path": "data/model", "dvc.md5": outs["data/model"], "mlflow.model.isExternal": "true"}
    if weights := _weights_sha256():
        tags["hpcl.weights_sha256"] = weights
        store.client.set_tag(run_id, "hpcl.weights_sha256", weights)
    model = store.client.create_logged_model(store.experiment, "hpcl_net", run_id, tags, model_type="segmentation")
    store.client.finalize_logged_model(model.model_id, "READY")
    store.client.log_outputs(run_id, [make.LoggedModelOutput(model.model_id, 0)])


def _weights_sha256() -> str | None:
    """The weights of the networks of all folds together, as `hpcl.core.digest.joint` has it; None where one is not there."""
    folds = _read("data/model/1/model.json").get("folds", 0)
    weights = [_read(f"data/model/{fold}/model.json").get("weights_sha256", "") for fold in range(1, folds + 1)]
    return hashlib.sha256("".join(weights).encode("ascii")).hexdigest() if weights and all(weights) else None


def _read(path: str) -> dict[str, Any]:
    """A JSON file; empty if it is not there."""
    file = Path(path)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _declared(kind: str) -> list[Path]:
    """Paths that dvc.yaml declares as outs, metrics or plots; those of per-area stages (templates) are left out."""
    paths: list[str] = []
    for stage in yaml_file("dvc.yaml").get("stages", {}).values():
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
