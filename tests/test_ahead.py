"""So many items are under way, in order, and errors arrive where their results would have."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hpcl.core.prefetch import ahead


def test_the_next_item_is_worked_on_while_this_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        begun[item].set()
        return item

    with ThreadPoolExecutor(3) as threads:
        coming = ahead(lambda item: threads.submit(work, item), range(3), most=2)
        assert next(coming) == 0
        assert begun[1].wait(10), "the second item waits until it is asked for"
        assert not begun[2].wait(0.2), "more items under way than asked for"
        assert list(coming) == [1, 2]


def test_an_error_arrives_in_its_place() -> None:
    with ThreadPoolExecutor(1) as thread:
        coming = ahead(lambda item: thread.submit(lambda: 1 // item), [1, 0, 1], most=2)
        assert next(coming) == 1
        with pytest.raises(ZeroDivisionError):
            next(coming)
