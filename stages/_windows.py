"""What `explain` and `rung`, which look at the network as `predict` does, know of section `predict`."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hpcl.settings.predict import InferSettings


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="ignore"))
class Predict:
    """Of section `predict`, how windows are laid."""

    windows: InferSettings
