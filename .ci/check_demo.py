"""What `make demo` must have left behind. Run from the root after it; exits with 1 and says what is missing."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import geopandas
import numpy as np
import rasterio

BASELINES = ("slope_threshold", "pixel_classifier")
FOLDS = 3
UNKNOWN = 255
"""Label of ground of which nobody knows whether it is landslide (hpcl/core/codes.py)."""
NINE_BLOCKS_WIDTH = 0.693 - 0.450
"""Width of the interval of landslide IoU when nine test blocks were all that was scored."""
FORCED = ("tile", "baselines", "calibrate", "evaluate", "audit", "illustrate", "report", "page")
NUMBERS = ("landslide_iou", "miou", "f1", "precision", "recall", "mcc", "kappa")


def check(holds: bool, claim: str) -> None:
    """Print a claim and stop if it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'}  {claim}")
    if not holds:
        sys.exit(1)


def scores() -> None:
    """All labelled ground is scored, so intervals are narrow; the network is ahead of both baselines, and these are neither toy
    nor hopeless."""
    metrics = json.loads(Path("reports/evaluate/metrics.json").read_text())
    everything()
    for name in ("hpcl_net", *BASELINES):
        check(all(0 <= metrics[name][n] <= 1 for n in NUMBERS), f"{name} has {', '.join(NUMBERS)}")
        check(
            abs(metrics[name]["f1"] - 2 * metrics[name]["landslide_iou"] / (1 + metrics[name]["landslide_iou"])) < 1e-6,
            "F1 = 2 IoU / (1 + IoU)",
        )
    best = metrics["hpcl_net"]["landslide_iou"]
    for baseline in BASELINES:
        iou, (low, high) = metrics[baseline]["landslide_iou"], metrics["paired"][baseline]["interval"]
        check(0.1 < iou < 0.6, f"{baseline}: landslide IoU {iou:.3f} lies between 0.1 and 0.6")
        check(
            best > iou and low > 0,
            f"hpcl_net: {best:.3f} is ahead of {baseline}, paired interval of the difference [{low:.3f}, {high:.3f}]",
        )
    low, high = metrics["hpcl_net"]["landslide_iou_interval"]
    check(
        high - low <= 0.6 * NINE_BLOCKS_WIDTH,
        f"landslide IoU is known to {high - low:.3f}, at most 0.6 of the {NINE_BLOCKS_WIDTH:.3f} of nine test blocks",
    )
    check(not metrics.get("transfer"), "no area lies outside all folds")


def everything() -> None:
    """Every labelled pixel is judged once, by the network of its fold, which never saw it."""
    counts = json.loads(Path("reports/evaluate/metrics.json").read_text())["counts"]
    tiles = json.loads(Path("data/tiles/facts.json").read_text())
    labelled_px = sum(
        int((np.load(file, mmap_mode="r") != UNKNOWN).sum()) for file in Path("data/tiles").glob("*.labels.npy")
    )
    blocks = sum(fold["blocks"] for fold in tiles["folds"])
    check(
        counts["px"] == labelled_px and counts["blocks"] == blocks,
        f"all labelled ground is scored: {counts['px']} pixels of {counts['blocks']} blocks",
    )
    weights = {json.loads(file.read_text())["weights_sha256"] for file in Path("data/model").glob("*/model.json")}
    check(len(weights) == FOLDS == len(tiles["folds"]), f"{len(weights)} networks, one for each fold")
    for area, facts in tiles["areas"].items():
        with rasterio.open(Path("data/predict") / area / "network.tif") as file:
            networks = file.read(1)
        with rasterio.open(Path("data/predict") / area / "probability.tif") as file:
            mapped = file.read(1, masked=True).filled(np.nan)
        own = np.array(facts["folds"]).reshape(len(facts["tops"]), len(facts["lefts"])) + 1
        rows, columns = (
            np.searchsorted(facts[edges], np.arange(length), side="right") - 1
            for edges, length in zip(("tops", "lefts"), networks.shape, strict=True)
        )
        known = np.load(f"data/tiles/{area}.labels.npy", mmap_mode="r") != UNKNOWN
        check(
            bool((networks == own[np.ix_(rows, columns)])[known & np.isfinite(mapped)].all()),
            f"{area}: all labelled ground is mapped by the network of its fold (network.tif)",
        )


