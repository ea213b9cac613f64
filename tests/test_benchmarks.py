"""The table of benchmarks: medians with their spread, rows that replace their elders and leave others alone."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import gpu, measure, training
from benchmarks.peers import side_by_side
from benchmarks.peers.side_by_side import Cost, PeersError
from hpcl.training.dataset import Tiles
from hpcl.training.recipe import Recipe
from stages._stage import params


def test_a_row_is_the_median_and_its_spread() -> None:
    found = measure.row("name", [1.0, 2.0, 9.0, 2.0, 2.0], "a over b")
    assert found.ratio == 2.0
    assert 1.0 <= found.low <= 2.0 <= found.high <= 9.0


def test_works_are_measured_in_turn_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def work(name: str) -> float:
        order.append(name)
        return float(len(order))

    assert measure.in_turn(2, lambda: work("a"), lambda: work("b")) == [[3.0, 5.0], [4.0, 6.0]]
    assert order == ["a", "b"] * 3


def test_kept_rows_replace_their_elders_and_leave_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measure.keep([measure.row("a", [1.0], ""), measure.row("b", [2.0], "")])
    measure.keep([measure.row("b", [3.0], "")])
    table = pd.read_csv(measure.TABLE)
    assert dict(zip(table["name"], table["ratio"], strict=True)) == {"a": 1.0, "b": 3.0}
    assert list(table) == ["name", "ratio", "low", "high", "what", "machine"]


def test_the_share_of_the_contrast_is_measured_on_real_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS", 2)
    monkeypatch.chdir(Path(__file__).parents[1])
    model = params("model", training.ModelSettings, {"branches": {"optical": ["red"], "terrain": ["slope"]}})
    train = params("train", training.TrainSettings, {"batch_size": 2})
    contrast = params("contrastive", training.ContrastSettings, {"queue_size": 64})
    training.make_tiles(tmp_path, ["red", "slope"], 128)
    tiles = Tiles(tmp_path, model.branches, 1)
    shares = training.contrast_share(tiles, Recipe(model, contrast, train), 3)
    assert len(shares) == 3
    assert all(0 < share < 1 for share in shares)


def test_without_a_gpu_its_benchmark_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no GPU here"):
        gpu.main()


def test_a_process_tells_what_its_work_alone_cost() -> None:
    told = Path(side_by_side.__file__).parent
    program = (
        f"import sys, time; sys.path.insert(0, {str(told)!r}); from told import tell;"
        " tell(lambda: time.sleep(0.5), lambda: bytearray(200 * 2**20))"
    )
    found = side_by_side.cost([sys.executable, "-c", program])
    assert found.seconds < 0.5
    assert 200 < found.peak_mib < 400


def test_a_peer_that_fails_is_told_with_its_last_line() -> None:
    with pytest.raises(PeersError, match=r"no such library$"):
        side_by_side.cost([sys.executable, "-c", "raise SystemExit('first\\nno such library')"])


def test_a_peer_is_compared_in_time_and_memory() -> None:
    own, other = [Cost(2.0, 4.0, 100.0)] * 2, [Cost(3.0, 4.0, 150.0)] * 2
    rows = side_by_side.compared("map_vs_x", own, other, "mapping by x")
    assert {r.name: r.ratio for r in rows} == {"map_vs_x_time": 1.5, "map_vs_x_cpu": 1.0, "map_vs_x_memory": 1.5}
