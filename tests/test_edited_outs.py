"""What a person changed in the outs of a stage is never lost; what programs leave beside data never stops a stage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from test_dvc_yaml import EXEMPT, ROOT, copy, read_yaml

from stages import _outs
from stages._outs import EditedOutError, protected

PIPELINE = """\
stages:
  work:
    matrix: {area: [north, south bay]}
    cmd: python -m stages.work '${item.area}'
    deps: [stages/work.py, "data/raw/${item.area}"]
    params: [work]
    outs: [{"data/map/${item.area}": {persist: true}}]
    metrics: [{"reports/${item.area}.json": {cache: false, persist: true}}]
"""
WORK = '''\
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from stages._stage import params, run

def main(area: str) -> None:
    """A raster, a GeoPackage, as many windows as the rate says, a table."""
    rate = params("work", dict[str, int])["rate"]
    out = Path("data/map") / area
    (out / "windows").mkdir(parents=True, exist_ok=True)
    (out / "probability.tif").write_text(f"{rate}\\n")
    for number in range(rate):
        (out / "windows" / f"{number}.tif").write_text(f"{number}\\n")
    (out / "landslides.gpkg").unlink(missing_ok=True)
    with closing(sqlite3.connect(out / "landslides.gpkg")) as database, database:
        database.execute("create table landslides (area)")
        database.executemany("insert into landslides values (?)", [(rate,)] * 3)
    Path("reports").mkdir(exist_ok=True)
    Path("reports", f"{area}.json").write_text(f'{{"rate": {rate}}}')
    while Path("hang").exists():
        time.sleep(0.05)

if __name__ == "__main__":
    run(main)
'''
OUT = Path("data/map/north")
GPKG = OUT / "landslides.gpkg"


def made(folder: Path) -> Path:
    """A project of one cheap stage for two areas."""
    for path in EXEMPT:
        copy(ROOT / path, folder / path)
    shutil.copy(ROOT / ".dvcignore", folder)
    for name, text in {
        "params.yaml": "work: {rate: 2}\n", "dvc.yaml": PIPELINE, "stages/work.py": WORK,
        "data/raw/north/dem.tif": "heights", "data/raw/south bay/dem.tif": "heights",
        ".gitignore": "/data\n/.dvc/tmp\n/.dvc/site\n/.dvc/cache\n__pycache__\n",
        ".dvc/config": f"[core]\n analytics = false\n site_cache_dir = {folder / '.dvc' / 'site'}\n",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    return kept | {"HPCL_TRACK": "off", "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "PYTHONPATH": "."}


def typed(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def rate(value: int) -> None:
    Path("params.yaml").write_text(f"work: {{rate: {value}}}\n")


def stage(area: str = "north") -> None:
    """The stage in this process, with the settings of params.yaml."""
    space: dict[str, object] = {"__name__": "work"}
    exec(compile(WORK, "work.py", "exec"), space)  # it is no module of the project
    main = space["main"]
    assert callable(main)
    with protected("work", (area,)):
        main(area)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made(tmp_path))
    return tmp_path


@pytest.fixture
def ran(project: Path) -> Path:
    """A project in which both areas were mapped by hand, and a parameter was changed since."""
    stage()
    stage("south bay")
    rate(1)
    return project


def sql(command: str, file: Path = GPKG) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(command)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what counts as a person's work -------------------------------------------------------------------------------

EDITS: dict[str, Callable[[], object]] = {
    "a changed polygon": lambda: sql("update landslides set area = 7 where rowid = 1"),
    "a deleted polygon": lambda: sql("delete from landslides where rowid = 2"),
    "a layer of one's own": lambda: sql("create table mine (x)"),
    "a style in the GeoPackage": lambda: sql("create table layer_styles (qml)"),
    "an edited raster": lambda: (OUT / "probability.tif").write_text("3\n"),
    "an edit of the same size": lambda: (OUT / "windows" / "1.tif").write_text("9\n"),
    "a project": lambda: (OUT / "my map.qgz").write_text("layers"),
    "a project of the old kind": lambda: (OUT / "windows" / "my_map.qgs").write_text("layers"),
    "a file of one's own": lambda: (OUT / "notes.txt").write_text("seen in the field"),
    "a folder of one's own": lambda: shutil.copytree(OUT / "windows", OUT / "mine"),
    "another name": lambda: GPKG.rename(OUT / "mapped.gpkg"),
    "an emptied file": lambda: (OUT / "probability.tif").write_text(""),
    "a table": lambda: Path("reports/north.json").write_text('{"rate": 3}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITS)
def test_a_stage_does_not_begin_over_what_a_person_changed(ran: Path, kind: str) -> None:
    EDITS[kind]()
    before = content(ran / "data") | content(ran / "reports")
    for _ in range(2):
        with pytest.raises(EditedOutError, match="changed after the last run") as caught:
            stage()
        assert content(ran / "data") | content(ran / "reports") == before
    stage("south bay")  # nobody changed that one
    changed = "reports" if kind == "a table" else str(OUT)
    assert str(caught.value).startswith(changed)


def test_an_edit_that_is_still_in_the_log_of_an_open_program_counts(ran: Path) -> None:
    """QGIS keeps what was saved in a write-ahead log until it closes the layer; the file itself has it not."""
    with closing(sqlite3.connect(GPKG)) as program:
        program.execute("pragma journal_mode=wal")
        program.execute("pragma wal_autocheckpoint=0")
        with program:
            program.execute("insert into landslides values (99)")
        assert GPKG.with_name("landslides.gpkg-wal").stat().st_size
        with pytest.raises(EditedOutError, match=r"landslides\.gpkg changed"):
            stage()
    with pytest.raises(EditedOutError, match=r"landslides\.gpkg changed"):  # closed, and written into the file
        stage()


def leave(name: str) -> Callable[[], object]:
    return lambda: (OUT / name).write_text("what a program leaves")


def looked_at() -> None:
    """Opened as QGIS does for editing, and closed without an edit."""
    with closing(sqlite3.connect(GPKG)) as program:
        program.execute("pragma journal_mode=wal")
        assert program.execute("select count(*) from landslides").fetchone() == (3,)
    with closing(sqlite3.connect(GPKG)) as program:
        program.execute("pragma journal_mode=delete")


def looked_into() -> None:
    """Still open."""
    looked_at()
    GPKG.with_name("landslides.gpkg-wal").touch()
    GPKG.with_name("landslides.gpkg-shm").write_bytes(bytes(32768))


def touched() -> None:
    for file in OUT.rglob("*"):
        os.utime(file)


def copied_back() -> None:
    shutil.copytree(OUT, "copy", copy_function=shutil.copyfile)
    shutil.rmtree(OUT)
    shutil.move("copy", OUT)


SIDECARS = [
    "probability.tif.aux.xml", "landslides.gpkg.aux.xml", "probability.qmd", "landslides.gpkg-wal", "landslides.gpkg-shm",
    "landslides.gpkg-journal", ".~lock.facts.csv#", "probability.tif.lock", "landslides.gpkg.HOST.1.2.sr.lock", "my.qgz~",
    "my.qgs~", ".DS_Store", "._probability.tif", "Thumbs.db", "probability.tif.xml", "windows/0.tif.aux.xml",
]  # fmt: skip
NO_EDITS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "touched": touched,
    "saved as it was": lambda: (OUT / "probability.tif").write_text("2\n"),
    "copied by a backup": copied_back,
    "other rights": lambda: GPKG.chmod(0o400),
    "a deleted file": GPKG.unlink,
    "a deleted folder": lambda: shutil.rmtree(OUT),
    "an empty folder": (OUT / "empty").mkdir,
    "looked at": looked_at,
    "looked into": looked_into,
    "another area": lambda: Path("data/map/south bay/notes.txt").write_text("mine"),
    "beside": lambda: Path("data/map/notes.txt").write_text("mine"),
} | {name: leave(name) for name in SIDECARS}


@pytest.mark.parametrize("kind", NO_EDITS)
def test_no_false_alarm_and_nothing_stale(ran: Path, kind: str) -> None:
    NO_EDITS[kind]()
    stage()
    assert (OUT / "probability.tif").read_text() == "1\n"
    with closing(sqlite3.connect(GPKG)) as database:
        assert database.execute("select area from landslides").fetchall() == [(1,)] * 3
    assert sorted(content(OUT)) == ["landslides.gpkg", "probability.tif", "windows/0.tif"]
    assert not (OUT / "empty").exists()
    stage()


# --- the ways on --------------------------------------------------------------------------------------------------


def commands(sentence: str) -> list[str]:
    return sentence.split("`")[1::2]


@pytest.mark.parametrize("area", ["north", "south bay"])
def test_keep_and_discard_as_the_sentence_says(ran: Path, area: str) -> None:
    """Each command is run by a shell; a second time under another name."""
    for number in ("", "-2", "-3"):
        (Path("data/map") / area / "my.qgz").write_text(f"layers{number}")
        Path("reports", f"{area}.json").write_text("{}")
        with pytest.raises(EditedOutError) as caught:
            stage(area)
        keep, _ = commands(str(caught.value))
        assert typed(keep).returncode == 0
        assert Path(f"data/kept/map-{area}{number}/my.qgz").read_text() == f"layers{number}"
        assert Path(f"data/kept/map-{area}{number}/probability.tif").exists()
        assert Path(f"data/kept/reports-{area}{number}.json").read_text() == "{}"
        stage(area)
    (Path("data/map") / area / "my.qgz").write_text("layers")
    with pytest.raises(EditedOutError) as caught:
        stage(area)
    _, discard = commands(str(caught.value))
    assert typed(discard).returncode == 0
    stage(area)
    assert not (Path("data/map") / area / "my.qgz").exists()


def test_many_edits_are_one_short_sentence(ran: Path) -> None:
    for number in range(200):
        (OUT / f"{number:03d}.shp").write_text("mine")
    with pytest.raises(EditedOutError) as caught:
        stage()
    assert "and 197 more changed" in str(caught.value)
    assert len(str(caught.value)) < 500


# --- stages that fail or are killed -------------------------------------------------------------------------------


def fail(write: bool) -> None:
    with protected("work", ("north",)):
        if write:
            (OUT / "probability.tif").write_text("half a ras")
            (OUT / "draft.tif").write_text("half a ras")
        raise ZeroDivisionError


@pytest.mark.parametrize("write", [False, True])
def test_a_stage_that_fails_leaves_what_was_there_and_what_it_wrote_is_its_own(ran: Path, write: bool) -> None:
    before = content(OUT)
    with pytest.raises(ZeroDivisionError):
        fail(write)
    assert content(OUT).items() >= {(name, text) for name, text in before.items() if name != "probability.tif"}
    sql("create table mine (x)")
    with pytest.raises(EditedOutError):
        stage()
    GPKG.unlink()
    stage()
    assert not (OUT / "draft.tif").exists()


def test_what_is_not_known_is_not_known_after_a_failure_either(project: Path) -> None:
    OUT.mkdir(parents=True)
    (OUT / "old.tif").write_text("of another day")
    with pytest.raises(ZeroDivisionError):
        fail(write=False)
    assert not any(path.suffix == ".json" for path in _outs.NOTES.iterdir())
    stage()


def test_what_a_killed_stage_left_is_its_own_but_a_project_is_a_persons(ran: Path) -> None:
    Path("hang").touch()
    with subprocess.Popen(
        [sys.executable, "-m", "stages.work", "north"], env=environment(), stdout=subprocess.DEVNULL
    ) as running:
        for _ in range(600):
            if (OUT / "probability.tif").read_text() == "1\n":
                break
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    Path("hang").unlink()
    (OUT / "probability.tif").write_text("half")
    (OUT / "my.qgz").write_text("layers")
    with pytest.raises(EditedOutError, match=r"my\.qgz changed"):
        stage()
    (OUT / "my.qgz").unlink()
    stage()
    assert sorted(content(OUT)) == ["landslides.gpkg", "probability.tif", "windows/0.tif"]


@pytest.mark.parametrize("text", ["", "{", "no json", "null"])
def test_a_damaged_note_stops_nothing(ran: Path, text: str) -> None:
    for note in _outs.NOTES.iterdir():
        note.write_text(text)
    stage()


@pytest.mark.parametrize("area", ["..", ".", "../raw/north", "north/windows", "/"])
def test_no_argument_leads_out_of_the_outs(ran: Path, area: str) -> None:
    before = content(ran / "data")
    with protected("work", (area,)):
        pass
    assert content(ran / "data") == before


def test_one_process_of_many_looks_after_the_outs(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (OUT / "my.qgz").write_text("layers")
    monkeypatch.setenv("RANK", "1")
    with protected("work", ("north",)):
        pass
    assert (OUT / "my.qgz").exists()


# --- through DVC --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git whose pipeline DVC has run with two rates."""
    folder = made(tmp_path_factory.mktemp("finished"))
    identity = "git config user.name tester && git config user.email tester@example.org"
    script = f"""
        git init -q && {identity} && dvc repro && git add -A && git commit -qm two
        echo 'work: {{rate: 3}}' > params.yaml && dvc repro && git add -A && git commit -qm three
    """
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def repository(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace(str(finished), str(tmp_path / "copy")))
    return tmp_path / "copy"


