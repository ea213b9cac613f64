"""What becomes of planted shifts, case by case: the table in docs/coregistration.md. `python -m benchmarks.coregistration_cases`.

From one case to the next a single thing is made worse; then come all of them together, and rasters that show nothing or
contradict themselves, by which no DEM may be moved.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.ground import (
    DEM_GRID,
    DEM_M,
    NORTH,
    WEST,
    Array,
    Ground,
    colours,
    displaced,
    grid_of,
    picture,
    save,
    tilted,
)  # fmt: skip
from hpcl.coregister.image import align_to_image
from hpcl.coregister.reference import align
from hpcl.coregister.shift import Shift
from hpcl.settings.coregister import CoregisterSettings
from stages._stage import params
from stages.ablation import put

DOCS = Path("docs/coregistration.md")
SEEDS = 5
NEAR_PX, FAR_PX = (0.42, -0.26), (-3.4, 2.2)
WRONG = ("other hills", "another place", "noise", "nothing")
"""What shows another ground than the DEM, or none."""


@dataclass(frozen=True)
class Case:
    """What is planted, pixels being those of the DEM, and whether it is right to ``move`` the DEM.

    ``noise_m`` and ``grain`` are standard deviations: of every pixel of both DEMs, and of every pixel of the image in
    units of full light. The ground of the DEM is smoothed by a Gaussian of ``blur_px`` and has ``voids_frac`` of voids in
    blotches; ``pixel`` is the side of a pixel of the other raster.
    """

    method: Literal["reference", "image"]
    shown: str = "the ground"
    shift_px: tuple[float, float] = NEAR_PX
    noise_m: float = 0.2
    grain: float = 0.03
    blur_px: float = 0.0
    voids_frac: float = 0.0
    pixel: float = 1.0
    move: bool = True

    @property
    def head(self) -> str:
        """The cells of its line that say what was planted."""
        noise = f"{self.noise_m:g} m" + (f", {self.grain:.0%}" if self.method == "image" else "")
        east, north = self.shift_px
        planted = f"{east:g}, {north:g} | {noise} | {self.blur_px:g} | {self.voids_frac:.0%} | {self.pixel:g}"
        return f"| {self.method} | {self.shown} | {planted} |"


BY_REFERENCE, BY_IMAGE = Case("reference"), Case("image", pixel=0.4)
CASES = (
    BY_REFERENCE,
    replace(BY_REFERENCE, shift_px=(0, 0), move=False),
    replace(BY_REFERENCE, shift_px=FAR_PX),
    replace(BY_REFERENCE, noise_m=1.0),
    replace(BY_REFERENCE, blur_px=1.0),
    replace(BY_REFERENCE, voids_frac=0.2),
    replace(BY_REFERENCE, pixel=3.0),
    replace(BY_REFERENCE, shown="the ground, tilted by 5 m/km"),
    replace(BY_REFERENCE, shift_px=FAR_PX, noise_m=1.0, blur_px=1.0, voids_frac=0.2, pixel=3.0),
    *(replace(BY_REFERENCE, shown=shown, move=False) for shown in WRONG),
    BY_IMAGE,
    replace(BY_IMAGE, shift_px=(0, 0), move=False),
    replace(BY_IMAGE, shift_px=FAR_PX),
    replace(BY_IMAGE, noise_m=0.6, grain=0.2),
    replace(BY_IMAGE, blur_px=1.0),
    replace(BY_IMAGE, voids_frac=0.2),
    replace(BY_IMAGE, pixel=1.0),
    replace(BY_IMAGE, shift_px=FAR_PX, noise_m=0.6, grain=0.2, blur_px=1.0, voids_frac=0.2, pixel=1.0),
    *(replace(BY_IMAGE, shown=shown, move=False) for shown in WRONG),
    replace(BY_IMAGE, shown="the ground, its bands 4 px apart", move=False),
)


def measured(case: Case) -> list[Shift]:
    """What the co-registration says of the case, seed by seed."""
    settings = params("coregister", CoregisterSettings)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(SEEDS):
            dem = save(Path(folder) / "dem.tif", DEM_GRID, _dem(case, seed))
            other = _other(case, seed, Path(folder) / "other.tif")
            found.append((align if case.method == "reference" else align_to_image)(other, dem, settings))
    return found


def _dem(case: Case, seed: int) -> Array:
    """The DEM, off by the planted shift."""
    rng = np.random.default_rng(100 + seed)
    east, north = (DEM_M * part for part in case.shift_px)
    z = gaussian_filter(displaced(Ground(seed), (east, north), noise_m=0), case.blur_px)
    z += case.noise_m * rng.normal(size=z.shape)
    blotches = gaussian_filter(rng.normal(size=z.shape), 4)
    z[blotches < np.quantile(blotches, case.voids_frac)] = np.nan
    return z


def _other(case: Case, seed: int, path: Path) -> Path:
    """The reference DEM or the image, as wide as the DEM less its rim, written to a file."""
    rng, pixel_m = np.random.default_rng(200 + seed), case.pixel * DEM_M
    shape = round(690 / pixel_m), round(780 / pixel_m)
    grid = grid_of(shape, pixel_m, WEST + (5000 if case.shown == "another place" else 0), NORTH)
    ground = Ground(seed + 50 if case.shown == "other hills" else seed)
    blank = rng.normal(size=shape) if case.shown == "noise" else np.full(shape, 100.0)
    if case.method == "reference":
        z = (
            blank
            if case.shown in ("noise", "nothing")
            else displaced(ground, (0, 0), case.noise_m, 0, grid, 300 + seed)
        )
        return save(path, grid, tilted(z, grid, 5.0, 0.0) if "tilted" in case.shown else z)
    if case.shown in ("noise", "nothing"):
        return save(path, grid, blank, bands=colours("grey"))
    layers = [picture(ground, grid, noise=case.grain, seed=300 + seed)]
    if "bands" in case.shown:
        layers.append(np.roll(picture(ground, grid, noise=case.grain, seed=400 + seed), round(4 / case.pixel), axis=1))
    return save(path, grid, *layers, bands=colours("a", "b")[: len(layers)])


def line(case: Case, found: list[Shift]) -> str:
    """The case in the table: what was planted, how far off it was found, how often the DEM was moved."""
    planted_m = [DEM_M * part for part in case.shift_px]
    seen = [shift for shift in found if shift.quality_after is not None and case.shown not in WRONG]
    errors = [math.dist((shift.east_m, shift.north_m), planted_m) / DEM_M for shift in seen]
    error = f"{statistics.median(errors):.3f} ({max(errors):.3f})" if errors else "–"
    moved = f"{sum(shift.accepted for shift in found)} of {len(found)}"
    quality = "–"
    if errors:
        before, after = (
            statistics.median(values)
            for values in zip(*((shift.quality_before or 0, shift.quality_after or 0) for shift in seen), strict=True)
        )
        quality = f"{before:.2f} → {after:.2f}" + (" m" if case.method == "reference" else "")
    return f"{case.head} {error} | {moved} | {'yes' if case.move else 'no'} | {quality} |"


HEAD = (
    "| method | what the other raster shows | planted [px] | noise | blur [px] | voids | its pixel [px] | error [px] "
    "| moved | right | NMAD, or correlation |"
)


def main() -> None:
    """Measure every case and put the table into the docs."""
    lines = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"]
    for case in CASES:
        lines.append(line(case, measured(case)))
        print(lines[-1], flush=True)
    DOCS.write_text(put(DOCS.read_text(encoding="utf-8"), "cases", "\n" + "\n".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
