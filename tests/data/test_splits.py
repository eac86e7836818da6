from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.splits import SPLITS, by_position, drawn, first_of_each_class, last_tenth

labels_of_two = st.lists(st.integers(0, 1), min_size=40, max_size=200).filter(lambda labels: min(np.bincount(labels, minlength=2)) >= 10)


@given(labels_of_two)
def test_by_position_is_disjoint_stratified_and_contiguous_within_each_class(labels):
    labels = np.array(labels)

    parts = by_position(labels, (6, 1, 2))

    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        in_class = [part[labels[part] == label] for part in (parts[name] for name in SPLITS)]
        assert [len(part) for part in in_class] == [6, 1, 2]
        np.testing.assert_array_equal(np.concatenate(in_class), rows[:9])  # contiguous and in file order, so disjoint too


def test_by_position_refuses_a_class_that_is_too_small():
    with pytest.raises(ValueError, match="class 1 has 2 rows, 9 are needed"):
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


def test_a_draw_never_divides_a_group():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 400), rng.integers(0, 40, 400)

    parts = drawn(labels, groups)

    in_part = [set(groups[part]) for part in parts.values()]
    assert not in_part[0] & in_part[1] and not in_part[0] & in_part[2] and not in_part[1] & in_part[2]


def test_a_draw_refuses_what_cannot_be_divided():
    with pytest.raises(ValueError, match="the rarest class has 3 rows"):
        drawn(np.array([0] * 30 + [1] * 3))
    with pytest.raises(ValueError, match="2 groups, at least 10"):
        drawn(np.array([0, 1] * 30), np.array([0, 1] * 30))


@given(labels_of_two, st.integers(2, 300))
def test_a_limit_takes_the_first_of_each_class_in_proportion(labels, limit):
    labels = np.array(labels)

    rows = first_of_each_class(labels, limit)

    assert len(rows) == min(limit, len(labels))
    for label in (0, 1):
        chosen = rows[labels[rows] == label]
        np.testing.assert_array_equal(chosen, np.flatnonzero(labels == label)[: len(chosen)])
        assert len(chosen) == 1 or abs(len(chosen) - (labels == label).mean() * len(rows)) <= 1


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(1, 30))
def test_a_limit_is_exact_for_any_number_of_classes_and_keeps_each(labels, limit):
    labels = np.array(labels)

    rows = first_of_each_class(labels, limit)

    assert len(rows) == max(limit, len(set(labels.tolist()))) if limit < len(labels) else len(labels)
    assert set(labels[rows].tolist()) == set(labels.tolist())


def test_a_limit_leaves_at_least_one_of_each_class():
    assert set(np.array([0] * 99 + [1])[first_of_each_class(np.array([0] * 99 + [1]), 5)]) == {0, 1}
