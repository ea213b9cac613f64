"""Every slip in params.yaml, and between params.yaml and the raw files' headers, is told by the first stage."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from test_area_names import call
from test_dvc_yaml import ROOT, closure, read_yaml, write_yaml

from hpcl import terrain
from hpcl.settings.synthesize import BANDS as SYNTHETIC_BANDS
from hpcl.settings.terrain import BANDS
from hpcl.synth import write
from stages import check, survey
from stages._stage import run

SHIPPED = read_yaml(ROOT / "params.yaml")
BAND_NAMES = ("red", "green", "blue", "nir")
GROUND = {"crs": "EPSG:32643", "transform": from_origin(400_000, 3_800_000, 2, 2)}


def write_tif(path: Path, names: tuple[str, ...], dtype: str = "uint16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"width": 64, "height": 48, "count": len(names), "dtype": dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **GROUND) as file:
        file.write(np.ones((len(names), 48, 64), dtype))
        file.descriptions = names


def write_area(folder: Path, names: tuple[str, ...] = BAND_NAMES, inventory: bool = True) -> None:
    """Headers only: check and survey look at nothing else."""
    write_tif(folder / "optical.tif", names)
    write_tif(folder / "dem.tif", ("",), "float32")
    if inventory:
        (folder / "landslides.gpkg").write_bytes(b"SQLite format 3\0")


def at(document: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *path, last = key.split(".")
    for name in path:
        document = document[name]
    return document, last


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(document: Any, main: Callable[..., None] = check.main, *arguments: str) -> str:
    """The sentence with which a stage stops; empty if it does not."""
    write_yaml(Path("params.yaml"), document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stage", *arguments])
        patch.setenv("HPCL_TRACK", "off")
        patch.delenv("DVC_ROOT", raising=False)
        try:
            run(main)
        except SystemExit as stopped:
            return str(stopped.code)
    return ""


def changed(**values: Any) -> dict[str, Any]:
    """The shipped parameters for one area, kaghan, with dotted keys (`__` for a dot) set to other values."""
    document = copy.deepcopy(SHIPPED) | {"areas": ["kaghan"]}
    document["synthesize"]["areas"] = {}
    for key, value in values.items():
        section, last = at(document, key.replace("__", "."))
        section[last] = value
    return document


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every key below a section that has a name of its own, from the records' view."""
    for key, inner in value.items():
        yield f"{path}{key}"
        if isinstance(inner, dict) and f"{path}{key}" not in ("model.branches", "synthesize.areas"):
            yield from keys(inner, f"{path}{key}.")


KEYS = list(keys(SHIPPED))


# --- params.yaml against itself -----------------------------------------------------------------------------------


def test_what_is_shipped_passes_without_a_word_before_any_area_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(SHIPPED) == ""
    assert capsys.readouterr().out == ""
    once = Path("data/checked").read_bytes()
    assert refusal(changed() | {"areas": SHIPPED["areas"], "synthesize": SHIPPED["synthesize"], "evaluate": {
        **SHIPPED["evaluate"], "resamples": 7}}) == ""  # fmt: skip
    assert Path("data/checked").read_bytes() == once


WEIGHTS = {"file": "weights/none.safetensors", "sha256": "0" * 64, "stem": "mean", "learning_rate_frac": 0.1}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_missing_or_misspelt_is_named(folder: Path, key: str) -> None:
    if key == "coregister.bands":
        pytest.skip("the one parameter that has a value if nobody gives one")
    document = copy.deepcopy(SHIPPED)
    section, last = at(document, key)
    value = section.pop(last)
    assert key.rsplit(".", maxsplit=1)[-1] in refusal(document)
    section[last[:-1] + "q"] = value
    said = refusal(document)
    assert said.startswith("check: params.yaml")
    if key == "train":
        return  # traiq is nearer to terrain
    assert last[:-1] + "q" in said
    assert f"did you mean '{last[:-1]}q'" in said or f"did you mean '{last}'" in said or len(last) < 4, said
    assert said.count("\n") == 0


