"""`make ui` opens on a list that shows the scores of each run and what it changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qs

import pytest
from test_common_ground import git, labels_of, latest, root, state_of, store  # noqa: F401  # fixtures are found by name

from hpcl.metrics.records import MapScores, Metrics
from stages import track
from stages.tracking import commands, view
from stages.tracking.store import connect

pytestmark = [
    pytest.mark.xdist_group("common_ground"),  # MLflow is imported once for all these files
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy"),  # MLflow's way of asking SQLAlchemy
]


def test_the_list_names_what_runs_have(
    root: Path,  # noqa: F811  # pytest's way
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels: Any = labels_of((40, 40))
    for number in (10, 20):
        state_of(root, labels, number)
        track.main()
    monkeypatch.setattr("os.execve", lambda *_: None)
    monkeypatch.setenv("PORT", "5077")
    commands.ui(root)
    (link,) = re.findall(r"The runs: (\S+)", capsys.readouterr().out)
    address, _, query = link.partition("?")
    client, _, experiment = connect(root)
    assert address == f"http://127.0.0.1:5077/#/experiments/{experiment}/runs"
    (key,) = parse_qs(query)["viewStateShareKey"]
    shown = json.loads(client.get_experiment(experiment).tags[f"mlflow.sharedViewState.{key}"])
    assert shown["selectedColumns"] == view.COLUMNS
    listed = client.search_runs([experiment], shown["searchFilter"])
    assert len(listed) == 2
    tags = latest(root).data.tags
    for column in view.COLUMNS:
        match column.replace("`", "").partition("."):
            case "tags", _, name:
                assert name in tags
            case "metrics", _, name:
                stage, map_, score = name.split("/")
                assert stage == "evaluate"
                assert get_type_hints(Metrics)[map_] is MapScores
                assert score in get_type_hints(MapScores)
            case kind, _, name:
                assert (kind, name) == ("attributes", "Description")
