"""Divides examples into training, validation and test. The splits depend only on the data, not on a trial's seed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
SHARES = (0.7, 0.1, 0.2)  # share of each class in each split of a draw
SPLITTING = "3"  # part of the cache key: increment it when a split changes


def by_position(labels: np.ndarray, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Returns the rows of each split, cut by position within each class.

    Neighbours in the file review the same film. Cut by position, about 1 % of the held-out reviews share a film with
    training; in a random split, nearly all would.

    Args:
      labels: int[N] class of each row, in file order.
      sizes: number of rows of each class for training, validation and test.

    Returns:
      Split name → int64 rows in file order.

    Raises:
      ValueError: a class has fewer rows than the sum of the sizes.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < sum(sizes):
            raise ValueError(f"class {label} has {len(rows)} rows, {sum(sizes)} are required")
        for name, part in zip(SPLITS, np.split(rows[: sum(sizes)], np.cumsum(sizes)[:2]), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def last_tenth(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training rows and the validation rows: the last tenth of each class, by position, validates.

    Args:
      labels: int[N] class of each row, in the order of the corpus.

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
    same: Sequence[Hashable] = (),
    classes: Sequence[str] = (),
    units: tuple[str, str] = ("rows", "texts"),
) -> dict[str, np.ndarray]:
    """Returns a fixed stratified draw: of each class about 70 % train, 10 % validate and 20 % test.

    The rows of a group stay together, and so do equal rows. If equal rows connect so many groups that no draw is
    possible, only groups stay together.

    Args:
      labels: int[N] class of each row.
      groups: group of each row, or None without groups.
      same: key of each row, such as its words: rows with equal keys stay together. Empty: no rows count as equal.
      classes: name of each class, for errors.
      units: what rows and what their keys are called in errors.

    Returns:
      Split name → int64 rows in file order. Every split has every class.

    Raises:
      ValueError: there are no rows, fewer than ten rows of a class, or fewer than ten groups; or no draw gives every
        split every class.
    """
    from sklearn.model_selection import StratifiedKFold

    names = classes or [str(label) for label in range(labels.max(initial=0) + 1)]
    if groups is not None and len(np.unique(groups)) < 10:
        raise ValueError(f"{len(np.unique(groups))} groups, at least 10 are required to draw splits")
    if not len(labels):
        raise ValueError("no rows, at least 10 of each class are required to draw splits")
    if np.bincount(labels).min() < 10:
        rarest = int(np.bincount(labels).argmin())
        few = f"the rarest class has {np.bincount(labels)[rarest]} {units[0]} ({names[rarest]!r})"
        raise ValueError(f"{few}, at least 10 are required to draw splits")
    if groups is not None and len(same):
        try:
            return drawn(labels, _connected(_numbered(groups), _numbered(same)), classes=classes)
        except ValueError:
            same = ()
    wholes = _numbered(groups if groups is not None else same or range(len(labels)))
    if len(np.unique(wholes)) < len(labels):
        kinds = (units[0], f"different {units[1]}" if groups is None else "groups")
        return _drawn_whole(labels, wholes, kinds=kinds, names=names)
    folds = StratifiedKFold(n_splits=10, shuffle=True, random_state=0)
    parts = [held_out for _, held_out in folds.split(np.zeros(len(labels)), labels)]
    joined = {TRAIN: parts[3:], VALIDATION: parts[2:3], TEST: parts[:2]}
    return {name: np.sort(np.concatenate(part)) for name, part in joined.items()}


def _connected(groups: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Returns int[N], the connected component of each row, where equal rows connect their groups.

    Raises:
      ValueError: a component is too large for a split.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(groups.max() + same.max() + 2)
    edges = coo_array((np.ones(len(groups)), (groups, groups.max() + 1 + same)), (size, size))
    components = connected_components(edges, directed=False)[1][groups]
    if np.bincount(components).max() > max(SHARES[0] * len(groups), np.bincount(groups).max()):
        raise ValueError("equal rows connect most groups")
    return np.asarray(components)


def _numbered(values: Iterable[object]) -> np.ndarray:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _drawn_whole(
    labels: np.ndarray, units: np.ndarray, *, kinds: tuple[str, str], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns a draw of whole units: greedy, then by an exact search if a split lacks a class.

    `kinds` is what rows and units are called in errors.
    """
    rows, unit = kinds
    _, units = np.unique(units, return_inverse=True)
    counts = np.zeros((units.max() + 1, len(names)), np.int64)  # [unit, class] rows
    np.add.at(counts, (units, labels), 1)
    holders = (counts > 0).sum(axis=0)
    if holders.min() < len(SPLITS):
        rarest = int(holders.argmin())
        few = f"class {names[rarest]!r} has {holders[rarest]} {unit} in {counts[:, rarest].sum()} {rows}"
        raise ValueError(f"{few}, but {TRAIN}, {VALIDATION} and {TEST} need one each")
    place = _greedy(counts)
    if gaps := _missing(counts, place):
        rare = np.asarray((counts[:, sorted({label for _, label in gaps})] > 0).any(axis=1))
        placed = _exact(counts, place, free=rare)
        placed = _exact(counts, place, free=np.ones(len(counts), bool)) if placed is None else placed
        if placed is None:
            split, label = gaps[0]
            raise ValueError(f"no draw of whole {unit} puts the class {names[label]!r} into {SPLITS[split]}")
        place = placed
    return {name: np.flatnonzero(place[units] == number) for number, name in enumerate(SPLITS)}


