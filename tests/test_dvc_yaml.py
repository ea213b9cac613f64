"""dvc.yaml is a tested claim: DVC sees no import and no open(), so what it is told must be proven.

Three claims about each stage: its declared code is its import closure, its declared params sections are those that it
reads, and in a folder that holds nothing else it runs and writes its declared outs, and nothing else.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import shlex
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import Forked, run_alone
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
TRACKING = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages" / "tracking").glob("*.py")}
EXEMPT = TRACKING | {
    "stages/__init__.py",
    "hpcl/__init__.py",
    "hpcl/settings/__init__.py",
    "stages/_stage.py",
    "stages/_caller.py",
    "stages/_inputs.py",
    "stages/_outs.py",
    "stages/_help.py",
    "stages/_renamed.py",
    "hpcl/core/__init__.py",
    "hpcl/core/areas.py",
    "hpcl/core/artifacts.py",
}  # none changes a result
PACKAGES = ("hpcl", "stages")
COMMANDS = {
    "ablation",
    "budget",
    "trial",
    "compare",
    "compare_inference",
    "coregister_pair",
    "embed",
    "export",
    "inspect",
    "mend",
    "passport",
    "probe",
    "review",
    "verify",
}  # typed by hand, no stages
LAST = "track"  # declares whole folders and all parameters; tests/test_track.py runs it with a store


@dataclass(frozen=True)
class Stage:
    """One stage as DVC resolves it, matrix and templates included."""

    name: str
    command: str
    code: frozenset[str]
    data: tuple[str, ...]
    sections: frozenset[str]
    outs: tuple[str, ...]
    ablation: tuple[str, ...] = ()  # what it reads of ablation/params.yaml

    @property
    def module(self) -> str:
        return self.name.partition("@")[0]


def resolve(pipeline: Path, params: Mapping[str, Any], folder: Path) -> list[Stage]:
    """The stages of a dvc.yaml under these parameters, and those of its ablation, in the order in which DVC would run them."""
    shares = {folder: (pipeline, params)}
    if (pipeline.parent / "ablation").exists():
        shares[folder / "ablation"] = pipeline.parent / "ablation" / "dvc.yaml", tiny_ablation()
    for place, (file, values) in shares.items():
        (place / ".dvc").mkdir(parents=True)
        (place / ".dvc" / "config").write_text(f"[core]\n no_scm = true\n site_cache_dir = {place / '.dvc' / 'site'}\n")
        shutil.copy(file, place / "dvc.yaml")
        write_yaml(place / "params.yaml", values)
    return [stage for place in shares for stage in _resolved(place, folder)]


def _resolved(place: Path, root: Path) -> Iterator[Stage]:
    """The stages of the DVC repository at ``place``, their paths from ``root``."""
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    def from_root(path: str) -> str:
        return Path(os.path.normpath(place / path)).relative_to(root).as_posix()

    with warnings.catch_warnings(), Repo(str(place)) as repo:
        warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)  # pygtrie's, as DVC calls it
        for stage in plan_repro(repo.index.graph):
            read = {from_root(dep.def_path): tuple(dep.params) for dep in stage.deps if hasattr(dep, "params")}
            paths = [from_root(dep.def_path) for dep in stage.deps if not hasattr(dep, "params")]
            if read.get("params.yaml") == ():  # all of it
                read["params.yaml"] = tuple(read_yaml(place / "params.yaml"))
            code = {path for path in paths if path.partition("/")[0] in PACKAGES}
            yield Stage(
                stage.name,
                stage.cmd.removeprefix('cd .. && DVC_ROOT="$PWD" '),
                frozenset(code),
                tuple(path for path in paths if path not in code),
                frozenset(read.get("params.yaml", ())),
                tuple(from_root(out.def_path) for out in stage.outs),
                read.get("ablation/params.yaml", ()),
            )


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def write_yaml(path: Path, value: Any) -> None:
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(value, file)


def merged(base: Mapping[str, Any], over: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """``base`` with the values of ``over``; a name that ``base`` does not have is an error, null removes."""
    result = dict(base)
    for key, value in over.items():
        assert key in base, f"tests/tiny_params.yaml overrides {where}{key}, which params.yaml does not have"
        if value is None:
            del result[key]
        else:
            result[key] = merged(base[key], value, f"{where}{key}.") if isinstance(value, Mapping) else value
    return result


@functools.cache
def tiny_params() -> dict[str, Any]:
    return merged(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny_params.yaml"))


@functools.cache
def tiny_ablation() -> dict[str, Any]:
    """One row of the ablation, the one that needs the most, with a budget of seconds."""
    document: dict[str, Any] = read_yaml(ROOT / "ablation" / "params.yaml")
    tiny = {"run": ["boundary_without_toe"], "seeds": [0], "budget": {"epochs": 1, "steps_per_epoch": 2}}
    return document | tiny | {"labels": {"variants": ["stack"], "percent": [50]}}


@functools.cache
def stages_of_the_project() -> tuple[Stage, ...]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return tuple(resolve(ROOT / "dvc.yaml", tiny_params(), Path(folder) / "project"))


# --- what a stage's source says -----------------------------------------------------------------------------------


parsed = functools.cache(ast.parse)
"""By a file's text: most of our files belong to several stages."""


