"""The label budget: shares of the landslides by place, trainings that see no more than theirs, and what the curve says."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import examples
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from scipy import ndimage
from test_ablation import FakeDVC, counts, evaluate
from test_fit import BITS, recipe
from test_folds import ground, objects, settings

from hpcl.ablation import compare, share
from hpcl.ablation.curve import curve
from hpcl.ablation.records import VariantScores
from hpcl.core.artifacts import read_json, write_json
from hpcl.core.codes import UNKNOWN
from hpcl.core.records import LabelShare, TileFacts
from hpcl.report import charts
from hpcl.report.budget import budget_section, round_below, worth
from hpcl.settings.tile import TileSettings
from hpcl.tiles import folds, lay
from hpcl.training import loop
from hpcl.training.dataset import Tiles
from stages import _ablation, _stage, _train, score_share, score_variant, share_labels, train_share
from stages import budget as command
from stages._ablation import Training
from stages._stage import ParameterError
from stages._trainings import UnfinishedError

ROOT = Path(__file__).parents[1]
BRANCHES = {"optical": ("red",), "terrain": ("slope",)}
MINIMUM = 0.3


def tiled(labels: dict[str, np.ndarray], chosen: TileSettings, folder: Path) -> Path:
    """These areas as the stage `tile` deals, teaches and cuts them, with two bands of noise that landslides are seen in."""
    folder.mkdir(parents=True, exist_ok=True)
    dealt = folds.deal({name: folds.lay_blocks(name, own, chosen.block_px) for name, own in labels.items()}, chosen)
    areas, tables = {}, []
    for name, own in labels.items():
        blocks = [block for block in dealt if block.area == name]
        areas[name] = examples.tiled_area(
            shape=list(own.shape), tops=sorted({b.rows.start for b in blocks}),
            lefts=sorted({b.columns.start for b in blocks}), folds=[b.fold for b in blocks],
        )  # fmt: skip
        teaches = np.zeros(own.shape, np.uint16)
        folds.teach(blocks, own, chosen.folds, chosen.gap_px, teaches)
        folds.keep_whole(objects(own), areas[name], chosen.gap_px, teaches)
        bands = np.random.default_rng(1).normal(size=(2, *own.shape)).astype(np.float32) + (own == 1)
        for what, array in {"labels": own, "teaches": teaches, "bands": bands}.items():
            np.save(folder / f"{name}.{what}.npy", array)
        laid = [lay.lay_windows(areas[name], own, teaches, code, chosen) for code in range(chosen.folds)]
        tables.append([pd.DataFrame(one).assign(area=name) for one in laid])
    for code, parts in enumerate(zip(*tables, strict=True), start=1):
        columns = ["area", "role", "row_px", "column_px", "valid_frac", "landslide_frac"]
        pd.concat(parts)[columns].to_csv(folder / f"windows_{code}.csv", index=False, float_format="%.4f")
    bands_of = [examples.tile_band("red", "image"), examples.tile_band("slope")]
    known = [examples.fold(*bands_of)] * chosen.folds
    write_json(
        folder / "facts.json",
        examples.tiles(areas, bands=bands_of, folds=known, window_px=chosen.window_px, gap_px=chosen.gap_px),
    )
    return folder


def chosen_settings(**changes: Any) -> TileSettings:
    return settings(stride_px=16, minimum_valid_frac=MINIMUM, **changes)


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One area with a dozen landslides."""
    labels = {"valley": ground((200, 200), seed=4, slides=12)}
    return tiled(labels, chosen_settings(folds=2, block_px=50), tmp_path_factory.mktemp("valley") / "tiles")


@pytest.fixture(scope="module", params=["blocks", "areas", "one small area"])
def tiles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valley: Path) -> Path:
    """Three areas dealt either way, and one for tests; or one small area."""
    if request.param == "one small area":
        return valley
    labels = {"north": ground(), "south": ground((330, 200), 1), "east": ground((190, 260), 2), "far": ground(seed=3)}
    folder = tmp_path_factory.mktemp("areas") / "tiles"
    return tiled(labels, chosen_settings(split=request.param, test_areas=("far",)), folder)


