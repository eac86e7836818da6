"""Which training images have labels, and which the pretext reads. N training images, K classes."""

from __future__ import annotations

import numpy as np

from src.streams import generator
from src.tasks.pretraining.settings import Settings

VALIDATES = 10  # one in so many images of the pretext only validates it


def labelled(settings: Settings, labels: np.ndarray) -> np.ndarray:
    """Returns the rows of the training images whose labels the classifier gets, int64, in order.

    The draw is stratified, and nested: the images of few labels are among those of more labels.

    Args:
      settings: `labels` of each class, and the seed that draws them.
      labels: int[N], the classes of all training images.
    """
    if settings.labels is None:
        return np.arange(len(labels))
    seed = settings.seed if settings.label_seed is None else settings.label_seed
    rows = []
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        rows.append(generator(seed, "labels", label).permutation(own)[: settings.labels])
    return np.sort(np.concatenate(rows))


def unlabelled(settings: Settings, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the training images that train the pretext, and of those that validate it, int64 each.

    All of them are images of the training split, drawn whatever their class. Smaller draws are within larger ones.

    Args:
      settings: `unlabelled` and the seed.
      count: N.
    """
    rows = generator(settings.seed, "unlabelled").permutation(count)[: settings.unlabelled]
    return np.sort(rows[np.arange(len(rows)) % VALIDATES != 0]), np.sort(rows[::VALIDATES])