def maps() -> None:
    """A georeferenced map per area, aligned where the DEM was shifted on purpose."""
    for folder in sorted(Path("data/predict").iterdir()):
        with rasterio.open(folder / "probability.tif") as file:
            check(
                file.crs is not None and file.descriptions[0] == "probability",
                f"{folder}/probability.tif is a map in {file.crs}",
            )
        outlines = Path("data/outline") / folder.name / "landslides.gpkg"
        check(outlines.stat().st_size > 0, str(outlines))
        shift = json.loads((Path("data/coregister") / folder.name / "shift.json").read_text())
        planted = json.loads((Path("data/raw") / folder.name / "truth.json").read_text())["shift"]
        off_m = ((shift["east_m"] + planted["east_m"]) ** 2 + (shift["north_m"] + planted["north_m"]) ** 2) ** 0.5
        check(
            shift["accepted"] and off_m < 0.5,
            f"{folder.name}: planted shift found to {off_m:.3f} m, below .1 pixel (0.5 m) of the DEM",
        )
    check("data:image/png" in Path("reports/report.html").read_text(), "reports/report.html has its pictures inside")


def asked() -> None:
    """A review of every area, as long as was promised, and a page to answer on."""
    promises = json.loads(Path("reports/audit/promises.json").read_text())
    for layer in ("omissions", "doubtful", "outlines"):
        rows = sum(len(geopandas.read_file(file, layer=layer)) for file in Path("data/audit").glob("*/review.gpkg"))
        promise = promises[layer]["promise"]
        check(
            rows == promise["rows"] and 0 <= promise["low"] <= promise["expected"] <= promise["high"] <= rows,
            f"of {rows} rows of {layer} {promise['expected']:.1f} are probably right,"
            f" {promise['low']:.0f} to {promise['high']:.0f}",
        )
    projects = [file for file in Path("data/audit").glob("*/*.qgs") if "review.gpkg" in file.read_text()]
    check(len(projects) == len(list(Path("data/audit").iterdir())), f"{len(projects)} QGIS projects show what is asked")
    page = Path("reports/map.html")
    check("review.geojson" in page.read_text(), f"{page} is there, {page.stat().st_size / 1e6:.1f} MB")


def tracked() -> None:
    """The state is one MLflow run with scores, however many stages were computed or cached."""
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  (3 s of import)

    client = MlflowClient(f"sqlite:///{quote(str(Path.cwd() / 'mlflow.db'), safe='')}")
    experiment = client.get_experiment_by_name("hpcl")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`dvc.role` = 'pipeline'")
    check(len(runs) == 1, f"one pipeline run in MLflow ({len(runs)})")
    found = [k for k in runs[0].data.metrics if k.endswith("landslide_iou")]
    check(
        bool(found) and len(runs[0].data.params) > 40,
        f"it holds {', '.join(found)} and {len(runs[0].data.params)} parameters",
    )


def repeatable() -> None:
    """Nothing to do a second time, quickly; a forced re-run of all but the training leaves dvc.lock as it is."""
    seconds = []
    for _ in range(3):  # the best of three, because other work on the machine is not the pipeline's
        began = time.monotonic()
        done = subprocess.run(["dvc", "repro"], capture_output=True, text=True, check=True)
        seconds.append(time.monotonic() - began)
        check("up to date" in done.stdout, "a second dvc repro does nothing")
    check(min(seconds) < 5, f"and that within 5 s: {', '.join(f'{s:.1f}' for s in seconds)} s")
    before = Path("dvc.lock").read_bytes()
    subprocess.run(
        ["dvc", "repro", "--force", "--single-item", *FORCED],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    check(
        Path("dvc.lock").read_bytes() == before,
        f"a forced re-run of {', '.join(FORCED)} leaves dvc.lock as it is",
    )


scores()
maps()
asked()
tracked()
repeatable()
peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
print(f"      peak memory of the stages run here {peak_gib:.2f} GiB")
