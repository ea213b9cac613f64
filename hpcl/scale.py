"""Do the parameters in metres and pixels fit the pixels and landslides that they meet?

One map of an area can be made with every number of params.yaml set for another area, and looks like any map. So each stage
compares its parameters with what they meet (`Sizes`), and tells what makes no sense: one sentence for each parameter, with
both figures and what to do. Only what would leave no result worth reading is refused (`ScaleError`).

Two pixels matter. The image's is the grid of all maps: windows, blocks and tolerances count it. What the terrain can show
goes with the coarser of image and DEM pixel (`Sizes.detail_m`), since a DEM is interpolated onto a finer image and averaged
onto a coarser one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcl.core.records import AreaSizes

Array = npt.NDArray[np.float64]

LEAST_SMOOTHING = 0.5
"""Pixels. A Gaussian of half a pixel leaves 29 % of the finest wave that a DEM can hold (two pixels long), one of a quarter
of a pixel 73 %: noise and terraces, which are a pixel wide, pass."""
MOST_SMOOTHING = 20.0
"""Pixels. A Gaussian takes half of the height of forms 5.3 standard deviations long: here of a hundred pixels."""
BLUR = 6.0
"""Standard deviations between the ends of the smoothing's kernel. Where they lie beyond the image, every elevation is a mean
of the whole area."""
LEAST_RADIUS = 1.5
"""Pixels. A square of a smaller half side is less than three pixels wide: what lies within was interpolated."""
WIDER = math.sqrt(3)
"""A mean over a square of this half side is as smooth as a Gaussian of standard deviation 1; over a smaller square, relief
would be the rougher mean less the smoother elevation."""
SHARE_OF_IMAGE = 0.25
"""Shifted by a quarter of the image in both directions, two rasters have little more than half of their ground in common."""
DEM_PIXELS_IN_WINDOW = 4
"""Fewer DEM pixels across a window show a slope and no form."""
FEW_PX = 4
"""The least patch that extends in both directions has 2 x 2 pixels; smaller ones have no shape."""
FEW_FRAC = 0.05
"""Every inventory has some slivers. From this share on, they are a trait of the image."""


class ScaleError(ValueError):
    """A parameter so far from the scale of the area that no result would be worth reading."""


@dataclass(frozen=True)
class Sizes:
    """What parameters meet in one area."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    pixel_m: float
    """Side of an image pixel."""
    dem_pixel_m: float
    """Side of a pixel of the DEM as it was given, before it was brought onto the image's grid."""
    landslides_m2: tuple[float, ...] = ()
    """Areas of the known landslides, or quantiles that stand for them; empty where none are known."""
    known_from: str = "the inventory"

    @classmethod
    def of(cls, facts: AreaSizes, landslides_m2: Iterable[float] = (), known_from: str = "the inventory") -> Sizes:
        """From the facts of an area, as `ingest` and `tile` write them."""
        rows, columns = facts.shape
        return cls((rows, columns), facts.pixel_m, facts.dem_pixel_m, tuple(landslides_m2), known_from)

    @property
    def side_m(self) -> float:
        """The shorter side of the image."""
        return min(self.shape) * self.pixel_m

    @property
    def detail_m(self) -> float:
        """The finest step of the terrain on the image's grid."""
        return max(self.pixel_m, self.dem_pixel_m)

    @property
    def median_m2(self) -> float | None:
        """Area of the median landslide."""
        return float(np.median(self.landslides_m2)) if self.landslides_m2 else None

    @property
    def across_m(self) -> float | None:
        """Diameter of a disc as large as the median landslide."""
        return None if self.median_m2 is None else 2 * math.sqrt(self.median_m2 / math.pi)

    def in_detail(self, length_m: float) -> str:
        """A length in the pixels that limit the terrain, in words."""
        kind = "DEM" if self.dem_pixel_m >= self.pixel_m else "image"
        count = figure(length_m / self.detail_m)
        return f"{count} {kind} pixel{'' if count == '1' else 's'} (of {figure(self.detail_m)} m)"

    def median(self) -> str:
        """The median landslide, in words."""
        return f"the median landslide of {self.known_from} ({figure(self.median_m2 or 0)} m2)"

    def median_across(self) -> str:
        """The width of the median landslide, in words."""
        return f"the median landslide of {self.known_from} is across ({figure(self.across_m or 0)} m)"


