"""One training at a share of the labels, scored as one at all of them is: on all labelled ground."""

from stages._ablation import Training
from stages._stage import run
from stages.score_variant import write


def main(percent: str, seed: str, variant: str) -> None:
    """Write ablation/shares/<percent>-<seed>/results/<variant>.json."""
    write(Training(variant, int(seed), int(percent)))


if __name__ == "__main__":
    run(main)
