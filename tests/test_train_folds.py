"""A training is a network for each fold: what each says of itself, and that a killed one ends as if it had never been."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import examples
import numpy as np
import pandas as pd
import pytest
from forked import Forked
from test_fit import BITS, recipe
from test_ranks import ranks

from hpcl.core import artifacts
from hpcl.core.records import FoldedArea, ModelFacts, TileFacts, TrainingSummary
from hpcl.networks import store
from stages import _stage, _train
from stages import train as stage
from stages._inputs import EditedError

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("train_folds")  # all compare with one training


def project(folder: Path, tiles: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data/tiles").symlink_to(tiles)
    return folder


def program() -> None:
    for result in _train.train("training", recipe(epochs=2)):
        store.save(Path("data/model") / str(result.fold), result.network, result.facts)
        print(f"saved {result.fold}")
    print("ended")


def environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    return plain | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(folder: Path) -> str:
    return Forked(program, folder=folder, environment=environment()).ended()


def run_until(folder: Path, line: str) -> None:
    """Kill the training as soon as it has said this."""
    process = Forked(program, folder=folder, environment=environment())
    assert any(said.startswith(line) for said in process.lines())
    assert "ended" not in process.kill()


def run_by_torchrun(folder: Path) -> str:
    """By two processes, as people start them."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); from test_train_folds import program; program()"
    (folder / "program.py").write_text(code)
    launcher = [sys.executable, "-u", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, "program.py"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (folder / "data/model").glob("*/model.*")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiles_folder: Path) -> Path:
    folder = project(tmp_path_factory.mktemp("whole"), tiles_folder)
    run(folder)
    return folder


@BITS
@pytest.mark.parametrize(
    "killed",
    [
        "training: fold 1: epoch 1/2",
        "saved 1",
        "training: fold 2: epoch 2/2",
    ],
)
def test_kill_dash_9_within_a_fold_or_between_two_changes_no_byte(
    whole: Path, tiles_folder: Path, tmp_path: Path, killed: str
) -> None:
    folder = project(tmp_path / "killed", tiles_folder)
    run_until(folder, killed)
    said = run(folder)
    assert "from .ckpt/" in said
    if killed != "training: fold 1: epoch 1/2":
        assert "training: fold 1: trained already, taken from" in said
        assert "training: fold 1: epoch" not in said
    assert len(bytes_of(whole)) == 4
    assert bytes_of(folder) == bytes_of(whole)


def test_what_is_trained_is_trained_once(whole: Path) -> None:
    before = bytes_of(whole)
    said = run(whole)
    assert "epoch" not in said.split("fold 2: 12 windows", 1)[1].replace("epochs", "")
    assert bytes_of(whole) == before


def test_each_network_says_what_it_never_saw(whole: Path, tiles_folder: Path) -> None:
    tiles = artifacts.read_json(tiles_folder / "facts.json", TileFacts)
    for fold in (1, 2):
        facts = artifacts.read_json(whole / "data/model" / str(fold) / "model.json", ModelFacts)
        assert (facts.fold, facts.folds, facts.trained_on) == (fold, 2, ["place"])
        own = tiles.areas["place"]
        assert type(facts.areas["place"]) is FoldedArea
        assert facts.areas["place"].folds == own.folds == [0, 1]
        assert (facts.areas["place"].lefts, facts.areas["place"].crs) == (own.lefts, own.crs)
        assert facts.held.px > 0
        assert np.ptp(facts.held.loss) > 0
        store.load(whole / "data/model" / str(fold))
    assert bytes_of(whole)["1/model.safetensors"] != bytes_of(whole)["2/model.safetensors"]


