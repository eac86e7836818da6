"""Batches that a thread prepares while the model trains on earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """Yields the items in their order, while a thread prepares up to `count` of those that follow.

    An error of the items is raised at its place in the order. If the caller stops early, the thread ends with the items
    that it was asked for.

    Args:
      items: what to yield.
      count: items that are prepared ahead; 0 uses no thread.
    """
    if not count:
        yield from items
        return
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item
