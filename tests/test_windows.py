import numpy as np
import pytest

from hpcl.windows import Stitcher, blend_weights, cut, starts, stitch


@pytest.mark.parametrize("shape", [(300, 257), (100, 500), (64, 64), (128, 128), (129, 401), (1, 1)])
@pytest.mark.parametrize("stride", [40, 64, 128])
def test_stitch_is_the_inverse_of_cut(shape: tuple[int, int], stride: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(stitch(cut(x, 128, stride), *shape, 128), x, atol=2e-6)


def test_every_pixel_is_covered_and_no_window_leaves_the_scene() -> None:
    for length in range(1, 400, 7):
        seen = np.zeros(length, int)
        for start in starts(length, 64, 48):
            assert start + 64 <= max(length, 64)
            seen[start : start + 64] += 1
        assert seen.min() >= 1


def test_nodata_stays_where_it_is() -> None:
    x = np.ones((1, 200, 200), np.float32)
    x[0, 50, 60] = np.nan
    out = stitch(cut(x, 64, 32), 200, 200, 64)
    assert np.isnan(out).sum() == 1
    assert np.isnan(out[0, 50, 60])


def test_weights_are_highest_in_the_middle_and_never_zero() -> None:
    weights = blend_weights(64)
    assert weights.min() > 0
    assert weights.argmax() // 64 in (31, 32)
    assert weights[0, 32] < weights[16, 32] < weights[31, 32]


def test_a_window_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="take rows_before"):
        Stitcher(1, 100, 100, 64).add(32, 0, np.ones((1, 64, 64), np.float32))
