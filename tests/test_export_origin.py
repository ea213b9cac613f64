"""An export is dated by the commit of its run, in UTC, or by the release of the software; never by the clock."""

from __future__ import annotations

import subprocess
from pathlib import Path

import exported
import pytest
from ruamel.yaml import YAML

from stages import export
from stages.tracking import state


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("areas: []\n")
    with Path("CITATION.cff").open("w") as file:
        YAML().dump(exported.CITATION, file)
    return tmp_path


@pytest.mark.parametrize(
    ("committed", "date"),
    [
        ("2026-01-02T03:04:05+05:00", "2026-01-01T22:04:05+00:00"), ("2025-06-30T23:30:00-02:00", "2025-07-01T01:30:00+00:00"),
        (None, "2026-11-22"),
    ],
)  # fmt: skip
def test_the_date_is_that_of_the_commit(
    project: Path, committed: str | None, date: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if committed:
        monkeypatch.setenv("GIT_COMMITTER_DATE", committed)
        git = ["git", "-c", "user.name=mapper", "-c", "user.email=mapper@example.org"]
        for arguments in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "start"]):
            subprocess.run([*git, *arguments], check=True, cwd=project)
    made = export._origin(state.here(Path.cwd()))
    assert made.date == date
    assert bool(made.commit) == bool(committed)
    assert made.software.authors[1]["family-names"] == "Lovelace"
