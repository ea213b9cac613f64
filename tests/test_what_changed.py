"""The list of runs says which parameters each run changed, against what it follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_common_ground import git, labels_of, latest, root, state_of, store  # noqa: F401  # fixtures are found by name

from stages import track
from stages.tracking import commands
from stages.tracking.changes import LONG, SHOWN, changed
from stages.tracking.store import opened

pytestmark = [
    pytest.mark.xdist_group("common_ground"),  # MLflow is imported once for both files
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy"),  # MLflow's way of asking SQLAlchemy
]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_named_is_what_differs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = {f"section.p{i}": str(rng.integers(3)) for i in range(20) if rng.random() < 0.7}
    now = {
        f"section.p{i}": str(rng.integers(3)) if rng.random() < 0.3 else before.get(f"section.p{i}", "1")
        for i in range(20)
    }
    differ = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    said = changed(before, now).split("; ")
    assert [part.split(" ")[0] for part in said[:SHOWN]] == differ[:SHOWN]
    for part in said[:SHOWN]:
        name, old, _, new = part.split(" ")
        assert (old, new) == (before.get(name, "(none)"), now[name])
    assert said[SHOWN:] == ([f"{len(differ) - SHOWN} more"] if len(differ) > SHOWN else [])
    assert changed(now, now) == ""


def test_long_values_are_cut() -> None:
    said = changed({"areas": "[" + "x" * 5000}, {"areas": "y" * LONG})
    assert said == f"areas [{'x' * (LONG - 4)}... -> {'y' * LONG}"


def _tags() -> dict[str, str]:
    tags: dict[str, str] = latest(Path.cwd()).data.tags
    return tags


def test_a_run_names_its_changes_and_leaves_a_persons_words(
    root: Path,  # noqa: F811  # pytest's way
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels: Any = labels_of((40, 40))
    state_of(root, labels, 10)
    track.main()
    first = latest(root)
    assert not {"hpcl.changed", "mlflow.note.content"} & first.data.tags.keys(), "nothing went before"
    state_of(root, labels, 20)
    track.main()
    assert _tags()["hpcl.changed"] == "seed 10 -> 20"
    assert _tags()["mlflow.note.content"] == f"Changed since run {first.info.run_name}: seed 10 -> 20."
    git("add", "-A")
    git("commit", "-qm", "results")
    base = git("rev-parse", "HEAD")
    state_of(root, labels, 40)
    with opened(root, 5) as there:
        run = there.parent(commands.state.here(root), 0)
        there.client.set_tag(run.info.run_id, "mlflow.note.content", "my words")
    track.main()
    assert _tags()["hpcl.changed"] == "seed 20 -> 40"
    assert _tags()["mlflow.note.content"] == "my words"
    git("commit", "-qam", "other results")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", base)
    state_of(root, labels, 50)
    track.main()
    assert _tags()["hpcl.changed"] == "seed 20 -> 50", "an experiment is held against its baseline"
    monkeypatch.delenv("DVC_EXP_BASELINE_REV")
    Path("hpcl/more.py").write_text("")
    state_of(root, labels, 40)
    track.main()
    assert "hpcl.changed" not in _tags(), "other code, the same parameters"
