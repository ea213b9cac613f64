"""Every sentence with which the project refuses something, as Markdown, read from the code that raises it; nothing of it runs.

What is known only when it happens stands as a variable, or in capitals within a command.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasterio.errors import RasterioError

from hpcl.ingest import remedies

Trees = Mapping[str, ast.Module]
"""Code by its path from the root of the project."""

GROUPS = {
    "Set-up": ("stages/_packages.py",),
    "Names and parameters": (
        "hpcl/core/areas.py", "hpcl/scale.py", "hpcl/settings/", "stages/_params_file.py", "stages/_stage.py", "stages/inspect.py",
    ),
    "Raw files and outlines": ("hpcl/ingest/",),
    "A mapper's answers": ("hpcl/page/", "stages/review.py"),
    "Files that a stage left": ("hpcl/core/artifacts.py", "hpcl/geo/", "hpcl/report/"),
    "DEM and terrain": ("hpcl/coregister/", "hpcl/terrain.py"),
    "Folds and tiles": ("hpcl/tiles/",),
    "Training": ("hpcl/baselines.py", "hpcl/networks/", "hpcl/training/", "stages/_train.py"),
    "Mapping": ("hpcl/inference/", "hpcl/raster_scene.py"),
    "Operating points and outlines": ("hpcl/calibration/", "hpcl/outline/"),
    "Scores, and comparing them": ("hpcl/metrics/", "stages/evaluate.py", "stages/explain.py", "stages/tracking/earlier.py"),
    "Embeddings": ("hpcl/embedding/", "stages/embed.py", "stages/probe.py"),
    "Export": ("hpcl/export/", "stages/export.py"),
    "The ablation": (
        "hpcl/ablation/", "stages/_ablation.py", "stages/_trainings.py", "stages/ablation.py", "stages/budget.py", "stages/trial.py",
    ),
    "Runs, and edits while they run": ("stages/_inputs.py", "stages/_outs.py", "stages/tracking/"),
    "Synthetic areas": ("hpcl/synth/",),
}  # fmt: skip
"""Headings of the page, and the files whose sentences stand below each; the first that fits counts."""
MANY = 6
"""Stages and commands that may say a sentence; more of them are not listed."""
FEWEST = 3
"""Words of a sentence's own: with fewer it is put together of findings, one for each parameter, say, and shows nothing here."""
_OPEN, _CLOSE = "\ue000", "\ue001"  # around what is known only when it happens


@dataclass(frozen=True)
class Refusal:
    """One sentence, in Markdown: where it is raised, what is wrong, and what to do (empty if that goes without saying)."""

    path: str
    wrong: str
    remedy: str


def code(root: Path) -> Trees:
    """The library and the stages."""
    return {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for folder in ("hpcl", "stages")
        for path in sorted((root / folder).rglob("*.py"))
    }


def markdown(trees: Trees) -> str:
    """All sentences below their headings, each file's with what the file is about and the stages that may say them.

    Raises `KeyError` for a file without a heading.
    """
    below: dict[str, dict[str, list[Refusal]]] = {heading: {} for heading in GROUPS}
    for one in refusals(trees):
        below[_heading(one.path)].setdefault(one.path, []).append(one)
    commands = _commands(trees)
    lines = []
    for heading, files in below.items():
        lines += ["", f"## {heading}"]
        for path, found in files.items():
            lines += ["", f"{_about(trees[path])}{_said_by(path, commands)}", ""]
            lines += [f"- {one.wrong}{one.remedy and f'; **{one.remedy}**'}" for one in found]
    return "\n".join([*lines, ""])


def refusals(trees: Trees) -> list[Refusal]:
    """All sentences, each once, by file and line."""
    own = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = []
    for path, tree in trees.items():
        for function, call in _raised(tree, tree):
            error = own.get(ast.unparse(call.func))
            if error and call.args:
                text = _Text(trees, tree, function).of(_message(call, error))
                if len(re.findall(r"\w+", re.sub(f"{_OPEN}.*?{_CLOSE}", "", text))) >= FEWEST:
                    wrong, _, remedy = _as_markdown(text).partition("; ")
                    found.append(Refusal(path, wrong, remedy))
    return list(dict.fromkeys(found))


def _heading(path: str) -> str:
    for heading, prefixes in GROUPS.items():
        if path.startswith(prefixes):
            return heading
    raise KeyError(f"{path} refuses something and stands below no heading; name it in GROUPS.")


def _about(tree: ast.Module) -> str:
    """The first sentence of a module's docstring."""
    text = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
    sentence = _as_markdown(re.split(r"(?<=[a-z`)])\. ", text)[0])
    return sentence if sentence.endswith("?") else f"{sentence}."


def _said_by(path: str, commands: Mapping[str, set[str]]) -> str:
    names = [name for name, files in commands.items() if path in files]
    return f" ({', '.join(f'`{name}`' for name in names)})" if 0 < len(names) <= MANY else ""


def _commands(trees: Trees) -> dict[str, set[str]]:
    """The files that each stage or command leads to, by its name."""
    imported = {path: _imported(tree, trees) for path, tree in trees.items()}
    found = {}
    for path in trees:
        if re.fullmatch(r"stages/[a-z]\w*\.py", path):
            files, todo = set[str](), {path}
            while todo:
                files |= todo
                todo = {name for file in todo for name in imported[file]} - files
            found[Path(path).stem] = files
    return found


def _imported(tree: ast.Module, trees: Trees) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    stems = {name.replace(".", "/") for name in names}
    return {file for stem in stems for file in (f"{stem}.py", f"{stem}/__init__.py") if file in trees}


