"""A tracking address that holds a password: nothing that a run leaves behind may show it, with the server up or down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from test_dvc_yaml import ROOT

PASSWORD = "hush p@ss/word?"
RUN = """\
from stages.tracking import commands, execution
for outcome in ("well", "badly"):
    try:
        with execution.recorded("train"):
            execution.live({"loss": 1.0}, 0)
            if outcome == "badly":
                raise RuntimeError("the disk is full")
    except RuntimeError:
        pass
commands.complete()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Host and port of a server of MLflow's own on this machine, and the folder in which it keeps everything."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'store.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                        break
                except OSError:
                    assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                    time.sleep(0.2)
            yield f"127.0.0.1:{port}", folder
        finally:
            process.terminate()
            process.wait()


def left_behind(*folders: Path) -> dict[str, bytes]:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.xdist_group("password")
@pytest.mark.parametrize("up", [True, False])
def test_no_log_database_journal_or_file_shows_the_password(server: tuple[str, Path], tmp_path: Path, up: bool) -> None:
    address, folder = server
    if not up:
        address = "127.0.0.1:9"
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("areas: []\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HPCL_"))}
    environment |= {
        "DVC_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"http://robot:{quote(PASSWORD, safe='@/')}@{address}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    shown = left_behind(tmp_path, folder) | {"what it printed": done.stdout + done.stderr}
    assert len(shown) > 3
    if up:
        delivered = any(b"train#1" in text for name, text in shown.items() if name.startswith(str(folder)))
        assert delivered, f"nothing was delivered, so nothing was tried: {done.stderr.decode()}"
    secrets = {
        PASSWORD.encode(),
        quote(PASSWORD).encode(),
        quote(PASSWORD, safe="@/").encode(),
        b"hush",
        b"p@ss",
        b"p%40ss",
    }
    assert [(name, secret) for name, text in shown.items() for secret in secrets if secret in text] == []
