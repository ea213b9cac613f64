"""DVC's own commands, as a user types them: on a fresh clone, after a run, and after the ablation.

The pipelines are the project's, dvc.yaml and ablation/dvc.yaml; what they run is not: a `python` of ours writes the outs that
a stage declares, with its parameters as their content, within milliseconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_dvc_yaml import ROOT

STAND_IN = """\
import json, os, re, sys
from pathlib import Path
from ruamel.yaml import YAML
stage, arguments = sys.argv[1].removeprefix("stages."), [word for word in sys.argv[2:] if word[:2] != "--"]
read = lambda path: YAML(typ="safe", pure=True).load(Path(path))
folder = Path("ablation") if re.search("_variant$|_share$|^share_", stage) else Path(".")
body = read(folder / "dvc.yaml")["stages"][stage]
body = body.get("do", body)
params = read("params.yaml")
sections = [name.partition(".")[0] for name in body.get("params", []) if isinstance(name, str)]
content = json.dumps([stage, arguments, {name: params[name] for name in sections}], sort_keys=True)
for entry in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
    out = entry if isinstance(entry, str) else next(iter(entry))
    values = iter(arguments)
    path = folder / re.sub(r"\\$\\{[^}]+\\}", lambda match: next(values), out)
    if not path.suffix:
        path = path / "content.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    number = {"score": float(params["train"]["learning_rate"])}
    folder_content = json.dumps([number, content])
    table = "epoch,loss\\n0,1\\n"
    path.write_text({".csv": table}.get(path.suffix, folder_content if path.name == "content.json" else json.dumps(number)))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what git tracks here, uncommitted changes included, with a stand-in for python on its PATH."""
    place = tmp_path_factory.mktemp("commands")
    clone, bin_ = place / "clone", place / "bin"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    bin_.mkdir()
    (bin_ / "stand_in.py").write_text(STAND_IN)
    (bin_ / "python").write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "{bin_}/stand_in.py" "$@"\n')
    (bin_ / "python").chmod(0o755)
    git = ["git", "-c", "user.name=mapper", "-c", "user.email=mapper@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "a fresh clone"]):
        subprocess.run([*git, *arguments], cwd=clone, check=True)
    for name, value in {"user.name": "mapper", "user.email": "mapper@example.org"}.items():
        subprocess.run(["git", "config", name, value], cwd=clone, check=True)
    origin = place / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(clone), str(origin)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(origin)], cwd=clone, check=True)
    for settings in (clone / ".dvc", clone / "ablation" / ".dvc"):
        (settings / "config.local").write_text(
            f"[core]\n    site_cache_dir = {settings / 'site_cache'}\n    remote = storage\n"
            f"['remote \"storage\"']\n    url = {place / 'storage'}\n"
        )
    return clone


@pytest.fixture(scope="module")
def typed(clone: Path) -> Callable[..., str]:
    """Run a command in the clone as a user would; it must succeed, and what it says is returned."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    binaries = [str(clone.parent / "bin"), str(Path(sys.executable).parent), environment["PATH"]]
    environment |= {"PATH": os.pathsep.join(binaries), "HPCL_TRACK": "off"}

    def typed(line: str, folder: str = ".") -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=clone / folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    return typed


@pytest.mark.xdist_group("dvc_commands")
class TestCommands:
    """In this order: each test leaves the clone to the next."""

    def test_on_a_fresh_clone(self, typed: Callable[..., str]) -> None:
        status = typed("dvc status")
        assert "_variant@" not in status
        stages = re.findall(r"(?m)^\S+:$", status)
        assert len(status.splitlines()) < 25 * len(stages)  # what each reads and writes, and nothing beside it
        for line in ("dvc exp show --csv", "dvc params diff", "dvc dag"):
            typed(line)

    def test_a_run_is_kept_and_shared(self, typed: Callable[..., str]) -> None:
        typed("dvc repro")
        assert "up to date" in typed("dvc status")
        typed('git add -A && git commit -qm "first results"')
        for line in (
            "dvc checkout",
            "dvc push",
            "dvc metrics show",
            "dvc metrics diff",
            "dvc plots show --json",
            "dvc exp show",
        ):
            typed(line)

    def test_an_edit_runs_again_what_it_touches_and_nothing_else(self, typed: Callable[..., str], clone: Path) -> None:
        def ran_after(file: str, old: str, new: str) -> set[str]:
            text = (clone / file).read_text()
            assert old in text
            (clone / file).write_text(text.replace(old, new, 1))
            said = typed("dvc repro")
            return {name.partition("@")[0] for name in re.findall(r"Running stage '([^']+)'", said)} - {"track"}

        # `check` reads all of params.yaml and writes the same bytes as before.
        assert ran_after("params.yaml", "minimum_area_m2: 400", "minimum_area_m2: 900") == {
            "check",
            "outline",
            "evaluate",
            "audit",
            "report",
            "page",
        }
        assert ran_after("hpcl/report/page.css", "margin: 0;", "margin: 1px;") == {"illustrate", "report"}
        ablation = YAML(typ="safe").load(ROOT / "ablation/dvc.yaml")["stages"]
        assert "outline" not in str([stage["params"] for stage in ablation.values()])
        for training in ("train_variant", "train_share"):
            read = str([ablation[training][what] for what in ("deps", "params")])  # scoring costs no training
            assert not [
                name
                for name in ("hpcl/ablation", "inference", "metrics", "windows", "evaluate", "score")
                if name in read
            ]
        assert "'inference'" in str(ablation["score_variant"]["params"])
        typed('git commit -qam "other outlines and another page"')

    @pytest.mark.parametrize(
        ("after_the_ablation", "changed"),
        [(False, "train.learning_rate=0.01"), (True, "report.dpi=120")],  # from training on, and the report alone
    )
    def test_experiments_are_run_compared_applied_and_shared(
        self, typed: Callable[..., str], clone: Path, after_the_ablation: bool, changed: str
    ) -> None:
        if after_the_ablation:
            typed("dvc repro train_variant@hpcl_net-0 score_variant@hpcl_net-0", "ablation")
            assert (clone / "ablation/results/hpcl_net-0.json").exists()
            typed("dvc repro share_labels score_share@10-1-hpcl_net", "ablation")
            assert (clone / "ablation/shares/10-1/results/hpcl_net.json").exists()
            assert (clone / "ablation/shares/50-0/labels").exists()
            typed("git add -A && git commit -qm 'one training of the ablation' --allow-empty")
        name = f"wide{int(after_the_ablation)}"
        typed(f"dvc exp run -n {name} -S {changed}")
        assert name in typed("dvc exp show --only-changed --csv")
        for line in ("dvc exp diff", "dvc params diff", "dvc metrics diff", "git stash -q && dvc checkout"):
            typed(line)
        typed(f"dvc exp apply {name} && git add -A && git commit -qm 'keep {name}'")
        section, _, parameter = changed.partition(".")
        key, _, value = parameter.partition("=")
        assert YAML(typ="safe").load(clone / "params.yaml")[section][key] == float(value)
        if not after_the_ablation:
            typed(f"dvc exp run --queue -S {changed}1")
            typed("dvc queue status")
            typed("dvc queue remove --all")
            typed(f"dvc exp branch {name} {name}-branch")
            typed(f"dvc exp push origin {name}")
        assert "up to date" in typed("dvc status")
        for line in (
            "dvc push",
            "rm -rf data/tiles .dvc/cache && dvc pull",
            *([] if after_the_ablation else ["dvc gc -f --all-commits --all-experiments"]),
        ):
            typed(line)
        assert (clone / "data/tiles/content.json").exists()
