from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.splits import SPLITS, by_position, drawn, first_of_each_class, last_tenth

labels_of_two = st.lists(st.integers(0, 1), min_size=40, max_size=200).filter(
    lambda labels: min(np.bincount(labels, minlength=2)) >= 10
)


@given(labels_of_two)
def test_splits_by_position_are_disjoint_stratified_and_contiguous_within_each_class(labels):
    labels = np.array(labels)

    parts = by_position(labels, (6, 1, 2))

    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        in_class = [part[labels[part] == label] for part in (parts[name] for name in SPLITS)]
        assert [len(part) for part in in_class] == [6, 1, 2]
        order = np.concatenate(in_class)
        np.testing.assert_array_equal(order, rows[:9])  # contiguous and in file order, so also disjoint


def test_a_split_by_position_refuses_a_class_that_is_too_small():
    with pytest.raises(ValueError, match="class 1 has 2 rows, 9 are required"):
        by_position(np.array([0] * 20 + [1] * 2), (6, 1, 2))


@given(labels_of_two)
def test_the_last_tenth_of_each_class_validates(labels):
    labels = np.array(labels)

    train, validation = last_tenth(labels)

    assert not set(train) & set(validation)
    assert len(train) + len(validation) == len(labels)
    for label in (0, 1):
        assert max(train[labels[train] == label]) < min(validation[labels[validation] == label])
        assert (labels[validation] == label).sum() == (labels == label).sum() // 10


def test_a_draw_is_disjoint_complete_stratified_and_always_the_same():
    labels = np.array([0] * 300 + [1] * 100)

    parts = drawn(labels)

    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(400))
    assert {name: len(part) for name, part in parts.items()} == {"train": 280, "validation": 40, "test": 80}
    assert all(labels[part].mean() == pytest.approx(0.25, abs=0.03) for part in parts.values())
    assert all((drawn(labels)[name] == parts[name]).all() for name in SPLITS)


def test_a_draw_keeps_each_group_in_one_split():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 400), rng.integers(0, 40, 400)

    parts = drawn(labels, groups)

    in_part = [set(groups[part]) for part in parts.values()]
    assert not in_part[0] & in_part[1] and not in_part[0] & in_part[2] and not in_part[1] & in_part[2]


def test_a_draw_refuses_too_few_rows_or_groups():
    with pytest.raises(ValueError, match="the rarest class has 3 rows"):
        drawn(np.array([0] * 30 + [1] * 3))
    with pytest.raises(ValueError, match="2 groups, at least 10"):
        drawn(np.array([0, 1] * 30), np.array([0, 1] * 30))


@given(labels_of_two, st.integers(2, 300))
def test_a_limit_takes_the_first_rows_of_each_class_in_proportion(labels, limit):
    labels = np.array(labels)

    rows = first_of_each_class(labels, limit)

    assert len(rows) == min(limit, len(labels))
    for label in (0, 1):
        chosen = rows[labels[rows] == label]
        np.testing.assert_array_equal(chosen, np.flatnonzero(labels == label)[: len(chosen)])
        assert len(chosen) == 1 or abs(len(chosen) - (labels == label).mean() * len(rows)) <= 1


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(1, 30))
def test_a_limit_is_exact_and_keeps_every_class(labels, limit):
    labels = np.array(labels)

    rows = first_of_each_class(labels, limit)

    assert len(rows) == max(limit, len(set(labels.tolist()))) if limit < len(labels) else len(labels)
    assert set(labels[rows].tolist()) == set(labels.tolist())


def test_a_limit_keeps_at_least_one_row_of_each_class():
    assert set(np.array([0] * 99 + [1])[first_of_each_class(np.array([0] * 99 + [1]), 5)]) == {0, 1}


grouped = st.integers(10, 40).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(0, 2), min_size=count, max_size=count),
        st.lists(st.integers(1, 12), min_size=count, max_size=count),
    )
)


