from __future__ import annotations

import threading

import pytest

from src.data.prefetch import ahead


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_items_come_in_their_order_and_no_thread_is_left(count):
    assert list(ahead(iter(range(10)), count)) == list(range(10))
    assert threads() == []


@pytest.mark.parametrize(("count", "started"), [(0, 1), (1, 2), (3, 4)])
def test_a_thread_prepares_no_more_than_the_given_number_ahead(count, started):
    made, is_made = [], threading.Semaphore(0)

    def items():
        for item in range(10):
            made.append(item)
            is_made.release()
            yield item

    stream = ahead(items(), count)
    assert next(stream) == 0
    for _ in range(started):
        assert is_made.acquire(timeout=10)
    assert not is_made.acquire(timeout=0.05) and made == list(range(started))
    stream.close()
    assert threads() == []


def test_an_error_is_raised_at_its_place():
    def items():
        yield 1
        raise OSError("broken image")

    stream = ahead(items(), 3)

    assert next(stream) == 1
    with pytest.raises(OSError, match="broken image"):
        next(stream)
    assert threads() == []
