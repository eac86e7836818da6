"""Which example trains, validates or tests: fixed by the data alone, never by a trial's seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
SHARES = (0.7, 0.1, 0.2)  # of each class in a draw
SPLITTING = "3"  # part of the cache's key: raise it when a split changes


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


def drawn(
    labels: np.ndarray,
    groups: Sequence[str] | np.ndarray | None = None,
    *,
    same: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Returns a fixed stratified draw: as nearly as it goes 7 tenths of each class train, 1 validates, 2 test.

    Groups are never divided, and rows that are the same stay together. Where equal rows tie groups to each other so that no draw is
    left, the groups alone decide.

    Args:
      labels: int[N] class of each row.
      groups: group of each row, or None where there are none.
      same: what rows have in common that must not be on both sides, such as their words; empty where nothing is compared.
      classes: name of each class, for errors.

    Returns:
      Split name → int64 rows in file order. Each split has each class.

    Raises:
      ValueError: no rows, fewer than ten of the rarest class, fewer than ten groups, or no draw gives each split each class.
    """
    from sklearn.model_selection import StratifiedKFold

    names = classes or [str(label) for label in range(labels.max(initial=0) + 1)]
    if groups is not None and len(np.unique(groups)) < 10:
        raise ValueError(f"{len(np.unique(groups))} groups, at least 10 are needed to draw splits")
    if not len(labels):
        raise ValueError("no rows, at least 10 of each class are needed to draw splits")
    if np.bincount(labels).min() < 10:
        rarest = int(np.bincount(labels).argmin())
        raise ValueError(
            f"the rarest class has {np.bincount(labels)[rarest]} rows ({names[rarest]!r}), at least 10 are needed to draw splits"
        )
    if groups is not None and len(same):
        try:
            return drawn(labels, _tied(_numbered(groups), _numbered(same)), classes=classes)
        except ValueError:
            same = ()
    units = _numbered(groups if groups is not None else same or range(len(labels)))
    if len(np.unique(units)) < len(labels):
        return _drawn_whole(labels, units, unit="different texts" if groups is None else "groups", names=names)
    folds = StratifiedKFold(n_splits=10, shuffle=True, random_state=0)
    parts = [held_out for _, held_out in folds.split(np.zeros(len(labels)), labels)]
    joined = {TRAIN: parts[3:], VALIDATION: parts[2:3], TEST: parts[:2]}
    return {name: np.sort(np.concatenate(part)) for name, part in joined.items()}