def _missing(counts: np.ndarray, place: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs (split, class) without a row."""
    rows = np.stack([counts[place == split].sum(axis=0) for split in range(len(SPLITS))])
    return [(int(split), int(label)) for split, label in np.argwhere(rows == 0)]


def _greedy(counts: np.ndarray) -> np.ndarray:
    """Returns int[U], the split of each unit.

    The largest units come first; each goes to the split in which it brings the classes' shares nearest to `SHARES`.
    Units of one row come last and together: a random draw with a fixed seed fills the rest of each class.

    Args:
      counts: int[U, K] rows of each unit and class.
    """
    totals = counts.sum(axis=0)
    place = np.zeros(len(counts), np.int64)
    held = np.zeros((len(SPLITS), len(totals)))  # [split, class] share so far
    wanted = np.array(SHARES)[:, None]
    sizes = counts.sum(axis=1)
    large = np.flatnonzero(sizes > 1)
    for unit in large[np.argsort(-(counts[large] / totals).max(axis=1), kind="stable")]:
        share = counts[unit] / totals
        increase = ((held + share - wanted) ** 2 - (held - wanted) ** 2) / wanted  # fills all splits at an equal pace
        place[unit] = int(increase.sum(axis=1).argmin())
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
    """Returns int[U], the split of each unit, such that every split has every class; None if no such draw exists.

    An integer linear program: x[u, s] = 1 if unit u is in split s. It minimises the sum of |share - wanted| over splits
    and classes.

    Args:
      counts: int[U, K] rows of each unit and class.
      place: int[U], the current split of each unit.
      free: bool[U], the units that may move.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, coo_array, eye_array, kron

    splits, shares, moving = len(SPLITS), counts / counts.sum(axis=0), counts[free]
    units, size, classes = len(moving), len(moving) * splits, counts.shape[1]
    stays = [~free & (place == split) for split in range(splits)]
    fixed = np.stack([shares[part].sum(axis=0) for part in stays], axis=1)
    wanted = (np.array(SHARES) - fixed).ravel()  # [class and split]
    needed = 1 - np.stack([(counts[part] > 0).any(axis=0) for part in stays], axis=1).ravel()
    once = kron(eye_array(units), np.ones((1, splits)))  # [unit, unit and split]
    held = kron(shares[free].T, eye_array(splits))  # [class and split, unit and split]
    has = kron((moving > 0).T * 1.0, eye_array(splits))  # the same
    away = eye_array(classes * splits)
    limits = [
        LinearConstraint(block_array([[once, coo_array((units, classes * splits))]]), 1, 1),
        LinearConstraint(block_array([[has, 0 * away]]), needed, np.inf),
        LinearConstraint(block_array([[held, -away]]), -np.inf, wanted),
        LinearConstraint(block_array([[held, away]]), wanted, np.inf),
    ]
    is_whole = np.concatenate([np.ones(size), np.zeros(classes * splits)])
    options = {
        "mip_rel_gap": 0.02,
        "node_limit": 2_000,
    }  # a limit of nodes, not seconds: the same draw on every machine
    bounds = Bounds(0, np.concatenate([np.ones(size), np.full(classes * splits, np.inf)]))
    solution = milp(1 - is_whole, integrality=is_whole, bounds=bounds, constraints=limits, options=options)
    if solution.x is None:
        return None
    placed = place.copy()
    placed[free] = solution.x[:size].reshape(units, splits).argmax(axis=1)
    return placed


def first_of_each_class(labels: np.ndarray, limit: int) -> np.ndarray:
    """Returns the first rows of each class, `limit` in all, in the proportions of all rows.

    Args:
      labels: int[N] class of each row.
      limit: number of rows; all rows if there are fewer.

    Returns:
      int64 rows in order, at least one of each class. There are more than `limit` rows only if there are more classes.
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * limit / len(labels)
    shares = np.maximum(np.floor(exact), 1).astype(int)
    while shares.sum() < limit:  # the largest remainders get the rest
        shares[np.argmax(exact - shares)] += 1
    while shares.sum() > limit and shares.max() > 1:  # frequent classes give up what rare ones got in excess
        shares[np.argmax(shares - exact - (shares == 1) * len(labels))] -= 1
    rows = [np.flatnonzero(labels == label)[:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(rows))
