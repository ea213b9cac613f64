"""The model's card: what it is, what it was trained on, what it is worth where, and by which hashes it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hpcl.core.records import ModelFacts
from hpcl.export.form import NODATA, outputs
from hpcl.export.origin import DATA_LICENCE, Origin
from hpcl.metrics.records import Maps, MapScores, Metrics, PointScores

SCORES = {
    "landslide_iou": "landslide IoU", "precision": "precision", "recall": "recall", "f1": "F1", "boundary_iou": "boundary IoU",
    "object_detection_rate": "objects found", "false_objects_per_km2": "false objects per km2", "ece": "calibration error",
}  # fmt: skip
POINT_SCORES = ("precision", "recall", "landslide_iou", "object_detection_rate", "false_objects_per_km2")


def card(models: Sequence[ModelFacts], metrics: Metrics, weights_sha256: str, origin: Origin) -> str:
    """The card as Markdown."""
    first = models[0]
    parts = [
        ["# Landslide model", "", *_what(first)],
        ["## Input and output", "", *_input(first)],
        ["## Data and split", "", *_data(first, metrics)],
        ["## Scores", "", *_scores(metrics)],
        ["## Operating points", "", *_points(metrics)],
        ["## Limits", "", *_limits(metrics)],
        [
            "## Licence",
            "",
            f"Code: {origin.software.licence}. {DATA_LICENCE}",
        ],
        ["## Hashes", "", *_hashes(models, weights_sha256, origin)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _what(model: ModelFacts) -> Iterator[str]:
    settings = model.settings
    yield (
        f"`model.onnx` gives the probability of {_listed(model.classes)} for each pixel of a window. It holds the normalisation, "
        f"the temperature and the networks that map new ground: {model.folds} folds were trained, each without its fold."
    )
    yield ""
    yield from _table(
        ["what", "value"],
        [
            ["architecture", str(settings["architecture"])],
            ["encoder", str(settings["encoder"])],
            *([f"bands of branch `{branch}`", ", ".join(bands)] for branch, bands in model.branches.items()),
            ["pixel", f"{_listed([f'{size:g} m' for size in model.pixel_m])}"],
            ["pixel of the DEM", _listed([f"{size:g} m" for size in model.dem_pixel_m or []]) or "not known"],
        ],
    )


def _input(model: ModelFacts) -> Iterator[str]:
    names = ", ".join(f"`{name}`" for name in outputs(model.classes))
    yield (
        f"Input `bands`: float32 `(window, {len(model.bands)}, {model.window_px}, {model.window_px})`, any number of windows, raw values "
        "in this order, NaN where a pixel is missing. Another size of window is refused: the networks take in the whole window."
    )
    yield ""
    yield from _table(
        ["band", "name", "mean of the training", "standard deviation"],
        [[str(n), band.name, f"{band.mean:.6g}", f"{band.std:.6g}"] for n, band in enumerate(model.bands, start=1)],
    )
    yield ""
    yield (
        f"Output: {names}, float32. `landslide` is `(window, 1, row, column)`, the probability of landslide of any class"
        + (f"; `classes` has {_listed(['background', *model.classes])}" if len(model.classes) > 1 else "")
        + f". {NODATA:g} stands where a branch has no band with data."
    )
    yield "Windows that overlap are to be averaged; the project's own maps do that, with weights that fall towards a window's edge."


def _data(model: ModelFacts, metrics: Metrics) -> Iterator[str]:
    yield (
        f"Trained on {_listed(model.trained_on)}. Labelled ground is dealt into {model.folds} folds by place; the network of a fold learns"
        " no label of it, and maps it for the scores."
    )
    yield ""
    rows = [[area.area, str(area.blocks), f"{area.px:,}", _percent(area.landslide_frac), _number(area.hpcl_net_landslide_iou)]
            for area in metrics.areas]  # fmt: skip
    yield from _table(["area", "blocks", "labelled pixels", "landslide", "landslide IoU"], rows)


def _scores(metrics: Metrics) -> Iterator[str]:
    yield (
        f"At the operating point {metrics.operating_point}, with {_percent(metrics.counts.confidence_frac, 0)} intervals that resample "
        "blocks. Each pixel was mapped by one network that never saw its fold; `model.onnx` is for new ground, which none of them knows."
    )
    yield ""
    yield from _score_table(metrics)
    if metrics.transfer is None:
        yield ""
        yield "No area lay outside all folds, so nothing vouches for ground elsewhere."
        return
    yield ""
    yield f"On areas outside all folds ({_listed([area.area for area in metrics.transfer.areas])}), mapped as new ground is:"
    yield ""
    yield from _score_table(metrics.transfer)


def _score_table(maps: Maps) -> Iterator[str]:
    names = {
        "hpcl_net": "this model",
        "polygons": "its polygons",
        "slope_threshold": "slope threshold",
        "pixel_classifier": "pixel classifier",
    }
    rows = [[title, *(_score(maps.of(name), score) for name in names)] for score, title in SCORES.items()]
    yield from _table(["score", *names.values()], rows)


def _points(metrics: Metrics) -> Iterator[str]:
    yield "From which probability on new ground is landslide, and what that gave on the ground of the folds:"
    yield ""
    head = ["operating point", "reached", "probability from", *(SCORES[score] for score in POINT_SCORES)]
    yield from _table(head, [_point(point, metrics.operating_point) for point in metrics.operating_points])
    yield ""
    yield "The one marked * is preset in `model.onnx`."


def _point(point: PointScores, made: str) -> list[str]:
    scores = [_score(point.scores, score) for score in POINT_SCORES]
    return [point.point + (" *" if point.point == made else ""), "yes" if point.reached else "no",
            _number(point.thresholds.elsewhere), *scores]  # fmt: skip


def _limits(metrics: Metrics) -> Iterator[str]:
    yield "- Scores are of the ground above. Other regions, sensors, units of the image or pixel sizes may be mapped far worse."
    yield "- Intervals resample blocks of ground, not trainings."
    yield "- The graph maps a window as it lies, once: neither test-time augmentation nor AdaBN nor the blending of windows is in it."
    yield "- Areas whose names begin with synthetic_ are made up: scores of them prove that the parts fit together, nothing else."
    for area, findings in sorted(metrics.findings.items()):
        for finding in findings:
            yield f"- {area}: {finding}"


def _hashes(models: Sequence[ModelFacts], weights_sha256: str, origin: Origin) -> Iterator[str]:
    yield from _table(
        ["what", "value"],
        [
            ["weights (SHA-256 of all networks together)", weights_sha256],
            *([f"weights of fold {model.fold}", model.weights_sha256] for model in models),
            ["commit", origin.commit or "not known"],
            ["run", origin.run],
            ["params.yaml (SHA-256)", origin.params_sha256],
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _score(scores: MapScores, name: str) -> str:
    low, high = scores.interval_of(name)
    ends = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return _number(scores.of(name)) + ends


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), *words[-1:]])


def thresholds(metrics: Metrics) -> Mapping[str, float]:
    """The thresholds of new ground by operating point, that of the map first."""
    made = sorted(metrics.operating_points, key=lambda point: point.point != metrics.operating_point)
    return {point.point: point.thresholds.elsewhere for point in made}
