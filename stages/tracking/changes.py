"""Which parameters a run changed, in words that fit into a list of runs."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN = 8
"""Changes that are named; of more, the others are counted."""
LONG = 40
"""Characters of a value; longer ones are cut."""


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between two sets of parameters; empty if nothing does.

    >>> changed({"train.seed": "0", "model.fusion": "sum"}, {"train.seed": "1", "model.fusion": "sum", "page.rows": "9"})
    'page.rows (none) -> 9; train.seed 0 -> 1'
    """
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    said = [f"{name} {_value(before, name)} -> {_value(now, name)}" for name in names[:SHOWN]]
    return "; ".join(said + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []))


def _value(params: Mapping[str, str], name: str) -> str:
    value = params.get(name, "(none)")
    return value if len(value) <= LONG else f"{value[: LONG - 3]}..."
