"""A trial: rows of some variants on some ground, beside those of other studies and other ground, and nothing that DVC does not know."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from test_ablation import FakeDVC
from test_budget import project, scored, valley  # noqa: F401  (fixtures)

from stages import trial
from stages._ablation import Training
from stages._stage import ParameterError
from stages._trainings import UnfinishedError

FILE = Path("ablation/params.yaml")
TRIALS = """trials:
  fusion: {variants: [hpcl_net, stack], percent: [25, 100]}
  alone: {variants: [stack], percent: [50]}
"""


@pytest.fixture
def studies(scored: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811  (a fixture)
    """A project in which all trainings of two studies have a result."""
    FILE.write_text(FILE.read_text() + TRIALS)
    Path("docs/ablation.md").write_text("<!-- fusion -->\nold\n<!-- /fusion -->\n")
    FakeDVC(monkeypatch, before=[], after=[])
    return scored


def test_studies_and_grounds_stand_beside_each_other(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial.main("fusion", "")
    (first,) = capsys.readouterr().out.splitlines()[-1:]
    table = pd.read_csv("reports/trials.csv")
    assert list(zip(table["variant"], table["percent"], strict=True)) == [
        ("hpcl_net", 25), ("stack", 25), ("hpcl_net", 100), ("stack", 100),
    ]  # fmt: skip
    assert table["against"].dropna().to_list() == ["hpcl_net"] * 2
    assert table["low"].notna().to_list() == [False, True] * 2
    page = Path("docs/ablation.md").read_text()
    assert "\nold\n" not in page
    assert page.count("| valley, 2 folds | 25 % |") == page.count("| valley, 2 folds | 100 % |") == 2
    assert "docs/ablation.md their table" in first

    trial.main("fusion", "by moonlight")
    trial.main("alone", "")
    assert "docs/ablation.md has no mark" in capsys.readouterr().out.splitlines()[-1]
    trial.main("fusion", "")
    again = pd.read_csv("reports/trials.csv")
    counted = again.groupby(["study", "ground"]).size().to_dict()
    assert counted == {
        ("fusion", "valley, 2 folds"): 4,
        ("fusion", "valley, 2 folds; by moonlight"): 4,
        ("alone", "valley, 2 folds"): 1,
    }
    mine = again[(again["study"] == "fusion") & (again["ground"] == "valley, 2 folds")].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, table)
    page = Path("docs/ablation.md").read_text()
    assert "by moonlight" in page
    assert "| 50 % |" not in page


def test_a_point_that_lacks_a_seed_is_not_in_the_table(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [Training("stack", 1, 25).stages[0]]
    FakeDVC(monkeypatch, before=lost, after=lost)
    with pytest.raises(UnfinishedError, match="run `make trial STUDY=fusion NOTE='by moonlight'` again"):
        trial.main("fusion", "by moonlight")
    table = pd.read_csv("reports/trials.csv")
    assert list(zip(table["variant"], table["percent"], strict=True)) == [
        ("hpcl_net", 25), ("hpcl_net", 100), ("stack", 100),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "run: [hpcl_net, stack]",
            "run: [hpcl_net]",
            "'fusion' needs 'stack' at 100 % of the labels; name it in 'run'",
        ),
        (
            "labels: {variants: [hpcl_net, stack]",
            "labels: {variants: [hpcl_net]",
            "at 25 % of the labels; name it in 'labels.variants'",
        ),
        ("percent: [25, 50]", "percent: [50]", "needs 25 % of the labels; name 25 in 'labels.percent'"),
        ("percent: [25, 100]", "percent: [25, 101]", "less than or equal to 100"),
        ("percent: [25, 100]", "percent: [25, 25]", "name each share once, the smallest first"),
        ("fusion:", "fussion:", "no section 'trials.fusion'; did you mean 'fussion'"),
    ],
)
def test_what_dvc_has_no_stage_for_is_one_sentence(old: str, new: str, said: str, studies: Path) -> None:
    assert old in FILE.read_text()
    FILE.write_text(FILE.read_text().replace(old, new))
    with pytest.raises(ParameterError, match=said):
        trial.main("fusion", "")


@pytest.mark.parametrize("study", ["budget", "nan", "a+b", "v1.5", ""])
def test_a_name_that_no_table_can_have_is_refused(study: str, studies: Path) -> None:
    with pytest.raises(ParameterError, match="cannot be the name of a study"):
        trial.main(study, "")


@pytest.mark.parametrize("note", ["a | b", "two\nlines", "<!-- /fusion -->"])
def test_a_note_that_no_row_can_hold_is_refused(note: str, studies: Path) -> None:
    with pytest.raises(ParameterError, match="NOTE holds"):
        trial.main("fusion", note)


def test_the_ground_of_shares_is_chosen_first(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC names of a chain only what changed itself, and a training at a share follows from its ground."""
    dvc = FakeDVC(monkeypatch, before=[], after=[])
    trial.main("fusion", "")
    assert [words[1:3] for words in dvc.commands][:2] == [["repro", "tile"], ["repro", "share_labels"]]
