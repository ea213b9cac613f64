"""No name of an area leads out of its folder, deletes another's work, or is read otherwise by a shell, YAML or a table."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import examples
import pandas as pd
import pytest
from ruamel.yaml import YAML
from test_dvc_yaml import ROOT

from hpcl.core.areas import MAX_BYTES, AreaNameError, Names, checked, distinct
from hpcl.core.artifacts import write_json
from stages import baselines, calibrate, coregister, evaluate, explain, ingest, outline, predict, synthesize, terrain
from stages._stage import ParameterError, params, run

SOUND = [
    "valley", "a b", "Südtirol", "Su\u0308dtirol", "Val d-Ultimo", "甘肃 1", "नेपाल", "نیم\u200cروز", "St. Gallen", "v1.2",
    "sheet_07", "NO", "x", "Reykjavík-2016", "é" * (MAX_BYTES // 2),
]  # fmt: skip
BAD = [
    "", "/", ".", "..", "../raw", "a/b", "/tmp", "a\\b", ".hidden", "-rf", " a", "a ", "a.", "a\nb", "a\tb", "a\0b",
    "a\u202eb", "a\u00a0b", "\udcff", "$\\frac{$", "$HOME", "L'Aquila", 'a"b', "a`b", "a*", "a?", "[a]", "a;b", "a&b",
    "a|b", "a#b", "a%b", "a:b", "~", "a@b", "a{b}", "é" * 51, "x" * 300, "007", "1.10", "2016", "1e5", "0x1F", "inf",
    "nan", "NA", "None", "null", "true", "False", "CON", "nul.tif", "com1", "north.dvc", "facts.json",
]  # fmt: skip
OTHERS = [7, 1.1, 2016, True, None, ["a"], {"a": 1}]


@pytest.mark.parametrize("name", SOUND)
def test_ordinary_names_pass_and_read_the_same_everywhere(name: str, tmp_path: Path) -> None:
    assert checked(name) == name
    assert YAML(typ="safe", pure=True).load(f"[{name}]") == [name]
    table = pd.DataFrame({"area": [name]}).to_csv(index=False)
    assert pd.read_csv(io.StringIO(table))["area"].tolist() == [name]
    (tmp_path / f"{name}_attention_shares.png.draft").touch()
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("name", [*BAD, *OTHERS], ids=repr)
def test_other_names_are_refused_in_one_sentence(name: object) -> None:
    with pytest.raises(AreaNameError) as refused:
        checked(name)
    said = str(refused.value)
    assert said.startswith(f"{name!r} is no name of an area: ")
    assert said.isprintable()
    assert said.endswith("and use that name.")


@pytest.mark.parametrize(
    "pair", [("a", "a"), ("North", "north"), ("Südtirol", "Su\u0308dtirol"), ("Straße", "STRASSE"), ("a\u200cb", "ab")]
)
def test_names_of_one_folder_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(AreaNameError, match="one folder on some file systems"):
        distinct(pair)
    assert distinct(["b", "a"]) == ("b", "a")


# --- the real commands --------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "MLFLOW", "HPCL", "AREA"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}", "HPCL_TRACK": "off"}


def call(*command: str, at: Path) -> tuple[int, str]:
    done = subprocess.run(command, cwd=at, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's own Makefile, stages and dvc.yaml, a finished .venv, and work that nothing may delete."""
    root = tmp_path / "project"
    for package in ("hpcl", "stages"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "dvc.yaml", "params.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    (root / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (root / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (root / ".venv" / ".ready").touch()
    for place in ("data/raw/optical.tif", "data/raw/dem.tif", "data/raw/north/dem.tif", "data/ingest/north/x"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("kept")
    return root


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "__pycache__" not in path.parts and ".venv" not in path.parts}


@pytest.mark.parametrize("name", ["/", 'a"; rm -rf data; "'])
def test_make_map_deletes_nothing_for_a_bad_name(project: Path, name: str) -> None:
    before = files(project)
    code, said = call("make", "map", f"AREA={name}", at=project)
    assert code
    assert "is no name of an area" in said
    assert files(project) == before


STAGES = {
    "ingest": ingest, "coregister": coregister, "terrain": terrain, "predict": predict, "outline": outline, "explain": explain,
    "synthesize": synthesize, "baselines": baselines, "calibrate": calibrate, "evaluate": evaluate,
}  # fmt: skip


def stage(name: str, *arguments: str) -> str:
    """What a stage stops with, run in this process as from a command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setenv("HPCL_TRACK", "off")
        with pytest.raises(SystemExit) as stopped:
            run(STAGES[name].main)
    return str(stopped.value)


@pytest.mark.parametrize("name", ["ingest", "coregister", "terrain", "predict", "outline", "explain", "synthesize"])
def test_each_stage_of_an_area_checks_its_name(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    before = files(project)
    for given in (["../../escape"], ["--area", ".."], [""]):
        assert stage(name, *given).startswith(f"{name}: {given[-1]!r} is no name of an area: ")
    assert files(project) == before


@pytest.mark.parametrize("name", ["baselines", "calibrate", "evaluate"])
def test_a_name_in_a_file_of_facts_leads_nowhere(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    write_json(Path("data/tiles/facts.json"), examples.tiles({"../../../escape/x": examples.tiled_area(shape=[8, 8])}))
    assert stage(name).startswith(f"{name}: '../../../escape/x' is no name of an area: it holds '/'")


@pytest.mark.parametrize("areas", ['["L\'Aquila", north]', "[007]", "[null]", "['.']"])
def test_dvc_repro_ends_in_our_sentence(project: Path, areas: str) -> None:
    (project / ".dvc").mkdir()
    site = project / ".dvc" / "site"
    (project / ".dvc" / "config").write_text(f"[core]\n analytics = false\n no_scm = true\n site_cache_dir = {site}\n")
    text = (project / "params.yaml").read_text()
    listed = "areas:\n- synthetic_north\n- synthetic_south\n"
    assert listed in text
    text = text.replace(listed, f"areas: {areas}\n")
    (project / "params.yaml").write_text(text)
    code, said = call(sys.executable, "-m", "dvc", "repro", at=project)
    assert code
    assert "check: params.yaml: " in said
    assert "is no name of an area: " in said
    assert (project / "data/ingest/north/x").read_text() == "kept"


def test_the_shell_hands_over_any_name_whole(tmp_path: Path) -> None:
    """DVC quotes what it unpacks, so that a name reaches our check and not the shell."""
    from dvc.parsing.interpolate import to_str

    for name in ("L'Aquila", 'a"; echo x; "', "$HOME", "甘肃 1"):
        said = subprocess.check_output(f'printf "%s|" {to_str({"area": name})}', shell=True, text=True)
        assert said == f"--area|{name}|"


@pytest.mark.parametrize(("text", "said"), [("[2016]", "2016 is no name"), ("mini", "'areas' is 'mini'")])
def test_a_list_of_other_values_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"areas: {text}\n")
    with pytest.raises(ParameterError, match=said):
        params("areas", Names)
