"""What the tracker says: the whole cause, no promise that it cannot keep, and no password."""

from __future__ import annotations

import getpass
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stages.tracking import addresses, errors, execution, state

ROOT = Path(__file__).parents[1]

REMEDY = "Take a backup of your database, then run 'mlflow db upgrade <database_uri>'"


def test_the_remedy_at_the_end_of_a_long_message_is_said() -> None:
    error = RuntimeError(f"Detected out-of-date database schema (found version {'a' * 200}). {REMEDY}")
    assert errors.sentence(error).endswith(REMEDY)


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4711"), OSError("No username set")])
def test_a_user_without_a_name_is_a_number(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert state._user() == str(os.getuid())


def test_without_a_journal_nothing_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(root: Path) -> None:
        raise OSError("no room")

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("HPCL_TRACK", raising=False)
    monkeypatch.setattr(state, "here", broken)
    with execution.recorded("ingest", "north"):
        pass
    said = capsys.readouterr().err
    assert "OSError: no room: the work goes on, but nothing of this execution will be in MLflow" in said
    assert "delivers it later" not in said


@pytest.mark.parametrize(
    "password", ["secret", "p@secret", "pa/secret", "secret%40x", "se:secret", "secret#1", "a?secret", "a secret"]
)
def test_a_password_goes_where_mlflow_does_not_print_it(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    given = f"https://robot:{password}@host.org:5000/mlflow"
    assert addresses.without_password(given) == os.environ["MLFLOW_TRACKING_URI"] == "https://host.org:5000/mlflow"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "robot"
    assert "secret" in os.environ["MLFLOW_TRACKING_PASSWORD"]
    if " " not in password:
        assert "secret" not in addresses.public(f"MlflowException: {given}/api failed")


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "databricks", "postgresql://me:pw@host/db", "sqlite:///a.db", ""]
)
def test_other_addresses_stay(uri: str) -> None:
    assert addresses.without_password(uri) == uri


def test_tokens_are_not_shown() -> None:
    assert addresses.public("at https://host/api?token=secret&x=1 failed") == "at https://host/api failed"
    assert addresses.public("postgresql://me:secret@host/db") == "postgresql://host/db"


CONNECT = "import sys; from pathlib import Path; from stages.tracking import __main__ as tracking; tracking.main(sys.argv[1:])"


def tracking(root: Path, *command: str, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """A command around the runs in a process of its own, which can write files of ``most_bytes`` at most."""
    limit = resource.RLIM_INFINITY if most_bytes is None else most_bytes
    return subprocess.run(
        [sys.executable, "-c", CONNECT, *command],
        cwd=root, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "HPCL_TRACK": "on"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".dvc").mkdir()
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    return tmp_path / "mlflow.db"


@pytest.mark.parametrize("most_bytes", [300_000])
def test_a_store_that_a_full_disk_broke_off_heals(
    most_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = store(tmp_path, monkeypatch)
    journal = database.with_name("mlflow.db-journal")
    journal.write_bytes(b"of a store that was moved away")
    broken = tracking(tmp_path, "sync", most_bytes=most_bytes)
    assert broken.returncode != 0
    assert not database.exists()
    whole = tracking(tmp_path, "sync")
    assert whole.returncode == 0, whole.stderr
    assert database.exists()
    assert not database.with_name("mlflow.db.draft").exists()
    assert not journal.exists()


@pytest.mark.parametrize("damage", ["empty table", "no database", "another schema"])
def test_a_store_that_cannot_be_used_says_what_to_do(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = store(tmp_path, monkeypatch)
    if damage == "no database":
        database.write_bytes(b"no database at all" * 100)
    else:
        with sqlite3.connect(database) as made:
            made.execute("CREATE TABLE experiments (experiment_id INTEGER)")
            if damage == "another schema":
                made.execute("CREATE TABLE alembic_version (version_num TEXT)")
                made.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
        made.close()
    refused = tracking(tmp_path, "sync")
    assert refused.returncode != 0
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith(f"tracking: TrackingError: {database} cannot be used (")
    assert "move the file away and run `python -m stages.tracking init`" in last
    assert "Traceback" not in refused.stderr
