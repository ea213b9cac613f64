"""Write which ground teaches at a share of the labels: landslides are taken by place, and each share is part of every larger one."""

from pathlib import Path

from hpcl.ablation import share
from hpcl.settings.tile import TileSettings
from stages._stage import params, run

TILES, SHARES = Path("data/tiles"), Path("ablation/shares")


def main(percent: str, seed: str) -> None:
    """Write ablation/shares/<percent>-<seed>/labels/: which blocks teach the network of each fold, and its windows."""
    settings, asked = params("tile", TileSettings), share.Asked(int(percent), int(seed))
    out = SHARES / f"{percent}-{seed}" / "labels"
    share.write(TILES, asked, settings.minimum_valid_frac, out)


if __name__ == "__main__":
    run(main)
