"""A machine that only trains needs tiles, torch and little else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("rasterio", "osgeo", "geopandas", "pyogrio", "odc", "xdem", "pyproj", "dvc", "mlflow", "matplotlib", "dask")
RUN = """
import runpy, sys
for name in {heavy!r}:
    sys.modules[name] = None  # its import now fails
sys.argv = [{module!r}, *{arguments!r}]
runpy.run_module({module!r}, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("stages.train", []),
        ("stages.train_variant", ["hpcl_net", "0"]),
        ("stages.score_variant", ["hpcl_net", "0"]),
        ("stages.share_labels", ["10", "0"]),
        ("stages.train_share", ["10", "0", "hpcl_net"]),
        ("stages.score_share", ["10", "0", "hpcl_net"]),
    ],
)
def test_training_needs_neither_gdal_nor_dvc_nor_mlflow(module: str, arguments: list[str], tmp_path: Path) -> None:
    """Imported without them, it goes on until it reads parameters that are not there."""
    program = RUN.format(heavy=HEAVY, module=module, arguments=arguments)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HPCL_TRACK": "off"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "does not exist here; run the stage from the root of the project." in done.stderr
    assert "Traceback" not in done.stderr
