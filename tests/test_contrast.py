"""The pairs, the queues and the loss, against plain loops and a deque; each known defect of public code is a test."""

from collections import deque

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hpcl.settings.contrastive import ContrastSettings
from hpcl.training.contrast import ClassQueues, contrast_loss
from hpcl.training.pairs import candidates, class_fractions, sample_pairs


def settings(**changes: object) -> ContrastSettings:
    numbers = {
        "weight": 0.1, "temperature": 0.1, "queue_size": 8, "momentum": 0.99, "embedding_dim": 4, "start_frac": 0.0, "alone_frac": 0.0,
        "positive_frac": 0.5, "negative_frac": 0.1, "inside_blocks": 1, "outside_blocks": 2, "random_background_frac": 0.25,
        "per_class_per_window": 32, "hard_frac": 0.5, "sampling": "boundary",
    }  # fmt: skip
    return ContrastSettings(**(numbers | changes))  # type: ignore[arg-type]  # numbers of both kinds


def vectors(n: int, dim: int = 4, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def loop_loss(anchors: np.ndarray, classes: list[int], held: dict[int, np.ndarray], temperature: float) -> float:
    """InfoNCE in float64 with two plain loops, from the formula."""
    per_class = []
    for c in sorted(set(classes)):
        rows = []
        for anchor, own in zip(anchors.astype(np.float64), classes, strict=True):
            positives = held[c].astype(np.float64)
            negatives = [key.astype(np.float64) for k, keys in held.items() if k != c for key in keys]
            if own != c or not len(positives) or not negatives:
                continue
            bottom = sum(np.exp(anchor @ n / temperature) for n in negatives)
            tops = [np.exp(anchor @ p / temperature) for p in positives]
            rows.append(np.mean([-np.log(top / (top + bottom)) for top in tops]))
        if rows:
            per_class.append(np.mean(rows))
    return float(np.mean(per_class)) if per_class else 0.0


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_equals_a_float64_double_loop(classes: int, temperature: float) -> None:
    anchors, keys, held = vectors(12), vectors(12, seed=1), vectors(20, seed=2)
    label = torch.arange(12) % classes
    queues = ClassQueues(classes, 8, 4)
    queues.push(held, torch.arange(20) % classes)
    together = {c: np.concatenate([queues.of(c).numpy(), keys[label == c].numpy()]) for c in range(classes)}
    got = contrast_loss(anchors, label, keys, label, queues, temperature)
    assert float(got) == pytest.approx(loop_loss(anchors.numpy(), label.tolist(), together, temperature), rel=1e-5)


def test_loss_of_a_known_case() -> None:
    """One anchor on its positive, one negative opposite: -log(e^{1/t} / (e^{1/t} + e^{-1/t})) = log(1 + e^{-2/t})."""
    a = torch.tensor([[1.0, 0.0]])
    queues = ClassQueues(2, 4, 2)
    queues.push(torch.tensor([[-1.0, 0.0]]), torch.tensor([0]))
    loss = contrast_loss(a, torch.tensor([1]), a, torch.tensor([1]), queues, 0.5)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-4)), rel=1e-5)


def test_the_background_queue_matters_to_landslide_anchors() -> None:
    anchors, keys, label = vectors(4), vectors(4, seed=1), torch.ones(4, dtype=torch.long)
    losses = []
    for seed in (2, 3):
        queues = ClassQueues(2, 8, 4)
        queues.push(vectors(8, seed=seed), torch.zeros(8, dtype=torch.long))
        losses.append(float(contrast_loss(anchors, label, keys, label, queues, 0.1)))
    assert losses[0] != losses[1]


def test_unfilled_places_never_change_the_loss() -> None:
    anchors, keys, label = vectors(6), vectors(6, seed=1), torch.arange(6) % 2
    small, large = ClassQueues(2, 3, 4), ClassQueues(2, 64, 4)
    for queues in (small, large):
        queues.push(vectors(6, seed=2), torch.arange(6) % 2)
    large.keys[:, 3:] = 1e3
    assert float(contrast_loss(anchors, label, keys, label, small, 0.1)) == float(
        contrast_loss(anchors, label, keys, label, large, 0.1)
    )


