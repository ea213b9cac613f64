"""A model.json whose values would map nonsense is refused, and a map or a training that says nothing is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_unlike_area import ROOT, area, ground, model

from hpcl.calibration import counts
from hpcl.core.artifacts import ArtifactError
from hpcl.networks import store
from hpcl.outline import class_map, polygons
from hpcl.settings.model import ModelError
from hpcl.settings.train import TrainSettings
from hpcl.training import watch
from stages import outline, predict
from stages._stage import params

NAN, INF = float("nan"), float("inf")
WRONG = [
    *(("held", value) for value in (None, 0.5, {}, {"px": 1, "loss": [0.5]}, {"px": 0, "loss": [0.5] * 33})),
    *(("held", {"px": 1, "loss": [value] * 33}) for value in (NAN, INF, None, "0.5")),
    *((name, value) for name in ("fold", "folds") for value in (0, -1, 1.5, None, "1")),
    *(("areas", value) for value in (None, [], {"valley": {}}, {"valley": 3})),
    *(("window_px", value) for value in (0, -64, 64.5, None, "64")),
    *(("classes", value) for value in ([], None, "landslide", [1])),
    *(("embedding_dim", value) for value in (0, None, "8")),
    *(("pixel_m", value) for value in ([], [0.0], [NAN], 2.0)),
    *(("bands", value) for value in ([], None, {})),
    *(("trained_on", value) for value in (None, 3)),
    *(("settings", value) for value in (None, {}, [])),
    *(("weights_sha256", value) for value in (None, "", 7)),
]
WRONG_BANDS = [
    *(("std", value) for value in (0, -1.0, NAN, INF, None, "1")),
    *(("mean", value) for value in (NAN, INF, -INF, None, "0")),
    *(("kind", value) for value in ("colour", None, "")),
    *(("name", value) for value in ("another", None, 4)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project")
    model(path)
    store.load(path / "data/model/1")
    return path / "data/model/1"


def refused(folder: Path, facts: Any) -> str:
    whole = (folder / "model.json").read_bytes()
    try:
        (folder / "model.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
        with pytest.raises((ArtifactError, ModelError)) as error:
            store.load(folder)
    finally:
        (folder / "model.json").write_bytes(whole)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_no_map_can_be_made_with_is_refused(folder: Path, name: str, value: Any) -> None:
    refused(folder, json.loads((folder / "model.json").read_text()) | {name: value})


@pytest.mark.parametrize("name", sorted({name for name, _ in WRONG}))
def test_a_value_that_is_missing_is_named(folder: Path, name: str) -> None:
    facts = json.loads((folder / "model.json").read_text())
    del facts[name]
    assert f"lacks '{name}'" in refused(folder, facts)


@pytest.mark.parametrize(("name", "value"), WRONG_BANDS)
def test_statistics_that_make_no_numbers_are_refused(folder: Path, name: str, value: Any) -> None:
    facts = json.loads((folder / "model.json").read_text())
    facts["bands"][2][name] = value
    refused(folder, facts)


@pytest.mark.parametrize("name", ["fused_channels", "decoder_channels", "encoder", "branches"])
def test_settings_of_another_network_are_refused(folder: Path, name: str) -> None:
    facts = json.loads((folder / "model.json").read_text())
    facts["settings"][name] = {"encoder": "no_such", "branches": {"optical": ["red"]}}.get(name, 24)
    refused(folder, facts)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"model"', "\ud800".encode("utf-16", "surrogatepass").decode("latin-1")]
)
def test_what_is_no_object_is_refused(folder: Path, text: str) -> None:
    refused(folder, text)


@pytest.mark.parametrize(
    ("probabilities", "threshold", "beginning"),
    [
        ([0.1, 0.2, NAN], 0.5, "The map shows no landslide"),
        ([0.0, 0.0], 1.0, "The map shows no landslide"),
        ([0.1, 0.2, NAN], 0.0, "The map calls 100.0% of the area a landslide, at a threshold of 0,"),
        ([0.9] * 19 + [0.1], 0.5, "The map calls 95.0% of the area a landslide"),
        ([NAN, NAN], 0.5, "Nothing was mapped"),
        ([0.9] * 3 + [0.1], 0.5, None),
        ([0.9] + [0.1] * 9999, 0.5, None),
    ],
)
def test_a_map_that_says_everything_or_nothing_is_named(
    probabilities: list[float], threshold: float, beginning: str | None
) -> None:
    covered = class_map.Coverage()
    for part in np.array_split(np.array(probabilities, np.float32), 2):
        covered = covered.with_part(part, threshold)
    told = covered.findings(threshold)
    assert len(told) == (beginning is not None)
    assert beginning is None or told[0].startswith(beginning)


def test_outline_keeps_that_all_is_landslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    area(tmp_path, ground(1), 5)
    model(tmp_path)
    asked = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(asked.replace("operating_point: best_iou", "operating_point: 0.0"))
    monkeypatch.chdir(tmp_path)
    nothing = np.zeros((2, 2, counts.LEVELS), np.int64), np.zeros((3, counts.LEVELS), np.int64)
    counts.write(Path("data/calibrate"), counts.Counts(*nothing))
    monkeypatch.setattr(polygons, "_relief", lambda *_: {})  # this terrain has no normals
    predict.main("valley")
    outline.main("valley")
    found = json.loads(Path("data/outline/valley/facts.json").read_text())["findings"]
    assert found[-1].startswith("The map calls 100.0% of the area a landslide")
    assert found[-1] in capsys.readouterr().out


@pytest.mark.parametrize(("loss", "count"), [(0.4, 0), (1.2, 0), (1.69, 0), (1.7, 1), (40.0, 1), (9e9, 1)])
def test_a_training_that_diverged_is_named(loss: float, count: int) -> None:
    train = replace(params("train", TrainSettings, file=ROOT / "params.yaml"), dice_weight=1.0)
    told = watch.findings(loss, 2, train)
    assert len(told) == count
    assert not told or "train.learning_rate" in told[0]