def figure(value: float) -> str:
    """A number for a sentence: four digits are enough, and two below 10.

    >>> figure(28.5512), figure(0.2101), figure(1234567.8), figure(6.0)
    ('28.55', '0.21', '1,235,000', '6')
    """
    short = float(f"{value:.{4 if value >= 10 else 2}g}")
    return f"{short:,.0f}" if short >= 1000 else f"{short:.4g}"


def handy(value: float) -> float:
    """A number to propose: the nearest one of a single digit.

    >>> handy(28.55), handy(0.0873), handy(1494.0)
    (30.0, 0.09, 1000.0)
    """
    return float(f"{value:.0e}")


# ---- what would fit, for advice --------------------------------------------------------------------------------------


def fitting_smoothing_m(sizes: Sizes) -> float:
    """About one pixel of what the terrain can show."""
    return handy(sizes.detail_m)


def fitting_relief_radii_m(sizes: Sizes) -> tuple[float, float]:
    """A near and a far look around: about 4 and 16 pixels."""
    near = handy(4 * sizes.detail_m)
    return near, 4 * near


def fitting_roughness_radius_m(sizes: Sizes) -> float:
    """About three pixels."""
    return handy(3 * sizes.detail_m)


def fitting_minimum_area_m2(sizes: Sizes) -> float:
    """Nearly all of the known landslides (19 in 20), but no patch without a shape, unless most landslides are such patches."""
    pixel_m2 = sizes.pixel_m**2
    if sizes.median_m2 is None:
        return handy(FEW_PX * pixel_m2)
    few_m2 = FEW_PX * pixel_m2 if FEW_PX * pixel_m2 <= sizes.median_m2 else pixel_m2
    return handy(max(float(np.quantile(sizes.landslides_m2, 0.05)), few_m2))


def fitting_size_edges_m2(landslides_m2: Sequence[float]) -> tuple[float, ...]:
    """Edges at the thirds of areas, or fewer where these are alike."""
    return tuple(sorted({float(f"{area:.1e}") for area in np.quantile(landslides_m2, [1 / 3, 2 / 3])}))


def fitting_boundary_px(sizes: Sizes) -> int:
    """Within a quarter of the median landslide's diameter from its rim; 0 where no pixel is as fine."""
    return math.floor((sizes.across_m or 0) / 4 / sizes.pixel_m)


def fitting_gap_px(sizes: Sizes) -> int:
    """The least gap: one pixel of the terrain."""
    return math.ceil(sizes.detail_m / sizes.pixel_m)


def fitting_margin_px(sizes: Sizes) -> int:
    """The least rim of DEM around the image: three pixels of the terrain."""
    return math.ceil(3 * sizes.detail_m / sizes.dem_pixel_m)


def fitting_block_px(sizes: Sizes, window_px: int) -> int:
    """Whole windows, and twice as wide as the median landslide."""
    return math.ceil(2 * (sizes.across_m or 0) / sizes.pixel_m / window_px) * window_px


# ---- ingest, coregister, terrain -------------------------------------------------------------------------------------


def ingest(sizes: Sizes, *, dem_margin_px: int) -> list[str]:
    """The DEM around the image must bear a shift by one pixel, and the two pixels that resampling looks around."""
    margin_m, needed_m = dem_margin_px * sizes.dem_pixel_m, max(3 * sizes.dem_pixel_m, sizes.pixel_m)
    if margin_m >= needed_m:
        return []
    return [
        f"ingest.dem_margin_px of {dem_margin_px} keeps {figure(margin_m)} m of DEM around the image: once it is aligned, an "
        f"edge of up to {figure(sizes.detail_m)} m or more may lack terrain; "
        f"raise it to at least {fitting_margin_px(sizes)}."
    ]


