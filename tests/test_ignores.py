"""Git and DVC share one folder: each must see what is its own and nothing of the other's."""

from __future__ import annotations

import gc
import http.server
import shutil
import stat
import subprocess
import threading
import warnings
from pathlib import Path

import pytest
from dvc.repo import Repo
from test_dvc_yaml import ROOT, Stage, read_yaml, stages_of_the_project

from stages.tracking import commands


def is_ignored(path: str) -> bool:
    done = subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode in (0, 1), "git check-ignore failed"
    return done.returncode == 0


def kept_in_git() -> set[str]:
    """Outs that dvc.yaml keeps out of DVC's cache: git must have them."""
    found = set()
    for stage in read_yaml(ROOT / "dvc.yaml")["stages"].values():
        body = stage.get("do", stage)
        for entry in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
            if isinstance(entry, dict):
                found |= {path for path, options in entry.items() if options.get("cache") is False}
    return found


@pytest.mark.parametrize("stage", stages_of_the_project(), ids=lambda stage: stage.name)
def test_what_dvc_caches_is_ignored_by_git_and_nothing_else(stage: Stage) -> None:
    for out in stage.outs:
        assert is_ignored(out) == (out not in kept_in_git()), out


def test_dvc_sees_raw_data_that_was_put_under_it(tmp_path: Path) -> None:
    """DVC reads .gitignore in its own way: a pattern of git's that hides the folder would hide the pointers in it."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / "data/raw/valley").mkdir(parents=True)
    (tmp_path / "data/raw/valley/dem.tif").write_text("elevations")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)  # pygtrie's, as DVC calls it
        with Repo.init(str(tmp_path)) as repo:
            repo.add(str(tmp_path / "data/raw/valley"))
    with Repo(str(tmp_path)) as repo:
        assert [out.def_path for stage in repo.index.stages for out in stage.outs] == ["valley"]


class Served(http.server.BaseHTTPRequestHandler):
    """A file with its ETag."""

    content = b"an image"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{self.content.hex()}"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


# DVC closes no session of its HTTP client.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ClientSession:pytest.PytestUnraisableExceptionWarning")
def test_dvc_imports_a_file_into_an_area_and_notices_another_etag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    area = tmp_path / "data/raw/valley"
    area.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of DVC's own packages
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Repo.init() as repo:
            repo.imp_url(f"http://127.0.0.1:{server.server_port}/a.tif", out="data/raw/valley/optical.tif")
            for content in (b"an image", b"an Image"):  # as long as the first
                monkeypatch.setattr(Served, "content", content)
                repo.update(["data/raw/valley/optical.tif.dvc"])
                assert (area / "optical.tif").read_bytes() == content
                assert content.hex() in (area / "optical.tif.dvc").read_text()
        server.shutdown()
    gc.collect()  # what DVC left open is complained of here, not in whatever test comes next
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "data"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["data/raw/valley/optical.tif.dvc"]


def test_git_tracks_no_out_of_dvc() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    cached = {out for stage in stages_of_the_project() for out in stage.outs} - kept_in_git()
    assert [path for path in tracked for out in cached if Path(path).is_relative_to(out)] == []


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/raw/my_area/optical.tif", True),
        ("data/raw/my_area.dvc", False),
        ("data/raw/my_area/optical.tif.dvc", False),
        ("data/raw/my_area/tiles/a.tif", True),
        ("data/raw/.gitignore", False),
        ("data/predict/my_area/landslides.gpkg", True),
        ("data/export/model.onnx", True),
        ("docs/html/index.html", True),
        ("docs/library.md", False),
        ("mlflow.db", True),
        ("mlflow.db-journal", True),
        ("mlartifacts/1/figures/a.png", True),
        (".ckpt/0/latest.safetensors", True),
        (".dvc/config", False),
        (".dvc/config.local", True),
        ("wheelhouse/uv-1.whl", True),
        (".dvc/site_cache/repo", True),
        (".dvc/tmp/hpcl_track/lock", True),
        ("dvc.lock", False),
        ("hpcl/__pycache__/a.cpython-311.pyc", True),
    ],
)
def test_gitignore(path: str, ignored: bool) -> None:
    assert is_ignored(path) == ignored


@pytest.fixture(scope="module")
def dvcignore(tmp_path_factory: pytest.TempPathFactory):
    """DVC's reading of our .dvcignore, in a folder of its own."""
    from dvc.repo import Repo

    root = tmp_path_factory.mktemp("ignores")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(f"[core]\n no_scm = true\n site_cache_dir = {root / '.dvc' / 'site'}\n")
    (root / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    with Repo(str(root)) as repo:
        yield lambda path: repo.dvcignore.is_ignored_dir(str(root / path))


@pytest.mark.parametrize(
    "path", ["stages/__pycache__", "hpcl/__pycache__", ".venv", "wheelhouse", ".ckpt", "mlartifacts"]
)
def test_dvc_ignores(path: str, dvcignore) -> None:
    assert dvcignore(path)


@pytest.mark.parametrize("path", ["stages", "hpcl", "data/raw/my_area", "reports/figures"])
def test_dvc_sees(path: str, dvcignore) -> None:
    assert not dvcignore(path)


def test_dvc_config_has_no_place_in_it() -> None:
    """Analytics off; a path, an address or a credential belongs into .dvc/config.local."""
    text = (ROOT / ".dvc" / "config").read_text()
    assert "analytics = false" in text
    assert "site_cache_dir" not in text
    assert "/" not in text


def test_site_cache_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's default, /var/tmp/dvc, is open to everybody (CVE-2025-69872); other local settings stay as they are."""
    from dvc.config import Config

    monkeypatch.setenv("HPCL_TRACK", "off")
    (tmp_path / ".dvc").mkdir()
    local = tmp_path / ".dvc" / "config.local"
    local.write_text("['remote \"mine\"']\n    url = /some/where%20else\n")
    commands.init(tmp_path)
    commands.init(tmp_path)
    config = Config(str(tmp_path / ".dvc"), validate=True)
    place = Path(config["core"]["site_cache_dir"])
    assert place == tmp_path / ".dvc" / "site_cache"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert config["remote"]["mine"]["url"] == "/some/where%20else"


def test_clean_leaves_what_git_tracks(tmp_path: Path) -> None:
    """Scores that were committed are the user's results; what is only here goes."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    committed = [
        "reports/train/summary.json",
        "reports/evaluate/metrics.json",
        "reports/audit/promises.json",
        "reports/ablation.csv",
        "reports/budget.csv",
        "data/README.md",
    ]
    made = [
        "data/predict/valley/landslides.gpkg",
        "data/model/model.json",
        "reports/report.html",
        "reports/train/new.csv",
    ]
    kept = ["data/raw/valley/dem.tif", "mlflow.db", ".ckpt/0/latest.safetensors"]
    for path in [*committed, *made, *kept]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    git = ["git", "-c", "user.name=mapper", "-c", "user.email=mapper@example.org"]
    for arguments in (["init", "-q"], ["add", "-f", *committed], ["commit", "-qm", "results"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
    assert [path for path in [*committed, *kept] if not (tmp_path / path).exists()] == []
    assert [path for path in made if (tmp_path / path).exists()] == []
