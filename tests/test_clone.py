"""A clone works wherever it lies; what tools cannot take is said before 7 GB are installed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from configobj import ConfigObj
from test_dvc_yaml import ROOT

from stages import _clone
from stages.tracking import addresses, commands

NAMES = ["mein Ordner", "a,b", "a#b", "a?b", "a%20b", "a'b", 'a "b', "a$b", "a;b&c", "Überlingen 甘肃"]


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_site_cache_and_the_store_lie_in_the_clone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as DVC reads its settings, and as SQLAlchemy reads an address (it splits at ``?`` and unquotes the rest)."""
    from sqlalchemy import make_url

    root = tmp_path / name
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config.local").write_text("['remote \"storage\"']\n    password = 'p,#\"ass'\n")
    monkeypatch.setenv("HPCL_TRACK", "off")
    for _ in range(2):
        commands.init(root)
    settings = ConfigObj(str(root / ".dvc" / "config.local"), encoding="utf-8")
    assert settings["core"]["site_cache_dir"] == str(root / ".dvc" / "site_cache")
    assert settings['remote "storage"']["password"] == 'p,#"ass'
    assert stat.S_IMODE((root / ".dvc" / "site_cache").stat().st_mode) == 0o700
    address = make_url(addresses.local(root))
    assert address.database == str(root / "mlflow.db")
    assert not address.query
    assert addresses.shown(addresses.local(root)) == f"sqlite:///{root}/mlflow.db"
    assert [path.name for path in tmp_path.iterdir()] == [name], "something lies beside the clone"


STUB = """\
import json, os, pathlib, sys
with open(os.environ["SEEN"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "-" in sys.argv:
    pathlib.Path(os.environ["SEEN"] + ".typed").write_text(sys.stdin.read())
if sys.argv[1:3] == ["-m", "venv"]:
    place = pathlib.Path(sys.argv[3]) / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to({stub!r})
elif sys.argv[2].startswith("stages/_"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


INSTALL = ["uv", "pip", "install", "--compile-bytecode", "--python", ".venv/bin/python"]


def set_up(root: Path, tools: Path, *settings: str) -> tuple[int, str, list[list[str]]]:
    """The real target `setup` with a stand-in for Python that installs nothing: exit code, words, calls of Python.

    What uv was given to read lies in ``seen.typed`` of ``tools``.
    """
    tools.mkdir(exist_ok=True)
    stub = tools / "python-stub"
    # Through a shell, because the first line of a script takes no path with a blank.
    script = stub.with_suffix(".py")
    script.write_text(STUB.format(python=sys.executable, stub=str(stub)))
    stub.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(script)])} "$@"\n')
    stub.chmod(0o755)
    (root / "stages").mkdir(exist_ok=True)
    for path in ("Makefile", "requirements.txt", "stages/_clone.py", "stages/_packages.py"):
        shutil.copy(ROOT / path, root / path)
    seen = tools / "seen"
    done = subprocess.run(
        ["make", "setup", f"PYTHON={stub}", *settings],
        cwd=root,
        env={**os.environ, "SEEN": str(seen)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in seen.read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_set_up_in_any_folder(name: str, tmp_path: Path) -> None:
    root = repository(tmp_path / "home" / name)
    code, said, calls = set_up(root, tmp_path / "tools")
    assert code == 0, said
    assert ["-m", *INSTALL, "-r", "-", "--quiet"] in calls
    assert (tmp_path / "tools" / "seen.typed").read_text() == (ROOT / "requirements.txt").read_text()
    assert calls[-1] == ["-m", "stages.tracking", "init"]
    assert (root / ".venv" / ".ready").exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == [name]


def test_a_zip_without_git_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    (tmp_path / "zip").mkdir()
    code, said, calls = set_up(tmp_path / "zip", tmp_path / "tools")
    assert code
    assert "setup: this folder is no clone of its own (git says: fatal: not a git repository" in said
    assert "use 'git clone' instead of a ZIP download" in said
    assert calls == [["-I", "stages/_clone.py"]]


def test_other_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = repository(tmp_path / "outer")
    assert _clone.finding(outer) == ""
    (outer / "inner").mkdir()
    assert "in the git repository of another folder" in _clone.finding(outer / "inner")
    assert "holds ':', which tools take for the end of a folder" in _clone.finding(repository(tmp_path / "a:b"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no git here" in _clone.finding(outer)