def coregister(sizes: Sizes, *, maximum_shift_px: int, on_reference: bool) -> list[str]:
    """The search goes in pixels of the DEM, or of the image if that is coarser and the DEM is compared with it."""
    step_m = sizes.dem_pixel_m if on_reference else sizes.detail_m
    reach_m = maximum_shift_px * step_m
    asked = f"coregister.maximum_shift_px of {maximum_shift_px} looks {figure(reach_m)} m around"
    if reach_m > SHARE_OF_IMAGE * sizes.side_m:
        most_px = math.floor(SHARE_OF_IMAGE * sizes.side_m / step_m)
        do = f"lower it to {most_px} or less" if most_px else "such an image is too small for this DEM to be aligned"
        return [f"{asked}, over a quarter of the image ({figure(sizes.side_m)} m): little common ground is left; {do}."]
    if reach_m < sizes.pixel_m:
        do = f"raise it to at least {math.ceil(2 * sizes.pixel_m / step_m)}"
        return [f"{asked}, less than one pixel of the image ({figure(sizes.pixel_m)} m); {do}."]
    return []


def terrain(
    sizes: Sizes, *, smoothing_m: float, relief_radii_m: Sequence[float], roughness_radius_m: float
) -> list[str]:
    """Smoothing and radii against what the terrain can show; raises `ScaleError` if smoothing blurs the whole area."""
    if BLUR * smoothing_m > sizes.side_m:
        raise ScaleError(
            f"terrain.smoothing_m of {figure(smoothing_m)} m blurs {figure(BLUR * smoothing_m)} m of ground into one, but the "
            f"image is {figure(sizes.side_m)} m wide; take about {figure(fitting_smoothing_m(sizes))} m (one pixel)."
        )
    found = []
    asked = f"terrain.smoothing_m of {figure(smoothing_m)} m is {sizes.in_detail(smoothing_m)}"
    if 0 < smoothing_m < LEAST_SMOOTHING * sizes.detail_m:
        found.append(
            f"{asked} and smooths next to nothing; take about {figure(fitting_smoothing_m(sizes))} m, or 0 for none."
        )
    elif smoothing_m > MOST_SMOOTHING * sizes.detail_m:
        found.append(
            f"{asked}: forms less than {figure(5.3 * smoothing_m)} m long lose over half of their height; take "
            f"{figure(fitting_smoothing_m(sizes))} to {figure(MOST_SMOOTHING * sizes.detail_m)} m, more the noisier the DEM is."
        )
    return found + _relief(sizes, smoothing_m, relief_radii_m) + _roughness(sizes, roughness_radius_m)


def _relief(sizes: Sizes, smoothing_m: float, radii_m: Sequence[float]) -> list[str]:
    faults = []
    for radius_m in radii_m:
        name = f"relief_{radius_m:g}m"
        if radius_m < LEAST_RADIUS * sizes.detail_m:
            faults.append(f"{name} looks {sizes.in_detail(radius_m)} around, too few to see a form")
        elif radius_m < WIDER * smoothing_m:
            faults.append(f"{name} looks less far than the smoothing of {figure(smoothing_m)} m")
        elif 2 * radius_m > sizes.side_m:
            faults.append(f"{name} takes the mean of more than the image is wide ({figure(sizes.side_m)} m)")
    if not faults:
        return []
    near, far = (f"{radius:g}" for radius in fitting_relief_radii_m(sizes))
    return [
        f"terrain.relief_radii_m: {'; '.join(faults)}; radii that fit are {near} and {far} m (relief_{near}m and relief_{far}m "
        "in model.branches)."
    ]


def _roughness(sizes: Sizes, radius_m: float) -> list[str]:
    asked, fits = f"terrain.roughness_radius_m of {figure(radius_m)} m", figure(fitting_roughness_radius_m(sizes))
    if radius_m < LEAST_RADIUS * sizes.detail_m:
        return [f"{asked} is {sizes.in_detail(radius_m)}, too few to hold a texture; take about {fits} m."]
    if 2 * radius_m > sizes.side_m:
        return [f"{asked} takes in more than the image is wide ({figure(sizes.side_m)} m); take about {fits} m."]
    return []


# ---- tile, train -----------------------------------------------------------------------------------------------------