def test_queues_equal_a_deque_whatever_is_pushed() -> None:
    rng = np.random.default_rng(0)
    queues = ClassQueues(3, 7, 2)
    truth = [deque[tuple[float, ...]](maxlen=7) for _ in range(3)]
    for count in [0, 1, 5, 3, 30, 7, 0, 2, 8, 6, 14, 1]:
        keys = torch.from_numpy(rng.normal(size=(count, 2)).astype(np.float32))
        label = torch.from_numpy(rng.integers(0, 3, count))
        queues.push(keys, label)
        for key, c in zip(keys, label, strict=True):
            truth[int(c)].append(tuple(key.tolist()))
        for c in range(3):
            assert sorted(map(tuple, queues.of(c).tolist())) == sorted(truth[c])


def test_the_newest_keys_survive_and_the_oldest_go_first() -> None:
    queues = ClassQueues(1, 3, 1)
    for value in range(5):
        queues.push(torch.tensor([[float(value)]]), torch.tensor([0]))
    assert sorted(queues.of(0).flatten().tolist()) == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("label", [0, 1, 255])
def test_windows_of_one_kind_cost_nothing_but_keep_a_graph(label: int) -> None:
    labels = torch.full((2, 32, 32), label)
    pairs = sample_pairs(
        labels, torch.zeros(2, 4, 4, dtype=torch.long), 2, 8, settings(), torch.Generator().manual_seed(0)
    )
    embeddings = torch.randn(2, 4, 4, 4, requires_grad=True)
    loss = contrast_loss(
        pairs.take(embeddings),
        pairs.classes,
        pairs.take(embeddings.detach()),
        pairs.classes,
        ClassQueues(2, 8, 4),
        0.1,
    )
    loss.backward()
    assert float(loss.detach()) == 0
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_extreme_similarities_stay_finite() -> None:
    a = torch.tensor([[1.0, 0.0]], requires_grad=True)
    queues = ClassQueues(2, 4, 2)
    queues.push(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    loss = contrast_loss(a, torch.tensor([1]), torch.tensor([[-1.0, 0.0]]), torch.tensor([1]), queues, 0.001)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2000, rel=1e-3)
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_gradient_reaches_anchors_only() -> None:
    anchors, keys = vectors(6).requires_grad_(), vectors(6, seed=1).requires_grad_()
    contrast_loss(anchors, torch.arange(6) % 2, keys, torch.arange(6) % 2, ClassQueues(2, 8, 4), 0.1).backward()
    assert anchors.grad is not None
    assert anchors.grad.abs().sum() > 0
    assert keys.grad is None


def test_fractions_are_averages_over_known_pixels_not_samples_of_one() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, :8, 1:4] = 1
    labels[0, :, 4:] = 255
    labels[0, :6, 0] = 255
    fractions, known = class_fractions(labels, 2, 8)
    assert float(fractions[0, 1, 0, 0]) == pytest.approx(24 / 26)
    assert not known[0, 0, 0]


def square_slide() -> torch.Tensor:
    """A 10 x 10 grid of 4-px blocks with a landslide of 5 x 5 blocks in the middle."""
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[0, 12:32, 12:32] = 1
    return labels


def test_pairs_come_from_the_boundary() -> None:
    near, background = candidates(square_slide(), 2, 4, settings())
    inside, outside = near[0, 1].nonzero().tolist(), near[0, 0].nonzero().tolist()
    assert len(inside) == 25 - 9
    assert all(3 in (r, c) or 7 in (r, c) for r, c in inside)
    assert len(outside) == 81 - 25
    assert [0, 0] not in outside
    assert int(background.sum()) == 100 - 25


def test_window_edge_and_unknown_ground_are_no_boundary() -> None:
    labels = torch.ones(1, 40, 40, dtype=torch.long)
    labels[0, :, 24:] = 255
    near, _ = candidates(labels, 2, 4, settings())
    assert not near.any()


