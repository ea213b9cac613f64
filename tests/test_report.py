"""The report: equal bytes, one file, nothing hidden: what was rejected, not labelled or not scored is said."""

from __future__ import annotations

import base64
import io
import re
import struct
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import examples
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from PIL import Image
from scipy import ndimage

from hpcl.core.artifacts import read_json, write_json
from hpcl.core.codes import OUTSIDE, TEST_AREA
from hpcl.core.digest import joint
from hpcl.core.records import (
    AttentionShares,
    BandName,
    CalibrationFacts,
    FoldTraining,
    ModelFacts,
    TiledArea,
    TileFacts,
    ValidShares,
    WindowPlace,
)
from hpcl.geo import blocks, cog, raster, vector
from hpcl.geo.raster import Band
from hpcl.metrics.records import (
    AreaScores,
    Counts,
    FoldScores,
    Lead,
    Maps,
    MapScores,
    PointScores,
    SizeClass,
    UncertaintyScores,
)
from hpcl.report import charts, facts, maps, page, style, use
from hpcl.settings.report import ReportSettings

CRS = "EPSG:32648"
SETTINGS = ReportSettings(dpi=60, map_px=200, attention_windows=2)
FOLDS = 3
THRESHOLDS = examples.thresholds(0.45, 0.4, 0.55, elsewhere=0.5)
WEIGHTS = ["ab" * 32, "cd" * 32, "ef" * 32]


# ---- a project that the stages before `report` have left -------------------------------------------------------------