def tile(sizes: Sizes, *, window_px: int, stride_px: int, block_px: int, gap_px: int) -> list[str]:
    """Windows, blocks and gap against image, DEM and landslides."""
    found = _window(sizes, window_px)
    if stride_px > window_px:
        found.append(
            f"tile.stride_px of {stride_px} is more than tile.window_px ({window_px}), so the ground between windows is not "
            f"trained on; lower it to {window_px // 4} to {window_px}."
        )
    # A landslide half as wide as a block, dropped anywhere, crosses its border three times in four.
    if sizes.across_m is not None and sizes.across_m > block_px * sizes.pixel_m / 2:
        found.append(
            f"tile.block_px of {block_px} is {figure(block_px * sizes.pixel_m)} m, less than twice as much as "
            f"{sizes.median_across()}: most landslides cross a border of blocks and lose ground to the split; raise it to "
            f"{fitting_block_px(sizes, window_px)}, split by areas, or resample the image to coarser pixels."
        )
    return found + _gap(sizes, gap_px, block_px)


def _window(sizes: Sizes, window_px: int) -> list[str]:
    window_m = window_px * sizes.pixel_m
    asked = f"tile.window_px of {window_px} is {figure(window_m)} m"
    if window_m > sizes.side_m:
        return [
            f"{asked}, more than the image is wide ({figure(sizes.side_m)} m): part of every window is empty; lower it to "
            f"{max(min(sizes.shape) // 16 * 16, 32)}."
        ]
    if sizes.across_m is not None and window_m < sizes.across_m:
        pixel = figure(handy(2 * sizes.across_m / window_px))
        return [
            f"{asked}, less than {sizes.median_across()}, so windows see parts of landslides; take larger windows, or "
            f"resample the image to pixels of about {pixel} m."
        ]
    if window_m < DEM_PIXELS_IN_WINDOW * sizes.dem_pixel_m:
        return [
            f"{asked}, less than {DEM_PIXELS_IN_WINDOW} DEM pixels (of {figure(sizes.dem_pixel_m)} m), so windows see no form "
            "of the ground; take larger windows, a finer DEM or an image with coarser pixels."
        ]
    return []


def _gap(sizes: Sizes, gap_px: int, block_px: int) -> list[str]:
    gap_m = gap_px * sizes.pixel_m
    if gap_m < sizes.detail_m:
        return [
            f"tile.gap_px of {gap_px} is {figure(gap_m)} m, less than one pixel of the terrain ({figure(sizes.detail_m)} m), so "
            "both sides of a border learn from the same elevations; raise it to at least "
            f"{fitting_gap_px(sizes)}."
        ]
    kept = max(1 - gap_px / block_px, 0) ** 2  # of a block among blocks of other splits
    if kept < 0.5:
        return [
            f"tile.gap_px of {gap_px} leaves {kept:.0%} of a block of {block_px} pixels among blocks of other splits; lower it "
            f"to {math.floor(block_px * (1 - math.sqrt(0.5)))} or less, or raise tile.block_px."
        ]
    return []


def seen(sizes: Sizes, pixels: npt.NDArray[np.int64], labelled_px: npt.NDArray[np.int64]) -> list[str]:
    """What the grid shows of the polygons ``(polygon,)``: ``pixels`` that each holds, ``labelled_px`` drawn as labels."""
    none, few = int((pixels == 0).sum()), int(((labelled_px > 0) & (labelled_px < FEW_PX)).sum())
    unlabelled = int(((pixels > 0) & (labelled_px == 0)).sum())
    formless = int((np.array(sizes.landslides_m2) < FEW_PX * sizes.dem_pixel_m**2).sum())
    hidden = [f"{none:,} hold{'s' * (none == 1)} no pixel (of {figure(sizes.pixel_m)} m)"] * (none > 0)
    if few > FEW_FRAC * len(pixels):
        hidden.append(f"{few:,} hold{'s' * (few == 1)} fewer than {FEW_PX} pixels")
    told = [f"{' and '.join(hidden)}, which only a finer image would show"] * bool(hidden)
    if unlabelled:
        told.append(f"{unlabelled:,} lie{'s' * (unlabelled == 1)} on ground without labels")
    if formless > 0.5 * len(pixels):
        size = f"{FEW_PX} DEM pixels (of {figure(sizes.dem_pixel_m)} m)"
        told.append(f"{formless:,} are smaller than {size}, too small for the terrain to show their form")
    return [f"Of {len(pixels):,} polygons {'; '.join(told)}."] if told else []


