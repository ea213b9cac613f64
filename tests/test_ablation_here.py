"""The report shows what the ablation found on ground of its own areas, and on no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import examples
import pandas as pd
import pytest

from hpcl.ablation import compare
from hpcl.core.codes import OUTSIDE, TEST_AREA
from hpcl.report.ablation import ablation_section, areas_of


def _html(areas: list[str], *grounds: str, status: str = "run") -> str:
    row: dict[str, Any] = {"variant": "v", "label": "a variant", "status": status, "seeds": 3, "steps": 120}
    row |= {"parameters": 9, "landslide_iou": 0.61, "sd": 0.01, "probe_auc": 0.8, "against": None}
    row |= dict.fromkeys(("difference", "low", "high"), float("nan"))
    table = pd.DataFrame([{"ground": ground} | row for ground in grounds], columns=["ground", *row])
    report: Any = SimpleNamespace(areas=[SimpleNamespace(name=name) for name in areas], ablation=table)
    return "".join(ablation_section(report).body)


@pytest.mark.parametrize("names", [("north", "south"), ("Val d-Ultimo", "far - east", "甘肃 1"), ("b_2", "a.1")])
@pytest.mark.parametrize("codes", [(0, 1), (0, 0), (OUTSIDE, 0)])
@pytest.mark.parametrize("moved", [(), ("moved 1",), ("moved", "there")])
def test_the_areas_are_those_that_the_ablation_says(
    names: tuple[str, ...], codes: tuple[int, int], moved: tuple[str, ...]
) -> None:
    areas = {name: examples.tiled_area(*codes) for name in names[:-1]} | {names[-1]: examples.tiled_area(1, OUTSIDE)}
    areas |= {name: examples.tiled_area(TEST_AREA) for name in moved}
    tiles = examples.tiles(areas)
    assert areas_of(compare.ground(tiles)) == set(names)
    if moved:
        assert areas_of(str(compare.transfer_ground(tiles))) == set(names) | set(moved)


@pytest.mark.parametrize(
    ("areas", "shown"),
    [
        (["north", "south"], {"north + south, 3 folds"}),
        (["south", "north", "east"], {"north + south, 3 folds", "north + south -> east, mean of 3"}),
        (["north", "east"], set()),
        (["mine"], set()),
    ],
)
def test_other_ground_is_left_out(areas: list[str], shown: set[str]) -> None:
    grounds = ("north + south, 3 folds", "north + south -> east, mean of 3", "east -> west")
    html = _html(areas, *grounds)
    assert {ground for ground in grounds if f"<caption>{ground.replace('>', '&gt;')}</caption>" in html} == shown
    assert ("make ablation" in html) is not bool(shown)
    assert ("Boundary probe" in html) is bool(shown)


@pytest.mark.parametrize(("grounds", "status"), [((), "run"), (("mine, 3 folds",), "not run")])
def test_what_was_not_run_is_one_sentence_with_the_command(grounds: tuple[str, ...], status: str) -> None:
    html = _html(["mine"], *grounds, status=status)
    assert html.count("<p") == 1
    assert "The ablation was not run on these areas" in html
    assert "make ablation" in html