def test_two_processes_train_all_folds_and_take_up_what_one_of_them_knows_as_trained(
    tiles_folder: Path, tmp_path: Path
) -> None:
    folder = project(tmp_path / "two", tiles_folder)
    two = [Forked(program, folder=folder, environment=environment() | told) for told in ranks(2)]
    said = "".join(process.ended() for process in two)
    assert said.count("ended") == 2
    assert [said.count(f"saved {fold}") for fold in (1, 2)] == [1, 1]
    before = bytes_of(folder)
    (latest,) = folder.glob(".ckpt/*/2/latest.safetensors")
    latest.unlink()
    said = run_by_torchrun(folder)
    assert "fold 1: epoch" not in said
    assert "fold 2: epoch 2/2" in said
    assert bytes_of(folder) == before


@pytest.fixture
def trained(tiles_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which the stage trains in no time."""
    short = recipe(epochs=2, steps_per_epoch=1)
    sections = {"model": short.model, "contrastive": short.contrast, "train": short.train}
    monkeypatch.setattr(stage, "params", lambda section, _: sections[section])
    monkeypatch.setattr(_stage, "_inputs", [])  # of a stage that an earlier test was
    monkeypatch.delenv("DVC_ROOT", raising=False)
    folder = project(tmp_path / "stage", tiles_folder)
    monkeypatch.chdir(folder)
    return folder


def test_the_stage_writes_a_network_for_each_fold_and_the_curves_of_all(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.main()
    curves = pd.read_csv("reports/train/curves.csv")
    assert list(curves.columns[:3]) == ["fold", "epoch", "loss"]
    assert not {"windows_per_s", "data_wait_frac"} & set(curves.columns)
    assert curves[["fold", "epoch"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    summary = artifacts.read_json(Path("reports/train/summary.json"), TrainingSummary)
    ends = curves[curves["epoch"] == 1]["held_iou"].tolist()
    assert [fold.fold for fold in summary.folds] == [1, 2]
    assert [fold.held_iou for fold in summary.folds] == pytest.approx(ends, rel=1e-5)
    assert summary.held_iou == pytest.approx(np.mean(ends), rel=1e-5)
    assert summary.epochs == 2
    for fold in (1, 2):
        network = store.load(Path("data/model") / str(fold)).network
        assert sum(p.numel() for p in network.parameters()) == summary.parameters
    said = capsys.readouterr().out
    assert "train: a network for each of 2 folds" in said
    assert said.index("together 4 steps") < said.index("fold 1: epoch 1/2") < said.index("fold 2: epoch 1/2")
    assert len(list(trained.glob(".ckpt/*/finished"))) == 1


def test_checkpoints_stay_until_all_folds_are_written(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = _train.train("train", recipe(epochs=1, steps_per_epoch=1))
    next(results).kept()
    assert not list(trained.glob(".ckpt/*/finished"))
    with pytest.raises(_train.BusyError):  # all folds are one training
        next(_train.train("train", recipe(epochs=1, steps_per_epoch=1)))
    next(results).kept()
    assert len(list(trained.glob(".ckpt/*/finished"))) == 1


def test_nothing_comes_of_a_fold_during_which_something_was_edited(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited() -> None:
        raise EditedError("While this stage ran, something changed.")

    monkeypatch.setattr(_train, "check_inputs", edited)
    with pytest.raises(EditedError):
        stage.main()
    assert not Path("data/model").exists()


def test_areas_for_tests_are_no_ground_of_a_fold(trained: Path, tiles_folder: Path) -> None:
    tiles = _train.tiles_for(recipe(), 1)
    own = tiles.facts.areas["place"]
    far = replace(own, folds=[254, 254], pixel_m=9.0, dem_pixel_m=9.0)
    tiles.facts = replace(tiles.facts, areas={"place": own, "far": far})
    facts = _train._facts(tiles, examples.held())
    assert list(facts.areas) == ["place"]
    assert (facts.pixel_m, facts.dem_pixel_m) == ([own.pixel_m], [own.dem_pixel_m])


def test_the_remaining_time_is_that_of_all_folds(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(_train.train("train", recipe(epochs=1, steps_per_epoch=12, weight=0.0)))
    said = capsys.readouterr().out
    assert "fold 1: about" in said
    assert " minutes for the 14 steps that are left of this and later folds" in said
    assert " minutes for the 2 steps that are left of this and later folds" in said
