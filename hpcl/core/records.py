"""What a stage says of its results: one record for each kind of JSON file of a stage, its fields as they stand in the file.

A stage fills a record and `hpcl.core.artifacts.write_json` writes it; `read_json` gives it back to the next stage. A field
with a default may be missing in a file that is read, for an earlier version wrote none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcl.core.artifacts import Count, Finite, NotNegative, Positive, Shape, Share, Sparse, Transform
from hpcl.core.codes import ALL_NETWORKS, MAX_FOLDS, TEST_AREA

BandKind = Literal["image", "scalar", "east", "north", "up", "hillshade"]
"""How a band turns with the map."""


@dataclass(frozen=True, kw_only=True)
class AreaSizes:
    """How large an area's pixels are, and how many."""

    shape: Shape
    """Rows and columns of the image."""
    pixel_m: Positive
    dem_pixel_m: Positive
    """Side of a pixel of the DEM as it was given."""


@dataclass(frozen=True, kw_only=True)
class AreaGrid(AreaSizes):
    """The grid of an area's image."""

    crs: str
    transform: Transform


# ---- ingest ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BandName:
    """A band of the image."""

    name: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class ValidShares(Sparse):
    """Share of the pixels of each raster that have data."""

    image: float
    dem: float
    reference_dem: float | None = None


@dataclass(frozen=True)
class DecisionCount:
    """How many rows of a layer of the review were decided so (`hpcl.core.review`), and how many of them could be followed."""

    layer: str
    decision: str
    rows: int
    applied: int


@dataclass(frozen=True, kw_only=True)
class InventoryFacts:
    """How many polygons an inventory has and what became of those that it had, by cause."""

    file: str
    given: int
    null: int
    empty: int
    unreadable: int
    not_finite: int
    other_kinds: int
    collections: int
    n: int
    """Polygons that count."""
    repaired: int
    area_change_frac: float
    """By how much repairing changed the mapped area."""
    outside: int
    collapsed: int
    doubles: int
    without_pixel: int
    outside_extent: int
    class_overlaps: int
    area_m2: float
    labelled_extent: bool
    """Whether a file says where the inventory is complete."""
    unknown_frac: float | None = None
    """Share of the grid of which nobody knows whether it is landslide."""
    landslide_frac: float | None = None
    """Share of landslide where that is known."""
    review: list[DecisionCount] = field(default_factory=list)
    """What a mapper answered to the audit of an earlier map."""


@dataclass(frozen=True, kw_only=True)
class OperationFacts:
    """The coordinate operation by which files were brought into the image's CRS."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    name: str
    accuracy_m: float | None
    files: list[str]


@dataclass(frozen=True, kw_only=True)
class AreaFacts(AreaGrid):
    """data/ingest/<area>/facts.json: the area on its metric grid."""

    area: str
    crs_name: str
    stretch_frac: float
    """By how much the grid stretches ground, at most."""
    bands: list[BandName]
    valid_frac: ValidShares
    classes: list[str]
    """The area's own classes, in the order of their codes from 1."""
    inventory: InventoryFacts | None = None
    findings: list[str]
    reprojected: list[str]
    operations: list[OperationFacts] = field(default_factory=list)


# ---- coregister, terrain ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BandLook:
    """How far the DEM must be moved to lie on one band of the image, to about a quarter of a pixel, and its correlation.

    The three are None where the band does not show the relief, and ``unseen`` says why. A band that does not ``count`` decides
    nothing.
    """

    name: str
    counts: bool
    east_m: float | None = None
    north_m: float | None = None
    correlation: float | None = None
    unseen: str | None = None


@dataclass(frozen=True)
class ImageSun:
    """Where the sun of an image stood, as its bands tell; the altitude is None where it makes no sense."""

    azimuth_deg: float
    altitude_deg: float | None


@dataclass(frozen=True, kw_only=True)
class ShiftFacts:
    """data/coregister/<area>/shift.json: how far the DEM must be moved, and whether that is believed.

    `hpcl.coregister.shift.Shift` says what the numbers are; ``_px`` are pixels of the DEM.
    """

    method: str
    accepted: bool
    reason: str
    east_m: float
    north_m: float
    east_px: float
    north_px: float
    dem_pixel_m: Positive
    """Side of a pixel of the DEM as it was given."""
    vertical_m: float
    tilt_east_m_per_km: float
    tilt_north_m_per_km: float
    quality: str | None = None
    quality_before: float | None
    quality_after: float | None
    standard_error_px: float | None = None
    sun: ImageSun | None
    band: str | None = None
    """The band of the image that decided."""
    bands: list[BandLook] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sun:
    """The sun of the hillshade: clockwise from north, and above the horizon."""

    azimuth_deg: Finite
    altitude_deg: Finite


