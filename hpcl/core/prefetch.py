"""The next pieces of work are done while the last one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(submit: Callable[[T], Future[R]], items: Iterable[T], most: int) -> Iterator[R]:
    """What becomes of every item, in their order; ``most`` of them are submitted and not yet given out at a time.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(ahead(lambda item: threads.submit(str, item), [1, 2, 3], most=2))
    ['1', '2', '3']
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) == most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
