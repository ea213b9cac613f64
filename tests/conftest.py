"""What all tests share: shapes in signatures are checked, and a small folder of tiles with a known answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jaxtyping import install_import_hook

install_import_hook(
    ["hpcl.training", "hpcl.networks.base", "hpcl.networks.hpcl_net", "hpcl.explain"], "beartype.beartype"
)


@pytest.fixture(scope="session")
def tiles_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One area in the tiles' format: landslides are brighter blobs, the west half trains, the east half validates."""
    from scipy import ndimage

    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.normal(size=(256, 256)), 10) > 0.03).astype(np.uint8)
    bands: list[dict[str, Any]] = [
        {"name": name, "kind": kind, "unit": "", "mean": 0.0, "std": 1.0}
        for name, kind in {
            "red": "image", "green": "image", "slope": "scalar",
            "n_east": "east", "n_north": "north", "n_up": "up", "hillshade": "hillshade",
        }.items()
    ]  # fmt: skip
    values = rng.normal(size=(len(bands), 256, 256)).astype(np.float32)
    values[0] += labels
    values[:, :5, :7] = np.nan
    labels[:9, 100:120] = 255
    split = np.zeros((256, 256), np.uint8)
    split[:, 128:] = 1
    split[:, 124:132] = 3
    for what, array in {"bands": values, "labels": labels, "split": split}.items():
        np.save(folder / f"place.{what}.npy", array)
    windows = [
        {"area": "place", "split": split, "row_px": row, "column_px": column, "valid_frac": 1.0, "landslide_frac": 0.2}
        for split, columns in (("train", (0, 32, 64)), ("val", (128, 192)))
        for row in (0, 64, 128, 192)
        for column in columns
    ]
    pd.DataFrame(windows).to_csv(folder / "windows.csv", index=False)
    facts = {
        "bands": bands,
        "classes": ["landslide"],
        "window_px": 64,
        "gap_px": 8,
        "sun": {"azimuth_deg": 315.0, "altitude_deg": 45.0},
        "areas": {"place": {"pixel_m": 2.0}},
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    seen = {"area": ["place"], "id": [1], "area_m2": [4000.0], "pixels": [1000], "labelled_px": [1000]}
    pd.DataFrame(seen).to_csv(folder / "landslides.csv", index=False)
    return folder
