"""Values of params.yaml changed where they stand: every other byte of the file stays, comments and order included."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stages._inputs import parsed


class UnwritableError(ValueError):
    """params.yaml is written in a way in which a value cannot be changed alone."""


def changed(text: str, values: Mapping[str, Any]) -> str:
    """The text of a parameter file with ``values`` by dotted names: numbers, words, lists of them, or an empty dictionary. A list may
    be new, as the first value of its section.

    Raises `UnwritableError` if another name is not there, or if the text would then say something else (where an alias stands).
    """
    wanted = json.loads(json.dumps(parsed(text)))
    for name, value in values.items():
        text = _with(text, name, value)
        *path, last = name.split(".")
        section = wanted
        for key in path:
            section = section[key]
        section[last] = json.loads(json.dumps(value))
    try:
        said = json.loads(json.dumps(parsed(text)))
    except YAMLError:
        said = None
    if said != wanted:
        raise UnwritableError(
            f"params.yaml is written in a way in which {', '.join(values)} cannot be changed alone (an alias?); write the values"
            " into it by hand."
        )
    return text


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The text of a YAML file with words that stand for themselves replaced, wherever they are values."""
    root = YAML(pure=True).compose(text)
    spans = [(n.start_mark.index, n.end_mark.index, names[n.value]) for n in _scalars(root) if n.value in names]
    for start, end, name in sorted(spans, reverse=True):
        text = text[:start] + _scalar(name) + text[end:]
    return text


def _with(text: str, name: str, value: Any) -> str:
    root = YAML(pure=True).compose(text)
    path, _, last = name.rpartition(".")
    if path and isinstance(value, list | tuple):
        section = _found(root, path)[1]
        if (there := _pairs(section)) and last not in there:
            return _with_new_list(text, section, last, value)
    key, node = _found(root, name)
    start, end = node.start_mark.index, _end(node)
    if isinstance(value, list | tuple):
        return _with_list(text, key, node, list(value))
    new = "{}" if isinstance(value, Mapping) else _scalar(value)
    if isinstance(node, ScalarNode) or node.flow_style:
        return _in_place(text, start, end, new)
    return _on_line_of_key(text, key, end, new)


def _with_list(text: str, key: Node, node: Any, value: list[Any]) -> str:
    """Item by item where there are as many, so that comments behind them stay."""
    start, end = node.start_mark.index, _end(node)
    if isinstance(node, SequenceNode) and len(node.value) == len(value) and value:
        if not all(isinstance(item, ScalarNode) for item in node.value):
            raise UnwritableError("params.yaml has a list of lists where a list of values belongs; write it by hand.")
        for item, one in reversed(list(zip(node.value, value, strict=True))):
            if parsed(f"[{text[item.start_mark.index : item.end_mark.index]}]") != [one]:
                text = _in_place(text, item.start_mark.index, item.end_mark.index, _scalar(one))
        return text
    if not isinstance(node, SequenceNode) or node.flow_style:
        return _in_place(text, start, end, f"[{', '.join(map(_scalar, value))}]")
    if not value:
        return _on_line_of_key(text, key, end, "[]")
    between = _line_end(text) + " " * node.start_mark.column + "- "
    return text[:start] + "- " + between.join(map(_scalar, value)) + text[end:]


def _with_new_list(text: str, section: Any, name: str, value: Sequence[Any]) -> str:
    """Before all that a section says, on a line of its own or within the line."""
    start = section.value[0][0].start_mark
    between = ", " if section.flow_style else _line_end(text) + " " * start.column
    new = f"{_scalar(name)}: [{', '.join(map(_scalar, value))}]{between}"
    return text[: start.index] + new + text[start.index :]


def _in_place(text: str, start: int, end: int, new: str) -> str:
    """Another text there; a comment behind it keeps its column if it can."""
    if gap := re.match(r" +(?=#)", text[end:]):
        new = (new + " ").ljust(end - start + len(gap[0]))
        end += len(gap[0])
    return text[:start] + new + text[end:]


def _on_line_of_key(text: str, key: Node, end: int, new: str) -> str:
    """A block below its key becomes an empty value behind the key; a comment behind the key stays."""
    colon = text.index(":", key.end_mark.index) + 1
    line = text.index(_line_end(text), colon)
    return text[:colon] + f" {new}" + text[colon:line] + text[end:]


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _found(root: Any, name: str) -> tuple[Node, Any]:
    """The nodes of a key and its value."""
    node, key = root, root
    for part in name.split("."):
        there = _pairs(node)
        if part not in there:
            raise UnwritableError(f"params.yaml does not say '{name}' itself; write it by hand.")
        key, node = there[part]
    return key, node


def _pairs(node: Node) -> dict[str, tuple[Node, Any]]:
    """The nodes of the keys and values of a dictionary, by key."""
    pairs = node.value if isinstance(node, MappingNode) else []
    return {pair[0].value: pair for pair in pairs if isinstance(pair[0], ScalarNode)}


def _end(node: Any) -> int:
    """Where a value ends; what a block is followed by, comments and blank lines, is no part of it."""
    if isinstance(node, ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _scalars(node: Node) -> Iterable[ScalarNode]:
    if isinstance(node, ScalarNode):
        yield node
        return
    for inner in node.value:
        yield from _scalars(inner[1] if isinstance(inner, tuple) else inner)


def _scalar(value: Any) -> str:
    """A number or a word, quoted only where YAML would read it otherwise."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) and "e" not in repr(value) else f"{value:f}"
    if isinstance(value, int):
        return str(value)
    try:
        plain = parsed(f"[{value}]") == [value] and parsed(f"a: {value}") == {"a": value} and value == value.strip()
    except YAMLError:
        plain = False
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
