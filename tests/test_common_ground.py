"""Two runs are compared on the ground that both were scored on, whatever their blocks are numbered."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import examples
import numpy as np
import pandas as pd
import pytest
from test_track import PARAMS, finish, plant

from hpcl import windows
from hpcl.core.codes import OUTSIDE, UNKNOWN
from hpcl.metrics import common
from hpcl.metrics.ground import LABELS, PLACE, ground
from hpcl.metrics.records import Counts, MapScores
from hpcl.metrics.tables import Tallies
from hpcl.metrics.tally import Array, Map, Scene, tally
from hpcl.report import page
from hpcl.settings.evaluate import EvaluateSettings
from stages import compare, track
from stages.tracking import commands, earlier
from stages.tracking.store import connect, opened

pytestmark = [
    pytest.mark.xdist_group("common_ground"),  # one store for the file
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy"),  # MLflow's way of asking SQLAlchemy
]

SETTINGS = {
    "boundary_px": 2, "calibration_bins": 5, "confidence_frac": 0.9, "object_found_frac": 0.5, "object_minimum_area_m2": 0.0,
    "object_size_edges_m2": [100.0], "resamples": 200, "seed": 3,
}  # fmt: skip


def settings(**changes: Any) -> EvaluateSettings:
    return EvaluateSettings(**{**SETTINGS, "object_size_edges_m2": (100.0,)} | changes)


def labels_of(shape: tuple[int, int], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 4 + 1, shape[1] // 4 + 1)) < 0.3
    labels = np.kron(coarse, np.ones((4, 4)))[: shape[0], : shape[1]].astype(np.uint8)
    labels[rng.random(shape) < 0.05] = UNKNOWN
    return labels


def scene_of(
    labels: Array, block_px: int = 20, pixel_m: float = 2.0, corner: tuple[float, float] = (5e5, 4e6)
) -> Scene:
    """Blocks in rows; those without a label lie in no fold."""
    tops, lefts = (list(range(0, side, block_px)) for side in labels.shape)
    known = [(labels[t : t + block_px, a : a + block_px] != UNKNOWN).any() for t in tops for a in lefts]
    transform = [pixel_m, 0.0, corner[0], 0.0, -pixel_m, corner[1]]
    area = examples.tiled_area(
        *(n % 2 if there else OUTSIDE for n, there in enumerate(known)),
        tops=tops, lefts=lefts, shape=list(labels.shape), transform=transform, pixel_m=pixel_m,
    )  # fmt: skip
    return Scene(labels, area)


def table_of(scenes: dict[str, Scene], seed: int = 1, skill: float = 0.7) -> pd.DataFrame:
    """What `evaluate` keeps of maps that are right in ``skill`` of the pixels, at random."""

    def map_of(scene: Scene, seed: int) -> Map:
        right = np.random.default_rng(seed).random(scene.labels.shape) < skill
        score = np.where(right, scene.labels == 1, scene.labels != 1).astype(np.float32)
        return Map(lambda rows: score[rows], examples.thresholds(0.5, 0.5, elsewhere=0.5).by_network)

    maps = {
        name: {area: tally(scene, map_of(scene, seed + n), settings()) for area, scene in scenes.items()}
        for n, name in enumerate(("hpcl_net", "polygons"))
    }
    maps["slope_threshold"] = maps["polygons"]
    return Tallies(maps).blocks({area: ground(scene) for area, scene in scenes.items()})


def text_of(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def compared(before: pd.DataFrame, after: pd.DataFrame, **changes: Any) -> common.Comparison:
    return common.compare(common.read(text_of(before), "A"), common.read(text_of(after), "B"), settings(**changes))


# ---- what a block is recognised by


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("of", ["landslide", "background", "unknown"])
def test_an_edit_changes_the_blocks_it_touches_and_no_other(seed: int, of: str) -> None:
    before = labels_of((83, 97), seed)
    rng = np.random.default_rng(100 + seed)
    after = before.copy()
    for _ in range(3):
        top, left = rng.integers(0, 75), rng.integers(0, 90)
        after[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)] = {
            "landslide": 1, "background": 0, "unknown": UNKNOWN,
        }[of]  # fmt: skip
    touched = {row // 20 * 5 + column // 20 for row, column in zip(*np.nonzero(before != after), strict=True)}
    one, other = (ground(scene_of(labels)).set_index("block") for labels in (before, after))
    assert one[list(PLACE)].equals(other[list(PLACE)])
    assert set(one.index[one[LABELS] != other[LABELS]]) == touched
    found = compared(table_of({"valley": scene_of(before)}), table_of({"valley": scene_of(after)}))
    assert found.changed == [f"valley {number}" for number in sorted(touched)]
    assert found.blocks == 25 - len(touched)


def test_only_what_is_scored_counts() -> None:
    """Another class of landslide is the same landslide to the scores, and what lies in no fold is not scored."""
    labels = labels_of((60, 60))
    labels[40:, 40:] = UNKNOWN
    classes = np.where((labels == 1) & (np.indices(labels.shape)[0] % 2 == 0), 2, labels)
    scene = scene_of(labels)
    assert ground(scene).equals(ground(scene_of(classes)))
    assert ground(scene)["block"].tolist() == list(range(8))


@pytest.mark.parametrize("pixel_m", [2.0, 0.3, 1 / 3, 6.1])
@pytest.mark.parametrize("corner", [(5e5, 4e6), (-123456.7891, 0.1), (-40.0, 20.0)])
@pytest.mark.parametrize("more", [(1, 0, 0, 0), (0, 2, 1, 1), (3, 1, 0, 2)])
def test_a_wider_raster_leaves_blocks_recognisable(
    pixel_m: float, corner: tuple[float, float], more: tuple[int, int, int, int]
) -> None:
    """Whole blocks more at the top, at the bottom, on the left and on the right: other numbers, the same ground."""
    labels = labels_of((80, 100))
    top, bottom, left, right = (20 * blocks for blocks in more)
    wide = np.pad(labels, ((top, bottom), (left, right)), constant_values=UNKNOWN)
    moved = (corner[0] - left * pixel_m, corner[1] + top * pixel_m)
    before = ground(scene_of(labels, pixel_m=pixel_m, corner=corner))
    after = ground(scene_of(wide, pixel_m=pixel_m, corner=moved))
    assert before.drop(columns="block").equals(after.drop(columns="block"))
    if top or left:
        assert not before["block"].equals(after["block"])


def test_places_are_the_sides_of_blocks() -> None:
    found = ground(scene_of(labels_of((50, 40)), block_px=30, pixel_m=2.5))
    assert found.iloc[-1][list(PLACE)].tolist() == ["500075.000", "3999925.000", "500100.000", "3999875.000"]


def test_zero_is_written_in_one_way() -> None:
    """As a sum of fractions of a metre it is a little above or below."""
    labels = labels_of((20, 20))
    assert ground(scene_of(labels, corner=(-1e-9, 1e-9))).equals(ground(scene_of(labels, corner=(1e-9, -1e-9))))


@pytest.mark.parametrize("strip_px", [1, 97, 97 * 7, 97 * 20, 97 * 60])
def test_strips_do_not_show(strip_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(labels_of((83, 97)))
    whole = ground(scene)
    monkeypatch.setattr(windows, "STRIP_PX", strip_px)
    assert ground(scene).equals(whole)


def test_blocks_of_one_place_and_equal_bytes_but_another_shape_differ() -> None:
    """As where another image has pixels twice as high and half as wide."""
    flat = Scene(np.zeros((2, 8), np.uint8), examples.tiled_area(0, shape=[2, 8]))
    square = Scene(np.zeros((4, 4), np.uint8), examples.tiled_area(0, shape=[4, 4]))
    assert ground(flat)[LABELS].tolist() != ground(square)[LABELS].tolist()


# ---- the comparison


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_and_its_interval_are_those_of_drawn_common_blocks(seed: int) -> None:
    labels = labels_of((83, 97), seed)
    edited = labels.copy()
    edited[5:30, 30:50] = 1
    before, after = table_of({"a": scene_of(labels)}, 10), table_of({"a": scene_of(edited)}, 20, skill=0.8)
    found = compared(before, after)
    stay = [n for n in range(25) if (labels == edited)[n // 5 * 20 :, n % 5 * 20 :][:20, :20].all()]
    assert found.blocks == len(stay) < 25
    for name in ("hpcl_net", "polygons"):
        one, other = (
            t[(t["map"] == name) & t["block"].isin(stay)].astype(dict.fromkeys(PLACE, str)) for t in (before, after)
        )
        order = one.sort_values(list(PLACE))["block"]
        counts = [table.set_index("block").loc[order, ["tp", "fp", "fn"]].to_numpy() for table in (one, other)]
        rng = np.random.default_rng(SETTINGS["seed"])
        drawn = []
        for _ in range(SETTINGS["resamples"]):  # type: ignore[call-overload]  # a dictionary of several kinds
            times = rng.multinomial(len(stay), [1 / len(stay)] * len(stay))
            sums = [np.repeat(of, times, axis=0).sum(0) for of in counts]
            drawn.append(sums[1][0] / sums[1].sum() - sums[0][0] / sums[0].sum())
        change = found.maps[name]
        assert change.before == pytest.approx(counts[0].sum(0)[0] / counts[0].sum())
        assert change.after == pytest.approx(counts[1].sum(0)[0] / counts[1].sum())
        assert change.interval == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])))
        whole = after[after["map"] == name][["tp", "fp", "fn"]].sum()
        assert change.all_after == pytest.approx(whole["tp"] / whole.sum())
    px = np.array([(labels != UNKNOWN)[n // 5 * 20 :, n % 5 * 20 :][:20, :20].sum() for n in range(25)])
    assert found.before.px == px.sum()
    assert found.before.common_frac == pytest.approx(px[stay].sum() / px.sum())


def test_the_other_way_round_is_the_negative() -> None:
    one, other = (table_of({"a": scene_of(labels_of((80, 100)))}, seed) for seed in (1, 2))
    there, back = compared(one, other).maps["hpcl_net"], compared(other, one).maps["hpcl_net"]
    assert there.difference == -back.difference != 0
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_a_run_with_itself_has_all_ground_and_no_difference() -> None:
    table = table_of({"a": scene_of(labels_of((80, 100))), "b": scene_of(labels_of((60, 60), 1))})
    found = compared(table, table)
    assert (found.is_all, found.changed, found.blocks) == (True, [], 29)
    assert found.maps["hpcl_net"].interval == (0.0, 0.0)


def test_a_further_area_and_the_order_of_rows_change_nothing() -> None:
    """Another area on the very same ground is ground of its own: its image is another."""
    scene = scene_of(labels_of((80, 100)))
    alone, beside = table_of({"b": scene}), table_of({"a": scene, "b": scene})
    found = compared(alone, beside.iloc[::-1])
    assert (found.blocks, found.before.blocks, found.after.blocks) == (20, 20, 40)
    assert (found.before.common_frac, found.after.common_frac, found.is_all) == (1.0, 0.5, False)
    assert found.maps["polygons"].difference == 0


@pytest.mark.parametrize("how", ["elsewhere", "relabelled", "another pixel"])
def test_where_nothing_is_common_there_is_no_difference(how: str) -> None:
    labels = labels_of((80, 100))
    other = {
        "elsewhere": scene_of(labels, corner=(5e5 + 1, 4e6)),
        "relabelled": scene_of(np.where(labels == UNKNOWN, UNKNOWN, 1 - labels)),
        "another pixel": scene_of(np.kron(labels, np.ones((2, 2), np.uint8)), block_px=40, pixel_m=1.0),
    }[how]
    found = compared(table_of({"a": scene_of(labels)}), table_of({"a": other}))
    assert (found.blocks, len(found.changed)) == (0, 0 if how == "elsewhere" else 20)
    change = found.maps["hpcl_net"]
    assert all(map(math.isnan, (change.before, change.difference, *change.interval)))
    assert 0 < change.all_before < 1
    assert "no block is common" in common.sentence(found, "run x")
    said = "\n".join(compare._told(found, "x", "y"))
    assert "No ground is common" in said
    assert ("No block even lies" in said) == (how == "elsewhere")


def test_common_ground_without_landslide_and_a_single_block_give_no_more_than_they_can() -> None:
    labels = labels_of((20, 40))
    labels[:, :20] = 0
    edited = labels.copy()
    edited[3, 30] = 1 - min(edited[3, 30], 1)
    bare = compared(table_of({"a": scene_of(labels)}), table_of({"a": scene_of(edited)}))
    assert bare.blocks == 1
    assert "1 of 2 blocks are common (run x has 2), and no landslide lies there" in common.sentence(bare, "run x")
    one = compared(table_of({"a": scene_of(labels[:, 20:])}), table_of({"a": scene_of(labels[:, 20:])}, 9))
    assert common.difference(one.maps["hpcl_net"]) == f"{one.maps['hpcl_net'].difference:+.3f}", (
        "no interval of one block"
    )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: "", "is no sound table"),
        (lambda text: text.replace("tn", "trn", 1), "lacks the column 'tn'"),
        (lambda text: text.replace(",1,", ",one,"), "is no sound table"),
        (lambda text: text.replace(LABELS, "x"), "from before blocks.csv kept what ground"),
        (lambda text: text.replace("polygons", "polygon"), "damaged"),
        (lambda text: text + text.splitlines()[1] + "\n", "damaged"),
        (lambda text: text.replace("hpcl_net,a,0", "hpcl_net,c,0"), "damaged"),
        (lambda text: text.splitlines()[0] + "\n", "damaged"),
        (lambda text: "<<<<<<< HEAD\n" + text, "lacks|no sound"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_blocks_is_refused_in_a_sentence(spoil: Any, sentence: str) -> None:
    text = text_of(table_of({"a": scene_of(labels_of((60, 60)))}))
    common.read(text, "x")
    with pytest.raises(common.CommonError, match=sentence):
        common.read(spoil(text), "commit 1234")


@pytest.mark.parametrize("digest", [None, "0123456789abcdef" * 4])
def test_the_report_names_its_ground_beside_the_scores(digest: str | None) -> None:
    counts = Counts(blocks=3, px=9, landslide_frac=0.1, no_prediction_px=0, ground_sha256=digest)
    said = page._cards(SimpleNamespace(metrics=SimpleNamespace(hpcl_net=MapScores(), counts=counts)))
    assert ("is 0123456789ab: scores under another digest" in said) == (digest is not None)
    assert ("python -m stages.compare" in said) == (digest is not None)


# ---- runs by name, and what MLflow shows


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project without commits whose pipeline DVC is said to run here, with an experiment of its own in the store."""
    plant(tmp_path)
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "HPCL_TRACK", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    git("config", "user.email", "a@b")
    git("config", "user.name", "a")
    connect.cache_clear()
    yield tmp_path
    connect.cache_clear()