def facts_of(tiles: Path) -> TileFacts:
    return read_json(tiles / "facts.json", TileFacts)


@functools.cache
def arrays_of(tiles: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and which networks they may teach."""
    return np.load(tiles / f"{name}.labels.npy"), np.load(tiles / f"{name}.teaches.npy")


def shared(tiles: Path, percent: int, seed: int) -> Path:
    """The folder of a share."""
    out = tiles.parent / f"{percent}-{seed}"
    if not out.exists():
        share.write(tiles, share.Asked(percent, seed), MINIMUM, out)
    return out


def taken(tiles: Path, folder: Path, code: int) -> dict[str, np.ndarray]:
    """By area, which pixels lie in the chosen blocks of a fold: from rows and columns of each, not from numbers of pixels."""
    chosen = read_json(folder / "facts.json", LabelShare).folds[code].blocks
    masks = {}
    for name, area in facts_of(tiles).areas.items():
        masks[name] = np.zeros(area.shape, bool)
        rows, columns = [*area.tops, area.shape[0]], [*area.lefts, area.shape[1]]
        for block in chosen.get(name, []):
            down, across = divmod(block, len(area.lefts))
            masks[name][rows[down] : rows[down + 1], columns[across] : columns[across + 1]] = True
    return masks


def landslides(tiles: Path, code: int, where: dict[str, np.ndarray] | None = None) -> int:
    """How many patches of landslide may teach a network, or of them those whose first pixel lies ``where``."""
    total = 0
    for name in (name for name, area in facts_of(tiles).areas.items() if not area.test):
        labels, teaches = arrays_of(tiles, name)
        patches, count = ndimage.label((labels == 1) & (teaches >> code & 1 > 0), np.ones((3, 3)))
        firsts = [np.flatnonzero(patches == number)[0] for number in range(1, count + 1)]
        total += sum(where is None or bool(where[name].flat[first]) for first in firsts)
    return total


@pytest.mark.parametrize("seed", [0])
def test_shares_are_nested_ground_and_hold_so_many_landslides(tiles: Path, seed: int) -> None:
    facts = facts_of(tiles)
    before: list[dict[str, list[int]]] = [{}] * len(facts.folds)
    for percent in (1, 10, 25, 50):
        told = read_json(shared(tiles, percent, seed) / "facts.json", LabelShare)
        for code, one in enumerate(told.folds):
            assert one.of == landslides(tiles, code)
            assert one.landslides == landslides(tiles, code, taken(tiles, shared(tiles, percent, seed), code))
            wanted = max(1, int(one.of * percent / 100 + 0.5))
            assert one.landslides >= wanted
            for name, blocks in one.blocks.items():
                assert {facts.areas[name].folds[block] for block in blocks} <= set(range(len(facts.folds))) - {code}
                assert blocks[: len(before[code].get(name, []))] == before[code].get(name, [])
            missed = abs(100 * one.landslides / one.of - percent) > percent / 2
            assert missed is any(
                f"{percent} % of the {one.of}" in said and f"fold {code + 1} c" in said for said in told.findings
            )
        before = [one.blocks for one in told.folds]


@pytest.mark.parametrize("percent", [10, 25, 50])
def test_no_block_more_is_taken_than_the_share_needs(tiles: Path, percent: int) -> None:
    """Without the block that was reached last, the share is not reached, or no training window shows a landslide."""
    facts, order = facts_of(tiles), share.way(facts_of(tiles), 0)
    for code, one in enumerate(read_json(shared(tiles, percent, 0) / "facts.json", LabelShare).folds):
        places = [(name, block) for name, blocks in one.blocks.items() for block in blocks]
        open_ = [at for at in order if facts.areas[at[0]].folds[at[1]] not in (code, 254, 255)]
        assert open_[: len(places)] == sorted(places, key=order.index)
        last = open_[len(places) - 1]
        fewer = taken(tiles, shared(tiles, percent, 0), code)
        area = facts.areas[last[0]]
        fewer[last[0]] &= area.blocks(*(slice(0, side) for side in area.shape)) != last[1]
        windows = pd.read_csv(tiles / f"windows_{code + 1}.csv").query("role == 'train'")
        short = landslides(tiles, code, fewer) < max(1, int(one.of * percent / 100 + 0.5))
        assert short or not any(_shown(tiles, fewer, code, window) for window in windows.to_dict("records"))


def _known(
    tiles: Path, where: dict[str, np.ndarray], code: int, window: dict[Any, Any]
) -> tuple[np.ndarray, np.ndarray]:
    labels, teaches = arrays_of(tiles, window["area"])
    roi = tuple(slice(window[side], window[side] + 32) for side in ("row_px", "column_px"))
    return labels[roi], (teaches[roi] >> code & 1 > 0) & where[window["area"]][roi]


def _shown(tiles: Path, where: dict[str, np.ndarray], code: int, window: dict[Any, Any]) -> bool:
    labels, known = _known(tiles, where, code, window)
    return bool(known.mean() >= MINIMUM and (labels[known] == 1).any())


def test_windows_without_enough_teaching_ground_drop_out(tiles: Path) -> None:
    for code in range(len(facts_of(tiles).folds)):
        where = taken(tiles, shared(tiles, 25, 0), code)
        every, kept = (pd.read_csv(folder / f"windows_{code + 1}.csv") for folder in (tiles, shared(tiles, 25, 0)))
        expected = []
        for window in every.to_dict("records"):
            labels, known = _known(tiles, where, code, window)
            if window["role"] == "train":
                window |= {
                    "valid_frac": known.mean(),
                    "landslide_frac": (labels[known] == 1).mean() if known.any() else 0,
                }
            if window["role"] == "held" or known.mean() >= MINIMUM:
                expected.append(window)
        pd.testing.assert_frame_equal(kept, pd.DataFrame(expected), atol=1e-4)
        assert 0 < len(kept) < len(every)


def test_all_labels_are_the_tiles_themselves(tiles: Path, tmp_path: Path) -> None:
    """Of the blocks that hold the last landslide and those before it, with the others, every window comes out as it was."""
    told = read_json(shared(tiles, 99, 0) / "facts.json", LabelShare)
    every = share._Ground(tiles, facts_of(tiles))
    blocks = {name: list(range(len(area.folds))) for name, area in facts_of(tiles).areas.items()}
    for code in range(len(told.folds)):
        written = every.windows(code, blocks, MINIMUM).to_csv(index=False, float_format="%.4f")
        assert written == (tiles / f"windows_{code + 1}.csv").read_text()


@pytest.mark.parametrize("shape", [(8, 8), (5, 13), (1, 40), (3, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_beginning_of_the_way_is_spread_out(shape: tuple[int, int], seed: int) -> None:
    """Whatever the first k of n blocks are, either half of the ground has its half of them, within a block or two."""
    points = np.argwhere(np.ones(shape)).astype(float)
    order = share.spread_out(points, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(points)))
    axis = int(np.argmax(shape))
    low = points[order][:, axis] < (shape[axis] - 1) / 2
    high = points[order][:, axis] > (shape[axis] - 1) / 2
    assert abs(low.cumsum() - high.cumsum()).max() <= 1 + (shape[axis] % 2) * np.prod(shape) / shape[axis]
    other = share.spread_out(points, np.random.default_rng(seed + 100))
    assert order != other


def test_the_way_does_not_follow_the_labels(tmp_path: Path) -> None:
    one, other = (tiled({"a": ground(seed=seed)}, settings(), tmp_path / str(seed)) for seed in (0, 1))
    assert share.way(facts_of(one), 3) == share.way(facts_of(other), 3)
    assert share.way(facts_of(one), 3) != share.way(facts_of(one), 4)


# --- what a training sees -----------------------------------------------------------------------------------------


def planted(tiles: Path, folder: Path, code: int, out: Path) -> Path:
    """The same tiles with every label outside the chosen blocks turned into its opposite, known or not, taught to all networks."""
    shutil.copytree(tiles, out)
    for name, mask in taken(tiles, folder, code).items():
        labels, teaches = (np.load(out / f"{name}.{what}.npy") for what in ("labels", "teaches"))
        labels[~mask] = np.where(labels[~mask] == 1, 0, 1)
        teaches[~mask] = 0xFFFF
        np.save(out / f"{name}.labels.npy", labels)
        np.save(out / f"{name}.teaches.npy", teaches)
    return out


@pytest.mark.parametrize("code", [0, 1])
def test_no_label_outside_the_share_reaches_a_batch(tiles: Path, code: int, tmp_path: Path) -> None:
    folder = shared(tiles, 25, 0)
    other = planted(tiles, folder, code, tmp_path / "planted")
    one, two = (Tiles(place, BRANCHES, code + 1, share=folder) for place in (tiles, other))
    where, seen, hidden = taken(tiles, folder, code), 0, 0
    for number in map(int, one.numbers("train")):
        (_, labels), (_, again) = one.raw(number), two.raw(number)
        np.testing.assert_array_equal(labels, again)
        window = one.windows.iloc[number].to_dict()
        truth, known = _known(tiles, where, code, window)
        np.testing.assert_array_equal(labels, np.where(known, truth, UNKNOWN))
        seen += int((labels == 1).sum())
        every = {name: np.ones_like(mask) for name, mask in where.items()}
        hidden += int(_known(tiles, every, code, window)[1].sum() - known.sum())
    assert seen
    assert hidden  # windows that show ground beyond the share


@BITS
def test_labels_outside_the_share_change_no_byte_of_the_weights(valley: Path, tmp_path: Path) -> None:
    folder, chosen = shared(valley, 25, 0), recipe(epochs=1, steps_per_epoch=2, branches=BRANCHES)
    weights = []
    for place in (valley, planted(valley, folder, 0, tmp_path / "planted")):
        (epoch,) = loop.fit(Tiles(place, BRANCHES, 1, share=folder), chosen)
        weights.append({name: value.numpy().tobytes() for name, value in epoch.weights.items()})
    assert weights[0] == weights[1]


@pytest.fixture
def project(valley: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which trainings of the ablation take a second."""
    monkeypatch.setattr(_stage, "_inputs", [])
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "ablation", "reports", "docs"):
        Path(folder).mkdir()
    Path("data/tiles").symlink_to(valley)
    document = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    document["model"] |= {
        "branches": {name: list(bands) for name, bands in BRANCHES.items()},
        "fused_channels": 16,
        "decoder_channels": 16,
    }
    document["train"] |= {"batch_size": 4}
    document["contrastive"] |= {"weight": 0.0}
    document["evaluate"] |= {"resamples": 50}
    YAML().dump(document, Path("params.yaml"))
    rows = "variants: {hpcl_net: {label: HPCL-Net}, stack: {label: Both, against: hpcl_net, set: {model: {fusion: input}}}}"
    head = "seeds: [0, 1]\nbudget: {epochs: 2, steps_per_epoch: 1}\nrun: [hpcl_net, stack]\nbase: {}\n"
    labels = "labels: {variants: [hpcl_net, stack], percent: [25, 50]}\n"
    Path("ablation/params.yaml").write_text(head + labels + rows + "\n")
    Path("docs/ablation.md").write_text("<!-- budget -->\nold\n<!-- /budget -->\n")
    return tmp_path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@BITS
