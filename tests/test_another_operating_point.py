"""Another operating point costs seconds: stages that it cannot change do not run again, and what runs counts nothing twice."""

from __future__ import annotations

import ast
import io
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_dvc_yaml import PACKAGES, ROOT, stages_of_the_project
from test_metrics import blob_scene, settings
from test_report import Ground, write_project

from hpcl.core.artifacts import ArtifactError
from hpcl.metrics import tally as counting
from hpcl.report import lasting
from stages import illustrate, report

CONSTANT = {"check", "survey"}
"""Stages whose out says the same, whatever the parameters are, so that nothing runs again after them."""
AGAIN = {"check", "outline", "evaluate", "report", "page", "track"}
SLOW = {"dask", "distributed", "lightning_fabric", "mlflow", "skimage", "sklearn", "timm", "torch"}
"""Packages of which each takes a quarter of a second or more."""


def runs_again(parameter: str) -> set[str]:
    """The stages that DVC runs after a change of one parameter."""

    def reads(section: str) -> bool:
        return parameter == section or parameter.startswith(f"{section}.")

    def touch(a: str, b: str) -> bool:
        return Path(a).is_relative_to(b) or Path(b).is_relative_to(a)

    found: set[str] = set()
    changed: set[str] = set()
    for stage in stages_of_the_project():  # in the order in which DVC runs them
        if any(map(reads, stage.sections)) or any(touch(out, dep) for out in changed for dep in stage.data):
            found.add(stage.module)
            changed |= set() if stage.module in CONSTANT else set(stage.outs)
    return found


@pytest.mark.parametrize(
    ("parameter", "besides"), [("outline.operating_point", set()), ("outline.simplify_px", {"audit"})]
)
def test_only_what_depends_on_it_runs_again(parameter: str, besides: set[str]) -> None:
    again = {name for name in runs_again(parameter) if "variant" not in name and "share" not in name}
    assert again == AGAIN | besides  # an audit draws as the map does, but asks the same whatever the map is to show


@pytest.mark.parametrize("parameter", ["report.dpi", "tile.seed", "explain.windows"])
def test_the_figures_that_stay_follow_what_they_show(parameter: str) -> None:
    assert {"illustrate", "report", "track"} <= runs_again(parameter)


def loaded_at_start(module: str) -> set[str]:
    """The packages that a stage imports before it does anything, as its own and our other modules name them at their top."""
    found, packages, todo = set[Path](), set[str](), {ROOT / "stages" / f"{module}.py"}
    while todo:
        path = todo.pop()
        found.add(path)
        names = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        packages |= {name.partition(".")[0] for name in names}
        ours = [ROOT.joinpath(*name.split(".")) for name in names if name.partition(".")[0] in PACKAGES]
        todo |= {file for at in ours for file in (at.with_suffix(".py"), at / "__init__.py") if file.exists()} - found
    return packages


@pytest.mark.parametrize("module", sorted(AGAIN))
def test_a_stage_that_runs_again_does_not_begin_by_importing_what_it_may_not_need(module: str) -> None:
    assert not loaded_at_start(module) & SLOW


def test_the_search_for_imports_goes_deep() -> None:
    assert {"sklearn", "pandas", "mlflow", "torch"} & loaded_at_start("audit") == {"sklearn", "pandas"}
    assert {"torch", "timm"} <= loaded_at_start("predict")


# ---- figures that stay


def project(root: Path, patch: pytest.MonkeyPatch) -> Callable[[], dict[str, bytes]]:
    """A project with the given ground, and what lies in data/illustrate."""
    write_project(root, [Ground("here", (60, 70)), Ground("bare", (40, 50), labelled=False)])
    patch.chdir(root)
    return lambda: {path.name: path.read_bytes() for path in Path("data/illustrate").iterdir()}


def test_they_need_no_map_and_the_report_shows_them_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = project(tmp_path, monkeypatch)
    for name in ("data/outline", "data/predict", "data/calibrate", "reports/evaluate"):
        shutil.move(name, tmp_path / name.replace("/", "_"))
    Path("data/illustrate").mkdir()
    Path("data/illustrate/gone_image.png").write_bytes(b"of an area that is no more")
    illustrate.main()
    stay = drawn()
    assert {"training_loss.png", "training_watch.png", "here_image.png", "here_folds.png", "bare_image.png"} <= set(
        stay
    )
    assert not {"gone_image.png", "bare_folds.png"} & set(stay)
    for name in ("data/outline", "data/predict", "data/calibrate", "reports/evaluate"):
        shutil.move(tmp_path / name.replace("/", "_"), name)
    report.main()
    shown = {path.name: path.read_bytes() for path in Path("reports/figures").iterdir()}
    assert stay.items() <= shown.items()
    assert {name for name in set(shown) - set(stay) if name.startswith(("here", "bare"))} == {
        "here_map.png", "here_uncertainty.png", "here_outcomes.png", "here_enlarged.png", "bare_map.png", "bare_uncertainty.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("training_loss.png", None, "does not exist"),
        ("training_loss.png", lambda data: b"", "is no whole picture"),
        ("here_image.png", lambda data: data[: len(data) // 2], "is no whole picture"),
        ("here_image.png", lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "is no whole picture"),
        ("here_folds.png", lambda data: b"[3, 4]", "is no whole picture"),
    ],
)
def test_one_that_is_damaged_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: Callable[[bytes], bytes] | None,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = lasting.FOLDER / name
    path.parent.mkdir(parents=True)
    packed = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(packed, "png")
    picture = packed.getvalue()
    for whole in ("training_loss.png", "here_image.png", "here_folds.png"):
        (lasting.FOLDER / whole).write_bytes(picture)
    assert set(lasting.read()) == {"training_loss.png", "here_image.png", "here_folds.png"}
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(picture))
    with pytest.raises(ArtifactError, match=rf"data/illustrate/{name} {told}; .*dvc repro -s -f illustrate"):
        lasting.read()


# ---- counting once


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strip_px", [2**20, 1000, 97])
def test_maps_that_are_counted_together_count_as_each_alone(
    monkeypatch: pytest.MonkeyPatch, seed: int, strip_px: int
) -> None:
    monkeypatch.setattr("hpcl.windows.STRIP_PX", strip_px)
    scene, probability = blob_scene(seed=seed)
    other = np.random.default_rng(seed).random(probability.shape, np.float32)
    asked: list[slice] = []

    def score(rows: slice) -> np.ndarray:
        asked.append(rows)
        return probability[rows]

    at = {
        name: np.array(values, np.float32)
        for name, values in {"a": [0.5, 0.4, 0.6], "b": [0.2] * 3, "c": [1.0] * 3}.items()
    }
    maps = {name: counting.Map(score, thresholds) for name, thresholds in at.items()}
    maps["a"] = counting.Map(score, at["a"], lambda rows: 1 - other[rows])
    maps["other"] = counting.Map(lambda rows: other[rows], at["b"])
    together = counting.tally_all(scene, maps, settings())
    assert list(together) == ["a", "b", "c", "other"]
    assert len(asked) == len(list(counting.strips(probability.shape)))
    for name, of in maps.items():
        alone = counting.tally(scene, of, settings())
        for field in fields(alone.blocks):
            assert np.array_equal(getattr(together[name].blocks, field.name), getattr(alone.blocks, field.name)), field
        assert np.array_equal(together[name].histogram, alone.histogram)
        pd.testing.assert_frame_equal(together[name].objects, alone.objects)
    assert not np.array_equal(together["a"].blocks.confusion, together["b"].blocks.confusion)
    assert np.array_equal(together["a"].blocks.calibration, together["b"].blocks.calibration)
