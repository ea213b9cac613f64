"""What a stage says of its results: one record for each kind of JSON file of a stage, its fields as they stand in the file.

A stage fills a record and `hpcl.core.artifacts.write_json` writes it; `read_json` gives it back to the next stage. A field
with a default may be missing in a file that is read, for an earlier version wrote none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from hpcl.core.artifacts import Count, Finite, NotNegative, Positive, Shape, Share, Sparse, Transform

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


@dataclass(frozen=True)
class BandFacts:
    """What a network must know of a band: how it turns, mean and std."""

    name: str
    kind: BandKind
    mean: Finite
    std: Positive


@dataclass(frozen=True)
class TileBand(BandFacts):
    """A band of the tiles, with the statistics of the train split."""

    unit: str


@dataclass(frozen=True)
class BlockFacts:
    """A block of the split; ``split`` is none where it has no labels."""

    id: int
    split: str


@dataclass(frozen=True, kw_only=True)
class TiledArea(AreaGrid):
    """An area of the tiles."""

    divided_landslides: int = 0
    """Landslides across a border of the split."""
    findings: list[str] = field(default_factory=list)
    blocks: list[BlockFacts]

    def has(self, split: str) -> bool:
        """Whether a block of the area belongs to a split."""
        return any(block.split == split for block in self.blocks)


@dataclass(frozen=True)
class SplitFacts:
    """The ground of one split."""

    blocks: int
    labelled_px: int
    landslide_px: int


@dataclass(frozen=True, kw_only=True)
class TileFacts:
    """data/tiles/facts.json: all labelled areas together."""

    areas: dict[str, TiledArea]
    sun: Sun
    bands: Annotated[list[TileBand], Field(min_length=1)]
    ground: GroundFacts
    classes: Annotated[list[str], Field(min_length=1)]
    window_px: Count
    gap_px: int
    split: dict[str, SplitFacts]

    @property
    def band_names(self) -> list[str]:
        """The bands in the order of their arrays."""
        return [band.name for band in self.bands]


# ---- train, baselines ------------------------------------------------------------------------------------------------


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
    temperature: Positive
    threshold: Share
    epoch: int
    """The epoch whose weights were kept, from 0."""
    landslide_m2: list[float] | None = None
    """Quantiles of the areas of the landslides that were learnt from."""

    @property
    def band_names(self) -> list[str]:
        """The bands that the network knows."""
        return [band.name for band in self.bands]


@dataclass(frozen=True, kw_only=True)
class ModelFacts(TrainedFacts):
    """data/model/model.json: what a map needs of a training, beside the weights."""

    settings: dict[str, Any]
    """The section ``model`` of params.yaml; `hpcl.networks.store` reads it."""
    embedding_dim: Count
    weights_sha256: str

    @property
    def branches(self) -> dict[str, list[str]]:
        """The bands that each encoder sees."""
        return dict(self.settings["branches"])


@dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """data/baselines/facts.json: what the baselines without a network learnt."""

    slope_threshold_deg: float
    direction: Literal["steeper", "gentler"]
    slope_threshold_train_landslide_iou: float
    pixel_classifier_threshold: Share
    pixel_classifier_validation_landslide_iou: float
    pixels: int
    bands: list[str]


# ---- predict, outline, explain ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """data/predict/<area>/facts.json."""

    area: str
    threshold: Share
    temperature: float
    weights_sha256: str
    input_sha256: str
    classes: list[str]
    training_landslide_m2: list[NotNegative]
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OutlineFacts:
    """data/outline/<area>/facts.json."""

    area: str
    threshold: float
    landslides: int
    landslide_area_m2: float
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class WindowPlace:
    """The upper left corner of a window."""

    row_px: int
    column_px: int


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
class TrainingSummary(Sparse):
    """reports/train/summary.json."""

    val_iou: float
    threshold: float
    temperature: float
    best_epoch: int
    """From 0."""
    epochs: int
    parameters: int
    findings: dict[str, list[str]] = field(default_factory=dict)
    """By area."""
    training_findings: list[str] | None = None
    """What says that the network learnt nothing."""


@dataclass(frozen=True, kw_only=True)
class VariantTraining:
    """ablation/models/<variant>-<seed>/training.json."""

    val_iou: float
    steps: int
