"""Separate random streams of one trial, so that a change of one toggle does not shift the draws of another.

The name of a stream is its purpose: ("weights", layer, role), ("order", epoch), ("dropout", layer). Equal seeds and
names give equal draws, independently of the order in which streams are opened.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream_seed(seed: int, *name: str | int) -> int:
    """Returns the seed of a named stream, from 0 to 2^31 - 1."""
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") % 2**31


def generator(seed: int, *name: str | int) -> np.random.Generator:
    """Returns a NumPy generator for a named stream."""
    import numpy as np  # late: help and errors do not need it

    return np.random.default_rng(stream_seed(seed, *name))