def hyper_pixels(pixel_m: float, labelled_px: npt.NDArray[np.int64], *, output_stride: int) -> list[str]:
    """Where most landslides are smaller than a hyper-pixel, the network has no cell that is landslide throughout."""
    drawn = labelled_px[labelled_px > 0]
    small = int((drawn < output_stride**2).sum())
    if small <= 0.5 * len(drawn):
        return []
    side = figure(output_stride * pixel_m)
    do = "set it to 8, or take a finer image" if output_stride > 8 else "a finer image would help"
    return [
        f"model.output_stride of {output_stride} makes hyper-pixels of {side} m, and {small:,} of {len(drawn):,} drawn "
        f"landslides ({small / len(drawn):.0%}) are smaller than one: most cannot be outlined; {do}."
    ]


# ---- predict, evaluate -----------------------------------------------------------------------------------------------


def outline(sizes: Sizes, *, minimum_area_m2: float, simplify_px: float) -> list[str]:
    """What a mapped polygon must be, against a pixel and the median landslide."""
    found = _minimum_area(sizes, "outline.minimum_area_m2", minimum_area_m2, "mapped")
    # What goes with a corner is up to a square of this side.
    corner_m2 = (simplify_px * sizes.pixel_m) ** 2
    if sizes.median_m2 is not None and simplify_px > 0 and corner_m2 > 0.1 * sizes.median_m2:
        found.append(
            f"outline.simplify_px of {simplify_px:g} smooths corners of up to {figure(corner_m2)} m2 away, over a "
            f"tenth of {sizes.median()}; lower it, to 0 for none."
        )
    return found


def evaluate(
    sizes: Sizes, *, object_minimum_area_m2: float, object_size_edges_m2: Sequence[float], boundary_px: int
) -> list[str]:
    """What is counted, and how closely, against a pixel and the landslides."""
    found = _minimum_area(sizes, "evaluate.object_minimum_area_m2", object_minimum_area_m2, "counted")
    if not sizes.landslides_m2 or sizes.across_m is None:
        return found
    low, high = np.quantile(sizes.landslides_m2, [0.05, 0.95])
    edges = ", ".join(map(figure, sorted(object_size_edges_m2)))
    if object_size_edges_m2 and not any(low < edge <= high for edge in object_size_edges_m2):
        thirds = " and ".join(map(figure, fitting_size_edges_m2(sizes.landslides_m2)))
        found.append(
            f"evaluate.object_size_edges_m2 ({edges}) puts nearly all landslides into one class, for nine in ten measure "
            f"{figure(low)} to {figure(high)} m2; edges at its thirds are {thirds}."
        )
    # Within a quarter of the diameter from its rim lie three quarters of a disc: such a band is no boundary.
    if boundary_px * sizes.pixel_m > sizes.across_m / 4:
        most_px = fitting_boundary_px(sizes)
        do = (
            f"lower it to {most_px}"
            if most_px
            else "boundaries cannot be judged with such pixels; do not read Boundary IoU"
        )
        found.append(
            f"evaluate.boundary_px of {boundary_px} is {figure(boundary_px * sizes.pixel_m)} m on either side, over a quarter "
            f"of what {sizes.median_across()}, so the band covers most of it; {do}."
        )
    return found


def _minimum_area(sizes: Sizes, parameter: str, area_m2: float, verb: str) -> list[str]:
    pixel_m2 = sizes.pixel_m**2
    if 0 < area_m2 < pixel_m2:
        return [
            f"{parameter} of {figure(area_m2)} m2 is less than one pixel ({figure(pixel_m2)} m2) and leaves nothing out; take "
            f"about {figure(handy(FEW_PX * pixel_m2))} m2 (four pixels), or 0 for none."
        ]
    if sizes.median_m2 is not None and area_m2 > sizes.median_m2:
        fits = figure(fitting_minimum_area_m2(sizes))
        return [
            f"{parameter} of {figure(area_m2)} m2 is more than {sizes.median()}: over half of such landslides are not {verb}; "
            f"lower it, to about {fits} m2 for nearly all."
        ]
    return []
