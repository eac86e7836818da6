"""Which example trains, validates or tests: fixed by the data alone, never by a trial's seed."""

from __future__ import annotations

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
SPLITTING = "2"  # part of the cache's key: raise it when a split changes


def by_position(labels: np.ndarray, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Returns the rows of each split, cut by position within each class.

    Neighbours in the file review the same film: cut by position, about 1 % of the held-out reviews share a film with training;
    drawn at random, nearly all do.

    Args:
      labels: int[N] class of each row, in file order.
      sizes: rows of each class that train, validate and test, in this order.

    Returns:
      Split name → int64 rows in file order.

    Raises:
      ValueError: a class has fewer rows than the sizes ask for.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < sum(sizes):
            raise ValueError(f"class {label} has {len(rows)} rows, {sum(sizes)} are needed")
        for name, part in zip(SPLITS, np.split(rows[: sum(sizes)], np.cumsum(sizes)[:2]), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def last_tenth(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that train and those that validate: the last tenth of each class, by position.

    Args:
      labels: int[N] class of each row, in the corpus' own order.

    Returns:
      Two int64 arrays of rows, in order.
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held_out[rows[len(rows) - max(1, len(rows) // 10) :]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def drawn(labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Returns a fixed stratified draw: 7 tenths train, 1 validates, 2 test; groups are never divided.

    Args:
      labels: int[N] class of each row.
      groups: group of each row, or None where every row stands for itself.

    Returns:
      Split name → int64 rows in file order.

    Raises:
      ValueError: no rows, fewer than ten of the rarest class, or fewer than ten groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is not None and len(np.unique(groups)) < 10:
        raise ValueError(f"{len(np.unique(groups))} groups, at least 10 are needed to draw splits")
    if not len(labels):
        raise ValueError("no rows, at least 10 of each class are needed to draw splits")
    if np.bincount(labels).min() < 10:
        raise ValueError(f"the rarest class has {np.bincount(labels).min()} rows, at least 10 are needed to draw splits")
    folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(n_splits=10, shuffle=True, random_state=0)
    parts = [held_out for _, held_out in folds.split(np.zeros(len(labels)), labels, groups)]
    joined = {TRAIN: parts[3:], VALIDATION: parts[2:3], TEST: parts[:2]}
    return {name: np.sort(np.concatenate(part)) for name, part in joined.items()}


def first_of_each_class(labels: np.ndarray, limit: int) -> np.ndarray:
    """Returns the first rows of each class, `limit` in all, the classes in the proportions of the whole.

    Args:
      labels: int[N] class of each row.
      limit: how many rows; all of them if there are fewer.

    Returns:
      int64 rows in order, at least one of each class that occurs (more than `limit` rows only where there are more classes).
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * limit / len(labels)
    shares = np.maximum(np.floor(exact), 1).astype(int)
    while shares.sum() < limit:  # the rest to the largest remainders
        shares[np.argmax(exact - shares)] += 1
    while shares.sum() > limit and shares.max() > 1:  # what rare classes got beyond their part comes from the others
        shares[np.argmax(shares - exact - (shares == 1) * len(labels))] -= 1
    rows = [np.flatnonzero(labels == label)[:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(rows))
