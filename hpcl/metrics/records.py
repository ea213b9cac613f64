"""reports/evaluate/metrics.json as records."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpcl.core.artifacts import Sparse
from hpcl.core.records import Thresholds

Interval = tuple[float | None, float | None]
"""Low and high end; in a file both are null where one test block says nothing about the spread between places."""


@dataclass(frozen=True, kw_only=True)
class MapScores(Sparse):
    """The scores of one map, those that were asked for, each with its interval."""

    landslide_iou: float | None = None
    miou: float | None = None
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    mcc: float | None = None
    kappa: float | None = None
    object_detection_rate: float | None = None
    boundary_iou: float | None = None
    false_objects_per_km2: float | None = None
    panoptic_quality: float | None = None
    matched_f1: float | None = None
    matched_iou: float | None = None
    ece: float | None = None
    brier: float | None = None
    landslide_iou_interval: Interval | None = None
    miou_interval: Interval | None = None
    f1_interval: Interval | None = None
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    mcc_interval: Interval | None = None
    kappa_interval: Interval | None = None
    object_detection_rate_interval: Interval | None = None
    boundary_iou_interval: Interval | None = None
    false_objects_per_km2_interval: Interval | None = None
    panoptic_quality_interval: Interval | None = None
    matched_f1_interval: Interval | None = None
    matched_iou_interval: Interval | None = None
    ece_interval: Interval | None = None
    brier_interval: Interval | None = None

    def of(self, score: str) -> float | None:
        """A score by its name."""
        value: float | None = getattr(self, score)
        return value

    def interval_of(self, score: str) -> Interval:
        """The interval of a score by its name."""
        ends: Interval | None = getattr(self, f"{score}_interval")
        return ends or (None, None)

    def has(self, score: str) -> bool:
        """Whether a score was asked for: then there is an interval, though perhaps without ends."""
        return getattr(self, f"{score}_interval") is not None


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far HPCL-Net is ahead of another map of the same blocks."""

    landslide_iou_difference: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class ScoredGround:
    """How much ground scores stand on."""

    blocks: int
    px: int
    landslide_frac: float
    no_prediction_px: int


@dataclass(frozen=True, kw_only=True)
class Counts(ScoredGround, Sparse):
    """The ground of all areas, and how sure the intervals are."""

    confidence_frac: float | None = None
    ground_sha256: str | None = None
    """Which pixels of which area were scored, and as what: equal digests, equal ground."""


@dataclass(frozen=True, kw_only=True)
class PartScores(ScoredGround):
    """The landslide IoU of each map on a part of the ground."""

    hpcl_net_landslide_iou: float | None
    polygons_landslide_iou: float | None
    slope_threshold_landslide_iou: float | None
    pixel_classifier_landslide_iou: float | None

    def landslide_iou_of(self, name: str) -> float | None:
        """That of a map by its name."""
        iou: float | None = getattr(self, f"{name}_landslide_iou")
        return iou


@dataclass(frozen=True, kw_only=True)
class AreaScores(PartScores):
    """An area's share of the ground."""

    area: str


@dataclass(frozen=True, kw_only=True)
class FoldScores(PartScores):
    """A fold's share of the ground: what its network maps, which never saw it."""

    fold: int


@dataclass(frozen=True, kw_only=True)
class PointScores:
    """What an operating point gives on the ground of all folds, each at the threshold of the other folds."""

    point: str
    thresholds: Thresholds
    reached: bool
    """Whether any threshold gives what was asked for; otherwise the nearest was taken."""
    scores: MapScores
    """landslide_iou, precision, recall, object_detection_rate and false_objects_per_km2."""


@dataclass(frozen=True, kw_only=True)
class UncertaintyScores:
    """Whether uncertainty is high where the map errs, on the ground of all folds."""

    error_auroc: float | None
    """Area under the ROC curve of uncertainty for wrong against right pixels; 0.5 is chance, None where all are right."""
    error_auroc_interval: Interval
    top_tenth_error_frac: float | None
    """Share of the wrong pixels that lie in the most uncertain tenth; 0.1 is chance."""
    top_tenth_error_frac_interval: Interval


@dataclass(frozen=True, kw_only=True)
class SizeClass:
    """How many landslides of one size each map finds."""

    size_class: str
    objects: int
    hpcl_net_found: int
    polygons_found: int
    slope_threshold_found: int
    pixel_classifier_found: int

    def found_by(self, name: str) -> int:
        """That of a map by its name."""
        found: int = getattr(self, f"{name}_found")
        return found


@dataclass(frozen=True, kw_only=True)
class AreaInstances:
    """An area's polygons against its landslides, one by one."""

    area: str
    landslides: int
    polygons: int
    matched: int
    """With an IoU above 0.5."""
    split: int
    """Landslides in which several polygons mostly lie."""
    merging: int
    """Polygons in which several landslides mostly lie."""


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """The map of one class against its landslides alone."""

    name: str
    iou: float | None
    """Of its pixels; None where the ground has none."""
    iou_interval: Interval
    objects: int
    """Landslides of the class, and of them..."""
    found: int
    """...those mapped as this class."""
    mapped_as: dict[str, float]
    """The share of its ground that is mapped as each class, and as background."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The scores of four maps of the same ground."""

    hpcl_net: MapScores
    polygons: MapScores
    """Of the polygons as they are delivered: after threshold, minimum area and all that else makes them outlines."""
    slope_threshold: MapScores
    pixel_classifier: MapScores
    paired: dict[str, Lead]
    """How far HPCL-Net is ahead, by the other map."""
    counts: Counts
    areas: list[AreaScores]
    object_sizes: list[SizeClass]
    instances: list[AreaInstances]

    def of(self, name: str) -> MapScores:
        """The scores of a map by its name."""
        scores: MapScores = getattr(self, name)
        return scores


@dataclass(frozen=True, kw_only=True)
class Metrics(Maps, Sparse):
    """reports/evaluate/metrics.json: HPCL-Net's map, its polygons and the two baselines on all ground in folds, each block mapped by
    what never saw its fold."""

    folds: list[FoldScores]
    operating_point: str
    """The one that the map was made with."""
    operating_points: list[PointScores]
    uncertainty: UncertaintyScores
    transfer: Maps | None = None
    """The same on the test areas, which lie outside all folds."""
    weights_sha256: str | None = None
    """Of all networks together that made the map."""
    findings: dict[str, list[str]] = field(default_factory=dict)
    """By area."""
    classes: list[ClassScores] = field(default_factory=list)
    """Where there are several, each by itself, at the operating point of the map."""
