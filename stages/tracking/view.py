"""The list of runs as MLflow's UI opens it: which runs, and which of their columns.

MLflow keeps the columns that a person chose in the browser alone; a view that is shared by a link lies in a tag of the experiment.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from stages.tracking.store import PIPELINE

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "hpcl"
COLUMNS = [
    "metrics.`evaluate/polygons/landslide_iou`",
    "tags.`hpcl.changed`",
    "attributes.`Description`",  # what the comparison with the run before says
]


def link(server: str, client: MlflowClient, experiment: str) -> str:
    """The address at which ``server`` shows the runs of whole pipelines with `COLUMNS`, the latest first."""
    (role, value), *_ = PIPELINE.items()
    shown = {
        "searchFilter": f"tags.`{role}` = '{value}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
    }
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{NAME}", json.dumps(shown))
    query = urlencode({"workflowType": "machine_learning", "viewStateShareKey": NAME})
    return f"{server}/#/experiments/{experiment}/runs?{query}"