def test_a_small_landslide_gives_its_best_block() -> None:
    labels = torch.zeros(2, 40, 40, dtype=torch.long)
    labels[0, 5, 9:11] = 1
    near, _ = candidates(labels, 2, 4, settings())
    assert near[0, 1].nonzero().tolist() == [[1, 2]]
    assert not near[1, 1].any()


def test_a_block_is_never_of_two_classes() -> None:
    labels = torch.zeros(2, 40, 40, dtype=torch.long)
    labels[0, 5, 9] = 1  # a sixteenth of its block: still background
    labels[1] = 0
    labels[1, 20:22, 20:22] = 1
    near, background = candidates(labels, 2, 4, settings(sampling="random"))
    assert not near[0, 1].any()
    assert near[1, 1].nonzero().tolist() == [[5, 5]]
    assert not (near[:, 1] & (near[:, 0] | background)).any()


def test_mixed_blocks_are_no_background() -> None:
    labels = square_slide()
    labels[0, 12:32, 32] = 1  # a quarter of the blocks in column 8: neither one nor the other
    near, background = candidates(labels, 2, 4, settings())
    assert not background[0, 3:8, 8].any()
    assert not near[0, :, 3:8, 8].any()


def test_draw_is_bounded_and_half_of_it_hard() -> None:
    labels = square_slide()
    predicted = torch.zeros(1, 10, 10, dtype=torch.long)
    predicted[0, :5] = 1
    pairs = sample_pairs(labels, predicted, 2, 4, settings(per_class_per_window=8), torch.Generator().manual_seed(0))
    slide = pairs.classes == 1
    assert int(slide.sum()) == 8
    assert int((predicted[0, pairs.row[slide], pairs.column[slide]] == 0).sum()) >= 4
    assert int((pairs.classes == 0).sum()) == 8
    near, background = candidates(labels, 2, 4, settings())
    assert near[0, 1, pairs.row[slide], pairs.column[slide]].all()
    assert background[0, pairs.row[~slide], pairs.column[~slide]].all()


def test_a_sample_takes_its_own_vector() -> None:
    """Wrong vectors in the queue: the index of a class was used as an index of the image."""
    labels = square_slide()
    row, column = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    maps = torch.stack([row, column])[None]
    pairs = sample_pairs(
        labels, torch.zeros(1, 10, 10, dtype=torch.long), 2, 4, settings(), torch.Generator().manual_seed(0)
    )
    assert torch.equal(pairs.take(maps), torch.stack([pairs.row, pairs.column], 1).float())


def test_three_classes_have_queues_and_pairs_of_their_own() -> None:
    labels = square_slide()
    labels[0, 12:32, 20:32] = 2
    pairs = sample_pairs(
        labels, torch.zeros(1, 10, 10, dtype=torch.long), 3, 4, settings(), torch.Generator().manual_seed(0)
    )
    assert set(pairs.classes.tolist()) == {0, 1, 2}
    queues = ClassQueues(3, 16, 4)
    queues.push(vectors(len(pairs.classes)), pairs.classes)
    assert (queues.filled > 0).all()


def test_the_toe_is_left_out() -> None:
    """Blocks count as toe where most of their pixels are: row 6 has one line of four, rows 7 to 9 have all."""
    toe = torch.zeros(1, 40, 40, dtype=torch.bool)
    toe[:, 27:] = True
    boundary, _ = candidates(square_slide(), 2, 4, settings())
    walls, background = candidates(square_slide(), 2, 4, settings(sampling="boundary_without_toe"), toe)
    assert boundary[0, :, 7].any()
    assert not walls[0, :, 7:].any()
    assert torch.equal(walls[0, :, :7], boundary[0, :, :7])
    assert background[0, 9].all()  # plain background is anywhere


def test_sampling_without_the_toe_needs_to_know_it() -> None:
    with pytest.raises(ValueError, match="needs to know where it is"):
        candidates(square_slide(), 2, 4, settings(sampling="boundary_without_toe"))


