"""params.yaml stands in the form in which DVC writes it: `dvc exp run -S` of one value changes one line."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import modify_yaml
from test_dvc_yaml import ROOT, read_yaml


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def other(value: Any) -> Any:
    """Another value of the same kind, longer than the first."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + type(value)(1000)
    return f"{value}_and_more" if isinstance(value, str) else value


def changed(file: Path, path: tuple[Any, ...], value: Any) -> list[str]:
    """The lines that DVC takes away and adds when it sets a value."""
    before = file.read_text()
    with modify_yaml(str(file)) as document:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value
    found = [line for line in difflib.ndiff(before.splitlines(), file.read_text().splitlines()) if line[0] in "+-"]
    file.write_text(before)
    return found


@pytest.mark.parametrize("name", ["params.yaml"])
def test_one_value_is_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / name, file)
    for path, value in leaves(read_yaml(file)):
        lines = changed(file, path, other(value))
        if other(value) == value:  # a list: DVC writes a new one, without the blank line that may stand behind it
            assert [line for line in lines if line[1:].strip()] == [], path
        else:
            assert [line[0] for line in lines] == ["-", "+"], (path, lines)


def test_the_test_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("one: {" + ", ".join(f"value_{n}: {n}" for n in range(12)) + "}\n")
    assert len(changed(file, ("one", "value_3"), 4)) > 2
