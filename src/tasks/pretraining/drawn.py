"""Which training images the pretext reads. N training images."""

from __future__ import annotations

import numpy as np

from src.streams import generator
from src.tasks.pretraining.settings import Settings

VALIDATES = 10  # one in so many images of the pretext only validates it


def unlabelled(settings: Settings, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the training images that train the pretext, and of those that validate it, int64 each.

    All of them are images of the training split, drawn whatever their class. Smaller draws are within larger ones.

    Args:
      settings: `unlabelled` and the seed.
      count: N.
    """
    rows = generator(settings.seed, "unlabelled").permutation(count)[: settings.unlabelled]
    return np.sort(rows[np.arange(len(rows)) % VALIDATES != 0]), np.sort(rows[::VALIDATES])
