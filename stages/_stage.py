"""What every stage shares: strict parameters, one-sentence errors, progress, JSON that is equal when its facts are."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml.error import YAMLError
from tqdm import tqdm

from hpcl.core import areas
from stages import _help, _renamed
from stages._inputs import Inputs, parsed
from stages._outs import protected
from stages.tracking import execution

T = TypeVar("T")
PARAMS = Path("params.yaml")
LOG_EVERY_S = 10.0

_inputs: list[Inputs] = []  # of the stage that this process is
_drafts: dict[Path, str] = {}  # texts that stand for parameter files


class ParameterError(ValueError):
    """params.yaml does not say what a stage needs to know."""


def params(section: str, record: type[T], over: Mapping[str, Any] | None = None, file: Path = PARAMS) -> T:
    """The section of params.yaml as a ``record``; unknown, missing and mistyped keys are refused by name.

    YAML 1.2 as DVC reads it, so ``3e-4`` is a number and ``off`` a word in both. ``over`` is laid over the section:
    dictionaries merge.
    """
    given = _document(file)
    if old := _renamed.findings(given):
        raise ParameterError(f"{file}: {'; '.join(old)}.")
    for name in section.split("."):
        if not isinstance(given, Mapping) or name not in given:
            there = given if isinstance(given, Mapping) else {}
            hint = _nearest(name, there) or f"; there are {', '.join(map(str, there))}."
            raise ParameterError(f"{file} has no section '{section}'{hint}")
        given = given[name]
    if _inputs:
        _inputs[-1].note(file, section, given)
    given = given if over is None else merged(given, over)
    try:
        return TypeAdapter(record).validate_json(json.dumps(given, default=str))  # YAML has dates, JSON has none
    except ValidationError as error:
        raise ParameterError(_sentence(section, given, error, file)) from error


@contextmanager
def drafted(text: str, file: Path = PARAMS) -> Iterator[None]:
    """Let `params` read ``text`` in place of the file: what a stage would say of it is known before it is written."""
    _drafts[file] = text
    try:
        yield
    finally:
        del _drafts[file]


def _document(file: Path) -> Any:
    try:
        return parsed(_drafts[file] if file in _drafts else file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ParameterError(f"{file} does not exist here; run the stage from the root of the project.") from error
    except YAMLError as error:
        where = " ".join(str(error).split()).replace('"<unicode string>"', str(file))
        raise ParameterError(f"{file} is not YAML: {where}") from error


def merged(base: Any, over: Any) -> Any:
    """``over`` laid over ``base``: dictionaries merge, anything else is replaced."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _sentence(section: str, given: Any, error: ValidationError, file: Path) -> str:
    """All findings of pydantic about one section, as one sentence."""
    details = error.errors(include_url=False)
    missing = [str(d["loc"][-1]) for d in details if d["type"] in ("missing", "missing_argument")]
    findings = []
    for detail in details:
        key = ".".join(str(part) for part in (section, *detail["loc"]))
        cause = detail.get("ctx", {}).get("error")
        said = detail["msg"].removeprefix("Value error, ")
        if isinstance(cause, areas.AreaNameError):
            findings.append(f"{file}: {str(cause).removesuffix('.')}")
        elif "unexpected" in detail["type"] or detail["type"] == "extra_forbidden":
            findings.append(f"{file}: unknown parameter '{key}'{_nearest(str(detail['loc'][-1]), missing)}")
        elif detail["type"].startswith("missing"):
            findings.append(f"{file}: parameter '{key}' is missing")
        else:
            findings.append(f"{file}: '{key}' is {detail['input']!r}, but {said[0].lower()}{said[1:]}")
    return "; ".join(findings) + "."


def run(main: Callable[..., None]) -> None:
    """Run a stage: arguments from ``main``'s signature, tracked as one execution, errors of ours as one sentence.

    An exception class that this project defines is a sentence for its user; any other is a bug and keeps its traceback.
    """
    stage = Path(inspect.getfile(main)).stem
    names = list(inspect.signature(main).parameters)
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(_help.text(stage, names), end="")
        return
    # `--area x` for `x` is how DVC hands over an item of a matrix, quoted for the shell.
    given = [argument for argument in sys.argv[1:] if argument not in {f"--{name}" for name in names}]
    if len(given) != len(names):
        sys.exit(f"usage: python -m stages.{stage} {' '.join(f'<{name}>' for name in names)}".rstrip())
    with sentences(stage):
        _check_areas(dict(zip(names, given, strict=True)))
        with execution.recorded(stage, *given):
            _inputs.append(Inputs(stage, tuple(given)))
            with protected(stage, tuple(given)):
                main(*given)
                check_inputs()


@contextmanager
def sentences(stage: str) -> Iterator[None]:
    """End the process with one sentence where an error of ours stops it; any other error is a bug and keeps its traceback."""
    # Line by line, so that a log follows a long stage.
    # Names in any script, on a terminal of any encoding.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # stdout is a TextIOWrapper in a process of our own
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        yield
    except KeyboardInterrupt:
        print(f"{stage}: stopped by hand; what is not finished was not kept.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("hpcl", "stages", "__main__"):  # which the stage itself is
            raise
        sys.exit(f"{stage}: {error}")


def _check_areas(arguments: Mapping[str, str]) -> None:
    """Refuse a bad name of an area, given to this stage or listed for any, before a path is made of it.

    Every stage looks at the whole list, declared or not: it only refuses, and the tracker reads each area's folder.
    """
    if "area" in arguments:
        areas.checked(arguments["area"])
    if PARAMS.exists() and "areas" in _document(PARAMS):
        params("areas", areas.Names)


def check_inputs() -> None:
    """Raise `EditedError` if DVC would note other parameters, code or data than this stage began with."""
    if _inputs:
        _inputs[-1].check()


def progress(label: str) -> Callable[[int, int], None]:
    """A hook ``(done, total)``: a bar on a terminal, in a log a plain line every ten seconds."""
    if sys.stderr.isatty():
        bar = tqdm(desc=label, leave=False)

        def draw(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done >= total:
                bar.close()

        return draw

    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= LOG_EVERY_S:
            told = time.monotonic()
            print(f"{label}: {done}/{total}")

    return tell