def _raised(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Calls that are raised, each with the function that it stands in, in the order of the file."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            yield scope, child.exc
        yield from _raised(child, child if isinstance(child, ast.FunctionDef) else scope)


def _message(call: ast.Call, error: ast.ClassDef) -> ast.expr:
    """What is said: the argument, or what the class itself makes of it."""
    for node in ast.walk(error):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__" and _is_text(node.args[0]):
            return node.args[0]
    return call.args[0]


class _Text:
    """What expressions of one function say."""

    def __init__(self, trees: Trees, tree: ast.Module, function: ast.AST) -> None:
        constants = _assigned(tree.body)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                there = trees.get(f"{node.module.replace('.', '/')}.py")
                constants |= _assigned(there.body) if there else {}
        constants = {name: values for name, values in constants.items() if name.isupper()}
        given = constants | _assigned(ast.walk(function))
        self.texts = {name: values for name, values in given.items() if all(map(_is_text, values))}

    def of(self, node: ast.expr) -> str:
        """The text, with `_OPEN` and `_CLOSE` around names of what it is filled with."""
        match node:
            case ast.Constant(value=value) | ast.Call(func=ast.Name(id="Path"), args=[ast.Constant(value=value)]):
                return str(value)
            case ast.JoinedStr(values=parts):
                return "".join(map(self.of, parts))
            case ast.FormattedValue(value=value):
                return self.of(value)
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Name() | ast.Constant(value=str()) as right):
                return f"{self.of(left)}/{self.of(right)}"
            case ast.BinOp(left=ast.Constant() | ast.JoinedStr() as left, op=ast.Add(), right=right):
                return self.of(left) + self.of(right)
            case ast.IfExp(body=body, orelse=other):
                either = [text for text in (self.of(body), self.of(other)) if text]
                return " / ".join(either) if len(either) > 1 else f" [{either[0].strip()}]"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="remedies"), attr=command), args=given):
                return _command(command, given)
            case ast.Call(func=func) if ast.unparse(func).endswith("remedy"):
                return "restore it or make it again, with the commands that are printed"
            case ast.Name(id=name) if name in self.texts:
                return " / ".join(filter(None, map(self.of, self.texts[name])))
        return f"{_OPEN}{_name(node)}{_CLOSE}"


def _command(command: str, given: Sequence[ast.expr]) -> str:
    """A command of `hpcl.ingest.remedies` as it is printed, with names in capitals for what it is filled with."""
    function = getattr(remedies, command)
    _, *kinds = reversed(function.__annotations__.values())  # less that of what it returns
    kinds = [*reversed(kinds), *[kinds[0]] * len(given)]  # the last may be a row of them
    values = [
        node.value
        if isinstance(node, ast.Constant)
        else {"Path": Path, "float": _Number, "str": str}[kind](_name(node).upper())
        for node, kind in zip(given, kinds, strict=False)
    ]
    try:
        return str(function(*values))
    except RasterioError:  # it looks into the file
        return "the command that is printed"


class _Number(float):
    """A number that is written as a name."""

    name: str

    def __new__(cls, name: str) -> _Number:
        number = super().__new__(cls, 1.0)
        number.name = name
        return number

    def __format__(self, spec: str) -> str:
        return self.name


def _assigned(nodes: Iterator[ast.AST] | Sequence[ast.AST]) -> dict[str, list[ast.expr]]:
    """What names are given."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found.setdefault(ast.unparse(target), []).append(node.value)
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr | ast.Constant) or ast.unparse(node).startswith(("Path(", "remedies."))


def _name(node: ast.expr) -> str:
    """What to call a value: by the last name in what it comes from."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Constant(value=value):
            return str(value)
        case ast.Call(func=ast.Name(id="len")):
            return "number"
        case ast.Call(func=ast.Name(id="map" | "filter"), args=[_, inner]) | ast.Call(args=[inner, *_]):
            return _name(inner)
        case ast.Call(func=ast.Attribute(value=ast.Call() as inner)) | ast.Call(func=inner):
            return _name(inner)
        case ast.BinOp(left=ast.Constant(), right=inner) | ast.BinOp(left=inner) | ast.BoolOp(values=[inner, *_]):
            return _name(inner)
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            return key
        case (
            ast.Subscript(value=inner)
            | ast.Starred(value=inner)
            | ast.GeneratorExp(elt=inner)
            | ast.ListComp(elt=inner)
        ):
            return _name(inner)
    return next(_name(inner) for inner in ast.walk(node) if isinstance(inner, ast.Name | ast.Attribute))


def _as_markdown(text: str) -> str:
    """Variables as such outside of backticks, in capitals within."""
    parts = text.removesuffix(".").replace(_CLOSE + _OPEN, f"{_CLOSE} {_OPEN}").split("`")
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = re.sub(f"{_OPEN}(.*?){_CLOSE}", lambda found: found[1].upper(), part)
        else:
            spaced = re.sub(f"(?<=[\\w')]){_OPEN}(?=[^{_CLOSE}]*{_CLOSE}(?!'))", f" {_OPEN}", part)
            words = re.sub(f"{_OPEN}.*?{_CLOSE}", lambda found: found[0].replace("_", " "), spaced)
            escaped = re.sub(r"([\\*_<>\[\]|])", r"\\\1", words)
            parts[i] = escaped.replace(_OPEN, "<var>").replace(_CLOSE, "</var>")
    return "`".join(parts)
