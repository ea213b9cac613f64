"""What the tracker says: the whole cause, no promise that it cannot keep, and no password."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from stages import _track

REMEDY = "Take a backup of your database, then run 'mlflow db upgrade <database_uri>'"


def test_the_remedy_at_the_end_of_a_long_message_is_said() -> None:
    error = RuntimeError(f"Detected out-of-date database schema (found version {'a' * 200}). {REMEDY}")
    assert _track.sentence(error).endswith(REMEDY)


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4711"), OSError("No username set")])
def test_a_user_without_a_name_is_a_number(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert _track._user() == str(os.getuid())


def test_without_a_journal_nothing_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(root: Path) -> None:
        raise OSError("no room")

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("HPCL_TRACK", raising=False)
    monkeypatch.setattr(_track, "_state", broken)
    with _track.execution("ingest", "north"):
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
    assert _track._without_password(given) == os.environ["MLFLOW_TRACKING_URI"] == "https://host.org:5000/mlflow"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "robot"
    assert "secret" in os.environ["MLFLOW_TRACKING_PASSWORD"]
    if " " not in password:
        assert "secret" not in _track._public(f"MlflowException: {given}/api failed")


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "databricks", "postgresql://me:pw@host/db", "sqlite:///a.db", ""]
)
def test_other_addresses_stay(uri: str) -> None:
    assert _track._without_password(uri) == uri


def test_tokens_are_not_shown() -> None:
    assert _track._public("at https://host/api?token=secret&x=1 failed") == "at https://host/api failed"
    assert _track._public("postgresql://me:secret@host/db") == "postgresql://host/db"
