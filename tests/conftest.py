"""What all tests share: shapes in signatures are checked, and a small folder of tiles with a known answer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import tile_band, tiled_area, tiles
from jaxtyping import install_import_hook

from hpcl.core.artifacts import write_json

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
    bands = [
        tile_band("red", "image"), tile_band("green", "image"), tile_band("slope"), tile_band("n_east", "east"),
        tile_band("n_north", "north"), tile_band("n_up", "up"), tile_band("hillshade", "hillshade"),
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
    write_json(folder / "facts.json", tiles({"place": tiled_area(shape=[256, 256])}, bands=bands))
    seen = {"area": ["place"], "id": [1], "area_m2": [4000.0], "pixels": [1000], "labelled_px": [1000]}
    pd.DataFrame(seen).to_csv(folder / "landslides.csv", index=False)
    return folder
