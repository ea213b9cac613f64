"""The item of the model: what STAC's extension MLM says of it, and the ground that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affine import Affine
from pystac import Item, Link
from pystac.extensions.mlm import MLMExtension

from hpcl.core.records import ModelFacts
from hpcl.export.content import Content
from hpcl.export.form import INPUT, outputs
from hpcl.export.origin import Origin
from hpcl.export.stac.item import add_assets, item
from hpcl.geo.raster import Grid

NAME = "model.json"


def model_item(model: ModelFacts, files: Mapping[str, Content], weights: str, origin: Origin) -> Item:
    """The item in the folder of the export."""
    learnt = [model.areas[name] for name in sorted(model.areas) if name in model.trained_on]
    grids = [Grid((area.shape[0], area.shape[1]), Affine(*area.transform), area.crs) for area in learnt]
    # STAC allows bands here only where an asset has them, and MLM looks for them here.
    bands = [{"name": band.name, "data_type": "float32", "nodata": "nan"} for band in model.bands]
    made = item(f"hpcl-net-model-{weights[:12]}", grids, weights, origin)
    made.properties |= {
        "title": "Landslide model",
        "description": "What maps new ground: normalisation, temperature and the mean of all networks in one graph. The geometry"
        " is the ground that it was trained on. It has no time, for that of the images is not known.",
        "bands": bands,
        **_mlm(model),
    }
    MLMExtension.add_to(made)
    add_assets(made, files)
    made.assets["model.onnx"].roles = ["mlm:model", "data"]
    made.assets["model.onnx"].extra_fields |= {"mlm:artifact_type": "onnx", "mlm:framework": "ONNX", "bands": bands}
    made.assets["model_card.md"].roles = ["metadata"]
    made.add_link(Link("license", "./model_card.md", "text/markdown", "What weights and maps depend on"))
    return made


def _mlm(model: ModelFacts) -> dict[str, Any]:
    """The fields of the extension."""
    source = _start(model.settings)
    channels = {"landslide": 1, "classes": len(model.classes) + 1}
    meanings = {
        "landslide": "Probability of landslide of any class, -1 where nothing is known",
        "classes": f"Probabilities of {', '.join(['background', *model.classes])}, -1 where nothing is known",
    }
    side = model.window_px
    return {
        "mlm:name": "HPCL-Net",
        "mlm:architecture": str(model.settings["architecture"]),
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:pretrained": source is not None,
        "mlm:pretrained_source": source,
        "mlm:input": [
            {
                "name": INPUT,
                "description": "Raw values, NaN where a pixel is missing; the normalisation is in the graph",
                "bands": model.band_names,
                "input": _array([-1, len(model.bands), side, side], "bands"),
            }
        ],
        "mlm:output": [
            {
                "name": name,
                "description": meanings[name],
                "tasks": ["semantic-segmentation"],
                "result": _array([-1, channels[name], side, side], "channel"),
            }
            for name in outputs(model.classes)
        ],
    }


def _start(settings: Mapping[str, Any]) -> str | None:
    """What encoders started from; None if all of them did from random weights."""
    if settings["pretrained"]:
        return f"timm's weights of {settings['encoder']}"
    files = [f"{encoder}: {of['file']} (SHA-256 {of['sha256']})" for encoder, of in settings["weights"].items()]
    return "; ".join(files) or None


def _array(shape: list[int], layers: str) -> dict[str, Any]:
    return {"shape": shape, "dim_order": ["batch", layers, "height", "width"], "data_type": "float32"}
