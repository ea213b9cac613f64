"""Names of areas, checked in one place before a path is made of one.

A name becomes a folder, part of file names, an argument of commands, a value in YAML and in tables, and a title. What
one of these would read otherwise, or would take for a way out of its folder, is refused here, whoever gave the name:
params.yaml, a command line, or a file of facts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_BYTES = 100
"""Some encrypted file systems take file names of 143 bytes, and ours add up to 40 to the area's."""
MARKS = " _-."
"""Of ASCII, beside letters and digits. Shells, globs, DVC's targets, Windows and matplotlib have uses for the others."""
JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling in Persian and in scripts of India."""
READ_AS_VALUES = frozenset({"na", "nan", "null", "none", "true", "false"})
"""Words that YAML or pandas take for a value that is no text."""
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""What Windows opens as a device, whatever suffix follows."""
SUFFIXES = (".dvc", ".json")
"""Endings of files that lie beside the folders of areas: DVC's pointers and our facts."""


class AreaNameError(ValueError):
    """A name that no area can have; the message says why and what a name may be."""


def checked(name: object) -> str:
    """The name, if an area can be called so.

    >>> checked("Val d-Ultimo"), checked("甘肃 1")
    ('Val d-Ultimo', '甘肃 1')
    >>> checked("..")
    Traceback (most recent call last):
    ...
    hpcl.core.areas.AreaNameError: '..' is no name of an area: it begins with '.'; give the area's folder in data/raw ...
    """
    finding = _finding(name)
    if finding:
        raise AreaNameError(
            f"{name!r} is no name of an area: {finding}; give the area's folder in data/raw a name of letters and digits of"
            f" any script, with blanks, '_', '-' or '.' between them (at most {MAX_BYTES} bytes), and use that name."
        )
    return str(name)


def distinct(names: Iterable[object]) -> tuple[str, ...]:
    """The names, if each is sound and no two of them are one folder on a file system that ignores case or accents' form."""
    seen: dict[str, str] = {}
    for name in map(checked, names):
        visible = "".join(character for character in name if character not in JOINERS)
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
        if key in seen:
            raise AreaNameError(
                f"The areas {seen[key]!r} and {name!r} would be one folder on some file systems; name each area once, and let"
                " names differ by more than case or the form of their characters."
            )
        seen[key] = name
    return tuple(seen.values())


Names = Annotated[tuple[Any, ...], AfterValidator(distinct)]
"""The list `areas` of params.yaml. Any value is let in, so that a number, say, is refused in the words of `checked`."""


def _finding(name: object) -> str:
    """Why an area cannot be called so; empty if it can."""
    if not isinstance(name, str):
        return f"YAML reads it as {'nothing' if name is None else 'a truth value' if name in (True, False) else 'a number'}"
    if not name:
        return "it is empty"
    for character in name:
        sound = character in MARKS or character.isalnum() if character.isascii() else character.isprintable()
        if not sound and character not in JOINERS:
            return (
                f"it holds {character!r}"
                if character.isprintable()
                else f"it holds the character U+{ord(character):04X}"
            )
    if name[0] in " -." or name[-1] in " .":
        return f"it begins with {name[0]!r}" if name[0] in " -." else f"it ends with {name[-1]!r}"
    if len(name.encode()) > MAX_BYTES:
        return f"it has {len(name.encode())} bytes"
    if name.casefold() in READ_AS_VALUES or _is_number(name):
        return "YAML or a table would read it as a value, not as a name"
    if name.casefold().split(".")[0].rstrip() in DEVICES:
        return "Windows takes it for a device"
    if name.casefold().endswith(SUFFIXES):
        return "it ends like a file that lies beside the areas"
    return ""


def _is_number(text: str) -> bool:
    for read in (float, lambda digits: int(digits, 0)):
        try:
            read(text)
        except ValueError:
            continue
        return True
    return False
