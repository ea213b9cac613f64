"""What a stage left and something damaged: the next stage says which file and how it is had again, or is right."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
from test_metrics import plant_areas

from hpcl.calibration.counts import CalibrationError
from hpcl.core import artifacts
from hpcl.core.artifacts import ArtifactError
from hpcl.core.records import MapFacts, TileFacts
from hpcl.geo import vector
from hpcl.training import checkpoint
from hpcl.training.dataset import DatasetError, Tiles
from stages import _stage
from stages import evaluate as stage

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at its end": lambda data: data[:-3],
    "no text": lambda data: b"\xff\xfe\x00" + data,
    "zeros": lambda data: bytes(len(data)),
    "other type": lambda data: b"[3, 4]",
    "a picture": lambda data: b"\x89PNG\r\n\x1a\n" + data,
    "an archive": lambda data: b"PK\x03\x04" + data,
    "a pickle": lambda data: b"\x80\x04\x95" + data,
    "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "deep": lambda data: b"[" * 100_000,
    "no number": lambda data: data.replace(b"1", b"NaN", 1),
}
OPTICAL = {"optical": ("red", "green"), "terrain": ("slope",)}


def damaged(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "name", ["facts.json", "windows_1.csv", "place.bands.npy", "place.labels.npy", "place.teaches.npy"]
)
def test_tiles_that_are_damaged_are_a_sentence(tiles_folder: Path, tmp_path: Path, name: str, how: str) -> None:
    folder = shutil.copytree(tiles_folder, tmp_path / "tiles")
    damaged(folder / name, how)
    told = ""
    try:
        Tiles(folder, OPTICAL, 1).raw(0)
    except (ArtifactError, DatasetError) as error:
        told = str(error)
    assert "\n" not in told
    assert not told or "place." in told or name in told  # a table that begins and ends well may be read


@pytest.mark.parametrize(
    "name", ["facts.json", "windows_1.csv", "place.bands.npy", "place.labels.npy", "place.teaches.npy"]
)
def test_tiles_that_are_missing_are_a_sentence(tiles_folder: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiles_folder, tmp_path / "tiles")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} does not exist"):
        Tiles(folder, OPTICAL, 1)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("bands", np.zeros((7, 255, 256), np.float32)),
        ("bands", np.zeros((6, 256, 256), np.float32)),
        ("bands", np.zeros((7, 256, 256), np.uint8)),
        ("bands", np.zeros(7, np.float32)),
        ("labels", np.zeros((256, 256), np.float32)),
        ("labels", np.zeros((256, 255), np.uint8)),
        ("teaches", np.zeros((1, 256, 256), np.uint16)),
        ("teaches", np.array(0, np.uint16)),
        ("teaches", np.zeros((256, 256), "U1")),
    ],
)
def test_arrays_of_another_shape_or_type_are_a_sentence(
    tiles_folder: Path, tmp_path: Path, name: str, array: Any
) -> None:
    folder = shutil.copytree(tiles_folder, tmp_path / "tiles")
    np.save(folder / f"place.{name}.npy", array)
    with pytest.raises(ArtifactError, match=r"place\.\w+\.npy (is an array of|holds other)"):
        Tiles(folder, OPTICAL, 1)


@pytest.mark.parametrize("how", ["emptied", "cut in half", "no text", "zeros", "other type", "deep"])
@pytest.mark.parametrize(
    "name",
    [
        "tiles/facts.json", "tiles/east.labels.npy", "tiles/landslides.csv", "calibrate/histogram.csv", "calibrate/objects.csv",
        "outline/east/facts.json", "baselines/facts.json",
    ],
)  # fmt: skip
def test_evaluate_says_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Path, name: str, how: str
) -> None:
    root = shutil.copytree(planted, tmp_path / "project")
    monkeypatch.chdir(root)
    damaged(root / "data" / name, how)
    monkeypatch.setattr(stage, "tally_all", lambda *_: pytest.fail("it was not refused"))
    listed = name == "tiles/landslides.csv"
    read = (lambda: stage._findings({}, None)) if listed else stage.main  # type: ignore[arg-type]  # reads first
    if listed and how == "cut in half":
        pytest.skip("half a table of two lines is a table of one")
    with pytest.raises((ArtifactError, CalibrationError), match=rf"data/{name} .*dvc checkout -f .*dvc repro -s -f"):
        read()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted")
    plant_areas(root)
    return root


@pytest.mark.parametrize("row", ["cut", "negative", "other level", "fewer folds"])
def test_evaluate_takes_no_counts_that_are_not_whole(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    root = shutil.copytree(planted, tmp_path / "project")
    monkeypatch.chdir(root)
    path = root / "data/calibrate/histogram.csv"
    first, *rows = path.read_text().splitlines()
    other = {
        "cut": rows[:-1], "negative": ["1,0,-1,0", *rows[1:]], "other level": ["1,7,0,0", *rows[1:]], "fewer folds": rows[:1001],
    }[row]  # fmt: skip
    path.write_text("\n".join([first, *other, ""]))
    with pytest.raises(CalibrationError, match=r"data/calibrate.*dvc repro -s -f calibrate"):
        stage.main()


@pytest.mark.parametrize("value", ["NaN", "-0.1", "1.5", "null", '"0.5"', "[]"])
def test_evaluate_takes_no_threshold_that_is_none(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    root = shutil.copytree(planted, tmp_path / "project")
    monkeypatch.chdir(root)
    path = root / "data/outline/east/facts.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts).replace(json.dumps(facts["thresholds"]["elsewhere"]), value))
    with pytest.raises(ArtifactError, match=r"outline/east/facts\.json"):
        stage.main()


def test_the_file_of_another_area_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data/predict/west/facts.json")
    path.parent.mkdir(parents=True)
    artifacts.write_json(path, examples.mapped(area="east"))
    with pytest.raises(ArtifactError, match="is the file of another area, 'east'"):
        artifacts.read_json(path, MapFacts)


def test_a_key_that_is_missing_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    artifacts.write_json(path, examples.tiles({"a": examples.tiled_area(0)}))
    whole = path.read_text()
    for key, named in (("gap_px", "gap_px"), ("azimuth_deg", r"sun\.azimuth_deg"), ("tops", r"areas\.a\.tops")):
        path.write_text(whole.replace(f'"{key}"', '"other"'))
        with pytest.raises(ArtifactError, match=rf"facts\.json lacks '{named}'"):
            artifacts.read_json(path, TileFacts)
    path.write_text(whole)
    assert artifacts.read_json(path, TileFacts).areas["a"].folds == [0]


def test_blocks_that_are_not_all_dealt_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    artifacts.write_json(path, examples.tiles({"a": examples.tiled_area(0, 1)}))
    facts = json.loads(path.read_text())
    facts["areas"]["a"]["folds"].pop()
    path.write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match=r"facts\.json .*1 folds for 2 blocks"):
        artifacts.read_json(path, TileFacts)


@pytest.mark.parametrize("how", ["emptied", "cut in half", "zeros", "a picture"])
def test_outlines_that_are_damaged_are_a_sentence(tmp_path: Path, how: str) -> None:
    path = tmp_path / "landslides.gpkg"
    vector.write(path, outlines())
    damaged(path, how)
    with pytest.raises(vector.VectorError, match=r"landslides\.gpkg is not a vector file"):
        vector.read(path)


# ---- a disk that is full ----------------------------------------------------------------------------------------------


def outlines() -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"id": range(400)}, geometry=[shapely.Point(i, i).buffer(9) for i in range(400)], crs=32648)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.json": lambda path: artifacts.write_json(path, list(range(4000))),
    "a.csv": lambda path: artifacts.write_csv(path, pd.DataFrame({"a": range(4000)})),
    "a.html": lambda path: artifacts.write_bytes(path, bytes(9000)),
    "a.gpkg": lambda path: vector.write(path, outlines()),
    "a.safetensors": lambda path: checkpoint.save(path, {"weights": torch.zeros(4000)}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("limit", [0, 100, 5000])
def test_a_full_disk_is_a_sentence_and_the_old_file_stays(tmp_path: Path, name: str, limit: int) -> None:
    resource = pytest.importorskip("resource")  # Windows has no limit on the size of files
    path = tmp_path / name
    path.write_bytes(b"the old one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ArtifactError, match=r"could not be written .*is the disk full, or the folder read-only\?"):
            WRITERS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    WRITERS[name](path)
    assert path.read_bytes() != b"the old one"


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_says_so_at_the_end_is_a_sentence_too(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        WRITERS[name](tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_stopped_by_hand_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCL_TRACK", "off")
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.setattr("sys.stdout.reconfigure", lambda **_: None, raising=False)
    with pytest.raises(SystemExit) as stopped:
        _stage.run(main)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.endswith("stopped by hand; what is not finished was not kept.\n")
