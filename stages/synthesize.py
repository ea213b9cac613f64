"""Write one synthetic area, whose truth is known, in the layout of a user's raw data."""

from __future__ import annotations

from pathlib import Path

from hpcl.settings.synthesize import SynthesizeSettings
from hpcl.synth import write
from stages._stage import params, progress, run


def main(area: str) -> None:
    """synthesize.areas.<area> -> data/raw/<area>; a folder there that is not this stage's own work is refused."""
    settings = params("synthesize", SynthesizeSettings)
    truth = write.synthesize(Path("data/raw") / area, area, settings, progress(f"synthesize {area}"))
    slides = truth["landslides"]
    print(
        f"{area}: {slides['planted']} landslides on {slides['frac']:.1%} of the ground, {slides['mapped']} of them mapped."
    )


if __name__ == "__main__":
    run(main)