def test_dvc_repro_stops_before_it_takes_a_mappers_work(repository: Path) -> None:
    """Edited alone, and together with a parameter: DVC runs the stage, which refuses; either way on ends well."""
    sql("update landslides set area = 7")
    edited = GPKG.read_bytes()
    for value in (3, 2):  # the recorded one, and one whose result DVC has, too
        rate(value)
        done = typed("dvc repro")
        assert done.returncode
        assert GPKG.read_bytes() == edited
        said = [line for line in done.stderr.splitlines() if line.startswith("work: ")]
        assert len(said) == 1
        assert f"{GPKG} changed after the last run" in said[0]
        assert "Traceback" not in done.stderr
    keep, _ = commands(said[0])
    assert typed(f"{keep} && dvc repro").returncode == 0
    assert Path("data/kept/map-north/landslides.gpkg").read_bytes() == edited
    assert len(list((OUT / "windows").iterdir())) == 2, "files of an earlier run stayed"
    assert "up to date" in typed("dvc status").stdout


def test_sidecars_outdate_nothing_in_dvc(repository: Path) -> None:
    for name in SIDECARS:
        leave(name)()
    Path("data/raw/north/dem.tif.aux.xml").write_text("statistics")
    (OUT / "my.qgz").write_text("layers")
    assert "up to date" in typed("dvc status").stdout
    done = typed("dvc repro")
    assert done.returncode == 0
    assert "Running" not in done.stdout
    assert (OUT / "my.qgz").exists()


