"""What all tests share: shapes in signatures are checked, and a small folder of tiles with a known answer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import tile_band, tiled_area, tiles
from jaxtyping import install_import_hook

from hpcl.core.artifacts import write_json

collect_ignore = ["in_qgis.py", "export_in_qgis.py"]  # for a Python that has QGIS; tests run them there

install_import_hook(
    ["hpcl.training", "hpcl.networks.base", "hpcl.networks.hpcl_net", "hpcl.explain"], "beartype.beartype"
)


@pytest.fixture(scope="session")
def tiles_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One area in the tiles' format: landslides are brighter blobs; the west half is fold 1, the east half fold 2."""
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
    teaches = np.zeros((256, 256), np.uint16)
    teaches[:, :124], teaches[:, 132:] = 0b10, 0b01
    teaches[labels == 255] = 0
    area = tiled_area(0, 1, shape=[256, 256], lefts=[0, 128])
    block = area.blocks(slice(0, 256), slice(0, 256)).astype(np.int32)
    for what, array in {"bands": values, "labels": labels, "teaches": teaches, "block": block}.items():
        np.save(folder / f"place.{what}.npy", array)
    west, east = (0, 32, 64), (128, 160, 192)
    for name, train, held in (("1", east, west[::2]), ("2", west, east[::2])):
        windows = [
            {
                "area": "place",
                "role": role,
                "row_px": row,
                "column_px": column,
                "valid_frac": 1.0,
                "landslide_frac": 0.2,
            }
            for role, columns in (("train", train), ("held", held))
            for row in (0, 64, 128, 192)
            for column in columns
        ]
        pd.DataFrame(windows).to_csv(folder / f"windows_{name}.csv", index=False)
    write_json(folder / "facts.json", tiles({"place": area}, bands=bands))
    seen = {"area": ["place"], "id": [1], "area_m2": [4000.0], "pixels": [1000], "labelled_px": [1000]}
    pd.DataFrame(seen).to_csv(folder / "landslides.csv", index=False)
    return folder
