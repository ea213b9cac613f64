"""One state of the pipeline is one run in MLflow, whatever was cached, killed, forced, failed or moved.

A small pipeline of its own is run by DVC once for the whole file (starting DVC and importing MLflow take most of the
time); the rest calls the tracking in this process, with another store that those tests share.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hpcl.core.digest import joint
from stages import track
from stages.tracking import __main__ as tracking
from stages.tracking import commands, delivery, errors, execution, lock, state
from stages.tracking.store import connect

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.xdist_group("track"),  # one store and one project for the file
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy"),  # MLflow's way of asking SQLAlchemy
]

PIPELINE = """
stages:
  ingest:
    matrix: {area: "${areas}"}
    cmd: python -m stages.ingest ${item.area}
    deps: [stages/ingest.py, "data/raw/${item.area}"]
    params: [ingest]
    outs: ["data/ingest/${item.area}"]
  train:
    cmd: python -m stages.train
    deps: [stages/train.py, data/ingest]
    params: [areas, train]
    outs: [data/model, reports/report.html, reports/figures]
    metrics: [{reports/train/summary.json: {cache: false}}]
    plots: [{reports/train/curves.csv: {cache: false}}]
  track:
    cmd: python -m stages.track
    deps: [stages, hpcl, data/model, reports/train, reports/report.html, reports/figures]
    params: [areas, ingest, train]
"""
PARAMS = "areas: [north]\ningest: {gain: 2}\ntrain: {rate: 0.5, epochs: 3}\n"
INGEST = """
from pathlib import Path
from stages._stage import params, run
def main(area: str) -> None:
    gain = params("ingest", dict[str, int])["gain"]
    place = Path("data/ingest", area)
    place.mkdir(parents=True)
    (place / "x.txt").write_text(str(gain * int(Path("data/raw", area, "x.txt").read_text())))
if __name__ == "__main__":
    run(main)
"""
TRAIN = """
import json
from pathlib import Path
from stages._stage import params, run
from stages.tracking import execution
def main() -> None:
    settings = params("train", dict[str, float])
    loss = sum(float(Path(f"data/ingest/{area}/x.txt").read_text()) for area in params("areas", list[str]))
    rows = ["fold,epoch,loss,note"]
    for fold in (1, 2):
        for epoch in range(int(settings["epochs"])):
            last = fold * loss * settings["rate"] ** (epoch + 1)
            rows.append(f"{fold},{epoch},{last},text")
            execution.live({"loss": last}, epoch, part=f"fold {fold}")
        place = Path("data/model", str(fold))
        place.mkdir(parents=True, exist_ok=True)
        facts = {"folds": 2, "weights_sha256": f"{fold}{int(last)}"}
        (place / "model.json").write_text(json.dumps(facts))
    loss = last
    for place in ("reports/train", "reports/figures"):
        Path(place).mkdir(parents=True, exist_ok=True)
    Path("reports/train/curves.csv").write_text("\\n".join(rows) + "\\n")
    summary = {"best": {"loss": loss, "interval": [0, 1]}, "epochs": 3, "name": "x", "fine": True}
    Path("reports/train/summary.json").write_text(json.dumps(summary))
    Path("reports/figures/map.png").write_bytes(b"png")
    Path("reports/report.html").write_text("<p>report</p>")
if __name__ == "__main__":
    run(main)
"""


def environment(**more: str) -> dict[str, str]:
    """Ours without what would lead DVC or MLflow elsewhere; `python` is this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "MLFLOW", "HPCL", "GIT"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}", "OMP_NUM_THREADS": "1", **more}


