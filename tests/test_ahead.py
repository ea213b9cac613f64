"""Work is one item ahead of whoever asks, in order, and its errors arrive where its result would have."""

import threading

import pytest

from hpcl.ahead import ahead


def test_the_next_item_is_worked_on_while_this_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        begun[item].set()
        return item

    coming = ahead(work, range(3))
    assert next(coming) == 0
    assert begun[1].wait(10), "the second item waits until it is asked for"
    assert not begun[2].wait(0.2), "more than one item ahead"
    assert list(coming) == [1, 2]


def test_an_error_arrives_in_its_place() -> None:
    coming = ahead(lambda item: 1 // item, [1, 0, 1])
    assert next(coming) == 1
    with pytest.raises(ZeroDivisionError):
        next(coming)