@dataclass(frozen=True)
class TerrainBand:
    """A band of terrain.tif."""

    name: str
    unit: str
    kind: BandKind
    source: str


@dataclass(frozen=True, kw_only=True)
class TerrainFacts:
    """data/terrain/<area>/facts.json."""

    bands: list[TerrainBand]
    smoothing_m: float
    sun: Sun
    findings: list[str] = field(default_factory=list)


# ---- tile ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BandGround:
    """Quantiles of one band of the training ground."""

    kind: BandKind
    quantiles: list[float]


@dataclass(frozen=True)
class ImageGround:
    """How the image bands of the training ground vary together."""

    names: list[str]
    mean: list[float]
    covariance: list[list[float]]


@dataclass(frozen=True)
class GroundFacts:
    """What the training ground looks like (`hpcl.likeness`)."""

    bands: dict[str, BandGround]
    image: ImageGround


@dataclass(frozen=True, kw_only=True)
class AreaGround:
    """How the values of an area's bands are distributed, from which its distance from other ground follows (`hpcl.distance`)."""

    px: Count
    """Its weight where areas are taken together."""
    bands: dict[str, list[Finite]]
    """Quantiles by name, at `hpcl.distance.LEVELS`."""


@dataclass(frozen=True)
class BandFacts:
    """What a network must know of a band: how it turns, mean and std."""

    name: str
    kind: BandKind
    mean: Finite
    std: Positive


@dataclass(frozen=True)
class TileBand:
    """A band of the tiles."""

    name: str
    kind: BandKind
    unit: str