@pytest.mark.parametrize("key", [key for key in KEYS if not isinstance(at(SHIPPED, key)[0][at(SHIPPED, key)[1]], dict)])
def test_a_value_of_another_kind_is_named(folder: Path, key: str) -> None:
    for value in ({"what": 1}, None):
        document = copy.deepcopy(SHIPPED)
        section, last = at(document, key)
        section[last] = value
        assert last in refusal(document), value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tile__block_px": 112}, "tile.block_px of 112 is less than tile.window_px (128)"),
        ({"tile__folds": 1}, "'tile.folds' is 1"),
        ({"tile__folds": 11}, "'tile.folds' is 11"),
        ({"tile__val_frac": 0.15}, "'tile.val_frac' is gone: all labelled ground is in folds now (tile.folds); delete the line"),
        ({"train__patience_epochs": 6}, "'train.patience_epochs' is gone"),
        ({"tile__split": "areas"}, "there are 1 for 3 folds (the labelled areas are kaghan); lower tile.folds"),
        ({"outline__operating_point": "best"}, "outline.operating_point"),
        ({"outline__operating_point": {"precision": 1.2}}, "outline.operating_point"),
        ({"tile__window_px": 100}, "'tile.window_px' is 100"),
        ({"tile__window_px": 144, "model__output_stride": 16, "model__architecture": "Unet", "contrastive__weight": 0.0},
         "tile.window_px is 144, but the network needs a multiple of 32"),
        ({"model__architecture": "Unet"}, "model.architecture Unet has no contrast; set contrastive.weight to 0"),
        ({"model__architecture": "UperNett"}, "is 'UperNett' (did you mean UPerNet?)"),
        ({"model__pretrained": "weights.safetensors"}, "it is true or false; name weight files in model.weights"),
        ({"model__weights": {"optical": WEIGHTS}}, "names weights/none.safetensors, which is no file"),
        ({"model__weights": {"optical": WEIGHTS | {"sha256": "6c67"}}}, "'model.weights.optical.sha256' is '6c67'"),
        ({"model__weights": {"radar": WEIGHTS, "optical": WEIGHTS}}, "model.weights names 'radar'"),
        ({"contrastive__weight": 0.0, "train__predictor": "ema"}, "train.predictor is ema"),
        ({"contrastive__weight": 0.0, "contrastive__alone_frac": 0.25}, "weight 0 makes no contrast that could teach alone"),
        ({"contrastive__alone_frac": 0.25}, "contrastive.start_frac 0.15 the contrast does not act"),
        ({"contrastive__alone_frac": 1.0}, "'contrastive.alone_frac' is 1"),
        ({"tile__test_areas": ["kaghn"]}, "tile.test_areas names kaghn, but the labelled areas are kaghan"),
        ({"model__branches": {"optical": ["red", "grean"]}}, "asks for band 'grean', which area kaghan does not have"),
        ({"model__branches": {"optical": ["red"], "terrain": ["relief_35m"]}}, "asks for band 'relief_35m'"),
        ({"terrain__relief_radii_m": [40.0, 120.0]}, "did you mean 'relief_40m'?"),
        ({"terrain__relief_radii_m": []}, "asks for band 'relief_30m'"),
        ({"coregister__bands": ["pan"]}, "coregister.bands names 'pan', but the bands of the image are"),
        ({"ingest__optical_bands": ["red", "green", "blue"]}, "has 4 bands, but params.yaml ingest.optical_bands names 3"),
        ({"areas": ["kaghn"]}, "data/raw/kaghn does not exist"),
        ({"areas": ["kaghn"]}, "(did you mean 'kaghan'?)"),
        ({"areas": ["synthetic_north"]}, "data/raw/synthetic_north does not exist"),
        ({"areas": ["kaghan", 7]}, "7 is no name of an area"),
        ({"areas": []}, "at least one is needed to train on"),
        ({"synthesize__areas": {"north": SHIPPED["synthesize"]["areas"]["synthetic_north"]}}, "synthesize.areas.north"),
        ({"report__dpi": 5}, "'report.dpi' is 5"),
        ({"train__predictor": "twin"}, "'train.predictor' of 'twin' is called 'ema' now"),
        ({"contrastive__sampling": "walls"}, "'contrastive.sampling' of 'walls' is called 'boundary_without_toe' now"),
        ({"train__augment": {"gain_std": 0.1, "offset_std": 0.1, "drop_branch_frac": 0.3}},
         "'train.augment.drop_branch_frac' is called train.augment.branch_dropout_frac now"),
        ({"predict": {"windows": {"turns": 8}}}, "'predict.windows.turns' is called inference.tta (none for 1, d4 for 8; the rest"),
        ({"predict": {"missing_bands": "mean", "polygons": {"simplify_px": 0.0}}},
         "'predict.missing_bands' is called inference.missing_bands now; 'predict.polygons' is called outline now."),
        ({"predict": {"anything": 1}}, "'predict' is called inference and outline now."),
        ({"explain__windows": 0}, "'explain.windows' is 0"),
        ({"inference__missing_bands": "refuze"}, "'inference.missing_bands' is 'refuze'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(folder: Path, values: dict[str, Any], said: str) -> None:
    write_area(folder / "data/raw/kaghan")
    assert refusal(changed()) == ""
    found = refusal(changed(**values))
    assert said in found
    assert found.startswith("check: ")
    assert "\n" not in found


# --- against the headers ------------------------------------------------------------------------------------------


def test_files_that_are_missing_or_unsound_are_named(folder: Path) -> None:
    area = folder / "data/raw/kaghan"
    write_area(area)
    for name in ("optical.tif", "dem.tif"):
        kept = (area / name).read_bytes()
        (area / name).unlink()
        assert f"data/raw/kaghan/{name} does not exist" in refusal(changed())
        (area / name).write_bytes(b"")
        assert f"{name} is empty" in refusal(changed())
        (area / name).write_bytes(kept)
    write_tif(area / "dem.tif", ("a", "b"), "float32")
    assert "dem.tif has 2 bands" in refusal(changed())
    write_area(area)
    write_tif(area / "thermal.tif", ("slope",))
    assert "Area kaghan has a band 'slope' of its own" in refusal(changed())
    write_tif(area / "thermal.tif", ("red",))
    assert "has a band 'red', and so has" in refusal(changed())
    (area / "thermal.tif").unlink()
    (area / "landslides.gpkg").rename(area / "landslides.dbf")
    assert "landslides.dbf lies there without the file" in refusal(changed())


def test_further_rasters_give_bands_by_their_names(folder: Path) -> None:
    area, wanted = folder / "data/raw/kaghan", {"model__branches": {"warmth": ["thermal", "lst_2"]}}
    write_area(area)
    write_tif(area / "thermal.tif", ("",))
    assert "asks for band 'lst_2'" in refusal(changed(**wanted))
    write_tif(area / "lst.tif", ("", ""))
    assert refusal(changed(**wanted)) == ""


@pytest.mark.parametrize(
    "names", [("", "", "", ""), ("Red", "Green", "Blue", "NIR"), ("Band_1", "Band_2", "Band_3", "Band_4")]
)
def test_bands_that_ingest_would_name_are_known(folder: Path, names: tuple[str, ...]) -> None:
    write_area(folder / "data/raw/kaghan", names)
    assert refusal(changed()) == ""


def test_an_area_without_inventory_may_lack_bands_where_that_is_allowed(folder: Path) -> None:
    write_area(folder / "data/raw/kaghan")
    write_area(folder / "data/raw/far", ("red", "green", "blue"), inventory=False)
    document = changed() | {"areas": ["kaghan", "far"]}
    assert "band 'nir', which area far does not have (inference.missing_bands: mean would map it" in refusal(document)
    document["inference"]["missing_bands"] = "mean"
    assert refusal(document) == ""
    (folder / "data/raw/far/landslides.gpkg").touch()
    assert "band 'nir', which area far does not have;" in refusal(document)


def test_no_inventory_anywhere_is_refused(folder: Path) -> None:
    write_area(folder / "data/raw/kaghan", inventory=False)
    assert "at least one is needed to train on" in refusal(changed())


def test_what_nobody_named_is_said_and_not_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_area(folder / "data/raw/kaghan")
    write_area(folder / "data/raw/kagan_2")
    write_tif(folder / "data/raw/optical.tif", BAND_NAMES)
    (folder / "data/raw/gone").symlink_to("/nowhere")
    assert refusal(changed()) == ""
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "check: data/raw/kagan_2 is not among the 'areas' of params.yaml (they name kaghan), so nothing reads it.",
        "check: optical.tif in data/raw: read by nothing, for each area has a folder of its own there.",
    ]


