"""Parameters, errors and JSON as every stage meets them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML

from hpcl.core.artifacts import read_json, write_json
from hpcl.core.digest import sha256
from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings, WeightFile
from hpcl.settings.train import TrainSettings
from hpcl.training.recipe import Recipe
from stages import _help, _inputs, _train
from stages._stage import ParameterError, params, progress

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Record:
    rate: float
    epochs: int
    names: tuple[str, ...]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(text: str) -> Any:
    Path("params.yaml").write_text(text)
    return params("train", Record)


def test_parameters_are_read_as_dvc_reads_them() -> None:
    """YAML 1.2: 3e-4 is a number, `off` a word."""
    record = given("train: {rate: 3e-4, epochs: 2, names: [off, b]}")
    assert record == Record(rate=3e-4, epochs=2, names=("off", "b"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {rate: 0.1, epohcs: 2, names: []}", r"unknown parameter 'train\.epohcs'; did you mean 'epochs'"),
        ("train: {rate: 0.1, names: []}", r"parameter 'train\.epochs' is missing"),
        ("train: {rate: fast, epochs: 2, names: []}", r"'train\.rate' is 'fast', but input should be a valid number"),
        ("train: {rate: 0.1, epochs: '2', names: []}", r"'train\.epochs' is '2', but input should be a valid integer"),
        ("trian: {rate: 0.1}", r"no section 'train'; did you mean 'trian'"),
        ("train: {rate: [", "is not YAML"),
    ],
)
def test_bad_parameters_are_named(text: str, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        given(text)


@pytest.mark.parametrize(
    ("section", "record", "over", "sentence"),
    [
        ("train", TrainSettings, {"seed": -1}, "'train.seed' is -1"),
        ("train", TrainSettings, {"precision": "fp16"}, "'train.precision' is 'fp16', but input should be '32-true'"),
        ("model", ModelSettings, {"branches": {"optical": []}}, "'model.branches.optical' is"),
        ("model", ModelSettings, {"branches": {"a.b": ["red"]}}, "a.b"),
    ],
)
def test_numbers_that_would_fail_later_are_refused_at_once(
    section: str, record: type[Any], over: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ParameterError) as refused:
        params(section, record, over)
    assert sentence in str(refused.value)


def test_a_missing_section_like_no_other_lists_those_there_are() -> None:
    Path("params.yaml").write_text("baselines: {}\ntile: {}\n")
    with pytest.raises(ParameterError, match="no section 'ingest'; there are baselines, tile"):
        params("ingest", Record)


def test_missing_file_is_a_sentence() -> None:
    with pytest.raises(ParameterError, match="run the stage from the root"):
        params("train", Record)


def test_json_is_sorted_rounded_and_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1 / 3, "a": float("nan"), "c": [1, {"d": 2.0}]})
    assert (tmp_path / "a.json").read_text().index('"a"') < (tmp_path / "a.json").read_text().index('"b"')
    assert read_json(tmp_path / "a.json", dict[str, Any]) == {"a": None, "b": 0.333333333333, "c": [1, {"d": 2.0}]}


def test_progress_in_a_log_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    tell = progress("work")
    for done in range(1, 101):
        now[0] += 0.25
        tell(done, 100)
    assert capsys.readouterr().out.splitlines() == ["work: 40/100", "work: 80/100"]


STAGE = """
from stages._stage import run
class Own(ValueError): ...
class Ours(ValueError): ...
Ours.__module__ = "hpcl.any"
def main(area: str) -> None:
    raise {error}("the sentence")
run(main)
"""


def process(tmp_path: Path, error: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "some.py").write_text(STAGE.format(error=error))
    env = {"PYTHONPATH": str(ROOT), "HPCL_TRACK": "off"}
    return subprocess.run([sys.executable, "some.py", *arguments], env=env, capture_output=True, text=True, check=False)


def test_our_errors_are_one_sentence_and_bugs_keep_their_traceback(tmp_path: Path) -> None:
    for error in ("Ours", "Own"):  # of the library, or of the stage itself
        ours = process(tmp_path, error, "west")
        assert (ours.returncode, ours.stderr) == (1, "some: the sentence\n")
    bug = process(tmp_path, "KeyError", "west")
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr


def test_wrong_arguments_show_the_usage(tmp_path: Path) -> None:
    assert "usage: python -m stages.some <area>" in process(tmp_path, "Ours").stderr


HELPED = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py") if path.stem != "mend")


@pytest.mark.parametrize("stage", HELPED)
def test_every_stage_says_what_it_reads_writes_and_costs(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said = _help.text(stage, ["area"])
    module, main = _help.docstrings(stage)
    assert module.splitlines()[0] in said
    assert main.splitlines()[0] in said
    body = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].get(stage) or {}
    for out in body.get("outs", []):
        path = next(iter(out)) if isinstance(out, dict) else out
        assert path.replace("${item.area}", "<area>") in said
    assert ("takes:" in said) == (bool(body) or stage in _inputs.PIPELINES)


@pytest.mark.parametrize("text", ["[]", "null", "{", "7", ""])
def test_a_damaged_memory_of_hashes_is_made_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles/a.npy").write_text("a")
    (tmp_path / "hashes.json").write_text(text)
    found = _inputs.remembered_md5s(tmp_path / "tiles", tmp_path / "hashes.json")
    assert found == {str(tmp_path / "tiles/a.npy"): "0cc175b9c0f1b6a831c399e269772661"}


def test_help_is_printed_and_nothing_is_run() -> None:
    for module, words in (
        ("stages", "in the order in which `dvc repro`"),
        ("stages", "tracking         Commands around the runs in MLflow"),
        ("stages.outline", "data/outline/<area>"),
        ("stages.tracking", "sync"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert words in done.stdout


def test_a_checkpoint_belongs_to_its_settings_its_tiles_and_the_code_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("tiles", "code/training"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("before")
    monkeypatch.setattr(_train, "TILES", tmp_path / "tiles")
    monkeypatch.setattr(_train, "CODE", tmp_path / "code")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(ROOT)
    recipe = Recipe(
        params("model", ModelSettings), params("contrastive", ContrastSettings), params("train", TrainSettings)
    )
    seen = [_train._checkpoints(recipe)]
    with monkeypatch.context() as patch:  # tiles that did not change are not read again
        patch.setattr(_inputs, "md5_of", lambda _: pytest.fail("read again"))
        assert _train._checkpoints(recipe) == seen[0]
    for change in (
        lambda: (tmp_path / "code/training/a.py").write_text("after"),
        lambda: (tmp_path / "tiles" / "a.py").write_text("after"),
        lambda: monkeypatch.setattr(_train, "version", lambda package: "0"),
    ):
        change()
        seen.append(_train._checkpoints(recipe))
    seen.append(_train._checkpoints(replace(recipe, train=replace(recipe.train, seed=9))))
    weights = tmp_path / "weights.safetensors"
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        start = WeightFile(file=str(weights), sha256=sha256(weights), stem="repeat", learning_rate_frac=1.0)
        seen.append(_train._checkpoints(replace(recipe, model=replace(recipe.model, weights={"optical": start}))))
    assert len(set(seen)) == len(seen)
