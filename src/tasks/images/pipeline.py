"""The order of the training images: its random streams, and the toggles that have no effect on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.spec.rules import Change, Inert
from src.streams import generator
from src.tasks.images.settings import Settings

if TYPE_CHECKING:
    from src.data.order import Draws, Order

MOST_HELD = 1_000_000  # images in the buffer of a shuffle; their numbers take about 40 MB


def _unshuffled(used: str, same: tuple[str, str]) -> Inert[Any]:
    reason = f"shuffle_buffer=1 does not shuffle, so this is {' and '.join(used.split('_')[1:])} in stored order"
    return Inert("pipeline", used, lambda s: s.shuffle_buffer == 1 and s.pipeline in same, reason)


INERT: tuple[Inert[Any], ...] = (
    _unshuffled("shuffle_batch_repeat", ("batch_shuffle_repeat", "batch_repeat_shuffle")),
    _unshuffled("shuffle_repeat_batch", ("repeat_shuffle_batch", "repeat_batch_shuffle")),
)
WITHOUT_REMAINDER = {"shuffle_repeat_batch": "shuffle_batch_repeat", "repeat_batch_shuffle": "batch_repeat_shuffle"}


def order_of(settings: Settings, count: int) -> Order:
    """Returns the order of `count` training images."""
    from src.data.order import Order  # late: help and errors do not need NumPy

    return Order(settings.pipeline, count, settings.batch_size, settings.shuffle_buffer, settings.drop_remainder)


def draws_of(settings: Settings) -> Draws:
    """Returns the random streams of the order, one for each iteration of the shuffle."""
    return lambda iteration: generator(settings.seed, "order", iteration)


def changes(settings: Settings, count: int) -> list[Change]:
    """Returns the toggles of the order that have no effect on `count` training images, with what is used instead.

    After `repeat`, a shuffle may hold more than one pass: there a larger buffer does have an effect.
    """
    order, buffer, found = order_of(settings, count), settings.shuffle_buffer, []
    is_of_one_pass = order.has("shuffle", before="repeat")
    if buffer is not None and (buffer == order.whole or (buffer > order.whole and is_of_one_pass)):
        unit = "batches" if order.has("batch", before="shuffle") else "images"
        reason = f"one pass has {order.whole:,} {unit}, and null holds them all"
        found.append(Change("shuffle_buffer", buffer, None, reason))
    if count % settings.batch_size == 0 and (used := WITHOUT_REMAINDER.get(settings.pipeline)):
        found.append(
            Change("pipeline", settings.pipeline, used, "every batch is full, so none has images of two passes")
        )
    return found


def refusals(settings: Settings, count: int) -> list[str]:
    """Returns why the order of `count` training images cannot be made, with the fix; empty if it can."""
    order, buffer = order_of(settings, count), settings.shuffle_buffer
    size = settings.batch_size if order.has("batch", before="shuffle") else 1
    if buffer is None or buffer * size <= MOST_HELD or order.has("shuffle", before="repeat"):
        return []
    what = f"shuffle_buffer={buffer} with pipeline={settings.pipeline} would hold {buffer * size:,} images"
    return [f"{what}, at most {MOST_HELD:,} are allowed; set shuffle_buffer={MOST_HELD // size} or less"]