def imported(source: Path, root: Path) -> set[str]:
    """Our own modules that a file imports, anywhere in it, as paths."""
    names = set()
    package = source.relative_to(root).parent.parts
    for node in ast.walk(parsed(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = [".".join(package[: len(package) - node.level + 1])] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    names |= {
        ".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)
    }  # their packages
    candidates = {name.replace(".", "/") + ending for name in names for ending in (".py", "/__init__.py")}
    return {path for path in candidates if path.partition("/")[0] in PACKAGES and (root / path).exists()}


def closure(module: str, root: Path) -> set[str]:
    """All our own files that a stage's module leads to, itself included; the exempt ones are not followed."""
    found, todo = set(), {module}
    while todo:
        path = todo.pop()
        found.add(path)
        todo |= imported(root / path, root) - found - EXEMPT
    return found


def declared_as(code: set[str]) -> set[str]:
    """What dvc.yaml names for these files: a package of hpcl as a whole, any other file itself; so too each of the settings,
    of which a stage needs its own.

    >>> sorted(declared_as({"stages/ingest.py", "hpcl/ingest/raw.py", "hpcl/ingest/plan.py", "hpcl/scale.py"}))
    ['hpcl/ingest', 'hpcl/scale.py', 'stages/ingest.py']
    >>> sorted(declared_as({"hpcl/settings/tile.py"}))
    ['hpcl/settings/tile.py']
    """
    whole = {path for path in code if path.startswith("hpcl/") and not path.startswith("hpcl/settings/")}
    return (code - whole) | {"/".join(path.split("/")[:2]) for path in whole}


def sections_read(module: str, root: Path) -> set[str]:
    """Sections of params.yaml in the calls ``params("section", ...)`` of a stage's module and what it leads to."""
    trees = [parsed((root / path).read_text(encoding="utf-8")) for path in closure(module, root) - EXEMPT]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "params"]
    calls = [call for call in calls if "file" not in {keyword.arg for keyword in call.keywords}]
    names = {str(ast.literal_eval(call.args[0])) for call in calls}
    return {name for name in names if "." not in name or name.partition(".")[0] not in names}


# --- one stage alone ----------------------------------------------------------------------------------------------


class Bench:
    """Runs stages, each in a folder of its own that holds what it declares, and hands its outs to the next."""

    def __init__(self, root: Path, stages: tuple[Stage, ...], params: Mapping[str, Any], place: Path) -> None:
        self.root, self.params, self.place = root, params, place
        self.stages = {stage.name: stage for stage in stages}
        self.pool = place / "pool"  # outs of the stages that ran
        self.findings: dict[str, list[str]] = {}

    def run(self, name: str) -> list[str]:
        """What is wrong with a stage's declarations; stages that it needs run first, each once."""
        if name not in self.findings:
            stage = self.stages[name]
            broken = [f"not tried, as {other} failed" for other in self.needed(stage) if self.run(other)]
            self.findings[name] = broken or list(self.trial(stage))
        return self.findings[name]

    def needed(self, stage: Stage) -> list[str]:
        def under(path: str, folder: str) -> bool:
            return Path(path).is_relative_to(folder)

        return [
            other.name
            for other in self.stages.values()
            if any(under(out, dep) or under(dep, out) for out in other.outs for dep in stage.data)
        ]

    def trial(self, stage: Stage) -> Iterator[str]:
        folder = self.place / stage.name
        code = EXEMPT | (stage.code - set(PACKAGES))
        for path in sorted(code):
            copy(self.root / path, folder / path)
        for package in stage.code & set(PACKAGES):
            shutil.copytree(self.root / package, folder / package, dirs_exist_ok=True)
        for path in stage.data:
            made = (self.pool / path).exists()
            copy((self.pool if made else self.root) / path, folder / path)  # some data is part of the project
        write_yaml(folder / "params.yaml", parts(self.params, stage.sections))
        if stage.ablation:
            part = {name: tiny_ablation()[name] for name in stage.ablation if "." not in name}
            part["variants"] = {
                name[9:]: tiny_ablation()["variants"][name[9:]] for name in stage.ablation if name[:9] == "variants."
            }
            (folder / "ablation").mkdir(exist_ok=True)
            write_yaml(folder / "ablation" / "params.yaml", part)
        before = content(folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "PYTHON"))}
        # Checkpoints are no outs: they go to DVC's root, which is elsewhere.
        environment |= {"DVC_ROOT": str(self.place / "dvc_root"), "HPCL_TRACK": "off", "OMP_NUM_THREADS": "1"}
        _, _, module, *arguments = shlex.split(stage.command)
        said, status = Forked(run_alone, module, arguments, folder=folder, environment=environment).end()
        if status:
            yield f"it fails with nothing but its declared inputs: {said[-2000:]}"
            return
        after = content(folder)
        yield from (f"it changed its input {path}" for path in before if after.get(path) != before[path])
        made = set(after) - set(before)
        for out in stage.outs:
            if not (folder / out).exists():
                yield f"it did not write its declared out {out}"
        for path in sorted(made):
            if not any(Path(path).is_relative_to(out) for out in stage.outs):
                yield f"it wrote {path}, which it does not declare"
        for out in stage.outs:
            if (folder / out).exists():
                copy(folder / out, self.pool / out)


