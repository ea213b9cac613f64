"""The table of cases in docs/coregistration.md is the one that the code makes."""

import re
from pathlib import Path

import pytest

from benchmarks.coregistration_cases import BY_IMAGE, BY_REFERENCE, CASES, DOCS, Case, line, measured

ROOT = Path(__file__).parents[1]


def printed() -> list[str]:
    page = (ROOT / DOCS).read_text(encoding="utf-8")
    table = page.split("<!-- cases -->")[1].split("<!-- /cases -->")[0]
    return [row for row in table.splitlines() if row.startswith("|")][2:]


def test_every_case_is_in_the_table_and_no_other() -> None:
    rows = printed()
    assert [row[: len(case.head)] for row, case in zip(rows, CASES, strict=True)] == [case.head for case in CASES]
    assert len(set(CASES)) == len(CASES)


def test_every_case_was_judged_right() -> None:
    for row in printed():
        *_, moved, right, _ = row.strip("| ").split(" | ")
        assert (moved, right) in {("5 of 5", "yes"), ("0 of 5", "no")}, row


@pytest.mark.parametrize("case", [BY_REFERENCE, BY_IMAGE], ids=["reference", "image"])
def test_a_case_comes_out_as_printed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a hundredth: other processors sum in another order."""
    monkeypatch.chdir(ROOT)
    made, said = line(case, measured(case)), printed()[CASES.index(case)]
    number = r"\d+\.\d+"
    assert re.sub(number, "#", made) == re.sub(number, "#", said)
    assert [*map(float, re.findall(number, made))] == pytest.approx([*map(float, re.findall(number, said))], abs=0.011)