def call(*command: str, at: Path, **more: str) -> str:
    done = subprocess.run(
        command, cwd=at, env=environment(**more), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(*arguments: str, at: Path, **more: str) -> str:
    return call(sys.executable, "-m", "dvc", *arguments, at=at, **more)


def plant(root: Path) -> None:
    """The small pipeline, with a user's raw data that DVC does not keep."""
    files = {
        "dvc.yaml": PIPELINE,
        "params.yaml": PARAMS,
        "stages/ingest.py": INGEST,
        "stages/train.py": TRAIN,
        "data/raw/north/x.txt": "7",
        ".dvc/config": "[core]\n    analytics = false\n",
        ".dvc/.gitignore": (ROOT / ".dvc" / ".gitignore").read_text(),
        ".gitignore": (ROOT / ".gitignore").read_text(),
        ".dvcignore": (ROOT / ".dvcignore").read_text(),
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    shutil.copytree(ROOT / "hpcl", root / "hpcl", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name in ("__init__", "_caller", "_help", "_inputs", "_outs", "_renamed", "_stage", "track"):
        shutil.copy(ROOT / "stages" / f"{name}.py", root / "stages")
    shutil.copytree(
        ROOT / "stages" / "tracking", root / "stages" / "tracking", ignore=shutil.ignore_patterns("__pycache__")
    )


def runs(root: Path, uri: str | None = None) -> tuple[list[Any], dict[str, list[Any]]]:
    """Parent runs, and child runs by their parent's name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hpcl")
    found = list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))
    parents = [run for run in found if run.data.tags["dvc.role"] == "pipeline"]
    children = {
        parent.info.run_name: [
            run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        ]
        for parent in parents
    }  # fmt: skip
    return parents, children


def parts(root: Path, stage: Any, uri: str | None = None) -> list[Any]:
    """The runs under that of a stage."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{root / 'mlflow.db'}")
    condition = f"tags.`mlflow.parentRunId` = '{stage.info.run_id}'"
    order = ["attributes.start_time ASC"]
    return list(client.search_runs([stage.info.experiment_id], condition, order_by=order))


# --- DVC runs it --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A clone's life: repro without tracking, commit, repro again, forced repro, sync, a tracked experiment, sync.

    Only the experiment's stages import MLflow in processes of their own, which takes most of the time.
    """
    root = tmp_path_factory.mktemp("project")
    plant(root)
    for arguments in (["init", "-q", "."], ["config", "user.email", "a@b"], ["config", "user.name", "a"]):
        call("git", *arguments, at=root)
    call("git", "add", "-A", at=root)
    call("git", "commit", "-qm", "pipeline", at=root)
    facts = {"root": root, "first": dvc("repro", at=root, HPCL_TRACK="off"), "lock": (root / "dvc.lock").read_bytes()}
    call("git", "add", "-A", at=root)
    call("git", "commit", "-qm", "results", at=root)
    facts["commit"] = call("git", "rev-parse", "HEAD", at=root).strip()
    facts["second"] = dvc("repro", at=root)
    dvc("repro", "--force", at=root, HPCL_TRACK="off")
    facts["lock_forced"] = (root / "dvc.lock").read_bytes()
    facts["dirty"] = call("git", "status", "--porcelain", at=root)
    with by_hand(root):
        commands.init(root)
    dvc("exp", "run", "-S", "ingest.gain=4", "-n", "doubled", at=root)
    facts["lock_doubled"] = (root / "dvc.lock").read_bytes()
    with by_hand(root):
        commands.sync(root)
    facts["parents"], facts["children"] = runs(root)
    return facts


@contextmanager
def by_hand(root: Path) -> Iterator[None]:
    """As a command typed in this folder, outside DVC."""
    with chdir(root), pytest.MonkeyPatch.context() as patch:
        for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "HPCL_TRACK"):
            patch.delenv(name, raising=False)
        connect.cache_clear()
        yield
    connect.cache_clear()


def test_forced_and_untracked_runs_leave_the_same_lock(project: dict[str, Any]) -> None:
    assert project["lock_forced"] == project["lock"]
    assert project["dirty"] == "", "DVC wrote a .gitignore, or git does not ignore an out"


def test_second_run_does_nothing(project: dict[str, Any]) -> None:
    assert "Running stage" in project["first"]
    assert "Running stage" not in project["second"]


def test_two_states_are_two_parents(project: dict[str, Any]) -> None:
    first, second = project["parents"]
    assert (first.info.status, second.info.status) == ("FINISHED", "FINISHED")
    assert (first.data.params["ingest.gain"], second.data.params["ingest.gain"]) == ("2", "4")
    assert first.data.params["areas"] == '["north"]'
    assert second.info.run_name == "doubled"
    assert second.data.tags["dvc.exp.name"] == "doubled"
    assert second.data.tags["dvc.exp.baseline"] == project["commit"]
    assert first.data.tags["git.results_commit"] == project["commit"][:12]
    assert first.data.tags["git.dirty_code"] == "false"
    assert project["children"][first.info.run_name] == [], "it was made of finished results"
    names = [run.info.run_name for run in project["children"]["doubled"]]
    assert names == ["ingest@north#1", "train#1", "track#1"]


def test_parent_is_whole(project: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project['root'] / 'mlflow.db'}")
    parent = project["parents"][1]
    assert parent.data.metrics == {"curves/loss": 42 * 0.5**3, "train/best/loss": 56 * 0.5**3, "train/epochs": 3.0}
    history = client.get_metric_history(parent.info.run_id, "curves/loss")
    assert [(point.step, point.value) for point in history] == [(n, 42 * 0.5 ** (n + 1)) for n in range(3)], "the mean"
    artifacts = project["root"] / "mlartifacts" / parent.info.run_id / "artifacts"
    assert {path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*") if path.is_file()} == {
        "figures/map.png", "report.html", "train/curves.csv", "train/summary.json",
        "state/dvc.lock", "state/dvc.yaml", "state/outs.json", "state/params.yaml",
    }  # fmt: skip
    entries = YAML(typ="safe", pure=True).load(project["lock_doubled"])["stages"]
    hashes = {dep["path"]: dep["md5"] for name in ("ingest@north", "train") for dep in entries[name]["deps"]}
    used = {entry.dataset.name: entry.dataset.digest for entry in parent.inputs.dataset_inputs}
    assert used == {path: hashes[path] for path in ("data/raw/north", "data/ingest")}
    assert parent.data.tags["hpcl.weights_sha256"] == joint(["13", "27"])
    model = client.get_logged_model(parent.outputs.model_outputs[0].model_id)
    assert model.tags["dvc.md5"] == next(out["md5"] for out in entries["train"]["outs"] if out["path"] == "data/model")


def test_child_has_curves_and_resources(project: dict[str, Any]) -> None:
    child = project["children"]["doubled"][1]
    assert child.info.status == "FINISHED"
    assert "curves/loss" not in child.data.metrics, "the folds have them"
    first, second = parts(project["root"], child)
    assert [first.info.run_name, second.info.run_name] == ["train#1 fold 1", "train#1 fold 2"]
    assert [first.data.metrics["curves/loss"], second.data.metrics["curves/loss"]] == [28 * 0.5**3, 56 * 0.5**3]
    assert [first.info.status, second.info.status] == ["FINISHED", "FINISHED"]
    assert child.data.metrics["system/peak_memory_gib"] > 0.01
    assert child.data.tags["python"] == sys.version.split()[0]


def test_hashes_are_dvcs(project: dict[str, Any]) -> None:
    entries = YAML(typ="safe", pure=True).load(project["lock_doubled"])["stages"]
    paths = [entry for stage in entries.values() for entry in (*stage.get("deps", []), *stage.get("outs", []))]
    assert {entry["path"] for entry in paths} >= {"stages", "data/model", "reports/figures", "reports/report.html"}
    for entry in paths:
        assert state.md5(project["root"] / entry["path"]) == entry["md5"], entry["path"]


def test_a_fresh_clone_gets_the_committed_results(project: dict[str, Any], tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    call("git", "clone", "-q", str(project["root"]), str(clone), at=tmp_path)
    shutil.copytree(project["root"] / "reports", clone / "reports", dirs_exist_ok=True)  # dvc pull
    call("git", "checkout", "-q", "--", ".", at=clone)
    with by_hand(clone):
        commands.init(clone)
    (parent,), _ = runs(clone)
    assert parent.data.tags["hpcl.lock_key"] == project["parents"][0].data.tags["hpcl.lock_key"]
    assert parent.data.metrics["train/best/loss"] == 28 * 0.5**3
    (clone / "params.yaml").write_text(PARAMS.replace("0.5", "0.75"))
    with chdir(clone):
        assert not lock.is_complete(), "results of other parameters are no results of these"


# --- in this process ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def root(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pipeline DVC is said to run here; its parameters hold the path, so each test has its own state."""
    plant(tmp_path)
    (tmp_path / "params.yaml").write_text(f"{PARAMS}place: {tmp_path}\n")
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "HPCL_TRACK", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parent_and_children(root: Path, store: str) -> tuple[Any, list[Any]]:
    """The latest parent of this test's state."""
    parents, children = runs(root, store)
    parent = [run for run in parents if run.data.params.get("place") == str(root)][-1]
    return parent, children[parent.info.run_name]


def journals(root: Path) -> list[Path]:
    return sorted((root / ".dvc" / "tmp" / "hpcl_track").glob("*.jsonl"))


def finish(root: Path, loss: float) -> None:
    """Results as a finished pipeline leaves them, written by hand."""
    for place in ("reports/train", "data/model"):
        (root / place).mkdir(parents=True, exist_ok=True)
    (root / "reports/train/summary.json").write_text(json.dumps({"loss": loss}))
    out = {"path": "reports/train/summary.json", "md5": state.md5(root / "reports/train/summary.json")}
    stale = {"outs": [{"path": "data/ingest/gone", "md5": str(time.time_ns())}]}
    lock = {"stages": {"train": {"deps": [], "outs": [out]}, "ingest@gone": stale, "removed": stale}}
    with (root / "dvc.lock").open("w") as file:
        YAML(typ="safe", pure=True).dump(lock, file)


def test_curves_are_there_while_it_trains(root: Path, store: str) -> None:
    with execution.recorded("train"):
        for epoch in range(2):
            execution.live({"loss": 1.0 / (epoch + 1)}, epoch)
            parent, (child,) = parent_and_children(root, store)
            assert child.data.metrics["curves/loss"] == 1.0 / (epoch + 1)
            assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING")
    parent, (child,) = parent_and_children(root, store)
    assert (parent.info.status, child.info.status) == ("RUNNING", "FINISHED")
    assert journals(root) == []


def test_a_part_ends_when_the_next_begins_and_the_last_as_its_stage(root: Path, store: str) -> None:
    def train() -> None:
        execution.live({"loss": 4.0}, 0, part="fold 1")
        _, (child,) = parent_and_children(root, store)
        assert [part.info.status for part in parts(root, child, store)] == ["RUNNING"]
        execution.live({"loss": 2.0}, 1, part="fold 1")
        execution.live({"loss": 3.0}, 0, part="fold 2")
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError), execution.recorded("train"):
        train()
    _, (child,) = parent_and_children(root, store)
    first, second = parts(root, child, store)
    assert [first.info.status, second.info.status] == ["FINISHED", "FAILED"]
    assert [first.data.metrics, second.data.metrics] == [{"curves/loss": 2.0}, {"curves/loss": 3.0}]
    assert "curves/loss" not in child.data.metrics
    assert journals(root) == []


def test_a_failure_is_recorded_and_raised_and_mended(root: Path, store: str) -> None:
    with pytest.raises(ZeroDivisionError), execution.recorded("ingest", "north"):
        raise ZeroDivisionError("planted")
    parent, (child,) = parent_and_children(root, store)
    assert (parent.info.status, child.info.status) == ("FAILED", "FAILED")
    assert "planted" in child.data.tags["mlflow.note.content"]
    with execution.recorded("ingest", "north"):
        pass
    parent, children = parent_and_children(root, store)
    assert [run.info.run_name for run in children] == ["ingest@north#1", "ingest@north#2"]
    assert parent.info.status == "RUNNING"
    finish(root, 1.0)
    commands.complete()
    assert parent_and_children(root, store)[0].info.status == "FINISHED"


@pytest.mark.parametrize(("leave", "status"), [(0, "FINISHED"), (1, "FAILED")])
def test_exit_codes(root: Path, store: str, leave: int, status: str) -> None:
    with pytest.raises(SystemExit), execution.recorded("ingest", "north"):
        sys.exit(leave)
    delivery.deliver(root, wait_s=5)
    assert parent_and_children(root, store)[1][0].info.status == status


SLEEP = """
import time
from stages.tracking import execution
with execution.recorded('ingest', 'north'):
    print('in', flush=True)
    time.sleep(60)
"""


def test_a_killed_stage_is_marked(root: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "in\n"
        commands.sync(root)
        assert parent_and_children(root, store)[1][0].info.status == "RUNNING"
        process.kill()
        process.wait()
    commands.sync(root)
    parent, (child,) = parent_and_children(root, store)
    assert (parent.info.status, child.info.status) == ("KILLED", "KILLED")
    assert journals(root) == []


def test_a_stage_ends_when_dvc_is_gone(root: Path) -> None:
    """A process in DVC's place starts the stage through a shell and is killed; the stage must not live on."""
    caller = (
        f"import subprocess, sys; subprocess.run(['sh', '-c', '\"$1\" -c \"$0\"; true', {SLEEP!r}, sys.executable])"
    )
    process = subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "in\n"
        stage_pid = json.loads(journals(root)[0].read_text().splitlines()[0])["process"][1]
        process.send_signal(signal.SIGTERM)
        process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and Path(f"/proc/{stage_pid}").exists():
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(stage_pid, 0)
    assert json.loads(journals(root)[0].read_text().splitlines()[-1])["status"] == "KILLED"


def test_a_silent_server_delays_but_neither_stops_nor_loses(
    root: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    connect.cache_clear()
    began = time.monotonic()
    with execution.recorded("train"):
        for epoch in range(50):
            execution.live({"loss": float(epoch)}, epoch)
    assert time.monotonic() - began < 30
    said = capsys.readouterr().err
    assert said.count("the work goes on") == 1, "once, not at each epoch"
    assert "secret" not in said
    monkeypatch.setenv("HPCL_TRACK", "strict")
    with pytest.raises(errors.TrackingError, match="strict"), execution.recorded("train"):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    connect.cache_clear()
    commands.sync(root)
    _, (first, second) = parent_and_children(root, store)
    assert first.data.metrics["curves/loss"] == 49.0
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")


@pytest.mark.parametrize(("name", "value"), [("HPCL_TRACK", "off"), ("DVC_ROOT", None), ("LOCAL_RANK", "1")])
def test_not_tracked(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """Switched off, called by hand outside DVC, or in the second process of one training."""
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with execution.recorded("train"):
        execution.live({"loss": 1.0}, 0)
        assert journals(root) == []
    if name != "LOCAL_RANK":
        commands.complete()
    assert journals(root) == []


def test_a_misspelt_switch_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCL_TRACK", "stric")
    with pytest.raises(errors.TrackingError, match="may be on, off or strict"), execution.recorded("train"):
        pass


def test_other_results_from_the_same_input_are_seen(root: Path, store: str) -> None:
    """Repeats with equal results confirm the run; with other results they make a run of their own, with its children."""
    for loss in (1.0, 1.0, 2.0):
        finish(root, loss)
        with execution.recorded("train"):
            pass
        commands.complete()
    parents, children = runs(root, store)
    first, second = [run for run in parents if run.data.params.get("place") == str(root)]
    assert second.info.run_name == f"{first.info.run_name}-rep2"
    assert [run.data.metrics["train/loss"] for run in (first, second)] == [1.0, 2.0]
    assert [run.info.run_name for run in children[first.info.run_name]] == ["train#1", "train#2"]
    assert [run.info.run_name for run in children[second.info.run_name]] == ["train#3"]


def test_a_deleted_run_does_not_block_the_others(root: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    with execution.recorded("train"):
        _, (child,) = parent_and_children(root, store)
        MlflowClient(store).delete_run(child.info.run_id)
        execution.live({"loss": 1.0}, 0)
    assert "cannot be delivered" in capsys.readouterr().err
    with execution.recorded("train"):
        pass
    assert parent_and_children(root, store)[1][0].info.status == "FINISHED"


def test_journals_lie_in_the_main_repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`dvc exp run --temp` works in a clone that is thrown away; DVC_ROOT names the lasting one."""
    clone = tmp_path_factory.mktemp("temporary")
    plant(clone)
    with chdir(clone), execution.recorded("ingest", "north"):
        assert len(journals(root)) == 1
        assert not (clone / ".dvc" / "tmp").exists()


@pytest.mark.parametrize(
    ("path", "text", "is_new"),
    [
        ("params.yaml", "# a remark\n" + PARAMS.replace("{gain: 2}", "\n  gain: 2"), False),
        ("params.yaml", PARAMS.replace("0.5", "0.50001"), True),
        ("dvc.yaml", PIPELINE.replace("deps: [stages/train.py,", "deps: [stages/train.py, hpcl,"), True),
        ("hpcl/new.py", "", True),
        ("hpcl/__pycache__/new.pyc", "", False),
        ("data/raw/north/x.txt", "8", True),
        ("data/raw/another/x.txt", "8", False),
        ("data/raw/north.dvc", "outs: []", True),
        ("data/ingest/north/x.txt", "8", False),
        ("README.md", "", False),
    ],
)
def test_what_makes_a_new_state(root: Path, path: str, text: str, is_new: bool) -> None:
    (root / "params.yaml").write_text(PARAMS)
    before = state.here(root)["key"]
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    assert (state.here(root)["key"] != before) == is_new


def test_raw_data_is_hashed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state.here(root)["key"]
    seen = []
    monkeypatch.setattr(state, "md5", lambda path, md5=state.md5: seen.append(str(path)) or md5(path))
    assert state.here(root)["key"] == first
    assert seen
    assert not any("data/raw" in path for path in seen)


def test_gone_areas_and_stages_do_not_count() -> None:
    noted = {"stages": {name: {"outs": [{"path": name, "md5": "0"}]} for name in ("make@a", "make@gone", "old", "all")}}
    pipeline = {"stages": {"make": {}, "all": {}}}
    texts = (
        json.dumps(noted),
        json.dumps(pipeline),
        json.dumps({"areas": ["a"], "synthesize": {"areas": {"gone": {}}}}),
    )
    assert lock.hashes(lock.living(*texts), "outs") == {"make@a": "0", "all": "0"}


def test_numbers_stop_where_the_ui_gets_slow(root: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    finish(root, 1.0)
    (root / "reports/train/summary.json").write_text(json.dumps({f"n{i:02}": i for i in range(50)}))
    (root / "reports/train/curves.csv").write_text("epoch,loss\n0,1\n1,nan\n2,0.5\n")
    commands.complete()
    parent, _ = parent_and_children(root, store)
    assert len(parent.data.metrics) == 40
    assert parent.data.metrics["curves/loss"] == 0.5
    assert "11 numbers beyond 40" in capsys.readouterr().out


def test_the_scores_that_maps_are_compared_by_stay(root: Path, store: str) -> None:
    finish(root, 1.0)
    numbers = {"slope_threshold": {"kappa": 0.1, "landslide_iou": 0.2}} | {f"n{i:02}": i for i in range(38)}
    (root / "reports/train/summary.json").write_text(json.dumps(numbers))
    (root / "reports/train/curves.csv").write_text("epoch,loss\n0,1\n")
    commands.complete()
    parent, _ = parent_and_children(root, store)
    assert len(parent.data.metrics) == 40
    assert parent.data.metrics["train/slope_threshold/landslide_iou"] == 0.2
    assert "train/slope_threshold/kappa" not in parent.data.metrics


def test_scores_on_test_areas_go_before_those_on_all_folds(root: Path, store: str) -> None:
    finish(root, 1.0)
    numbers = {"transfer": {"polygons": {"f1": 0.3, "landslide_iou": 0.2}}} | {f"n{i:02}": i for i in range(39)}
    (root / "reports/train/summary.json").write_text(json.dumps(numbers))
    commands.complete()
    parent, _ = parent_and_children(root, store)
    assert parent.data.metrics["train/transfer/polygons/landslide_iou"] == 0.2
    assert "train/transfer/polygons/f1" not in parent.data.metrics


def test_the_scored_ground_is_named_where_it_is_known(root: Path, store: str) -> None:
    finish(root, 1.0)
    commands.complete()
    assert "hpcl.scored_ground" not in parent_and_children(root, store)[0].data.tags
    (root / "reports/evaluate").mkdir()
    (root / "reports/evaluate/metrics.json").write_text(json.dumps({"counts": {"ground_sha256": "ab" * 32}}))
    finish(root, 2.0)
    commands.complete()
    assert parent_and_children(root, store)[0].data.tags["hpcl.scored_ground"] == "ab" * 32


def test_only_checkpoints_of_ended_trainings_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCL_TRACK", "off")
    for name in (".ckpt/ended/finished", ".ckpt/ended/latest.safetensors", ".ckpt/running/latest.safetensors"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    track.main()
    assert [path.name for path in (root / ".ckpt").iterdir()] == ["running"]


def test_commands_say_how_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"usage: .* init\|sync\|ui"):
        tracking.main(["sink"])
    with pytest.raises(SystemExit, match="root of the project"):
        tracking.main(["sync"])


def test_commands_fail_in_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    connect.cache_clear()
    with pytest.raises(SystemExit, match=r"tracking: MlflowException: .*127\.0\.0\.1"):
        tracking.main(["sync"])
    tracking.main(["init"])  # sets up what needs no server
    connect.cache_clear()