def parts(params: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Only these sections, or parts of sections by their dotted names.

    >>> parts({"a": {"b": 1, "c": 2}, "d": 3}, frozenset({"a.b", "d"}))
    {'a': {'b': 1}, 'd': 3}
    """
    found: dict[str, Any] = {}
    for name in sorted(names):
        *path, last = name.split(".")
        source, target = params, found
        for key in path:
            source, target = source[key], target.setdefault(key, {})
        target[last] = source[last]
    return found


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


# --- the claims ---------------------------------------------------------------------------------------------------


def modules() -> dict[str, Stage]:
    return {stage.module: stage for stage in stages_of_the_project()}


@pytest.mark.parametrize("module", sorted(set(modules()) - {LAST}))
def test_declared_code_is_the_import_closure(module: str) -> None:
    assert modules()[module].code == declared_as(closure(f"stages/{module}.py", ROOT) - EXEMPT)


@pytest.mark.parametrize("module", sorted(set(modules()) - {LAST}))
def test_declared_params_are_those_that_are_read(module: str) -> None:
    assert modules()[module].sections == sections_read(f"stages/{module}.py", ROOT)


def test_the_last_stage_depends_on_everything() -> None:
    """It completes the run in MLflow, so it must run whenever code, a parameter or a result is new."""
    last = modules()[LAST]
    assert set(PACKAGES) <= last.code
    assert last.sections == set(tiny_params())
    results = {out for stage in stages_of_the_project() for out in stage.outs if out.startswith("reports/")}
    results |= {"data/model"}
    assert [out for out in sorted(results) if not any(Path(out).is_relative_to(dep) for dep in last.data)] == []
    assert last.outs == (), "an out would let DVC serve it from the run cache"


def test_every_stage_file_is_a_stage() -> None:
    assert set(modules()) == {path.stem for path in (ROOT / "stages").glob("[!_]*.py")} - COMMANDS
    for stage in stages_of_the_project():
        assert shlex.split(stage.command)[:3] == ["python", "-m", f"stages.{stage.module}"]


def test_no_import_hides_from_the_closure() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names = {
                getattr(node, "attr", getattr(node, "id", ""))
                for node in ast.walk(parsed(path.read_text(encoding="utf-8")))
            }
            assert not names & {"import_module", "__import__", "run_module", "run_path", "exec"}, path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(ROOT, stages_of_the_project(), tiny_params(), tmp_path_factory.mktemp("bench"))


@pytest.mark.xdist_group("hermetic")  # each stage feeds the next
@pytest.mark.parametrize("name", [stage.name for stage in stages_of_the_project()])
def test_stage_runs_on_its_declared_inputs_alone(name: str, bench: Bench) -> None:
    findings = bench.run(name)
    assert not findings, "\n".join(findings)


# --- and the proofs that these tests can fail ---------------------------------------------------------------------

TOY = """
stages:
  make:
    matrix: {area: "${areas}"}
    cmd: python -m stages.make ${item.area}
    deps: [stages/make.py, hpcl/arith.py]
    params: [make]
    outs: ["data/made/${item.area}.txt"]
  read:
    cmd: python -m stages.read
    deps: [stages/read.py, data/made]
    params: [areas]
    outs: [data/sum.txt]
"""
MAKE = """
from pathlib import Path
from stages._stage import params, run
def main(area: str) -> None:
    from hpcl import arith
    factor = params("make", dict[str, int])["factor"]
    Path("data/made").mkdir(parents=True, exist_ok=True)
    Path(f"data/made/{area}.txt").write_text(str(arith.twice(factor)))
if __name__ == "__main__":
    run(main)
"""
READ = """
from pathlib import Path
from stages._stage import params, run
def main() -> None:
    total = sum(int(Path(f"data/made/{area}.txt").read_text()) for area in params("areas", list[str]))
    Path("data/sum.txt").write_text(str(total))
if __name__ == "__main__":
    run(main)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    for path in EXEMPT:
        copy(ROOT / path, root / path)
    (root / "dvc.yaml").write_text(TOY)
    (root / "stages" / "make.py").write_text(MAKE)
    (root / "stages" / "read.py").write_text(READ)
    (root / "hpcl" / "arith.py").write_text("from hpcl.deep import two\ndef twice(x): return two * x\n")
    (root / "hpcl" / "deep.py").write_text("two = 2\n")
    return root


def toy_bench(toy: Path, old: str = "", new: str = "") -> Bench:
    if old:
        assert old in TOY
        (toy / "dvc.yaml").write_text(TOY.replace(old, new))
    params = {"areas": ["a", "b"], "make": {"factor": 3}}
    return Bench(toy, tuple(resolve(toy / "dvc.yaml", params, toy / "project")), params, toy / "bench")


def test_closure_goes_deep_and_sees_imports_in_functions(toy: Path) -> None:
    assert closure("stages/make.py", toy) == {"stages/make.py", "hpcl/arith.py", "hpcl/deep.py"}
    (toy / "hpcl" / "arith.py").write_text("from .deep import two\nfrom . import other\n")
    (toy / "hpcl" / "other.py").write_text("")
    assert closure("stages/make.py", toy) == {"stages/make.py", "hpcl/arith.py", "hpcl/deep.py", "hpcl/other.py"}
    assert sections_read("stages/make.py", toy) == {"make"}


def test_bench_finds_a_missing_dependency_and_passes_what_is_right(toy: Path) -> None:
    bench = toy_bench(toy)
    assert list(bench.stages) == ["make@a", "make@b", "read"]
    assert "hpcl.deep" in bench.run("make@a")[0]
    shutil.rmtree(toy / "bench")
    shutil.rmtree(toy / "project")
    bench = toy_bench(toy, "hpcl/arith.py", "hpcl/arith.py, hpcl/deep.py")
    assert bench.run("read") == []
    assert (bench.pool / "data" / "sum.txt").read_text() == "12"


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("data/made]", "data/made/a.txt]", "No such file"),
        ("params: [areas]", "params: [make]", "no section 'areas'"),
        ("outs: [data/sum.txt]", "outs: [data/total.txt]", "did not write its declared out data/total.txt"),
        ("outs: [data/sum.txt]", "outs: [data/total.txt]", "wrote data/sum.txt, which it does not declare"),
    ],
)
def test_bench_finds_false_declarations(toy: Path, old: str, new: str, finding: str) -> None:
    (toy / "hpcl" / "arith.py").write_text("def twice(x): return 2 * x\n")
    assert any(finding in sentence for sentence in toy_bench(toy, old, new).run("read"))


def test_bench_finds_a_changed_input(toy: Path) -> None:
    (toy / "hpcl" / "arith.py").write_text("def twice(x): return 2 * x\n")
    spoil = READ.replace("    Path(", '    Path("data/made/a.txt").write_text("0")\n    Path(')
    (toy / "stages" / "read.py").write_text(spoil)
    assert toy_bench(toy).run("read") == ["it changed its input data/made/a.txt"]


def test_overrides_must_exist() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3, "c": None}, "d": [2]}) == {"a": {"b": 3}, "d": [2]}
    with pytest.raises(AssertionError, match=r"overrides a\.x"):
        merged({"a": {"b": 1}}, {"a": {"x": 1}})
