"""What every network here is: bands by branch in, logits and maps out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from hpcl.settings.model import ModelError, ModelSettings


class Outputs(NamedTuple):
    """Everything the network computes: class ``logits`` per pixel, ``deep`` the fused deepest map, ``embeddings`` its
    projection to the space of the contrast (not normalised; None where it was not asked for).

    A tuple, because Fabric walks through what a network returns and refuses frozen dataclasses.
    """

    logits: Float[Tensor, "batch classes height width"]
    deep: Float[Tensor, "batch channels rows columns"]
    embeddings: Float[Tensor, "batch dim rows columns"] | None


class Network(nn.Module):
    """What training, prediction and explanation ask of a network."""

    def __init__(self, settings: ModelSettings, classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.settings, self.classes, self.embedding_dim = settings, classes, embedding_dim

    def forward(self, bands: Mapping[str, Tensor], contrast: bool = False) -> Outputs:
        """Segment a batch of bands per branch; ``contrast`` asks for the embeddings as well."""
        raise NotImplementedError

    def embed(self, bands: Mapping[str, Tensor]) -> Float[Tensor, "batch dim rows columns"]:
        """The contrast's embeddings alone, without decoding."""
        raise NotImplementedError

    def layers(self) -> dict[str, nn.Module]:
        """The modules whose deepest maps are worth explaining, by name."""
        raise NotImplementedError

    def contrast_head(self) -> Iterator[nn.Parameter]:
        """The weights that only the contrast's loss reaches."""
        raise NotImplementedError

    def pixel_head(self) -> Iterator[nn.Parameter]:
        """The weights that the contrast's loss does not reach."""
        raise NotImplementedError

    def check_size(self, bands: Mapping[str, Tensor], multiple_px: int) -> tuple[int, int]:
        """Height and width of a batch, which must be multiples of ``multiple_px``."""
        height, width = next(iter(bands.values())).shape[2:]
        if height % multiple_px or width % multiple_px:
            raise ModelError(f"The network was given {height} x {width} px; give multiples of {multiple_px} px.")
        return height, width