def test_survey_says_the_same_of_one_area(folder: Path) -> None:
    write_area(folder / "data/raw/kaghan")
    assert refusal(changed(), survey.main, "kaghan") == ""
    once = Path("data/surveyed/kaghan").read_bytes()
    assert refusal(changed(model__branches={"optical": ["red"]}), survey.main, "kaghan") == ""
    assert Path("data/surveyed/kaghan").read_bytes() == once
    write_area(folder / "data/raw/kaghan", ("red", "green", "blue", "swir"))
    assert "band 'nir', which area kaghan does not have" in refusal(changed(), survey.main, "kaghan")


# --- the claims that this rests on --------------------------------------------------------------------------------


def test_the_names_of_bands_are_those_that_the_stages_write() -> None:
    assert tuple(terrain.ATTRIBUTES) == BANDS
    assert SYNTHETIC_BANDS is write.BANDS


def test_every_section_is_looked_at() -> None:
    source = (ROOT / "stages" / "check.py").read_text(encoding="utf-8")
    assert {name for name in SHIPPED if f'params("{name}", ' in source} == set(SHIPPED)


def test_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "pandas", "geopandas", "scipy", "sklearn", "matplotlib", "mlflow", "dvc")
    code = f"import sys, stages.check, stages.survey; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


TOY = """
stages:
  check: {check}
  survey: {survey}
  ingest:
    matrix: {{area: "${{areas}}"}}
    cmd: echo ingested ${{item.area}} && mkdir -p data/ingest && cp data/raw/${{item.area}}/dem.tif data/ingest/${{item.area}}
    deps: ["data/surveyed/${{item.area}}", "data/raw/${{item.area}}"]
    outs: ["data/ingest/${{item.area}}"]
  train:
    cmd: echo trained && echo x > data/model
    deps: [data/ingest]
    params: [train]
    outs: [data/model]
  evaluate:
    cmd: echo evaluated && echo x > data/scores
    deps: [data/model]
    params: [evaluate]
    outs: [data/scores]
"""


