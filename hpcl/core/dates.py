"""Bands of an earlier date, told by their names."""

from __future__ import annotations

_BEFORE = "_before"


def before(name: str) -> str:
    """What a band of ``optical_before.tif`` is called beside one of ``optical.tif``.

    >>> before("red")
    'red_before'
    """
    return name + _BEFORE


def after(name: str) -> str:
    """What a band of either date is called in ``optical.tif``.

    >>> after("red_before"), after("red")
    ('red', 'red')
    """
    return name.removesuffix(_BEFORE)


def is_before(name: str) -> bool:
    """Whether a band is of the earlier date."""
    return name.endswith(_BEFORE)