def _tied(groups: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Returns int[N], one number for all groups that equal rows tie to each other.

    Raises:
      ValueError: that is more than a split has room for.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(groups.max() + same.max() + 2)
    ties = coo_array((np.ones(len(groups)), (groups, groups.max() + 1 + same)), (size, size))
    tied = connected_components(ties, directed=False)[1][groups]
    if np.bincount(tied).max() > max(SHARES[0] * len(groups), np.bincount(groups).max()):
        raise ValueError("equal rows tie most groups together")
    return np.asarray(tied)


def _numbered(values: Iterable[object]) -> np.ndarray:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _drawn_whole(labels: np.ndarray, units: np.ndarray, *, unit: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns a draw of whole units: greedily, and by an exact search where that leaves a split without a class."""
    _, units = np.unique(units, return_inverse=True)
    counts = np.zeros((units.max() + 1, len(names)), np.int64)  # [unit, class] rows
    np.add.at(counts, (units, labels), 1)
    holders = (counts > 0).sum(axis=0)
    if holders.min() < len(SPLITS):
        rarest = int(holders.argmin())
        few = f"class {names[rarest]!r} has {holders[rarest]} {unit} in {counts[:, rarest].sum()} rows"
        raise ValueError(f"{few}, and {TRAIN}, {VALIDATION} and {TEST} need one each")
    place = _greedy(counts)
    if gaps := _missing(counts, place):
        rare = np.asarray((counts[:, sorted({label for _, label in gaps})] > 0).any(axis=1))
        placed = _exact(counts, place, free=rare)
        placed = _exact(counts, place, free=np.ones(len(counts), bool)) if placed is None else placed
        if placed is None:
            split, label = gaps[0]
            raise ValueError(f"no draw that keeps the {unit} whole gives {SPLITS[split]} the class {names[label]!r}")
        place = placed
    return {name: np.flatnonzero(place[units] == number) for number, name in enumerate(SPLITS)}


def _missing(counts: np.ndarray, place: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs (split, class) without a row."""
    held = np.stack([counts[place == split].sum(axis=0) for split in range(len(SPLITS))])
    return [(int(split), int(label)) for split, label in np.argwhere(held == 0)]


def _greedy(counts: np.ndarray) -> np.ndarray:
    """Returns int[U], the split of each unit: the largest first, each to where the classes' shares come nearest to what they should be.

    Units of one row come last, many at once: they fill up what each class still lacks, drawn at random with a fixed seed.

    Args:
      counts: int[U, K] rows of each unit and class.
    """
    totals = counts.sum(axis=0)
    place = np.zeros(len(counts), np.int64)
    held = np.zeros((len(SPLITS), len(totals)))  # share of each class
    wanted = np.array(SHARES)[:, None]
    sizes = counts.sum(axis=1)
    large = np.flatnonzero(sizes > 1)
    for unit in large[np.argsort(-(counts[large] / totals).max(axis=1), kind="stable")]:
        share = counts[unit] / totals
        gain = (((held + share - wanted) ** 2 - (held - wanted) ** 2) / wanted).sum(
            axis=1
        )  # all splits fill up at one pace
        place[unit] = int(gain.argmin())
        held[place[unit]] += share
    rng = np.random.default_rng(0)
    for label, total in enumerate(totals):
        single = rng.permutation(np.flatnonzero((sizes == 1) & (counts[:, label] == 1)))
        lacking = np.maximum(np.array(SHARES) - held[:, label], 0) * total
        ends = np.rint(np.cumsum(lacking) / max(lacking.sum(), 1e-9) * len(single)).astype(int)
        count = np.diff(ends, prepend=0)
        for split in np.flatnonzero((held[:, label] == 0) & (count == 0)):
            if count.max() > 1:
                count[count.argmax()] -= 1
                count[split] += 1
        place[single] = np.repeat(np.arange(len(SPLITS)), [*count[:-1], len(single) - count[:-1].sum()])
    return place


def _exact(counts: np.ndarray, place: np.ndarray, *, free: np.ndarray) -> np.ndarray | None:
    """Returns int[U], the split of each unit, so that each split has each class and the shares are near those wanted; None if none does.

    A linear program in whole numbers: x[u, s] = 1 where unit u is in split s; what is least is the sum of |share - wanted| over splits
    and classes.

    Args:
      counts: int[U, K] rows of each unit and class.
      place: int[U], the split of each unit so far.
      free: bool[U], the units that may move.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, coo_array, eye_array, kron

    splits, shares, moving = len(SPLITS), counts / counts.sum(axis=0), counts[free]
    units, size, classes = len(moving), len(moving) * splits, counts.shape[1]
    stays = [~free & (place == split) for split in range(splits)]
    wanted = (
        np.array(SHARES) - np.stack([shares[part].sum(axis=0) for part in stays], axis=1)
    ).ravel()  # [class and split]
    needed = 1 - np.stack([(counts[part] > 0).any(axis=0) for part in stays], axis=1).ravel()
    once = kron(eye_array(units), np.ones((1, splits)))  # [unit, unit and split]
    held, has = (
        kron(of.T, eye_array(splits)) for of in (shares[free], (moving > 0) * 1.0)
    )  # [class and split, unit and split]
    away = eye_array(classes * splits)
    limits = [
        LinearConstraint(block_array([[once, coo_array((units, classes * splits))]]), 1, 1),
        LinearConstraint(block_array([[has, 0 * away]]), needed, np.inf),
        LinearConstraint(block_array([[held, -away]]), -np.inf, wanted),
        LinearConstraint(block_array([[held, away]]), wanted, np.inf),
    ]
    is_whole = np.concatenate([np.ones(size), np.zeros(classes * splits)])
    options = {"mip_rel_gap": 0.02, "node_limit": 2_000}  # nodes and no seconds: the same draw on every machine
    bounds = Bounds(0, np.concatenate([np.ones(size), np.full(classes * splits, np.inf)]))
    found = milp(1 - is_whole, integrality=is_whole, bounds=bounds, constraints=limits, options=options)
    if found.x is None:
        return None
    placed = place.copy()
    placed[free] = found.x[:size].reshape(units, splits).argmax(axis=1)
    return placed


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