def state_of(root: Path, labels: Array, seed: int) -> pd.DataFrame:
    """Results of a finished pipeline on these labels; ``seed`` is a parameter, and decides the map."""
    dvc = "\n    outs: [{reports/evaluate/blocks.csv: {cache: false}}]\n"
    if "blocks.csv" not in (text := Path("dvc.yaml").read_text()):
        Path("dvc.yaml").write_text(f"{text}  evaluate:\n    cmd: none{dvc}")
    Path("params.yaml").write_text(f"{PARAMS}seed: {seed}\nevaluate: {json.dumps(SETTINGS)}\n")
    table = table_of({"north": scene_of(labels)}, seed)
    earlier.TABLE.parent.mkdir(parents=True, exist_ok=True)
    earlier.TABLE.write_text(text_of(table))
    finish(root, float(seed))
    return table


def edited(labels: Array) -> Array:
    out = labels.copy()
    out[2:9, 2:9] = 1 - np.minimum(out[2:9, 2:9], 1)
    return out


def latest(root: Path) -> Any:
    """The run of a pipeline that came last."""
    with opened(root, 5) as there:
        return there.find({"dvc.role": "pipeline"})[-1]


def test_mlflow_says_how_scores_on_other_ground_compare(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = labels_of((80, 100))
    before = state_of(root, labels, 10)
    track.main()
    first = latest(root)
    assert "hpcl.common_ground" not in first.data.tags, "there is nothing before it"
    after = state_of(root, edited(labels), 20)
    track.main()
    second = latest(root)
    found = compared(before, after).maps["hpcl_net"]
    said = f"Scored on other ground than run {first.info.run_name}: 19 of 20 blocks are common"
    assert second.data.tags["hpcl.common_ground"].startswith(said)
    changed = f"Changed since run {first.info.run_name}: seed 10 -> 20. "
    assert second.data.tags["mlflow.note.content"] == changed + second.data.tags["hpcl.common_ground"]
    assert (
        f"landslide IoU is {found.after:.3f} against {found.before:.3f} before"
        in second.data.tags["hpcl.common_ground"]
    )
    assert second.data.metrics["common/landslide_iou"] == pytest.approx(found.after)
    assert second.data.metrics["common/landslide_iou_before"] == pytest.approx(found.before)
    assert second.data.metrics["common/landslide_iou_difference"] == pytest.approx(found.difference)
    assert said in capsys.readouterr().out
    track.main()
    assert latest(root).info.run_id == second.info.run_id
    state_of(root, edited(labels), 30)
    track.main()
    assert "hpcl.common_ground" not in latest(root).data.tags, "the ground of the run before"

    by_name = earlier.named(root, first.info.run_name)
    assert by_name.table == earlier.named(root, first.info.run_id).table == text_of(before)
    with pytest.raises(earlier.EarlierError, match="no git revision, no DVC experiment"):
        earlier.named(root, "nobody's")
    with opened(root, 5) as there:
        there.new_parent({"name": "bare", "key": "", "tags": {"dvc.role": "pipeline"}, "params": {}}, "bare", 0)
        there.new_parent({"name": "twin", "key": "", "tags": {"dvc.role": "pipeline"}, "params": {}}, "twin", 0)
        there.new_parent({"name": "twin", "key": "", "tags": {"dvc.role": "pipeline"}, "params": {}}, "twin", 0)
    with pytest.raises(earlier.EarlierError, match="'bare' in MLflow has no scores"):
        earlier.named(root, "bare")
    with pytest.raises(earlier.EarlierError, match="2 runs in MLflow are called 'twin'"):
        earlier.named(root, "twin")


def test_a_run_follows_the_commit_it_was_made_from(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A commit goes before the store, and the baseline of an experiment before HEAD; its words do not push out a person's."""
    labels = labels_of((80, 100))
    commits = []
    for seed, ground_ in ((10, labels), (20, edited(labels))):
        state_of(root, ground_, seed)
        git("add", "-A")
        git("commit", "-qm", "results")
        commits.append(git("rev-parse", "HEAD"))
    state_of(root, edited(labels), 30)
    track.main()
    assert "hpcl.common_ground" not in latest(root).data.tags
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", commits[0])
    state_of(root, edited(labels), 40)
    Path("reports/train/summary.json").write_text(json.dumps({f"n{i:02}": i for i in range(50)}))
    with opened(root, 5) as there:
        run = there.parent(commands.state.here(root), 0)
        there.client.set_tag(run.info.run_id, "mlflow.note.content", "my words")
    track.main()
    run = latest(root)
    assert f"than commit {commits[0][:12]}: 19 of 20" in run.data.tags["hpcl.common_ground"]
    assert run.data.tags["mlflow.note.content"] == "my words"
    assert len(run.data.metrics) == 40
    assert "common/landslide_iou_difference" in run.data.metrics
    capsys.readouterr()
    earlier.TABLE.write_text(earlier.TABLE.read_text().replace(LABELS, "x"))
    state_of_old = earlier.TABLE.read_text()
    state_of(root, labels, 50)
    earlier.TABLE.write_text(state_of_old)
    track.main()
    assert "not compared: The scores of the results in this folder are from before" in capsys.readouterr().out


def test_runs_by_revision(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    git("add", "-A")
    git("commit", "-qm", "nothing yet")
    git("tag", "bare")
    labels = labels_of((80, 100))
    state_of(root, labels, 1)
    git("add", "-A")
    git("commit", "-qm", "results")
    commit, text = git("rev-parse", "HEAD"), earlier.TABLE.read_text()
    for place in ("a" * 2 + "/" + "b" * 38, "c" * 2 + "/" + "d" * 38):
        git("update-ref", f"refs/exps/{place}/wide", commit if place[0] == "a" else git("rev-parse", "bare"))
    git("commit", "-q", "--allow-empty", "-m", "an experiment")
    git("update-ref", "refs/exps/aa/" + "b" * 38 + "/one", "HEAD")
    for name in ("HEAD", commit, commit[:8], "one"):
        assert earlier.named(root, name).table == text
    for name, sentence in (
        ("bare", "'bare' has no scores"), ("HEAD~7", "no git revision"), ("--all", "no git revision"), ("", "no git revision"),
        ("wide", f"2 experiments; say which by commit: .*{commit}"),
    ):  # fmt: skip
        with pytest.raises(earlier.EarlierError, match=sentence):
            earlier.named(root, name)
    assert not (root / "mlflow.db").exists(), "asking makes no store"

    state_of(root, edited(labels), 2)
    monkeypatch.setattr("sys.argv", ["compare", "HEAD"])
    compare.main()
    said = capsys.readouterr().out
    assert "19 blocks are common" in said
    assert "Labels changed, so not compared (1, by number in B): north 0" in said
    assert "different ground" in said
    monkeypatch.setattr("sys.argv", ["compare", "HEAD", "one"])
    compare.main()
    assert "All ground is common: the same 20 blocks" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["compare", "bare"])
    with pytest.raises(SystemExit, match="compare: 'bare' has no scores"):
        compare.main()
    earlier.TABLE.unlink()
    monkeypatch.setattr("sys.argv", ["compare", "HEAD"])
    with pytest.raises(SystemExit, match=r"There is no reports/evaluate/blocks\.csv here"):
        compare.main()