@dataclass
class Ground:
    """One made-up area: what it is, and what the maps of it say."""

    name: str
    shape: tuple[int, int]
    labelled: bool = True
    test: bool = False
    accepted: bool = True
    reference: bool = True
    bands: tuple[str, ...] = ("red", "green", "blue", "nir")

    def __post_init__(self) -> None:
        rng = np.random.default_rng(len(self.name))
        rows, columns = self.shape
        smooth = ndimage.gaussian_filter(rng.normal(size=self.shape), min(self.shape) / 12)
        self.relief = smooth / smooth.std()
        field = ndimage.gaussian_filter(rng.normal(size=self.shape), min(self.shape) / 20)
        truth = field > np.quantile(field, 0.9)
        self.labels = truth.astype(np.uint8)
        self.labels[:, : columns // 20] = 255
        noisy = field / field.std() + 0.5 * ndimage.gaussian_filter(rng.normal(size=self.shape), 2) * 7
        self.probability = (1 / (1 + np.exp(-3 * (noisy - 1.3)))).astype(np.float32)
        self.probability[-rows // 15 :, -columns // 10 :] = np.nan
        self.folds = [TEST_AREA] * 12 if self.test else [0, 2, 1, 0, 1, 0, 2, OUTSIDE, 2, 1, 0, 2]
        self.tops, self.lefts = [[-(-length * i // n) for i in range(n)] for length, n in ((rows, 3), (columns, 4))]
        self.block = self.tiled().blocks(slice(0, rows), slice(0, columns)).astype(np.int32)
        if not self.test:
            self.labels[self.block == 7] = 255
        self.grid = raster.Grid(self.shape, Affine(2.0, 0, 500000, 0, -2.0, 3950000), CRS)
        self.rng = rng

    def tiled(self) -> TiledArea:
        shape = list(self.shape)
        return examples.tiled_area(*self.folds, tops=self.tops, lefts=self.lefts, shape=shape, divided_landslides=2)

    def mapped(self) -> Any:
        """Where the map says landslide, pixel by pixel and without the code under test."""
        least = np.full(self.shape, THRESHOLDS.elsewhere, np.float32)
        for fold, threshold in enumerate(THRESHOLDS.by_fold):
            for number, code in enumerate(self.folds if self.labelled else []):
                if code == fold:
                    least[self.block == number] = threshold
        return self.probability >= least


def _raster(path: Path, ground: Ground, values: Any, bands: list[Band]) -> None:
    cog.write(path, raster.Raster(np.asarray(values, np.float32), ground.grid, tuple(bands)))


def _polygons(path: Path, mask: Any, ground: Ground) -> int:
    import rasterio.features

    mask = np.asarray(mask, np.uint8)
    found = rasterio.features.shapes(mask, mask=mask, transform=ground.grid.affine)
    shapes = [shapely.geometry.shape(shape) for shape, _ in found]
    vector.write(path, gpd.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes, crs=CRS))
    return len(shapes)


def _write_area(data: Path, ground: Ground, size: int) -> None:
    name, (rows, columns), rng = ground.name, ground.shape, ground.rng
    tint = np.linspace(0.2, 0.5, len(ground.bands))[:, None, None]
    image = tint + 0.05 * ground.relief + 0.02 * rng.normal(size=(len(ground.bands), rows, columns))
    image[:, -rows // 15 :, -columns // 10 :] = np.nan
    _raster(data / "ingest" / name / "image.tif", ground, image, [Band(b) for b in ground.bands])
    inventory = None
    if ground.labelled:
        n = _polygons(data / "ingest" / name / "landslides.gpkg", ground.labels == 1, ground)
        inventory = examples.inventory(n=n, repaired=3, area_change_frac=0.001, unknown_frac=0.05)
        _raster(data / "ingest" / name / "labels.tif", ground, ground.labels[None], [Band("label")])
    facts = examples.area(
        area=name, crs=CRS, crs_name=CRS, dem_pixel_m=8.0, shape=[rows, columns],
        bands=[BandName(band, "") for band in ground.bands], valid_frac=ValidShares(image=0.99, dem=1.0),
        classes=["landslide"] if ground.labelled else [], inventory=inventory,
        findings=["landslides.gpkg: 3 of 40 polygons were invalid & <repaired>."],
    )  # fmt: skip
    write_json(data / "ingest" / name / "facts.json", facts)
    shift = examples.shift(
        method="reference" if ground.reference else "none",
        accepted=ground.accepted,
        reason="The spread of the residuals fell from 3.1 m to 1.2 m."
        if ground.accepted
        else "The residuals after the shift are no smaller <than> before.",
        quality="nmad_m", east_m=3.21, north_m=-5.4, vertical_m=12.0, east_px=0.4, north_px=-0.67,
        tilt_east_m_per_km=0.0 if ground.accepted else 1.25, tilt_north_m_per_km=0.0 if ground.accepted else -0.5,
        quality_before=3.1, quality_after=1.2, dem_pixel_m=8.0,
    )  # fmt: skip
    write_json(data / "coregister" / name / "shift.json", shift)
    if ground.reference:
        slope = np.gradient(ground.relief)[0]
        for when, spread in (("before", 40.0), ("after", 5.0)):
            residual = spread * slope / slope.std() * 0.1 + rng.normal(size=ground.shape)
            path = data / "coregister" / name / f"residual_{when}.tif"
            _raster(path, ground, residual[None], [Band("dem_minus_reference", "m")])
    east, north = np.gradient(ground.relief * 20, 2.0)[::-1]
    shade = np.clip(0.7 - 0.5 * east + 0.5 * north, 0, 1)
    _raster(
        data / "terrain" / name / "terrain.tif",
        ground,
        [ground.relief, shade],
        [Band("slope", "deg"), Band("hillshade")],
    )
    write_json(
        data / "terrain" / name / "facts.json", examples.terrain(("slope", "scalar"), ("hillshade", "hillshade"))
    )
    uncertainty = 0.2 * ground.probability * (1 - ground.probability)
    _raster(
        data / "predict" / name / "probability.tif",
        ground,
        [ground.probability, uncertainty],
        [Band("probability"), Band("uncertainty")],
    )
    n = _polygons(data / "outline" / name / "landslides.gpkg", ground.mapped(), ground)
    temperatures = examples.temperatures(1.1, 1.2, 1.3, elsewhere=1.25)
    mapped = examples.mapped(area=name, weights_sha256=joint(WEIGHTS), temperatures=temperatures)
    write_json(data / "predict" / name / "facts.json", mapped)
    mapped_m2 = float(ground.mapped().sum() * 4.0)
    outlined = examples.outlined(area=name, thresholds=THRESHOLDS, landslides=n, landslide_area_m2=mapped_m2)
    write_json(data / "outline" / name / "facts.json", outlined)
    _write_attention(data, ground, size)
    if ground.labelled:
        for what in ("labels", "block"):
            np.save(data / "tiles" / f"{name}.{what}.npy", getattr(ground, what))


def _write_attention(data: Path, ground: Ground, size: int) -> None:
    layers = ["optical", "terrain", "fused"]
    names = [f"{prefix}{layer}" for prefix in ("", "untrained_") for layer in layers]
    windows = []
    if not ground.test:
        windows = [WindowPlace(5, ground.shape[1] // 2, 1), WindowPlace(ground.shape[0] - size // 2, 3, 2)]
    for number, window in enumerate(windows, start=1):
        roi = np.s_[window.row_px : window.row_px + size, window.column_px : window.column_px + size]
        cams = []
        for i in range(len(names)):
            cam = ndimage.gaussian_filter(ground.rng.normal(size=ground.shape), size / 12)[roi]
            cams.append(np.clip(cam / cam.max(), 0, 1) if i != 1 else np.zeros_like(cam))
        seen = raster.Raster(np.stack(cams).astype(np.float32), ground.grid[roi], tuple(Band(name) for name in names))
        cog.write(data / "explain" / ground.name / f"attention_{number:02d}.tif", seen)
    known = ground.labelled and not ground.test
    shares = {
        name: AttentionShares(
            boundary_attention_frac=(0.2 if "un" in name else 0.35) if known else None,
            boundary_ground_frac=0.18 if known else None,
            blank_windows=1 if name == "terrain" else 0,
        )
        for name in names
    }
    facts = examples.attention(windows=windows, window_px=size, attention=shares)
    write_json(data / "explain" / ground.name / "facts.json", facts)


def _scores(iou: float, blocks: int, full: bool) -> MapScores:
    values = dict.fromkeys(style.SCORES, iou) | {
        "f1": 2 * iou / (1 + iou),
        "precision": iou + 0.2,
        "recall": iou + 0.1,
    }
    if full:
        values |= {"false_objects_per_km2": 3.4, "ece": 0.02, "brier": 0.05}
    spread: dict[str, Any] = {
        f"{k}_interval": (v - 0.08, v + 0.07) if blocks > 1 else (None, None) for k, v in values.items()
    }
    return MapScores(**values, **spread)


def _points(blocks: int) -> list[PointScores]:
    kept = ("landslide_iou", "precision", "recall", "object_detection_rate", "false_objects_per_km2")
    full: dict[str, Any] = vars(_scores(0.52, blocks, full=True))
    scores = MapScores(**{name: value for name, value in full.items() if name.removesuffix("_interval") in kept})
    return [
        PointScores(point="best_iou", thresholds=THRESHOLDS, reached=True, scores=scores),
        PointScores(point="precision 0.99", thresholds=examples.thresholds(0.97, 0.98, 0.99, elsewhere=0.98), reached=False, scores=scores),
    ]  # fmt: skip


def _part(iou: float) -> dict[str, Any]:
    ground = {"blocks": 3, "px": 61728, "landslide_frac": 0.09, "no_prediction_px": 0}
    return ground | {f"{name}_landslide_iou": iou for name in style.MAPS}


def write_project(root: Path, grounds: list[Ground], size: int = 32) -> None:
    """Everything that the stage `report` reads, shaped as the other stages write it."""
    data, reports = root / "data", root / "reports"
    (data / "tiles").mkdir(parents=True)
    for ground in grounds:
        _write_area(data, ground, size)
    labelled = [g for g in grounds if g.labelled]
    scored = [g for g in labelled if not g.test]
    bands = ["red", "green", "blue", "nir", "slope", "hillshade"]
    areas = {g.name: replace(g.tiled(), transform=list(g.grid.affine)[:6]) for g in labelled}
    told = [examples.tile_band(band, "image") for band in bands]
    tiles = examples.tiles(areas, bands=told, folds=[examples.fold(*told)] * FOLDS, window_px=size, gap_px=4)
    write_json(data / "tiles" / "facts.json", tiles)
    settings = {
        "branches": {"optical": bands[:4], "terrain": bands[4:]}, "encoder": "resnet18", "pretrained": False, "weights": {},
        "output_stride": 8, "fusion": "coordinate_attention",
    }  # fmt: skip
    for fold, weights in enumerate(WEIGHTS, start=1):
        model = examples.trained(window_px=size, fold=fold, folds=FOLDS)
        write_json(
            data / "model" / str(fold) / "model.json",
            ModelFacts(**vars(model), settings=settings, embedding_dim=8, weights_sha256=weights),
        )
    calibrated = CalibrationFacts(areas=[g.name for g in scored], objects=9, findings=["Fold 2 tells <nothing>."])
    write_json(data / "calibrate" / "facts.json", calibrated)
    write_json(data / "baselines" / "facts.json", examples.baselines())
    blocks = [(g.name, number) for g in scored for number, code in enumerate(g.folds) if code < FOLDS]
    none = (None, None)
    moved = [g.name for g in labelled if g.test]
    transfer = Maps(
        hpcl_net=_scores(0.33, 1, full=True), polygons=_scores(0.31, 1, full=True),
        slope_threshold=_scores(0.2, 1, full=False), pixel_classifier=_scores(0.25, 1, full=False), paired={},
        counts=Counts(blocks=12, px=4711, landslide_frac=0.1, no_prediction_px=0),
        areas=[AreaScores(area=name, **_part(0.33)) for name in moved], object_sizes=[], instances=[],
    )  # fmt: skip
    metrics = examples.metrics(
        hpcl_net=_scores(0.52, len(blocks), full=True),
        polygons=_scores(0.5, len(blocks), full=True),
        slope_threshold=_scores(0.21, len(blocks), full=False),
        pixel_classifier=_scores(0.4, len(blocks), full=False),
        paired={
            "slope_threshold": Lead(landslide_iou_difference=0.31, interval=(0.2, 0.4) if len(blocks) > 1 else none),
            "pixel_classifier": Lead(landslide_iou_difference=0.12, interval=(-0.01, 0.2) if len(blocks) > 1 else none),
        },
        counts=Counts(blocks=len(blocks), px=123456, landslide_frac=0.09, no_prediction_px=12),
        areas=[AreaScores(area=g.name, **_part(0.4)) for g in scored],
        folds=[FoldScores(fold=fold, **_part(0.4 + fold / 100)) for fold in range(1, FOLDS + 1)],
        operating_points=_points(len(blocks)),
        transfer=transfer if moved else None,
        object_sizes=[
            SizeClass(
                size_class=size_class, objects=9, hpcl_net_found=found, polygons_found=found, slope_threshold_found=found,
                pixel_classifier_found=found,
            )
            for size_class, found in (("below 2000 m2", 4), ("from 2000 m2", 8))
        ],
    )  # fmt: skip
    write_json(reports / "evaluate" / "metrics.json", metrics)
    write_json(reports / "audit" / "promises.json", examples.audit())
    rows = [
        {"map": m, "area": a, "block": b, "tn": 900, "fp": 20, "fn": 30, "tp": 50, "landslide_iou": 0.5, "objects": 4}
        | {"boundary_both_px": 4, "boundary_either_px": 9, "objects_found": 3, "false_objects": 1}
        for m in style.MAPS
        for a, b in blocks
    ]
    pd.DataFrame(rows).to_csv(reports / "evaluate" / "blocks.csv", index=False)
    found = [
        {"area": g.name, "block": 3, "row_px": 8, "column_px": 9, "area_m2": 900.0 * (i + 1)}
        | {f"{m}_mapped_frac": i / 8 for m in style.MAPS}
        for g in scored
        for i in range(8)
    ]
    pd.DataFrame(found).to_csv(reports / "evaluate" / "objects.csv", index=False)
    recall = np.linspace(0.05, 1, 40)
    curves, bins = [], []
    for name, skill in (("hpcl_net", 3.0), ("pixel_classifier", 1.2)):
        table = {"map": name, "threshold": 1 - recall, "precision": 1 - 0.9 * recall**skill, "recall": recall}
        curves.append(pd.DataFrame(table))
        low = np.arange(10) / 10
        table = {"map": name, "from_probability": low, "to_probability": low + 0.1, "mean_probability": low + 0.05}
        table |= {"landslide_frac": (low + 0.05) ** 1.2, "pixels": (1e6 * np.exp(-5 * low)).astype(int)}
        bins.append(pd.DataFrame(table))
    pd.concat(curves).to_csv(reports / "evaluate" / "precision_recall.csv", index=False)
    pd.concat(bins).to_csv(reports / "evaluate" / "reliability.csv", index=False)
    epoch = np.arange(20)
    tables = [
        {"fold": fold, "epoch": epoch, "loss": np.exp(-epoch / 8 - fold / 9), "contrast_loss": 3.0}
        | {"held_iou": 0.5 - 0.4 * np.exp(-epoch / 5) - fold / 20, "held_loss": 0.4 + fold / 50}
        for fold in range(1, FOLDS + 1)
    ]
    (reports / "train").mkdir(parents=True)
    pd.concat([pd.DataFrame(table) for table in tables]).to_csv(reports / "train" / "curves.csv", index=False)
    coverage = np.arange(1, 101) / 100
    doubt = pd.DataFrame({"coverage": coverage, "error_frac": 0.1 * coverage**2})
    doubt.to_csv(reports / "evaluate" / "risk_coverage.csv", index=False)
    trained = [FoldTraining(fold=fold, held_iou=0.5) for fold in range(1, FOLDS)]
    trained.append(FoldTraining(fold=FOLDS, held_iou=0.01, findings=["it maps <nothing>."]))
    write_json(reports / "train" / "summary.json", examples.training(folds=trained))
    line = {
        "ground": "refused -> elsewhere, mean of 3",
        "variant": "concat",
        "label": "two encoders",
        "status": "run",
        "seeds": 3,
        "steps": 120,
    }
    line |= {"parameters": 1234567, "landslide_iou": 0.61, "sd": 0.01, "held_iou": 0.7, "probe_auc": 0.81}
    lead = {
        "variant": "attention",
        "label": "<b>attention</b>",
        "against": "concat",
        "difference": 0.02,
        "low": 0.01,
        "high": 0.03,
    }
    worse = {
        "variant": "queues",
        "label": "queues",
        "against": "attention",
        "difference": 0.0,
        "low": -0.01,
        "high": 0.01,
    }
    idle = {"ground": "refused -> elsewhere, mean of 3", "variant": "walls", "label": "walls", "status": "not run"}
    pd.DataFrame([line, line | lead, line | worse, idle]).to_csv(reports / "ablation.csv", index=False)
    point = {
        "ground": "refused + synthetic_west, 3 folds",
        "variant": "net",
        "label": "<i>net</i>",
        "seeds": 2,
        "steps": 80,
    }
    point |= dict.fromkeys(("landslide_iou", "boundary_iou", "object_detection_rate", "mcc"), 0.5)
    point |= {"iou_low": 0.4, "iou_high": 0.6, "gain": 0.03, "gain_low": 0.02, "gain_high": 0.04, "against": None}
    shares = [point | {"percent": 50, "landslides": 30.5}, point | {"percent": 100, "landslides": 60.5}]
    pd.DataFrame(shares).assign(difference=np.nan, low=np.nan, high=np.nan).to_csv(reports / "budget.csv", index=False)
    names = ", ".join(g.name for g in grounds)
    numbers = f"dpi: {SETTINGS.dpi}, map_px: {SETTINGS.map_px}, attention_windows: {SETTINGS.attention_windows}"
    (root / "params.yaml").write_text(f"areas: [{names}]\nreport: {{{numbers}}}\n")


GROUNDS = [
    Ground("synthetic_west", (96, 120)),
    Ground("refused", (130, 80), accepted=False, bands=("gray",)),
    Ground("bare", (70, 100), labelled=False, reference=False),
    Ground("elsewhere", (80, 80), test=True),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four areas and the report on them: as it should be, with a refused shift, without inventory, outside all folds."""
    root = tmp_path_factory.mktemp("project")
    write_project(root, GROUNDS)
    _report(root)
    return root


def _report(root: Path) -> None:
    from stages import illustrate, report

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        illustrate.main()
        report.main()


def _text(root: Path) -> str:
    return (root / "reports" / "report.html").read_text(encoding="utf-8")


def _areas_part(text: str, name: str) -> str:
    start = text.index(f"<h2>Area {name}</h2>")
    return text[start : text.index("<h2>", start + 10)]


class _Page(HTMLParser):
    """Every tag and attribute of a page; tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


# ---- the page --------------------------------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes_whatever_the_users_style(project: Path, tmp_path: Path) -> None:
    import matplotlib

    (tmp_path / "again").mkdir()
    write_project(
        tmp_path / "again",
        [Ground(g.name, g.shape, g.labelled, g.test, g.accepted, g.reference, g.bands) for g in GROUNDS],
    )
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "savefig.dpi": 30}):
        _report(tmp_path / "again")
    made = {p.relative_to(project): p.read_bytes() for p in sorted((project / "reports").rglob("*")) if p.is_file()}
    for path, data in made.items():
        assert (tmp_path / "again" / path).read_bytes() == data, path
    assert len([path for path in made if path.suffix == ".png"]) > 20


def test_the_ablation_says_what_pays_and_what_was_not_run(project: Path) -> None:
    text = _text(project)
    part = text[text.index("What each component buys</h2>") :]
    part = part[: part.index("<h2>")]
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", part)
    assert rows == [
        ("two encoders", "–"),
        ("&lt;b&gt;attention&lt;/b&gt;", "pays"),
        ("queues", "no difference seen"),
    ]
    assert "120 steps of training each. Not run: walls." in part
    assert "Paid on no ground at this budget: queues." in part


def test_what_labels_are_worth_has_a_curve_a_sentence_and_a_table(project: Path) -> None:
    text = _text(project)
    part = text[text.index("How many labels are enough</h2>") :]
    part = part[: part.index("<h2>")]
    assert "net&lt;/i&gt;: 20 more landslides are worth +0.020 [0.013, 0.027] of landslide IoU" in part
    assert part.count("<img") == 1
    assert (project / "reports/figures/budget_1.png").exists()
    assert "Synthetic ground: wiring, not science." in part


def test_the_page_needs_nothing_but_itself(project: Path) -> None:
    text = _text(project)
    shown = _Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in shown.tags}
    assert all(source.startswith("data:image/png;base64,") for source in shown.values("src"))
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    ids = shown.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in shown.values("href")} <= set(ids)
    assert all(href.startswith("#") for href in shown.values("href"))


def test_every_figure_is_on_the_page_with_words_and_beside_it_as_a_file(project: Path) -> None:
    text = _text(project)
    images = [attrs for tag, attrs in _Page(text).tags if tag == "img"]
    shown = {base64.b64decode(str(image["src"]).partition(",")[2]) for image in images}
    files = {path.name: path.read_bytes() for path in (project / "reports" / "figures").glob("*.png")}
    assert shown == set(files.values())
    assert all(len(str(image["alt"])) > 20 for image in images)
    assert text.count("<figcaption>") == len(images)
    for data in files.values():
        assert {name for name, _ in _chunks(data)} == {b"IHDR", b"PLTE", b"IDAT", b"IEND"}, "no date, no software"


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    at, out = 8, []
    while at < len(png):
        length = struct.unpack(">I", png[at : at + 4])[0]
        out.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return out


def test_synthetic_ground_is_called_so_and_other_ground_is_not(project: Path) -> None:
    text = _text(project)
    assert "synthetic_west is a synthetic area" in text
    assert "They are no science" in text
    assert "prove wiring, not science" in _areas_part(text, "synthetic_west")
    assert "ynthetic" not in re.sub(r'src="data:[^"]*"', "", _areas_part(text, "refused"))


def test_an_area_without_inventory_is_mapped_and_said_to_be_not_scored(project: Path) -> None:
    part = _areas_part(_text(project), "bare")
    assert "No inventory." in part
    files = {path.name for path in (project / "reports" / "figures").glob("bare_*")}
    assert {"bare_map.png", "bare_image.png", "bare_uncertainty.png", "bare_attention_1.png"} <= files
    assert not files & {"bare_outcomes.png", "bare_folds.png", "bare_attention_shares.png", "bare_residual_before.png"}
    assert "There are no residual rasters" in part
    assert "Without an inventory there is no boundary" in part


def test_a_test_area_is_judged_at_the_threshold_of_ground_outside_folds(project: Path) -> None:
    text = _text(project)
    part = _areas_part(text, "elsewhere")
    assert "(probability at least 0.50)" in part
    assert "where no network saw this area" in part
    assert "No window of this area was explained" in part
    files = {path.name for path in (project / "reports" / "figures").glob("elsewhere_*")}
    assert {"elsewhere_folds.png", "elsewhere_outcomes.png"} <= files
    assert "<td>test area, 12 blocks</td>" in text
    assert "<td>in folds, 11 blocks</td>" in text
    assert "<td>mapped only</td>" in text
    assert "(probability at least 0.40 to 0.55, by fold)" in _areas_part(text, "synthetic_west")


def test_new_ground_is_scored_as_transfer_or_said_to_be_unknown(project: Path, tmp_path: Path) -> None:
    assert "elsewhere: outside all folds, mapped as any new area is and scored as transfer" in _text(project)
    assert "all labelled ground but the test areas&#x27; (9.0 % landslide)" in _text(project)
    write_project(tmp_path, [Ground("only", (60, 60))])
    _report(tmp_path)
    assert "Nothing vouches for new ground." in _text(tmp_path)
    assert "learnt from other blocks of the same areas" in _text(tmp_path)
    assert "all labelled ground (9.0 % landslide), each mapped by a network that never saw it" in _text(tmp_path)


def test_folds_of_whole_areas_are_nearest_to_new_ground() -> None:
    tiles = examples.tiles({"a": examples.tiled_area(0, 0), "b": examples.tiled_area(1, OUTSIDE)})
    none: Any = None
    report = facts.Report([], {}, tiles, none, none, none, none, examples.metrics(), none, none, none, none, none)
    assert "But folds are whole areas" in "".join(use.transfer_section(report).body)


def test_every_operating_point_says_what_it_gives_and_whether_it_was_reached(project: Path) -> None:
    text = _text(project)
    part = text[text.index("Operating points</h2>") :]
    part = part[: part.index("<h2>")]
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>", part)
    assert rows == [
        ("best IoU *", "yes", "0.40 to 0.55", "0.720 [0.640, 0.790]"),
        ("precision 0.99", "NO", "0.97 to 0.99", "0.720 [0.640, 0.790]"),
    ]
    assert "outline.operating_point: {precision: 0.8}" in part


@pytest.mark.parametrize(
    ("auroc", "bounds", "says"),
    [
        (0.7, (0.6, 0.8), "Yes."),
        (0.55, (0.45, 0.65), "It is not shown"),
        (0.4, (0.3, 0.45), "less often than by chance"),
        (0.7, (None, None), "Cannot be told."),
        (None, (None, None), "Cannot be told."),
    ],
)
def test_doubt_is_believed_as_far_as_its_interval_goes(
    auroc: float | None, bounds: tuple[float | None, float | None], says: str
) -> None:
    title, sentence, _ = use._knows(
        UncertaintyScores(
            error_auroc=auroc,
            error_auroc_interval=bounds,
            top_tenth_error_frac=0.1,
            top_tenth_error_frac_interval=bounds,
        )
    )
    assert says in f"{title} {sentence}"
    assert (title == "Yes.") == (says == "Yes.")


def test_findings_of_training_and_calibration_are_said(project: Path) -> None:
    text = _text(project)
    assert "<strong>The training failed.</strong> Fold 3: it maps &lt;nothing&gt;." in text
    assert "<td>all areas</td><td>calibrate</td><td>Fold 2 tells &lt;nothing&gt;.</td>" in text


def test_provenance_names_every_network_and_maps_of_others_are_seen(project: Path, tmp_path: Path) -> None:
    text = _text(project)
    assert joint(WEIGHTS) in text
    rows = re.findall(r"<tr><td>(fold \d|outside folds)</td><td>(.*?)</td><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>", text)
    assert rows == [
        ("fold 1", f"{'ab' * 8}…", "1.1000", "0.4500"),
        ("fold 2", f"{'cd' * 8}…", "1.2000", "0.4000"),
        ("fold 3", f"{'ef' * 8}…", "1.3000", "0.5500"),
        ("outside folds", "all", "1.2500", "0.5000"),
    ]
    assert "Not of one piece." not in text
    write_project(tmp_path, [Ground("only", (60, 60)), Ground("stale", (60, 64))])
    for stage, change in (("predict", ('"weights_sha256": "', '"weights_sha256": "0')), ("outline", ("0.55", "0.56"))):
        told = tmp_path / "data" / stage / "stale" / "facts.json"
        told.write_text(told.read_text().replace(*change))
    _report(tmp_path)
    assert "The maps of stale were made with other weights;" in _text(tmp_path)
    assert "The maps of stale were made with other thresholds;" in _text(tmp_path)


def test_a_refused_shift_is_shown_with_its_reason(project: Path) -> None:
    text = _text(project)
    part = _areas_part(text, "refused")
    assert "<strong>REJECTED.</strong> The residuals after the shift are no smaller &lt;than&gt; before." in part
    assert "shift that was found, and not applied" in part
    assert "+1.25 m east, −0.50 m north" in part
    assert "Accepted." not in part
    assert "was rejected for refused;" in text
    assert "REJECTED: The residuals after" in text.split("<h2>What was rejected, repaired or assumed</h2>")[1]
    assert "REJECTED" not in _areas_part(text, "synthetic_west")


def test_what_comes_from_data_is_escaped(project: Path) -> None:
    text = _text(project)
    assert "were invalid &amp; &lt;repaired&gt;." in text
    assert "<repaired>" not in text


@pytest.mark.parametrize(
    ("gap", "bounds", "says"),
    [
        (0.1, (0.02, 0.2), "That is 0.10 [0.02, 0.20] above the slope threshold (0.21)."),
        (-0.1, (-0.2, -0.02), "That is 0.10 [0.02, 0.20] below the slope threshold (0.21)."),
        (0.1, (-0.02, 0.2), "Whether it is better than the slope threshold cannot be told"),
        (0.1, (None, None), "Whether it is better than the slope threshold cannot be told"),
    ],
)
def test_the_lead_is_worded_as_its_interval_bears_out(
    gap: float, bounds: tuple[float | None, float | None], says: str
) -> None:
    metrics = examples.metrics(
        slope_threshold=MapScores(landslide_iou=0.21),
        paired={"slope_threshold": Lead(landslide_iou_difference=gap, interval=bounds)},
    )
    none: Any = None
    report = facts.Report([], {}, none, none, none, none, none, metrics, none, none, none, none, none)
    assert says in page._leads(report)
    assert ("cannot be told" in page._leads(report)) == (None in bounds or bounds[0] < 0 < bounds[1])


def test_one_block_gives_no_intervals_and_the_page_says_so(tmp_path: Path) -> None:
    ground = Ground("single", (60, 60))
    ground.folds = [0] + [OUTSIDE] * 11
    ground.labels[ground.block > 0] = 255
    write_project(tmp_path, [ground])
    _report(tmp_path)
    assert "One block." in _text(tmp_path)
    assert "cannot be told from these blocks" in _text(tmp_path)
    assert not re.search(r"\b(nan|None)\b", re.sub(r'src="data:[^"]*"', "", _text(tmp_path)))


# ---- hits, misses, false alarms --------------------------------------------------------------------------------------


def tiles_of(area: str) -> TiledArea:
    """What the tiles' facts say of an area of the project in which the test runs."""
    return read_json(Path("data/tiles/facts.json"), TileFacts).areas[area]


def test_outcomes_drawn_and_counted_are_those_of_the_masks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcl.report import collect

    monkeypatch.chdir(project)
    ground, says = GROUNDS[0], GROUNDS[0].mapped()
    wanted = dict.fromkeys(range(5), 0)
    for row, column in np.ndindex(ground.shape):
        truth, mapped = ground.labels[row, column], says[row, column]
        if truth == 255:
            wanted[maps.NOT_SCORED] += 1
        elif truth:
            wanted[maps.HIT if mapped else maps.MISS] += 1
        else:
            wanted[maps.FALSE_ALARM if mapped else maps.BACKGROUND] += 1
    assert min(wanted.values()) > 0
    codes, counts = collect._outcomes(ground.name, tiles_of(ground.name), THRESHOLDS, max_px=200)
    assert dict(enumerate(counts.sum(axis=0).tolist())) == wanted
    assert codes.shape == ground.shape

    flat = maps.Ground(ground.name, CRS, (0.0, 0.24, 0.0, 0.192), np.full(ground.shape, 0.5))
    km2 = {code: n * 4e-6 for code, n in wanted.items()}
    figure = maps.outcome_map(flat, codes, km2)
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    colours, pixels = np.unique(drawn.reshape(-1, drawn.shape[-1]).round(6), axis=0, return_counts=True)
    assert sorted(pixels.tolist()) == sorted(wanted.values())
    for code, (red, green, blue) in {maps.HIT: (0, 1, 2), maps.MISS: (2, 1, 0)}.items():
        colour = colours[pixels.tolist().index(wanted[code])]
        assert colour[red] < colour[green] < colour[blue], "hits are blue, misses are vermilion"
    legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    for code, name in {maps.HIT: "hit", maps.MISS: "miss", maps.FALSE_ALARM: "false alarm"}.items():
        assert f"{name}, {wanted[code] * 4e-6:.3g} km²" in legend


def test_every_watch_is_drawn_and_named_clear_of_the_axis() -> None:
    watches = {name: f"the {name} of some length" for name in "abcde"}
    curves = pd.DataFrame({"fold": [1, 1, 2, 2], "epoch": [0, 1, 0, 1], **{name: np.arange(4) for name in watches}})
    figure = charts.training(curves, charts.Curves("Watches", watches, "value [-]", False))
    (axes,) = figure.axes
    drawn = [(line.get_color(), tuple(np.asarray(line.get_ydata()).tolist())) for line in axes.get_lines()]
    assert drawn[:2] == [(drawn[0][0], (0, 1)), (drawn[0][0], (2, 3))], "a line for each fold, in one colour"
    assert len(drawn) == 10
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(watches.values())
    assert len({colour for colour, _ in drawn}) == 5
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().y1 <= axes.xaxis.label.get_window_extent().y0


def test_the_fold_map_shows_folds_that_are_there_and_numbers_that_fit() -> None:
    area = examples.tiled_area(0, 9, OUTSIDE, shape=[60, 180], tops=[0], lefts=[0, 60, 120])
    folds = area.codes(slice(0, 60), slice(0, 180))
    flat = maps.Ground("valley", CRS, (0.0, 0.36, 0.0, 0.12), np.full((60, 180), 0.5))
    figure = maps.fold_map(flat, area, folds)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["fold 1", "fold 10", "not labelled", "landslides of the inventory"]
    numbers = {text.get_text(): text.get_position() for text in figure.axes[0].texts if text.get_text().isdigit()}
    assert list(numbers) == ["0", "1"]
    np.testing.assert_allclose(numbers["1"], (0.18, 0.06))
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert len(np.unique(drawn.reshape(-1, 4), axis=0)) == 3
    small = replace(area, lefts=list(range(0, 180, 2)), folds=[0] * 90)
    assert not [text for text in maps.fold_map(flat, small, folds).axes[0].texts if text.get_text().isdigit()]


def test_the_risk_coverage_curve_is_drawn_beside_what_is_best_and_what_is_chance() -> None:
    table = pd.DataFrame({"coverage": [0.5, 1.0], "error_frac": [0.05, 0.2]})
    curve, chance, best = charts.risk_coverage(table).axes[0].get_lines()
    assert np.asarray(curve.get_ydata()).tolist() == [5.0, 20.0]
    assert set(np.asarray(chance.get_ydata())) == {20.0}
    kept, wrong = np.asarray(best.get_xdata()), np.asarray(best.get_ydata())
    assert (wrong[kept < 80] == 0).all()
    np.testing.assert_allclose(wrong[-1], 20.0)


def test_a_shrunk_outcome_map_shows_real_pixels_and_counts_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcl.report import collect

    monkeypatch.chdir(project)
    monkeypatch.setattr(blocks, "BLOCK_PX", 32)
    monkeypatch.setattr(blocks.walk, "__defaults__", (32,))
    whole, counts = collect._outcomes(GROUNDS[0].name, tiles_of(GROUNDS[0].name), THRESHOLDS, max_px=200)
    codes, same = collect._outcomes(GROUNDS[0].name, tiles_of(GROUNDS[0].name), THRESHOLDS, max_px=50)
    assert (same == counts).all()
    rows, columns = (maps.sample(n, 120, 50) for n in GROUNDS[0].shape)
    assert codes.shape == (40, 50)
    np.testing.assert_array_equal(codes, whole[np.ix_(rows, columns)])


def test_a_colour_of_few_pixels_survives_the_palette() -> None:
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    rgb = rng.uniform(0.3, 0.9, (100, 100, 1)).repeat(3, axis=2)
    rgb[:50] += rng.uniform(0, 1, (50, 100, 1)) * (np.array([0.7, 0.1, 0.2]) - rgb[:50])
    rgb[50, 50] = (0.94, 0.89, 0.26)
    rgb[:, 99] = 1.0
    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(rgb, interpolation="nearest")
    (data,) = style.pngs({"a": figure}, ReportSettings(dpi=100, map_px=100, attention_windows=0)).values()
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    np.testing.assert_allclose(shown, rgb * 255, atol=25)
    assert (shown[:, 99] == 255).all(), "paper stays white"


# ---- thumbnails ------------------------------------------------------------------------------------------------------


def test_a_thumbnail_averages_numbers_without_their_nodata(tmp_path: Path) -> None:
    values = np.arange(2 * 40 * 60, dtype=np.float32).reshape(2, 40, 60)
    values[0, :2, :2] = np.nan
    values[1, 0, 2] = np.nan
    grid = raster.Grid((40, 60), Affine(2.0, 0, 0, 0, -2.0, 0), CRS)
    cog.write(tmp_path / "a.tif", raster.Raster(values, grid, (Band("one"), Band("two"))))
    with raster.Source(tmp_path / "a.tif") as source:
        small = source.thumbnail(30, ["two", "one"])
        np.testing.assert_array_equal(source.thumbnail(1000), values)
    assert small.shape == (2, 20, 30)
    wanted = np.nanmean(values[1].reshape(20, 2, 30, 2), axis=(1, 3))
    np.testing.assert_allclose(small[0], wanted, rtol=1e-6)
    assert np.isnan(small[1, 0, 0])
    assert np.isfinite(small[1]).sum() == 599


def test_a_thumbnail_of_codes_holds_codes_only(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).choice([0, 7, 255], (1, 64, 64)).astype(np.uint8)
    grid = raster.Grid((64, 64), Affine(2.0, 0, 0, 0, -2.0, 0), CRS)
    cog.write(tmp_path / "a.tif", raster.Raster(codes, grid, (Band("label"),)), nodata=255)
    with raster.Source(tmp_path / "a.tif") as source:
        small = source.thumbnail(32)
    assert small.dtype == np.uint8
    assert small.shape == (1, 32, 32)
    assert set(np.unique(small)) == {0, 7, 255}
