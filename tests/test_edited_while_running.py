"""What is edited while a stage runs must not be noted for its result: parameters, code and data."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from test_dvc_yaml import EXEMPT, ROOT, copy

from stages import _train
from stages._inputs import EditedError, Inputs

PARAMS = "work: {steps: 3, rate: 0.1}\nother: {dpi: 150}\n"
PIPELINE = """\
stages:
  work:
    matrix: {area: [north]}
    cmd: python -m stages.work '${item.area}'
    deps: [stages/work.py, hpcl, "data/raw/${item.area}"]
    params: [work]
    outs: ["data/done/${item.area}.txt"]
"""
WORK = """\
import time
from pathlib import Path
from hpcl import arithmetic
from stages._stage import params, run
def main(area: str) -> None:
    steps = params("work", dict[str, float])["steps"]
    Path("began").touch()
    for _ in range(600):
        if Path("go_on").exists():
            break
        time.sleep(0.1)
    Path("data/done").mkdir(parents=True, exist_ok=True)
    Path(f"data/done/{area}.txt").write_text(str(arithmetic.twice(steps)))
if __name__ == "__main__":
    run(main)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path in EXEMPT:
        copy(ROOT / path, tmp_path / path)
    for name, text in {
        "params.yaml": PARAMS, "dvc.yaml": PIPELINE, "stages/work.py": WORK, "hpcl/arithmetic.py": "def twice(x): return 2 * x\n",
        "data/raw/north/dem.tif": "heights", ".dvcignore": "*.aux.xml\n__pycache__\n",
        ".dvc/config": f"[core]\n no_scm = true\n site_cache_dir = {tmp_path / '.dvc' / 'site'}\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def repro(project: Path, edits: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`dvc repro` with files written while the stage runs."""
    for name in ("began", "go_on"):
        (project / name).unlink(missing_ok=True)

    def edit() -> None:
        while not (project / "began").exists():
            if over.wait(0.05):
                return
        for name, text in edits.items():
            (project / name).write_text(text)
        (project / "go_on").touch()

    over = threading.Event()
    editor = threading.Thread(target=edit)
    editor.start()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment |= {
        "HPCL_TRACK": "off",
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "PYTHONPATH": str(project),
    }
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    over.set()
    editor.join()
    return done


def status(project: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=project, capture_output=True, text=True, check=True
    ).stdout


def test_parameters_edited_while_a_stage_runs_are_not_noted_for_it(project: Path) -> None:
    done = repro(project, {"params.yaml": PARAMS.replace("0.1", "0.5")})
    assert done.returncode
    assert "work.rate in params.yaml (was 0.1, is 0.5)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "work@north" in status(project)
    assert "0.5" not in ((project / "dvc.lock").read_text() if (project / "dvc.lock").exists() else "")
    assert repro(project, {}).returncode == 0
    assert "up to date" in status(project)


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("hpcl/arithmetic.py", "def twice(x): return 3 * x\n", "hpcl/arithmetic.py"),
        ("stages/work.py", WORK + "# a remark\n", "stages/work.py"),
        ("data/raw/north/dem.tif", "other heights", "data/raw/north/dem.tif"),
        ("data/raw/north/new_band.tif", "a band", "data/raw/north/new_band.tif"),
        ("params.yaml", PARAMS.replace("rate: 0.1", "rate: 0.1, momentum: 0.9"), "work.momentum"),
        ("params.yaml", "other: {dpi: 150}\n", "work in params.yaml (was {'steps': 3, 'rate': 0.1}, is None)"),
        ("params.yaml", "work: {steps: 3, ra", "is 'no YAML')"),
    ],
)
def test_every_input_that_dvc_notes_is_compared(
    project: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, named: str
) -> None:
    monkeypatch.chdir(project)
    inputs = Inputs("work", ("north",))
    inputs.note(Path("params.yaml"), "work", {"steps": 3, "rate": 0.1})
    inputs.check()
    Path(file).write_text(text)
    with pytest.raises(EditedError) as caught:
        inputs.check()
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("params.yaml", PARAMS.replace("150", "300")),  # another section
        (
            "params.yaml",
            PARAMS.replace("{steps: 3, rate: 0.1}", "\n  rate: 1.0e-1\n  steps: 3"),
        ),  # another way to write it
        ("data/raw/north/dem.tif.aux.xml", "what QGIS leaves"),
        ("data/raw/south.tif", "another area"),
        ("hpcl/__pycache__/arithmetic.pyc", "compiled"),
        ("hpcl/arithmetic.py", "def twice(x): return 2 * x\n"),  # saved without a change
    ],
)
def test_what_dvc_does_not_note_may_change(
    project: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    monkeypatch.chdir(project)
    inputs = Inputs("work", ("north",))
    inputs.note(Path("params.yaml"), "work", {"steps": 3, "rate": 0.1})
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(text)
    inputs.check()


def test_every_stage_of_the_project_has_its_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for stage, arguments in {
        "train": (),
        "ingest": ("north",),
        "synthesize": ("north",),
        "train_variant": ("stack", "0"),
        "score_variant": ("stack", "0"),
        "share_labels": ("10", "0"),
        "train_share": ("10", "0", "stack"),
        "score_share": ("10", "0", "stack"),
        "track": (),
    }.items():
        files = {path.as_posix() for path in Inputs(stage, arguments)._files}
        assert any(path.endswith(f"stages/{stage}.py") for path in files), stage


def test_one_training_for_each_folder_of_checkpoints(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "lock"),
        pytest.raises(_train.BusyError, match="under way already"),
        _train._alone(tmp_path),
    ):
        pass
    with _train._alone(tmp_path):
        pass


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
def test_the_processes_of_one_training_share_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun sets these before the processes meet; only the first one holds the lock."""
    monkeypatch.setenv(name, "1")
    with FileLock(tmp_path / "lock"), _train._alone(tmp_path):
        pass
