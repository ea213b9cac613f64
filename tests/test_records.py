"""Metadata: what a stage writes is what the next one reads, key by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import examples
import pytest

from hpcl.ablation.records import VariantScores
from hpcl.core import records
from hpcl.core.artifacts import ArtifactError, read_json, write_json
from hpcl.metrics import records as scores

WAY = records.OperationFacts(from_="WGS 84", to="Mars", name="none", accuracy_m=None, files=["dem.tif"])
SHARES = records.AttentionShares(None, 0.2, 1)
LOOK = records.BandLook("red", True, 1.0, -2.0, 0.5)
GROUND = records.GroundFacts(
    {"red": records.BandGround("image", [0.0, 1.0])}, records.ImageGround(["red"], [0.5], [[0.25]])
)
SPREAD = records.AreaGround(px=900, bands={"red": [0.0, 1.0]})
REVIEW = [records.DecisionCount("omissions", "accept", 3, 2)]
PART: dict[str, Any] = {
    "blocks": 1, "px": 9, "landslide_frac": 0.1, "no_prediction_px": 0, "hpcl_net_landslide_iou": 0.5,
    "polygons_landslide_iou": 0.5, "slope_threshold_landslide_iou": None, "pixel_classifier_landslide_iou": 0.1,
}  # fmt: skip
WHOLE: list[Any] = [
    examples.area(inventory=examples.inventory(review=REVIEW), operations=[WAY], bands=[records.BandName("red", "1")]),
    examples.shift(bands=[LOOK], sun=records.ImageSun(315.0, None), band="red"),
    examples.terrain(("slope", "scalar"), findings=("smooth",)),
    examples.tiles({"valley": examples.tiled_area(0, 1)}, ground=GROUND, grounds={"valley": SPREAD}),
    records.ModelFacts(
        **vars(examples.trained(ground=GROUND, grounds={"valley": SPREAD}, dem_pixel_m=[5.0])),
        settings={},
        embedding_dim=8,
        weights_sha256="ab",
    ),
    examples.baselines(),
    examples.mapped(training_landslide_m2=[1.0, 900.0], distances={"optical": {"red": 0.3}}),
    examples.outlined(findings=["few"]),
    examples.attention(windows=[records.WindowPlace(3, 4, 1)], attention={"fused": SHARES}),
    examples.training(folds=[records.FoldTraining(fold=1, held_iou=0.4, findings=["diverged"])]),
    records.CalibrationFacts(areas=["valley"], objects=3, findings=["few landslides"]),
    examples.audit(),
    examples.metrics(
        hpcl_net=scores.MapScores(miou=0.5, miou_interval=(None, None)),
        paired={"polygons": scores.Lead(landslide_iou_difference=0.1, interval=(None, None))},
        areas=[
            scores.AreaScores(area="valley", **PART),
        ],
        folds=[scores.FoldScores(fold=2, **PART)],
        weights_sha256="ab",
        operating_points=[
            scores.PointScores(
                point="precision 0.8",
                thresholds=examples.thresholds(),
                reached=False,
                scores=scores.MapScores(miou=0.5),
            )
        ],
        object_sizes=[
            scores.SizeClass(
                size_class="all",
                objects=3,
                hpcl_net_found=2,
                polygons_found=1,
                slope_threshold_found=0,
                pixel_classifier_found=0,
            )
        ],
        instances=[
            scores.AreaInstances(area="valley", landslides=5, polygons=4, matched=3, split=1, merging=0),
        ],
    ),
    records.VariantTraining(held_iou=0.5, steps=120),
    records.LabelShare(folds=[records.TaughtGround(blocks={"valley": [3, 0]}, landslides=2, of=9)], findings=["few"]),
    VariantScores(
        held_iou=0.5,
        probe_auc=None,
        steps=9,
        parameters=7,
        blocks={"a, 2 folds": {"area": ["a"], "tp": [3]}},
    ),
]


@pytest.mark.parametrize("record", WHOLE, ids=lambda record: type(record).__name__)
def test_what_is_written_is_read(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "facts.json"
    write_json(path, record)
    assert read_json(path, type(record)) == record


def test_the_keys_of_a_file_are_the_fields_of_its_record(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, WHOLE[0])
    written = json.loads(path.read_text())
    assert written["operations"] == [
        {"accuracy_m": None, "files": ["dem.tif"], "from": "WGS 84", "name": "none", "to": "Mars"}
    ]
    assert written["valid_frac"] == {"dem": 1.0, "image": 1.0}  # there is no reference DEM
    write_json(path, scores.MapScores(precision=float("nan"), precision_interval=(float("nan"), float("nan"))))
    assert json.loads(path.read_text()) == {"precision": None, "precision_interval": [None, None]}
    assert read_json(path, scores.MapScores).has("precision")  # it was asked for, and there is none


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("shape", [160], "says [160] for 'shape', but list should have at least 2 items after validation, not 1"),
        ("pixel_m", 0, "says 0 for 'pixel_m', but input should be greater than 0"),
        ("classes", "landslide", "says 'landslide' for 'classes', but input should be a valid array"),
        ("crs", None, "says None for 'crs', but input should be a valid string"),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, key: str, value: Any, says: str) -> None:
    path = tmp_path / "facts.json"
    write_json(path, examples.area())
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ArtifactError) as refusal:
        read_json(path, records.AreaFacts)
    assert str(refusal.value).startswith(f"{path} {says}; ")