def test_what_dvc_or_git_restored_is_no_edit(repository: Path) -> None:
    assert typed("git checkout -q HEAD~1 && dvc checkout").returncode == 0
    assert len(list((OUT / "windows").iterdir())) == 2
    looked_at()
    rate(4)
    done = typed("dvc repro")
    assert done.returncode == 0, done.stderr
    sql("delete from landslides")
    assert typed("git checkout -q -f HEAD").returncode == 0
    assert typed("dvc checkout").returncode, "dvc checkout does not overwrite what is not in its cache"
    rate(6)
    assert "landslides.gpkg changed" in typed("dvc repro").stderr


def test_a_clone_knows_by_dvc_lock_what_it_pulled(repository: Path) -> None:
    """No note of a run here: dvc.lock and DVC's cache say what the stage wrote."""
    shutil.rmtree(_outs.NOTES)
    rate(4)
    (OUT / "windows" / "0.tif").unlink()
    stage()
    shutil.rmtree(OUT)
    shutil.rmtree(_outs.NOTES)
    assert typed("git checkout -q params.yaml && dvc checkout").returncode == 0
    sql("update landslides set area = 7")
    with pytest.raises(EditedOutError, match=r"landslides\.gpkg changed"):
        stage()


def test_experiments(repository: Path) -> None:
    """DVC puts outs back by itself in `dvc exp run` and `dvc exp apply`: a project survives, and nothing stops for nothing."""
    (OUT / "my.qgz").write_text("layers")
    done = typed("dvc exp run -n four -S work.rate=4")
    assert done.returncode
    assert "my.qgz changed" in done.stderr
    assert (OUT / "my.qgz").read_text() == "layers"
    (OUT / "my.qgz").unlink()
    done = typed("git checkout -q . && dvc exp run -n four -S work.rate=4 && git checkout -q . && dvc checkout")
    assert done.returncode == 0, done.stderr
    (OUT / "my.qgz").write_text("layers")
    assert typed("dvc exp apply four").returncode == 0
    assert len(list((OUT / "windows").iterdir())) == 4
    assert (OUT / "my.qgz").read_text() == "layers"
    (OUT / "my.qgz").unlink()
    rate(2)
    stage()  # what was applied is DVC's, though no stage wrote it here


# --- the project itself -------------------------------------------------------------------------------------------


def test_all_outs_but_those_of_the_training_protect_themselves() -> None:
    bare = set()
    for name, body in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        body = body.get("do", body)
        for entry in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
            options = next(iter(entry.values())) if isinstance(entry, dict) else {}
            bare |= set() if options.get("persist") else {name}
    assert bare <= {"train", "check", "survey"}  # the last two write a fixed sentence that nobody opens


def test_notes_hold_what_was_written(ran: Path) -> None:
    noted = json.loads((_outs.NOTES / "work@south%20bay.json").read_text())
    assert set(noted) == {
        *(str(Path("data/map/south bay") / name) for name in content(Path("data/map/south bay"))),
        "reports/south bay.json",
    }
