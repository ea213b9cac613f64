"""AdaBN is off unless it is asked for: in the parameters, in every row of the ablation but its own, and in what `predict` says."""

import re
import shutil
from pathlib import Path

import pytest
from test_adapt import Held, OneNorm, adapted, ground

from hpcl.inference.adabn import too_small
from hpcl.settings.inference import InferenceSettings
from stages import _ablation
from stages._stage import params
from stages.score_variant import inference

ROOT = Path(__file__).parents[1]
VARIANTS = params("variants", dict[str, _ablation.Variant], file=ROOT / _ablation.FILE)


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (256, 320)])
def test_by_default_a_new_area_keeps_the_network_as_it_is_and_nothing_is_said(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    most = params("inference", InferenceSettings).adapt_windows
    network = OneNorm()
    scene = Held(ground(shape), network)
    assert adapted(scene, most) is network
    assert not too_small(scene.ensemble, scene, most)


@pytest.mark.parametrize("wanted", [0, 256])
def test_rows_of_the_ablation_measure_adabn_against_off_whatever_the_workspace_does(
    wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ablation").mkdir()
    shutil.copy(ROOT / _ablation.FILE, tmp_path / _ablation.FILE)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\badapt_windows: \d+", f"adapt_windows: {wanted}", text)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert params("inference", InferenceSettings).adapt_windows == wanted
    for name, row in VARIANTS.items():
        assert (inference(name).adapt_windows > 0) == name.endswith("adabn")
        if name.endswith("adabn"):
            assert _ablation.recipe(name, 0) == _ablation.recipe(row.against, 0)
            assert inference(row.against).adapt_windows == 0
