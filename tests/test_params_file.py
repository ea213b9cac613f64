"""Values of params.yaml change where they stand; every other byte of the file stays."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from test_dvc_yaml import ROOT
from test_params_yaml import leaves, other

from stages._inputs import parsed
from stages._params_file import UnwritableError, changed, renamed

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


def differing(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(True), after.splitlines(True)) if line[0] in "+-"]


def test_one_value_is_one_line_and_the_same_value_none() -> None:
    values = {".".join(path): value for path, value in leaves(parsed(SHIPPED))}
    assert changed(SHIPPED, dict(list(values.items())[::9])) == SHIPPED
    for name, value in list(values.items())[::11]:
        if isinstance(value, bool | int | float | str):
            new = changed(SHIPPED, {name: other(value)})
            lines = differing(SHIPPED, new)
            assert [line[0] for line in lines] == ["-", "+"], name
            if "#" in lines[0]:
                assert lines[1].partition("#")[2] == lines[0].partition("#")[2], "the comment stays"


def at(document: Any, name: str) -> Any:
    for key in name.split("."):
        document = document[key]
    return document


@pytest.mark.parametrize(
    "values",
    [
        {"areas": ["kaghan"]}, {"areas": ["a b", "Südtirol", "naran"]}, {"synthesize.areas": {}}, {"areas": []},
        {"terrain.relief_radii_m": [100.0, 400.0]}, {"terrain.relief_radii_m": [1.5]},
        {"tile.test_areas": ["kaghan"]}, {"coregister.bands": ["B2", "no", "1"]},
        {"model.branches.optical": ["B2: blue", "- x", "#", "true", "'", '"', "a, b", "[", "7"]},
        {"evaluate.object_size_edges_m2": [970.0, 2500.0], "evaluate.boundary_px": 1, "outline.simplify_px": 0.0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_and_words_are_read_back_and_the_rest_stays(values: dict[str, Any], end: str) -> None:
    text = SHIPPED.replace("\n", end)
    new = changed(text, values)
    document, before = parsed(new), parsed(text)
    for name, value in values.items():
        assert at(document, name) == value
        assert at(before, name) != value
    for path, value in leaves(before):
        if not any(".".join(path).startswith(name) for name in values):
            assert at(document, ".".join(path)) == value
    assert new.count("\r") == (new.count("\n") if end == "\r\n" else 0)
    assert changed(new, values) == new
    comments = [line.partition(" #")[2] for line in text.split(end) if " #" in line]
    assert [comment for comment in comments if comment not in new] == [], "every comment stays"


@pytest.mark.parametrize(
    ("text", "name", "value", "new"),
    [
        ("a: 1    # why\nb: 2\n", "a", 22, "a: 22   # why\nb: 2\n"),
        ("a: 1 # why\n", "a", 22222, "a: 22222 # why\n"),
        ("a: {b: [1, 2], c: 3}\n", "a.b", [4], "a: {b: [4], c: 3}\n"),
        ("a:   # why\n  - 1\n  - 2\n\n# next\nb: 2\n", "a", [3, 4], "a:   # why\n  - 3\n  - 4\n\n# next\nb: 2\n"),
        ("a:   # why\n  - 1  # one\n  - 2\n", "a", [1, 4], "a:   # why\n  - 1  # one\n  - 4\n"),
        ("a:   # why\n  - 1\n  - 2\n\nb: 2\n", "a", [], "a: []   # why\n\nb: 2\n"),
        ("a:   # why\n  b:\n    c: 1\n# next\nd: 2\n", "a", {}, "a: {}   # why\n# next\nd: 2\n"),
        ("a:   # why\n  b: [1]  # one\nc: 2\n", "a.new", [3, 4], "a:   # why\n  new: [3, 4]\n  b: [1]  # one\nc: 2\n"),
        ("a:\r\n  # why\r\n  b: 1\r\n", "a.new", [3], "a:\r\n  # why\r\n  new: [3]\r\n  b: 1\r\n"),
        ("a: {b: [1]}   # why\n", "a.new", [3], "a: {new: [3], b: [1]}   # why\n"),
        ("a:\n- 1\nb: 2", "a", [5, 6, 7], "a:\n- 5\n- 6\n- 7\nb: 2"),
    ],
)
def test_any_style_of_writing_keeps_its_own(text: str, name: str, value: Any, new: str) -> None:
    assert changed(text, {name: value}) == new


@pytest.mark.parametrize("text", ["a: &one 1\nb: *one\n", "a: {b: 1}\n", "c: 1\n"])
def test_what_cannot_be_changed_alone_is_said(text: str) -> None:
    with pytest.raises(UnwritableError, match="by hand"):
        changed(text, {"b": 2})


@pytest.mark.parametrize("text", ["a: {}\n", "a:\n", "a: 1\n", "b: 1\n"])
def test_a_new_list_needs_a_section_that_says_something(text: str) -> None:
    with pytest.raises(UnwritableError, match="by hand"):
        changed(text, {"a.new": [1]})


def test_names_of_bands_change_wherever_they_stand() -> None:
    text = "run: [relief_30m]\nvariants: {x: {label: about relief_30m, set: {b: [slope, relief_30m]}}}  # relief_30m\n"
    new = "run: [relief_100m]\nvariants: {x: {label: about relief_30m, set: {b: [slope, relief_100m]}}}  # relief_30m\n"
    assert renamed(text, {"relief_30m": "relief_100m"}) == new
    assert renamed(text, {}) == text