@dataclass(frozen=True, kw_only=True)
class FoldedArea(AreaGrid):
    """An area's ground as blocks, each with the code of its fold. Blocks are numbered row by row."""

    tops: Annotated[list[int], Field(min_length=1)]
    """First rows of the blocks, and their..."""
    lefts: Annotated[list[int], Field(min_length=1)]
    """...first columns."""
    folds: list[int]
    """By number of the block."""

    def __post_init__(self) -> None:
        if len(self.folds) != (count := len(self.tops) * len(self.lefts)):
            raise ValueError(f"there are {len(self.folds)} folds for {count} blocks")

    def blocks(self, rows: slice, columns: slice) -> npt.NDArray[np.int64]:
        """The number of the block of every pixel, ``(row, column)``."""
        down = np.searchsorted(self.tops, np.arange(rows.start, rows.stop), side="right") - 1
        across = np.searchsorted(self.lefts, np.arange(columns.start, columns.stop), side="right") - 1
        return np.asarray(down[:, None] * len(self.lefts) + across)

    def codes(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """The code of the fold of every pixel, ``(row, column)``, whether it has a label or not."""
        return np.asarray(self.folds, np.uint8)[self.blocks(rows, columns)]

    def networks(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """The code of the network that is to map every pixel, ``(row, column)``: that of its fold, or `ALL_NETWORKS`."""
        codes = self.codes(rows, columns)
        return np.where(codes < MAX_FOLDS, codes + np.uint8(1), np.uint8(ALL_NETWORKS))

    @property
    def fold_codes(self) -> frozenset[int]:
        """The folds that hold ground of the area, by their codes."""
        return frozenset(code for code in self.folds if code < MAX_FOLDS)

    @property
    def test(self) -> bool:
        """Whether the area lies outside all folds."""
        return TEST_AREA in self.folds


@dataclass(frozen=True, kw_only=True)
class TiledArea(FoldedArea):
    """An area of the tiles."""

    divided_landslides: int = 0
    """Landslides across blocks of several folds: they teach none of these folds' networks."""
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LabelledGround:
    """How much ground has labels."""

    blocks: int
    labelled_px: int
    landslide_px: int


@dataclass(frozen=True, kw_only=True)
class FoldFacts(LabelledGround):
    """The ground of a fold, and ``bands``: the statistics of what its network learns from, which is other ground."""

    bands: Annotated[list[BandFacts], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class TileFacts:
    """data/tiles/facts.json: all labelled areas together."""

    areas: dict[str, TiledArea]
    sun: Sun
    bands: Annotated[list[TileBand], Field(min_length=1)]
    ground: GroundFacts
    """What the ground of all folds together looks like."""
    grounds: dict[str, AreaGround] = field(default_factory=dict)
    """How the bands of each area's labelled ground are distributed, those of test areas included."""
    classes: Annotated[list[str], Field(min_length=1)]
    window_px: Count
    gap_px: int
    folds: Annotated[list[FoldFacts], Field(min_length=2, max_length=MAX_FOLDS)]
    """In the order of their codes."""
    test: LabelledGround
    """The ground of the test areas."""
    findings: list[str] = field(default_factory=list)
    """What must be known of the folds."""

    @property
    def band_names(self) -> list[str]:
        """The bands in the order of their arrays."""
        return [band.name for band in self.bands]

    @property
    def fold_names(self) -> list[str]:
        """The folds by name, in the order of their codes."""
        return [str(code + 1) for code in range(len(self.folds))]


# ---- train, baselines ------------------------------------------------------------------------------------------------


TEMPERATURES = tuple(0.2 * 25 ** (step / 32) for step in range(33))
"""At which the loss on held-out ground is kept: from 0.2 to 5 in equal ratios."""


@dataclass(frozen=True, kw_only=True)
class HeldLoss:
    """Mean loss of landslide against the rest on ``px`` pixels of the fold that a network never saw, at each of `TEMPERATURES`,
    measured on an even sample of them.

    Not of all classes: one that occurs in a single fold would decide alone, for its network cannot know it."""

    loss: Annotated[list[Finite], Field(min_length=len(TEMPERATURES), max_length=len(TEMPERATURES))]
    px: Count


@dataclass(frozen=True, kw_only=True)
class TrainedFacts(Sparse):
    """What a training says of its network, within the bounds in which it makes a map."""

    bands: Annotated[list[BandFacts], Field(min_length=1)]
    classes: Annotated[list[str], Field(min_length=1)]
    window_px: Count
    sun: Sun
    trained_on: list[str]
    """Areas."""
    pixel_m: Annotated[list[Positive], Field(min_length=1)]
    dem_pixel_m: list[Positive] | None = None
    ground: GroundFacts | None = None
    grounds: dict[str, AreaGround] = field(default_factory=dict)
    """By area, those of test areas included, of which the network learnt nothing."""
    fold: Count
    """The fold that the network never saw, from 1."""
    folds: Count
    """How many folds there are."""
    areas: dict[str, FoldedArea]
    """Where the folds lie: their ground is mapped by the network that never saw it."""
    held: HeldLoss
    landslide_m2: list[float] | None = None
    """Quantiles of the areas of the landslides that were learnt from."""

    @property
    def band_names(self) -> list[str]:
        """The bands that the network knows."""
        return [band.name for band in self.bands]


@dataclass(frozen=True, kw_only=True)
class ModelFacts(TrainedFacts):
    """data/model/<fold>/model.json: what a map needs of a training, beside the weights."""

    settings: dict[str, Any]
    """The section ``model`` of params.yaml; `hpcl.networks.store` reads it."""
    embedding_dim: Count
    weights_sha256: str

    @property
    def branches(self) -> dict[str, list[str]]:
        """The bands that each encoder sees."""
        return dict(self.settings["branches"])


@dataclass(frozen=True, kw_only=True)
class SlopeFacts:
    """What a slope threshold learnt on all ground but one fold's."""

    threshold_deg: float
    direction: Literal["steeper", "gentler"]
    landslide_iou: float
    """On the ground that it was chosen on."""


@dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """data/baselines/facts.json: what the baselines without a network learnt, by fold: each on the ground of the others."""

    slope: list[SlopeFacts]
    classifier_thresholds: Thresholds
    classifier_pixels: list[int]
    bands: list[str]


# ---- predict, calibrate, outline, explain ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The probabilities from which on a pixel is landslide: on the ground of each fold (chosen on that of the others), and
    where there is no fold (chosen on that of all)."""

    by_fold: list[Share]
    elsewhere: Share

    @property
    def by_network(self) -> npt.NDArray[np.float32]:
        """The same by the code of a network (`FoldedArea.networks`), in float32 as probabilities are, so that ``>=`` is one
        thing."""
        return np.array([self.elsewhere, *self.by_fold], np.float32)


@dataclass(frozen=True, kw_only=True)
class Temperatures:
    """What logits were divided by: on the ground of each fold, and where there is no fold."""

    by_fold: list[Positive]
    elsewhere: Positive


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """data/predict/<area>/facts.json."""

    area: str
    temperatures: Temperatures
    weights_sha256: str
    """Of all networks together."""
    input_sha256: str
    classes: list[str]
    training_landslide_m2: list[NotNegative]
    distances: dict[str, dict[str, NotNegative]] | None = None
    """How far each band lies from the ground that the networks learnt, by branch (`hpcl.distance`); None in areas that lie in
    folds."""
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CalibrationFacts:
    """data/calibrate/facts.json: what the counts stand on."""

    areas: list[str]
    objects: int
    """Landslides of the inventory that count."""
    findings: list[str] = field(default_factory=list)
    """What says that a network learnt nothing."""


@dataclass(frozen=True, kw_only=True)
class OutlineFacts:
    """data/outline/<area>/facts.json."""

    area: str
    operating_point: str
    thresholds: Thresholds
    landslides: int
    landslide_area_m2: float
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """How many of the ``rows`` of a layer are right, as far as the map can tell before anybody has looked: a mean, and the ends of
    an interval."""

    rows: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What became of a promise: of the rows of a layer that were answered yes or no, how many were right, and how many the audit
    that asked expected to be."""

    rows: int
    right: int
    expected: float


@dataclass(frozen=True, kw_only=True)
class LayerFacts(Sparse):
    """One layer of a review over all areas."""

    rows: int
    promise: Promise | None = None
    """None where too little is known to promise anything."""
    answers: Answers | None = None


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """reports/audit/promises.json."""

    omissions: LayerFacts
    doubtful: LayerFacts
    outlines: LayerFacts
    findings: list[str]

    def layer(self, name: str) -> LayerFacts:
        """A layer by its name."""
        found: LayerFacts = getattr(self, name)
        return found


@dataclass(frozen=True)
class WindowPlace:
    """The upper left corner of a window, and the fold of the network that it was shown to, from 1."""

    row_px: int
    column_px: int
    network: int


@dataclass(frozen=True)
class AttentionShares:
    """How much of the attention of a layer lies at landslide boundaries, and how much of the ground does; None where there
    was nothing to share."""

    boundary_attention_frac: float | None
    boundary_ground_frac: float | None
    blank_windows: int


@dataclass(frozen=True, kw_only=True)
class AttentionFacts:
    """data/explain/<area>/facts.json: the explained windows, and the shares by layer."""

    windows: list[WindowPlace]
    window_px: int
    attention: dict[str, AttentionShares]


@dataclass(frozen=True, kw_only=True)
class FoldTraining:
    """How the training of one network went."""

    fold: int
    """The fold that it never saw, from 1."""
    held_iou: float
    """The highest landslide IoU of any threshold on windows of that fold: a watch, which chooses nothing."""
    findings: list[str] = field(default_factory=list)
    """What says that the network learnt nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainingSummary(Sparse):
    """reports/train/summary.json."""

    folds: list[FoldTraining]
    held_iou: float
    """Mean over the folds."""
    epochs: int
    parameters: int
    """Of each network."""
    findings: dict[str, list[str]] = field(default_factory=dict)
    """By area."""


@dataclass(frozen=True, kw_only=True)
class TaughtGround:
    """What the network of one fold learns from at a share of the labels."""

    blocks: dict[str, list[int]]
    """Numbers of the blocks, by area, in the order in which they were mapped."""
    landslides: int
    """That it learns from, and of how many that could teach it..."""
    of: int


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """ablation/shares/<percent>-<seed>/labels/facts.json: the ground that teaches at a share of the labels."""

    folds: list[TaughtGround]
    """In the order of their codes."""
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class VariantTraining:
    """training.json of ablation/models/<variant>-<seed> and ablation/shares/<percent>-<seed>/models/<variant>."""

    held_iou: float
    """Mean over the folds."""
    steps: int
    """Of each network."""
