"""The memory of this machine, and the width of a model with a wanted number of parameters, without TensorFlow."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence

from src.spec.settings import Settings

TENSORFLOW_MB = 750  # of a process that has imported TensorFlow


def nearest(target: int, count: Callable[[int], int], *, most: int) -> int:
    """Returns the width from 1 to `most` at which a model has the number of parameters nearest to a target.

    Args:
      target: wanted number of parameters; of two equally near widths, the smaller one is returned.
      count: width → parameters of the model; an increasing function.
      most: the largest width.
    """
    bound = 1
    while bound < most and count(bound) < target:  # a model of the user is built to be counted: none far too wide
        bound *= 2
    above = bisect.bisect_left(range(1, min(bound, most)), target, key=count) + 1
    return min((width for width in (above - 1, above) if width), key=lambda width: abs(count(width) - target))


@functools.cache
def memory_mb() -> float:
    """Returns the total memory of this machine, in megabytes.

    It is not the free memory, because a study's refusals must not depend on other processes.
    """
    import psutil

    return float(psutil.virtual_memory().total / 2**20)


def memory_refusals(settings: Settings, needed_mb: float, *, keys: Sequence[str], data: str, fix: str) -> list[str]:
    """Returns a refusal if a model needs more memory than this machine has; an empty list otherwise.

    Args:
      settings: settings of the trial.
      needed_mb: memory that the model needs.
      keys: the toggles that increase it most; the refusal shows their values.
      data: the size of an example, such as `200 steps`.
      fix: which settings to change.
    """
    if needed_mb <= memory_mb():
        return []
    values = " ".join(f"{key}={getattr(settings, key)}" for key in keys)
    needed = f"{values} with {data} needs about {needed_mb:,.0f} MB of memory"
    return [f"{needed}; this machine has {memory_mb():,.0f} MB; {fix}"]
