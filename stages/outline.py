"""Draw one area's map: class codes, and landslides as polygons; the network is not asked again."""

from pathlib import Path

from hpcl import qgis, scale
from hpcl.calibration import counts, points
from hpcl.core import artifacts
from hpcl.core.artifacts import write_json
from hpcl.core.records import AreaFacts, MapFacts, OutlineFacts
from hpcl.geo import vector
from hpcl.outline import class_map, polygons
from hpcl.settings.outline import OutlineSettings
from stages._stage import params, run


def main(area: str) -> None:
    """Write data/outline/<area>/: class.tif and landslides.gpkg (each with its QGIS style), facts.json."""
    settings = params("outline", OutlineSettings)
    out, probability = Path("data/outline") / area, Path("data/predict") / area / "probability.tif"
    mapped = artifacts.read_json(probability.with_name("facts.json"), MapFacts)
    classes, point = mapped.classes, points.name_of(settings.operating_point)
    thresholds, reached = points.chosen(counts.read(Path("data/calibrate")), settings.operating_point)
    findings = _unfit(area, mapped, settings)
    if not reached:
        findings.append(f"No threshold gives {point} on the ground that it is chosen on; the nearest one was taken.")
    covered = class_map.write(probability, out / "class.tif", classes, thresholds)
    findings += covered.findings(*thresholds.by_fold, thresholds.elsewhere)
    table = polygons.landslides(
        probability,
        thresholds,
        settings,
        classes=classes,
        terrain=Path("data/terrain") / area / "terrain.tif",
        elevation=Path("data/coregister") / area / "dem.tif",
        provenance={
            "weights_sha256": mapped.weights_sha256,
            "input_sha256": mapped.input_sha256,
            "operating_point": point,
        },
    )
    vector.write(out / "landslides.gpkg", table)
    for name, style in {"class": qgis.classes(classes), "landslides": qgis.landslides()}.items():
        artifacts.write_bytes(out / f"{name}.qml", style.encode())
    area_m2 = float(table["area_m2"].sum())
    facts = OutlineFacts(
        area=area,
        operating_point=point,
        thresholds=thresholds,
        landslides=len(table),
        landslide_area_m2=area_m2,
        findings=findings,
    )
    write_json(out / "facts.json", facts)
    for finding in findings:
        print(f"outline: {finding}")
    print(f"outline: {len(table)} landslides, {area_m2 / 1e4:.1f} ha in {area}")


def _unfit(area: str, mapped: MapFacts, settings: OutlineSettings) -> list[str]:
    """Where polygons are generalised to another scale than that of the landslides: the area's own, or those trained on."""
    inventory = Path("data/ingest") / area / "landslides.gpkg"
    facts = artifacts.read_json(inventory.with_name("facts.json"), AreaFacts)
    if inventory.exists():
        sizes = scale.Sizes.of(facts, vector.read(inventory)["area_m2"], "the inventory")
    else:
        sizes = scale.Sizes.of(facts, mapped.training_landslide_m2, "the training areas")
    return scale.outline(sizes, minimum_area_m2=settings.minimum_area_m2, simplify_px=settings.simplify_px)


if __name__ == "__main__":
    run(main)