def test_a_killed_training_goes_on_and_ends_as_if_it_had_never_been(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    share_labels.main("25", "0")
    train_share.main("25", "0", "hpcl_net")
    networks = Training("hpcl_net", 0, 25).networks
    whole = bytes_of(networks)
    assert {"1/model.safetensors", "2/model.safetensors", "training.json"} <= set(whole)
    shutil.rmtree(".ckpt")
    shutil.rmtree(networks)

    def killed(metrics: object, step: int, part: str) -> None:
        if (part, step) == ("fold 2", 0):
            raise KeyboardInterrupt

    with monkeypatch.context() as until:
        until.setattr(_train.execution, "live", killed)
        with pytest.raises(KeyboardInterrupt):
            train_share.main("25", "0", "hpcl_net")
    capsys.readouterr()
    train_share.main("25", "0", "hpcl_net")
    said = capsys.readouterr().out
    assert "training hpcl_net 0 at 25 %: fold 1: trained already" in said
    assert "fold 2: resuming after epoch 1" in said
    assert bytes_of(networks) == whole


def test_shares_go_on_from_no_other_shares_checkpoints(project: Path) -> None:
    for percent, seed in ((25, 0), (50, 0), (50, 1)):
        share_labels.main(str(percent), str(seed))
    one = _ablation.recipe("hpcl_net", 0)
    folders = [None, *(Training("hpcl_net", seed, percent).labels for percent, seed in ((25, 0), (50, 0), (50, 1)))]
    assert len({_train._checkpoints(one, folder) for folder in folders}) == 4


def test_what_judges_does_not_shrink_with_the_share(project: Path) -> None:
    """The same networks get the same scores at a share as at all labels, and on every pixel with a label."""
    file = Path("ablation/params.yaml")
    file.write_text(file.read_text().replace("epochs: 2", "epochs: 1"))
    part, whole = Training("hpcl_net", 0, 25), Training("hpcl_net", 0)
    share_labels.main("25", "0")
    train_share.main("25", "0", "hpcl_net")
    shutil.copytree(part.networks, whole.networks)
    score_share.main("25", "0", "hpcl_net")
    score_variant.main("hpcl_net", "0")
    judged = [pd.DataFrame(*read_json(one.scores, VariantScores).blocks.values()) for one in (part, whole)]
    pd.testing.assert_frame_equal(*judged)
    labels = np.load("data/tiles/valley.labels.npy")
    assert judged[0][["fn", "tp"]].to_numpy().sum() == (labels == 1).sum()
    assert judged[0][["tn", "fp"]].to_numpy().sum() == (labels == 0).sum()
    watched = sum(len(Tiles(Path("data/tiles"), BRANCHES, fold, share=part.labels).numbers("held")) for fold in (1, 2))
    assert watched == sum(len(Tiles(Path("data/tiles"), BRANCHES, fold).numbers("held")) for fold in (1, 2))


# --- the command --------------------------------------------------------------------------------------------------


def write_results(one: Training, hits: int) -> None:
    blocks = counts(*[(hits + one.seed) / 100] * 4, folds=2).assign(tn=9000, fp=1000)
    scores = VariantScores(
        blocks={"valley, 2 folds": blocks.to_dict("list")}, steps=2, parameters=9, held_iou=0.5, probe_auc=None
    )
    write_json(one.scores, scores)


@pytest.fixture
def scored(project: Path) -> Path:
    """All trainings of the budget have results: 20 % of the landslide found at 25 % of the labels, 10 more at each further share, and
    one more by the stack."""
    for seed in (0, 1):
        for number, percent in enumerate((25, 50, 100)):
            for name in ("hpcl_net", "stack"):
                write_results(Training(name, seed, percent), 20 + 10 * number + (name == "stack"))
            if percent < 100:
                share_labels.main(str(percent), str(seed))
    return project


def test_the_command_says_its_cost_and_runs_what_is_missing(
    scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc = FakeDVC(monkeypatch, before=["train_share@25-1-stack", "train_variant@stack-0"], after=[])
    command.main()
    (made,) = (asked for asked in dvc.commands if "--keep-going" in asked)
    assert made[3:] == ["score_share@25-1-stack", "score_variant@stack-0"]
    assert ["dvc", "repro", "share_labels"] in dvc.commands
    said = capsys.readouterr().out
    assert "2 variants x 3 shares of the labels x 2 seeds = 12 trainings of 2 networks" in said
    assert "2 of them are to be run and 2 to be scored" in said
    assert "about 2.0 hours" in said
    table = pd.read_csv("reports/budget.csv")
    assert table["percent"].to_list() == [25, 50, 100] * 2
    stack = table[table["variant"] == "stack"]
    assert stack["against"].to_list() == ["hpcl_net"] * 3
    assert stack["difference"].to_list() == pytest.approx([1 / 110] * 3, abs=1e-4)
    assert stack["gain"].to_list() == pytest.approx([np.nan, 10 / 110, 10 / 110], abs=1e-4, nan_ok=True)
    every = [landslides(Path("data/tiles"), code) for code in range(2)]
    assert table["landslides"].max() == pytest.approx(np.mean(every), abs=1e-4)
    page = Path("docs/ablation.md").read_text()
    assert "| HPCL-Net | 25 % |" in page
    assert re.search(r"more landslides? (is|are) worth \+0\.0", page)
    dvc.commands.clear()
    before = Path("reports/budget.csv").read_bytes()
    command.main()
    assert not [asked for asked in dvc.commands if "--keep-going" in asked]
    assert Path("reports/budget.csv").read_bytes() == before


def test_a_point_without_all_its_seeds_is_left_out_and_told(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeDVC(monkeypatch, before=["train_share@50-1-stack"], after=["train_share@50-1-stack"])
    with pytest.raises(
        UnfinishedError, match=r"1 trainings have no result \(stack 1 at 50 %\), so their points are not"
    ):
        command.main()
    table = pd.read_csv("reports/budget.csv")
    assert table.groupby("variant")["percent"].apply(list).to_dict() == {"hpcl_net": [25, 50, 100], "stack": [25, 100]}


def test_without_any_result_the_files_stay(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [Training(n, s, p).stages[0] for n in ("hpcl_net", "stack") for s in (0, 1) for p in (25, 50, 100)]
    for percent in ("25", "50"):
        for seed in ("0", "1"):
            share_labels.main(percent, seed)
    FakeDVC(monkeypatch, before=every, after=every)
    with pytest.raises(UnfinishedError, match="No training has a result"):
        command.main()
    assert not Path("reports/budget.csv").exists()
    assert "old" in Path("docs/ablation.md").read_text()


def test_other_grounds_are_kept(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeDVC(monkeypatch, before=[], after=[])
    command.main()
    table = pd.read_csv("reports/budget.csv")
    pd.concat([table, table.assign(ground="mars, 3 folds")]).to_csv("reports/budget.csv", index=False)
    command.main()
    again = pd.read_csv("reports/budget.csv")
    assert again["ground"].to_list() == ["mars, 3 folds"] * 6 + ["valley, 2 folds"] * 6
    pd.testing.assert_frame_equal(again[6:].reset_index(drop=True), table)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("percent: [25, 50]", "percent: [50, 25]", "name each share once, the smallest first"),
        ("percent: [25, 50]", "percent: [25, 25]", "name each share once"),
        ("percent: [25, 50]", "percent: [25, 100]", "less than 100"),
        ("percent: [25, 50]", "percent: [0]", "greater than or equal to 1"),
        ("percent: [25, 50]", "percent: []", "at least 1"),
        ("labels: {variants: [hpcl_net, stack]", "labels: {variants: []", "at least 1"),
        ("run: [hpcl_net, stack]", "run: [hpcl_net]", "names 'stack', which 'run' does not; add it there"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(old: str, new: str, said: str, project: Path) -> None:
    file = Path("ablation/params.yaml")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ParameterError, match=said):
        command.main()


# --- what the curve says ------------------------------------------------------------------------------------------


def by_hand(**last: Any) -> pd.DataFrame:
    line = {"label": "Net", "percent": 50, "landslides": 60.0, "gain": 0.3, "gain_low": 0.2, "gain_high": 0.4}
    return pd.DataFrame([line | {"percent": 10, "landslides": 9.0}, line, line | {"percent": 100} | last])


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (
            {"landslides": 135.0, "gain": 0.03, "gain_low": 0.006, "gain_high": 0.06},
            "Net: 50 more landslides are worth +0.020 [0.004, 0.040] of landslide IoU, read between 60 (50 %) and 135 (100 %).",
        ),
        (
            {"landslides": 110.0, "gain": 0.02, "gain_low": -0.01, "gain_high": 0.04},
            "Net: 50 more landslides are worth +0.020 [−0.010, 0.040] of landslide IoU, read between 60 (50 %) and 110 (100 %)."
            " The interval holds 0: whether more labels pay is not known.",
        ),
        (
            {"landslides": 61.5, "gain": -0.03, "gain_low": -0.06, "gain_high": -0.015},
            "Net: 1 more landslide is worth −0.020 [−0.040, −0.010] of landslide IoU, read between 60 (50 %) and 62 (100 %).",
        ),
        (
            {"landslides": 260.0, "gain": 0.03, "gain_low": np.nan, "gain_high": np.nan},
            "Net: 200 more landslides are worth +0.030 of landslide IoU, read between 60 (50 %) and 260 (100 %). So few trainings have"
            " no interval: more seeds would tell how sure that is.",
        ),
        ({"landslides": 60.0}, "Net: its two largest shares hold the same landslides, so what more are worth cannot be read."),
    ],
)  # fmt: skip
def test_the_sentence_by_hand(last: dict[str, Any], said: str) -> None:
    assert worth(by_hand(**last)) == said
    assert worth(by_hand(**last).iloc[::-1]) == said


def test_one_share_is_no_curve() -> None:
    assert "is no curve" in worth(by_hand().iloc[:1])


def test_round_numbers_lie_within_what_was_measured() -> None:
    for number in np.geomspace(1, 5000, 400):
        below = round_below(number)
        assert below <= number < 2.5 * below + 1e-9
        assert str(below)[0] in "125"
        assert set(str(below)[1:]) <= {"0"}


def test_gains_and_leads_are_those_of_the_ablation() -> None:
    trainings = {
        ("net", 50): [counts(0.2, 0.4), counts(0.4, 0.6)],
        ("net", 10): [counts(0.1, 0.3), counts(0.2, 0.3)],
        ("net", 100): [counts(0.6, 0.6), counts(0.7, 0.9)],
        ("other", 50): [counts(0.3, 0.4), counts(0.4, 0.7)],
    }
    table = curve(trainings, {"other": "net", "net": "nobody"}, evaluate()).set_index(["variant", "percent"])
    assert table.index.to_list() == [("net", 10), ("net", 50), ("net", 100), ("other", 50)]
    for point, before in ((("net", 50), ("net", 10)), (("net", 100), ("net", 50))):
        pair = {"a": trainings[before], "b": trainings[point]}
        line = compare.compare(pair, {"b": "a"}, evaluate()).set_index("variant").loc["b"]
        assert table.loc[point, ["gain", "gain_low", "gain_high"]].to_list() == pytest.approx(
            line[["difference", "low", "high"]].to_list()
        )
    assert table.loc[[("net", 10), ("other", 50)], "gain"].isna().all()  # the first share of each
    pair = {"a": trainings["net", 50], "b": trainings["other", 50]}
    line = compare.compare(pair, {"b": "a"}, evaluate()).set_index("variant").loc["b"]
    for name in ("difference", "low", "high"):
        assert table.loc[("other", 50), name] == pytest.approx(line[name])
    assert table["against"].to_list() == [None, None, None, "net"]
    assert ((table["iou_low"] < table["landslide_iou"]) & (table["landslide_iou"] < table["iou_high"])).all()


@pytest.mark.parametrize(("areas", "shown"), [(["valley"], True), (["valley", "more"], True), (["hill"], False)])
def test_the_report_shows_curves_of_its_own_areas(areas: list[str], shown: bool) -> None:
    line: dict[str, Any] = {
        "ground": "valley, 2 folds",
        "variant": "net",
        "seeds": 2,
        "steps": 80,
        "landslide_iou": 0.5,
        "against": None,
    }
    line |= dict.fromkeys(("iou_low", "difference", "low", "high", "boundary_iou", "object_detection_rate", "mcc"), 0.4)
    table = by_hand(landslides=110.0).assign(**(line | {"iou_high": 0.6}))
    figure = charts.label_budget(table)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.5] * 3
    png = b"\x89PNG" + bytes(12) + (9).to_bytes(4, "big") + (8).to_bytes(4, "big")
    report: Any = SimpleNamespace(
        areas=[SimpleNamespace(name=name) for name in areas], budget=table, figures={"budget_1.png": png}
    )
    html = "".join(budget_section(report).body)
    assert ("<img" in html) is shown
    assert ("50 more landslides are worth" in html) is shown
    assert ("<table" in html) is shown
    assert ("make budget" in html) is not shown