@pytest.mark.parametrize("inside_blocks", [1, 2])
def test_boundary_and_interior_are_disjoint_and_together_anywhere(inside_blocks: int) -> None:
    labels = square_slide()
    labels[0, 12:32, 20:32] = 2
    labels[0, 12:32, 32] = 2  # mixed blocks, neither one nor the other
    boundary, interior, anywhere = (
        candidates(labels, 3, 4, settings(sampling=name, inside_blocks=inside_blocks))[0]
        for name in ("boundary", "interior", "random")
    )
    assert not (boundary & interior).any()
    assert torch.equal(boundary | interior, anywhere)
    assert interior[0, 0].any()
    assert bool(interior[0, 2].any()) == (inside_blocks == 1)  # it is three blocks wide


def test_random_takes_every_block_of_a_class() -> None:
    labels = square_slide()
    labels[0, 12:32, 32] = 1
    anywhere, background = candidates(labels, 2, 4, settings(sampling="random"))
    slide = torch.zeros(10, 10, dtype=torch.bool)
    slide[3:8, 3:8] = True
    mixed = torch.zeros(10, 10, dtype=torch.bool)
    mixed[3:8, 8] = True
    assert torch.equal(anywhere[0, 1], slide)
    assert torch.equal(anywhere[0, 0], ~slide & ~mixed)
    assert torch.equal(anywhere[:, 0], background)


def test_queues_of_no_size_compare_within_the_batch() -> None:
    anchors, keys, label = vectors(12), vectors(12, seed=1), torch.arange(12) % 3
    queues = ClassQueues(3, 0, 4)
    queues.push(vectors(20, seed=2), torch.arange(20) % 3)
    assert [len(queues.of(c)) for c in range(3)] == [0, 0, 0]
    batch = {c: keys[label == c].numpy() for c in range(3)}
    got = contrast_loss(anchors, label, keys, label, queues, 0.1)
    assert float(got) == pytest.approx(loop_loss(anchors.numpy(), label.tolist(), batch, 0.1), rel=1e-5)


def test_age_and_fill_of_a_known_sequence() -> None:
    """Three places each: class 0 gets two keys at step 0 and two at 5, so one of 0 is gone; class 1 gets two at 5."""
    queues = ClassQueues(2, 3, 4)
    queues.push(vectors(2), torch.zeros(2, dtype=torch.long), step=0)
    queues.push(vectors(4, seed=1), torch.tensor([0, 1, 0, 1]), step=5)
    facts = queues.facts(step=10)
    assert facts["queue_age"] == pytest.approx(10 - (0 + 5 + 5 + 5 + 5) / 5)
    assert facts["queue_fill_frac"] == pytest.approx(5 / 6)


def held(*classes: torch.Tensor) -> ClassQueues:
    """Queues that hold these keys, one tensor a class."""
    queues = ClassQueues(len(classes), max(map(len, classes)), classes[0].shape[1])
    for c, keys in enumerate(classes):
        queues.push(keys, torch.full((len(keys),), c))
    return queues


def test_purity_is_one_for_clouds_apart_and_half_for_one_cloud() -> None:
    far = torch.tensor([3.0, 0.0, 0.0, 0.0])
    apart = held(normalize(vectors(200) + far, dim=1), normalize(vectors(200, seed=1) - far, dim=1))
    assert apart.facts(0)["queue_purity_frac"] == 1
    mixed = held(vectors(256), vectors(256, seed=1))
    assert mixed.facts(0)["queue_purity_frac"] == pytest.approx(0.5, abs=0.1)


def test_separation_by_hand() -> None:
    """Cosines within: (1 + 0 + 0 + 1) / 4, 1 and 1; between: -1/2, -1/2 and 0."""
    queues = held(
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]),
        torch.tensor([[0.0, -1.0], [0.0, -1.0]]),
    )
    assert queues.facts(0)["separation"] == pytest.approx(2.5 / 3 + 1 / 3)


def test_queues_that_hold_too_little_say_nothing_of_purity() -> None:
    assert set(held(vectors(4), vectors(1)).facts(0)) == {"queue_fill_frac", "queue_age"}
