"""What a stage says of itself (``--help``): from its docstrings, and from dvc.yaml what it reads, writes and depends on."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages._inputs import pipeline_of, section_of

COST = {
    "check": "seconds", "survey": "seconds", "synthesize": "seconds", "ingest": "seconds, minutes for a large scene",
    "coregister": "seconds, minutes for a large scene", "terrain": "seconds, minutes for a large scene",
    "tile": "seconds, minutes for a large scene",
    "train": "minutes to hours for each fold; it says so after ten steps and goes on where it was stopped",
    "baselines": "seconds, minutes for a large scene",
    "predict": "one to two passes of a network over ground in folds, one of each elsewhere (eight times that with inference.tta: d4)",
    "calibrate": "seconds, minutes for a large scene",
    "outline": "seconds, minutes for a large scene", "evaluate": "seconds", "explain": "seconds", "illustrate": "seconds",
    "report": "seconds",
    "audit": "seconds, minutes for thousands of landslides",
    "page": "seconds, a minute for large scenes", "track": "seconds",
    "train_variant": "as `train`", "score_variant": "as `predict`, over all labelled areas", "share_labels": "seconds",
    "train_share": "as `train`", "score_share": "as `predict`, over all labelled areas",
}  # fmt: skip
"""What a stage takes; docs/benchmarks.md has figures."""


def modules() -> dict[str, Path]:
    """The files that run as ``python -m stages.<name>``, by name: a module each, or the ``__main__`` of a package."""
    here = Path(__file__).parent
    return {path.stem: path for path in here.glob("[a-z]*.py")} | {
        path.parent.name: path for path in here.glob("[a-z]*/__main__.py")
    }


def docstrings(stage: str) -> tuple[str, str]:
    """Those of the module and of its ``main``; nothing is imported."""
    tree = ast.parse(modules()[stage].read_text(encoding="utf-8"))
    main = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"), None)
    return ast.get_docstring(tree) or "", (main and ast.get_docstring(main)) or ""


def text(stage: str, arguments: Sequence[str]) -> str:
    """The whole help of one stage."""
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description="\n\n".join(part for part in docstrings(stage) if part),
        epilog="\n".join(_declared(stage)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name in arguments:
        what = "name of an area, a folder in data/raw" if name == "area" else None
        parser.add_argument(name, help=what)
    return parser.format_help()


def _declared(stage: str) -> Iterator[str]:
    body = section_of(pipeline_of(stage), f"stages.{stage}")
    if not body:
        return
    body = body.get("do", body)
    entries = {
        kind: [_name(entry) for entry in body.get(kind, [])] for kind in ("deps", "params", "outs", "metrics", "plots")
    }
    yield f"reads:   {', '.join(path for path in entries['deps'] if path.startswith(('data/', '../data/', 'reports/'))) or 'nothing'}"
    yield f"params:  {', '.join(entries['params']) or 'none'}"
    yield f"writes:  {', '.join([*entries['outs'], *entries['metrics'], *entries['plots']])}"
    yield f"takes:   {COST[stage]}"


def _name(entry: object) -> str:
    name = next(iter(entry)) if isinstance(entry, dict) else str(entry)
    for template, shown in {
        "${item.area}": "<area>",
        "${key}": "<area>",
        "${item.variant}": "<variant>",
        "${item.seed}": "<seed>",
        "${item.percent}": "<percent>",
    }.items():
        name = name.replace(template, shown)
    return name