@given(grouped)
def test_every_split_has_every_class_that_has_three_groups(kinds_and_sizes):
    """With groups of one class each, three groups of a class are enough, and fewer are too few."""
    kinds, sizes = kinds_and_sizes
    labels, groups = np.repeat(kinds, sizes), np.repeat(np.arange(len(kinds)), sizes)
    present = [kind for kind in range(3) if kind in kinds]
    labels = np.searchsorted(present, labels)
    counts = [kinds.count(kind) for kind in present]
    if np.bincount(labels).min() < 10 or min(counts) < 3:
        with pytest.raises(
            ValueError, match=r"at least 10 are required|class '\d' has \d groups in \d+ rows|the rarest class"
        ):
            drawn(labels, groups)
        return

    parts = drawn(labels, groups)

    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(labels)))
    assert all(set(labels[part]) == set(labels) for part in parts.values())
    assert sum(len(set(groups[part])) for part in parts.values()) == len(kinds)


def test_groups_of_several_classes_are_placed_by_an_exact_search():
    """Each of two rare classes is in three groups; they share one group, which can be in only one split."""
    held = {0: [1], 1: [2], 2: [1, 2], 3: [1], 4: [2]} | {group: [] for group in range(5, 30)}
    rows = [(label, group) for group, more in held.items() for label in [0] * 10 + more * 5]
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))

    parts = drawn(labels, groups)

    assert all(set(labels[part].tolist()) == {0, 1, 2} for part in parts.values())
    assert 0.5 < len(parts["train"]) / len(labels) < 0.8


def test_the_error_about_an_impossible_draw_names_class_and_split():
    """Four rare classes have three groups each, and each group holds three of these classes."""
    rows = [(0, group) for group in range(20) for _ in range(10)]
    rows += [
        (label, group)
        for label, groups in ((1, (0, 1, 2)), (2, (0, 1, 3)), (3, (0, 2, 3)), (4, (1, 2, 3)))
        for group in groups
        for _ in range(5)
    ]
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))

    with pytest.raises(
        ValueError, match=r"no draw of whole groups puts the class '[a-e]' into (train|validation|test)"
    ):
        drawn(labels, groups, classes=list("abcde"))


def test_equal_rows_are_in_one_split_and_the_shares_stay_exact():
    rng = np.random.default_rng(0)
    labels, same = rng.integers(0, 2, 2_000), [str(number) for number in rng.integers(0, 1_500, 2_000)]

    parts = drawn(labels, same=same)

    held = [{same[row] for row in part} for part in parts.values()]
    assert sum(map(len, held)) == len(set(same))
    for label in (0, 1):
        shares = [(labels[part] == label).sum() / (labels == label).sum() for part in parts.values()]
        np.testing.assert_allclose(shares, (0.7, 0.1, 0.2), atol=0.01)


def test_groups_with_equal_rows_are_in_one_split():
    labels, groups = np.arange(400) % 2, np.arange(400) // 10
    same = [str(row) for row in range(400)]
    same[5] = same[395]

    parts = drawn(labels, groups, same=same)

    assert any(5 in part and 395 in part for part in parts.values())
    everywhere = [text if row % 10 else "ok" for row, text in enumerate(same)]  # would connect all groups
    assert sum(len(set(groups[part])) for part in drawn(labels, groups, same=everywhere).values()) == 40


def test_without_equal_rows_the_draw_ignores_the_keys():
    labels = np.array([0] * 300 + [1] * 100)

    assert all(
        (drawn(labels, same=[str(row) for row in range(400)])[name] == part).all()
        for name, part in drawn(labels).items()
    )


def test_a_rare_class_is_in_every_split_of_many_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4_000), 5)
    labels = rng.integers(0, 2, len(groups))
    labels[groups < 3] = 2

    parts = drawn(labels, groups)

    assert all(set(labels[part].tolist()) == {0, 1, 2} for part in parts.values())


def test_a_rare_class_is_in_every_split_where_few_rows_are_equal():
    labels = np.array([0] * 100_000 + [1] * 10)
    same = [str(row) for row in range(100_000)] + list("aaabbbcdef")

    parts = drawn(labels, same=same)

    assert all(set(labels[part].tolist()) == {0, 1} for part in parts.values())


def test_repeated_rows_are_in_every_split_in_proportion():
    labels = np.arange(10_000) % 2
    same = [str(row // 4) for row in range(2_000)] + [f"single {row}" for row in range(8_000)]

    parts = drawn(labels, same=same)

    shares = [(part < 2_000).sum() / 2_000 for part in parts.values()]
    np.testing.assert_allclose(shares, (0.7, 0.1, 0.2), atol=0.02)