def test_dvc_runs_check_first_and_later_stages_only_if_they_are_outdated(folder: Path) -> None:
    """The stages check and survey as dvc.yaml has them, before stand-ins for the others."""
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    for path in {*closure("stages/check.py", ROOT), *closure("stages/survey.py", ROOT)}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    for package in ("hpcl", "stages"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    (folder / "dvc.yaml").write_text(TOY.format(check=stages["check"], survey=stages["survey"]).replace("None", "null"))
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(
        f"[core]\n analytics = false\n no_scm = true\n site_cache_dir = {folder / '.dvc' / 'site'}\n"
    )
    write_area(folder / "data/raw/kaghan")

    def repro(document: dict[str, Any]) -> str:
        write_yaml(folder / "params.yaml", document)
        return call(sys.executable, "-m", "dvc", "repro", at=folder)[1]

    said = repro(changed() | {"areas": ["kaghn"]})
    assert "check: data/raw/kaghn does not exist" in said
    assert "missing data source" not in said
    lacking = changed()
    del lacking["evaluate"]
    assert "check: params.yaml has no section 'evaluate'" in repro(lacking)
    assert "trained" in repro(changed())
    said = repro(changed(evaluate__resamples=7))
    assert "Running stage 'check'" in said
    assert "Running stage 'evaluate'" in said
    assert said.count("Running stage") == 2
    assert "up to date" in repro(changed(evaluate__resamples=7))
    write_area(folder / "data/raw/kaghan", ("red", "green", "blue", "swir"))
    said = repro(changed(evaluate__resamples=7))
    assert "survey: params.yaml: model.branches.optical asks for band 'nir'" in said
    assert "ingested" not in said
