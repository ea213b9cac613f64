"""Packages come from the index, without what only GPUs need, or from a folder; what is missing is said in one sentence."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from test_clone import INSTALL, repository, set_up
from test_dvc_yaml import ROOT

from stages import _packages
from stages._packages import PackagesError

UV = version("uv")


def wheel(folder: Path, name: str, number: str) -> Path:
    """A wheel of one module that holds its version."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = f"{name}-{number}.dist-info"
    path = folder / f"{name}-{number}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {number!r}\n")
        file.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        file.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{facts}/RECORD", "".join(f"{file_},,\n" for file_ in [*file.namelist(), f"{facts}/RECORD"]))
    return path


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pins uv and two packages, with an environment that has uv and pip; its index is empty."""
    here = tmp_path / "clone"
    venv.create(here / ".venv", symlinks=True)
    packages = next((here / ".venv").glob("lib/python*/site-packages"))
    for name, number in (("pip", version("pip")), ("uv", UV)):
        (packages / name).symlink_to(Path(pytest.__file__).parents[1] / name)
        facts = f"{name}-{number}.dist-info"  # uv follows no link to it
        shutil.copytree(Path(pytest.__file__).parents[1] / facts, packages / facts)
    (here / ".venv/bin/uv").symlink_to(Path(sys.prefix) / "bin/uv")
    (here / "requirements.txt").write_text(f"hollow==1.0\n    # via -r requirements.in\nslope==2.0\nuv=={UV}\n")
    monkeypatch.chdir(here)
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    for variable in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(variable, (tmp_path / "index").as_uri())
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return here


def test_a_folder_of_wheels_is_enough(clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, number in (("hollow", "1.0"), ("slope", "2.0")):
        wheel(tmp_path / "a stick, #1", name, number)
    _packages.install(torch="", wheelhouse=str(tmp_path / "a stick, #1"))
    assert "GB on disk" in capsys.readouterr().out
    asked = [".venv/bin/python", "-c", "import hollow, slope; print(hollow.VERSION, slope.VERSION)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "1.0 2.0\n"


def test_a_folder_that_lacks_a_wheel_is_told_in_one_sentence(clone: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "stick", "hollow", "1.0")
    done = subprocess.run(
        [".venv/bin/python", "-I", str(ROOT / "stages/_packages.py"), "install"],
        env={**os.environ, "WHEELHOUSE": str(tmp_path / "stick")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"setup: .*stick does not hold all that this needs: fill it with 'make wheelhouse', at the same commit, on .* with"
        r" Python 3\.\d+ \(uv says: .*Because slope was not found in the provided package locations.*\)\.\n",
        done.stderr,
    )


def test_a_folder_without_wheels_is_refused(clone: Path) -> None:
    with pytest.raises(PackagesError, match=r"WHEELHOUSE=\.\./nowhere holds no wheels"):
        _packages.install(torch="", wheelhouse="../nowhere")


def test_the_wheelhouse_gets_the_files_that_setup_would_take_and_goes_on(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip's further index has a ``hollow`` that counts as newer; a file that was half written is written again."""
    wheels = []
    for name, number in (("hollow", "1.0"), ("slope", "2.0"), ("uv", UV)):
        path = wheel(tmp_path / "index" / name, name, number)
        link = f"{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
        (path.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{link}">{path.name}</a>')
        wheels.append(path)
    wheel(tmp_path / "further", "hollow", "1.0+cpu")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "further"))
    monkeypatch.setattr(_packages, "CALLS", 2)
    Path("wheelhouse").mkdir()
    (Path("wheelhouse") / wheels[1].name).write_bytes(wheels[1].read_bytes()[:100])
    _packages.collect("")
    assert {path.name: path.read_bytes() for path in Path("wheelhouse").iterdir()} == {
        path.name: path.read_bytes() for path in wheels
    }
    assert "GB; about" in capsys.readouterr().out.splitlines()[0]


def test_without_an_index_the_wheelhouse_says_what_it_needs(clone: Path) -> None:
    with pytest.raises(PackagesError, match=r"^this needs a package index within reach; .*\(uv says: .*hollow"):
        _packages.collect("wheelhouse")


def test_torch_for_the_cpu_leaves_out_what_only_gpus_need(tmp_path: Path) -> None:
    root = repository(tmp_path / "clone")
    code, said, calls = set_up(root, tmp_path / "tools", "TORCH=cpu")
    assert code == 0, said
    assert "torch that knows no GPU (0.6 GB to download" in said
    assert ["-m", *INSTALL, "--torch-backend", "cpu", "-r", "-", "--quiet"] in calls
    typed = (tmp_path / "tools/seen.typed").read_text()
    assert not re.search(r"^(nvidia|cuda|triton)", typed, re.MULTILINE)
    assert re.search(r"^torch==", typed, re.MULTILINE)


def test_what_is_left_out_is_needed_by_torch_alone() -> None:
    """By the comments of requirements.txt, which say whom each package is for."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text().strip())
    needed_by = {entry.split("==")[0]: re.findall(r"^ +# (?:via| ) (\S+)$", entry, re.MULTILINE) for entry in entries}
    left_out = {entry.split("==")[0] for entry in entries if _packages.FOR_GPUS.match(entry)}
    assert "nvidia-cudnn-cu13" in left_out
    assert {user for name in left_out for user in needed_by[name]} <= {"torch", *left_out}


def test_an_environment_keeps_its_kind_of_torch(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(_packages, "_run", lambda module, *_: calls.append(module))
    packages = next((clone / ".venv").glob("lib/python*/site-packages"))
    (packages / "torch-2.0+cpu.dist-info").mkdir()
    _packages.install(torch="", wheelhouse="")
    assert "--torch-backend" in calls[-1]
    (packages / "nvidia_cublas-1.0.dist-info").mkdir()
    with pytest.raises(PackagesError, match="remove it first"):
        _packages.install(torch="cpu", wheelhouse="")


@pytest.mark.parametrize(
    ("torch", "wheelhouse", "said"), [("gpu", "", "TORCH=gpu was given"), ("cpu", "stick", "give one of the two")]
)
def test_what_make_cannot_mean_is_refused(torch: str, wheelhouse: str, said: str) -> None:
    with pytest.raises(PackagesError, match=said):
        _packages.install(torch, wheelhouse)


def test_a_torch_without_gpus_is_not_mixed_with_a_wheelhouse(clone: Path) -> None:
    (Path(".venv/lib/python3.11/site-packages") / "torch-2.15.0+cpu.dist-info").mkdir(parents=True)
    with pytest.raises(_packages.PackagesError, match="holds a torch without GPUs, which no WHEELHOUSE has"):
        _packages.install("", "stick")
