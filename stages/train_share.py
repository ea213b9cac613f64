"""One training at a share of the labels: the networks of all folds, as one variant of ablation/params.yaml says, with one seed."""

from stages._ablation import Training
from stages._stage import run
from stages.train_variant import write


def main(percent: str, seed: str, variant: str) -> None:
    """Write ablation/shares/<percent>-<seed>/models/<variant>/ as `train_variant` writes its own."""
    write(Training(variant, int(seed), int(percent)))


if __name__ == "__main__":
    run(main)
